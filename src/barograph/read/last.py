"""The newest value of each metric of many runs, from the ends of their files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT, Row
from barograph.read.arrays import as_float
from barograph.read.columns import Stream, find_streams, iterate_overflow, last_rows, unreadable
from barograph.read.run import RunReader

SCHEMA = {
    "run": pl.String,
    "split": pl.String,
    "name": pl.String,
    "attempt": pl.Int32,
    "step": pl.Float64,
    "t": pl.Float64,
    "value": pl.Float64,
}
Value = tuple[str, str, int, float, float, float]


def last_values(
    readers: Sequence[RunReader], *, names: Collection[str] | None, splits: Collection[str] | None, rank: int
) -> pl.DataFrame:
    """See ``Runs.last_values``: of the latest attempt that recorded the metric, the value that was recorded last."""
    rows = []
    for reader in readers:
        newest: dict[tuple[str, str], Value] = {}
        damage: list[Damage] = []
        for value in _values(reader, damage, rank=rank):
            split, name, attempt, _, t, _ = value
            is_wanted = (names is None or name in names) and (
                split != HOST_SPLIT if splits is None else split in splits
            )
            known = newest.get((split, name))
            if is_wanted and (known is None or (attempt, t) >= (known[2], known[4])):
                newest[split, name] = value
        reader.note(damage)
        rows += [(str(reader.path), *newest[key]) for key in sorted(newest)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _values(reader: RunReader, damage: list[Damage], *, rank: int) -> Iterator[Value]:
    for stream in find_streams(reader.directory, damage):
        header = stream.header
        if header.rank == rank:
            for step, *values, t in _last(stream, damage):
                for name, value in zip(header.columns[1:-1], values, strict=True):
                    yield header.split, name, header.attempt, step, t, value
    for columns in iterate_overflow(reader.directory, damage):
        if columns.rank == rank:
            for name, found in columns.values.items():
                yield columns.split, name, columns.attempt, columns.steps[0], columns.t[0], as_float(found[0])


def _last(stream: Stream, damage: list[Damage]) -> list[Row]:
    """The newest row, if there is one; a power cut leaves rows of zero bytes behind it, which are none."""
    count, num_rows = 1, stream.num_rows()
    try:
        while not (found := last_rows(stream, count)) and count < num_rows:
            count *= 8
        return found[-1:]
    except (FormatError, OSError) as error:
        damage.append(unreadable(stream.path, error))
        return []
