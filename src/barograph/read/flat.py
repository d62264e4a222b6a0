"""Every metric of a run in flat form, for other programs: CSV in long form, or strict JSON lines.

    step,t,split,attempt,rank,name,value                 one line per number
    {"step":0,"loss":0.5,"t":...,"split":"train",...}    one line per record, as in ``metrics.jsonl``

Numbers read back to the same bits. Memory does not grow with the run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from barograph.facts.codec import encode
from barograph.facts.log import Damage
from barograph.facts.rundir import RunDir
from barograph.read.columns import Columns, find_streams, iterate_overflow, iterate_stream

CSV_COLUMNS: Final = ("step", "t", "split", "attempt", "rank", "name", "value")
BLOCK_BYTES: Final = 1 << 16

Chosen = Callable[[str, str], bool]


def iterate_columns(directory: RunDir, damage: list[Damage]) -> Iterator[Columns]:
    """Everything in the metric files of a run, file after file, each in the order in which it was recorded."""
    streams = find_streams(directory, damage)
    in_rows = (iterate_stream(stream, damage, limit=BLOCK_BYTES) for stream in streams)
    return chain(chain.from_iterable(in_rows), iterate_overflow(directory, damage))


def csv_lines(directory: RunDir, damage: list[Damage], *, chosen: Chosen = lambda _split, _name: True) -> Iterator[str]:
    """CSV in long form, some hundred lines at a time, the header first.

    Floats are written as Python's ``repr`` does, the shortest text that reads back to the same bits; what is not
    finite as ``nan``, ``inf``, ``-inf``; whole steps without a point.

    Args:
        directory: the run.
        damage: where to note places that hold no fact.
        chosen: whether a metric, by split and name, is wanted.
    """
    yield ",".join(CSV_COLUMNS) + "\n"
    for columns in iterate_columns(directory, damage):
        origin = f"{_cell(columns.split)},{columns.attempt},{columns.rank}"
        names = [name for name in columns.values if chosen(columns.split, name)]
        cells = [f"{origin},{_cell(name)}" for name in names]
        values: list[Sequence[float]] = [columns.values[name] for name in names]
        yield "".join(
            f"{_step(step)},{t!r},{cell},{value!r}\n"
            for step, t, *row in zip(columns.steps, columns.t, *values, strict=True)
            for cell, value in zip(cells, row, strict=True)
        )


def json_lines(
    directory: RunDir, damage: list[Damage], *, run_id: str = "", chosen: Chosen = lambda _split, _name: True
) -> Iterator[str]:
    """Strict JSON lines, one per record; non-finite numbers are ``null`` and named in the line's ``nonfinite`` map.

    Args:
        directory: the run.
        damage: where to note places that hold no fact.
        run_id: goes into every line, unless empty.
        chosen: whether a metric, by split and name, is wanted; a record without any is left out.
    """
    for columns in iterate_columns(directory, damage):
        origin = {"split": columns.split, "attempt": columns.attempt, "rank": columns.rank}
        if run_id:
            origin["run_id"] = run_id
        names = [name for name in columns.values if chosen(columns.split, name)]
        values: list[Sequence[float]] = [columns.values[name] for name in names]
        lines = []
        for step, t, *row in zip(columns.steps, columns.t, *values, strict=True):
            record = {"step": _whole(step), **dict(zip(names, row, strict=True)), "t": t, **origin}
            lines.append(encode(record).decode("utf-8"))
        if names and lines:
            yield "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text as one cell of a CSV file."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()


def _whole(number: float) -> float:
    return int(number) if number % 1 == 0 else number


def _step(number: float) -> str:
    return repr(_whole(number))
