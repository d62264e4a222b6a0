"""The numbers of many runs in one frame, each file read once into the place where its rows belong.

Rows are read by numpy into columns that have their final size from the start: 100 000 000 numbers cost about what
reading their bytes costs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from barograph.errors import MetricNotFoundError
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT
from barograph.read.arrays import Floats, as_float, column_of, read_numbers
from barograph.read.columns import Stream, find_streams, iterate_overflow, unreadable
from barograph.read.run import RunReader

NUM_THREADS: Final = min(4, os.cpu_count() or 1)
FEW_NUMBERS: Final = 1 << 23
"""So many are read sooner than threads have agreed who reads what."""
SCRATCH_BYTES: Final = 1 << 19
_memory = threading.local()


class Source(msgspec.Struct, kw_only=True):
    """Consecutive rows of the frame that come from one file, or from one record of ``metrics.jsonl``.

    Attributes:
        run: place of the run.
        split: of its rows.
        attempt: of its rows.
        rank: of its rows.
        names: its metrics.
        num_rows: how many rows it has; fewer may turn out to hold facts.
        stream: the file.
        record: the numbers of a record, ``step`` first and ``t`` last.
        start: its first row in the frame.
    """

    run: int
    split: str
    attempt: int
    rank: int
    names: list[str]
    num_rows: int
    stream: Stream | None = None
    record: list[float] | None = None
    start: int = 0


def assemble(
    readers: Sequence[RunReader],
    *,
    names: Collection[str] | None,
    splits: Collection[str] | None,
    attempt: int | Literal["all"] | None,
    rank: int | Literal["all"],
) -> pl.DataFrame:
    """See ``Runs.metrics``."""
    everything = [source for place, reader in enumerate(readers) for source in _sources(place, reader)]
    wanted = [source for source in everything if _is_wanted(source, splits=splits, attempt=attempt, rank=rank)]
    columns = _chosen(wanted, names, everything)
    sources = [source for source in wanted if any(name in columns for name in source.names)]
    frame = _Frame(readers, sources, columns)
    frame.fill()
    if attempt is None:
        frame.drop_superseded()
    return frame.as_polars(merge_ranks=rank == "all")


def _sources(place: int, reader: RunReader) -> Iterator[Source]:
    damage: list[Damage] = []
    for stream in find_streams(reader.directory, damage):
        header = stream.header
        yield Source(
            run=place,
            split=header.split,
            attempt=header.attempt,
            rank=header.rank,
            names=header.columns[1:-1],
            num_rows=stream.num_rows(),
            stream=stream,
        )
    for columns in iterate_overflow(reader.directory, damage):
        values = [as_float(column[0]) for column in columns.values.values()]
        yield Source(
            run=place,
            split=columns.split,
            attempt=columns.attempt,
            rank=columns.rank,
            names=list(columns.values),
            num_rows=1,
            record=[columns.steps[0], *values, columns.t[0]],
        )
    reader.note(damage)


def _is_wanted(
    source: Source,
    *,
    splits: Collection[str] | None,
    attempt: int | Literal["all"] | None,
    rank: int | Literal["all"],
) -> bool:
    is_split = source.split != HOST_SPLIT if splits is None else source.split in splits
    return is_split and attempt in (None, "all", source.attempt) and rank in ("all", source.rank)


def _chosen(wanted: list[Source], names: Collection[str] | None, everything: list[Source]) -> list[str]:
    """The metrics that become columns, in the order in which they were first met, or were asked for."""
    there = {name: None for source in wanted for name in source.names}
    missing = [name for name in names or () if name not in there]
    if missing:
        logged = sorted({f"{name} ({source.split})" for source in everything for name in source.names})
        raise MetricNotFoundError(
            f"none of these runs logged {', '.join(map(repr, missing))} there; they logged "
            f"{', '.join(logged) or 'no metric'}"
        )
    return list(there) if names is None else list(dict.fromkeys(names))


class _Frame:
    """Columns of the final size, and which of their cells hold nothing."""

    def __init__(self, readers: Sequence[RunReader], sources: list[Source], columns: list[str]) -> None:
        self._readers = readers
        self._sources = sources
        self._total = 0
        for source in sources:
            source.start, self._total = self._total, self._total + source.num_rows
        self._columns = {name: np.empty(self._total) for name in ["step", *columns, "t"]}
        partial = [name for name in columns if any(name not in source.names for source in sources)]
        self._missing = {name: np.ones(self._total, dtype=bool) for name in partial}
        self._dropped: npt.NDArray[np.bool_] | None = None

    def fill(self) -> None:
        """Read every file."""
        in_files = [source for source in self._sources if source.stream is not None]
        num_threads = NUM_THREADS if self._total * len(self._columns) > FEW_NUMBERS else 1
        with ThreadPoolExecutor(num_threads) as pool:  # it starts no thread before it is asked for one
            files = pool.map(self._fill_one, in_files) if num_threads > 1 else map(self._fill_one, in_files)
            for source in self._sources:  # a record alone is not worth a turn of another thread
                damage, num_rows = self._fill_one(source) if source.stream is None else next(files)
                self._readers[source.run].note(damage)
                if num_rows < source.num_rows:
                    self._drop(np.arange(source.start + num_rows, source.start + source.num_rows))

    def _drop(self, places: npt.NDArray[Any]) -> None:
        if self._dropped is None:
            self._dropped = np.zeros(self._total, dtype=bool)
        self._dropped[places] = True

    def _fill_one(self, source: Source) -> tuple[list[Damage], int]:
        damage: list[Damage] = []
        num_rows = self._copy(source, _blocks(source, damage))
        if not self._columns["t"][source.start : source.start + num_rows].all():  # holes that a power cut left
            damage.clear()
            num_rows = self._copy(source, _whole_rows(source, damage))
        for name in source.names:
            if name in self._missing:
                self._missing[name][source.start : source.start + num_rows] = False
        return damage, num_rows

    def _copy(self, source: Source, blocks: Iterable[Floats]) -> int:
        """Put rows where they belong; how many there were."""
        targets = self._targets(source)
        num_rows = 0
        for block in blocks:
            kept = block[: source.num_rows - num_rows]
            rows = slice(source.start + num_rows, source.start + num_rows + len(kept))
            for place, column in targets:
                column[rows] = kept[:, place]
            num_rows += len(kept)
        return num_rows

    def _targets(self, source: Source) -> list[tuple[int, Floats]]:
        """Which number of a row goes to which column."""
        names = ["step", *source.names, "t"]
        return [(place, self._columns[name]) for place, name in enumerate(names) if name in self._columns]

    def drop_superseded(self) -> None:
        """Empty the cells that a later attempt recorded again at the same step; drop rows that have nothing left."""
        curves: dict[tuple[int, str, int], list[Source]] = {}
        for source in self._sources:
            curves.setdefault((source.run, source.split, source.rank), []).append(source)
        for sources in curves.values():
            if len({source.attempt for source in sources}) > 1:
                self._drop_superseded_of(sources)

    def _drop_superseded_of(self, sources: list[Source]) -> None:
        steps = self._columns["step"]
        names = {name for source in sources for name in source.names if name in self._columns}
        for name in names:
            mine = [source for source in sources if name in source.names]
            later = np.empty(0)
            for attempt in sorted({source.attempt for source in mine}, reverse=True):
                places = np.concatenate([_places(source) for source in mine if source.attempt == attempt])
                if len(later):
                    missing = self._missing.setdefault(name, np.zeros(self._total, dtype=bool))
                    missing[places[np.isin(steps[places], later)]] = True
                later = np.concatenate([later, steps[places]])
        for source in sources:
            places = _places(source)
            held = [~self._missing[name][places] for name in source.names if name in self._missing]
            if len(held) == len([name for name in source.names if name in self._columns]):
                self._drop(places[~np.any(held, axis=0)])

    def as_polars(self, *, merge_ranks: bool) -> pl.DataFrame:
        """The frame."""
        runs = [str(reader.path) for reader in self._readers]
        splits = sorted({source.split for source in self._sources})
        frame = pl.DataFrame(
            [
                self._of_sources("run", [source.run for source in self._sources], pl.Enum(runs)),
                self._of_sources("split", [splits.index(it.split) for it in self._sources], pl.Enum(splits)),
                self._of_sources("attempt", [source.attempt for source in self._sources], pl.Int32()),
                self._of_sources("rank", [source.rank for source in self._sources], pl.Int32()),
                pl.Series("step", self._columns.pop("step")),
                pl.Series("t", self._columns.pop("t")),
                *(self._metric(name, values).alias(column_of(name)) for name, values in self._columns.items()),
            ]
        )
        if self._dropped is not None:
            frame = frame.filter(pl.Series(~self._dropped))
        return frame.sort("run", "t", "rank", maintain_order=True) if merge_ranks else frame

    def _of_sources(self, name: str, numbers: list[int], dtype: pl.Enum | pl.Int32) -> pl.Series:
        """A column with one value per source: its number, or the category of that number."""
        if numbers and min(numbers) == max(numbers):
            value = dtype.categories[numbers[0]] if isinstance(dtype, pl.Enum) else numbers[0]
            return pl.Series(name, [value], dtype=dtype).new_from_index(0, self._total)
        narrow = _narrow(len(dtype.categories)) if isinstance(dtype, pl.Enum) else np.int32
        counts = [source.num_rows for source in self._sources]
        series = pl.Series(name, np.repeat(np.array(numbers, dtype=narrow), counts))
        return series.cat.to(dtype) if isinstance(dtype, pl.Enum) else series

    def _metric(self, name: str, values: Floats) -> pl.Series:
        series = pl.Series(name, values)
        missing = self._missing.get(name)
        if missing is None:
            return series
        return pl.select(pl.when(pl.Series(~missing)).then(series).alias(name)).to_series()


def _narrow(count: int) -> type[np.integer[Any]]:
    """The narrowest type for so many categories."""
    return np.uint8 if count < 1 << 8 else np.uint16 if count < 1 << 16 else np.uint32


def _places(source: Source) -> npt.NDArray[np.intp]:
    return np.arange(source.start, source.start + source.num_rows)


def _blocks(source: Source, damage: list[Damage]) -> Iterator[Floats]:
    """The rows of a source, holes included, so few at a time that they stay in the processor's cache."""
    if source.stream is not None and source.stream.sealed is None and sys.byteorder == "little":
        yield from _scratch_blocks(source.stream, source.num_rows, damage)
    else:
        yield from _whole_rows(source, damage)


def _whole_rows(source: Source, damage: list[Damage]) -> Iterator[Floats]:
    """The rows of a source that hold facts."""
    if source.stream is None:
        yield np.array([source.record], dtype=np.float64)
    else:
        yield read_numbers(source.stream, damage)


def _scratch_blocks(stream: Stream, num_rows: int, damage: list[Damage]) -> Iterator[Floats]:
    """Rows in this thread's scratch memory: each block is overwritten by the next."""
    size = stream.header.row_bytes
    scratch = _scratch(size).data.cast("B")
    width = len(stream.header.columns)
    try:
        with stream.path.open("rb", buffering=0) as file:
            offset = file.seek(stream.header.header_bytes)
            while num_rows > 0:
                wanted = min(len(scratch) - len(scratch) % size, num_rows * size)
                got = file.readinto(scratch[:wanted]) or 0
                block = np.frombuffer(scratch[: got - got % size], dtype=np.float64).reshape(-1, width)
                if not len(block):
                    return
                yield block
                offset = file.seek(offset + block.nbytes)
                num_rows -= len(block)
    except FileNotFoundError:  # it was sealed a moment ago, or has gone
        yield read_numbers(stream, damage)
    except OSError as error:
        damage.append(unreadable(stream.path, error))


def _scratch(least_bytes: int) -> Floats:
    found: Floats | None = getattr(_memory, "scratch", None)
    if found is None or found.nbytes < least_bytes:
        found = _memory.scratch = np.empty(max(SCRATCH_BYTES, least_bytes) // 8)
    return found
