"""Metrics of a run as columns, a bounded number of rows at a time: what summaries and curves are computed from.

Rows, sealed streams and ``metrics.jsonl`` look the same from here. A file that cannot be read, or a part of it, is
noted as damage and never raises.
"""

from __future__ import annotations

import itertools
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage, scan_text
from barograph.facts.rows import SCAN_BYTES, Row, StreamHeader, parse_rows, read_header, tail_rows
from barograph.facts.rundir import SEALED_SUFFIX, RunDir, rank_of, sealed, unsealed
from barograph.read.follow import MAX_NUMBER, RECORD_KEYS, is_number, number, whole
from barograph.read.sealed import Sealed, iterate_sealed, read_sealed, tail_sealed


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records that have the same metrics.

    Attributes:
        split: e.g. ``train``.
        attempt: which attempt recorded them.
        rank: which process of a distributed run.
        steps: one step per record.
        t: unix seconds of each record.
        values: by metric, one number per record; integers that a float64 cannot hold are ``int``.
    """

    split: str
    attempt: int
    rank: int
    steps: Sequence[float]
    t: Sequence[float]
    values: dict[str, Sequence[float]]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One rows file whose header is whole, or one that was sealed.

    Attributes:
        path: the file.
        header: what the stream holds.
        sealed: what the file's footer says, when it is a sealed one.
    """

    path: Path
    header: StreamHeader
    sealed: Sealed | None = None

    def num_rows(self) -> int:
        """How many whole rows the file holds now; 0 when it has gone."""
        if self.sealed is not None:
            return self.sealed.num_rows
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116 - called for each of thousands of files
        except OSError:
            return self._num_rows_elsewhere()
        return max(0, size - self.header.header_bytes) // self.header.row_bytes

    def _num_rows_elsewhere(self) -> int:
        """What the sealed file says, when the stream was sealed a moment ago."""
        try:
            other = open_stream(self.path)
        except (FormatError, OSError):
            return 0
        return 0 if other is None else other.num_rows()


def find_streams(directory: RunDir, damage: list[Damage]) -> list[Stream]:
    """The streams of a run by attempt, rank and number; those without a readable header are noted in ``damage``."""
    streams = []
    for path in directory.stream_files():
        try:
            stream = open_stream(path)
        except (FormatError, OSError) as error:
            damage.append(unreadable(path, error))
            continue
        if stream is not None:
            streams.append(stream)
    return sorted(streams, key=lambda it: (it.header.attempt, it.header.rank, unsealed(it.path).name))


def open_stream(path: Path) -> Stream | None:
    """A stream by one of its files; by the other one, when it was sealed or unsealed a moment ago.

    Returns:
        None when the header is not whole.

    Raises:
        FormatError: the file is none of this format.
        OSError: it cannot be read.
    """
    try:
        return _open_file(path)
    except FileNotFoundError:
        rows = unsealed(path)
        return _open_file(sealed(rows) if path == rows else rows)


def _open_file(path: Path) -> Stream | None:
    found = read_sealed(path) if path.name.endswith(SEALED_SUFFIX) else None
    header = read_header(path) if found is None else found.header
    if header is None:
        return None
    if not (0 <= header.attempt <= MAX_NUMBER and 0 <= header.rank <= MAX_NUMBER):
        raise FormatError(f"{path}: its header says attempt {header.attempt} of rank {header.rank}; restore the file")
    return Stream(path=path, header=header, sealed=found)


def iterate_stream(stream: Stream, damage: list[Damage], *, limit: int = SCAN_BYTES) -> Iterator[Columns]:
    """The rows of one stream, about ``limit`` bytes at a time, oldest first."""
    header = stream.header
    width = len(header.columns)
    for block in iterate_blocks(stream, damage, limit=limit):
        yield Columns(
            split=header.split,
            attempt=header.attempt,
            rank=header.rank,
            steps=block[0::width],
            t=block[width - 1 :: width],
            values={name: block[place::width] for place, name in enumerate(header.columns[1:-1], start=1)},
        )


def iterate_blocks(stream: Stream, damage: list[Damage], *, limit: int = SCAN_BYTES) -> Iterator[array[float]]:
    """The numbers of one stream, row after row, about ``limit`` bytes at a time; torn and empty rows left out.

    It ends where the file ended when it was opened: a run may record faster than anybody reads.
    """
    width, row_bytes = len(stream.header.columns), stream.header.row_bytes
    try:
        for offset, data in _read(stream, max(limit - limit % row_bytes, row_bytes), damage):
            block = array("d", data)
            if sys.byteorder == "big":
                block.byteswap()
            if not all(block[width - 1 :: width]):  # a row of zero bytes
                scan = parse_rows(stream.path, stream.header, offset, data)
                damage += scan.damage
                block = array("d", itertools.chain.from_iterable(scan.rows))
            yield block
    except (FormatError, OSError) as error:
        damage.append(unreadable(stream.path, error))


def _read(stream: Stream, limit: int, damage: list[Damage]) -> Iterator[tuple[int, bytes]]:
    """Whole rows of a stream, each portion with its place in the rows file."""
    portions = _read_rows(stream, limit) if stream.sealed is None else _read_sealed(stream.sealed, limit, damage)
    try:
        yield from portions  # the file is opened with the first portion, and stays open
    except FileNotFoundError:
        other = open_stream(stream.path)  # it was sealed or unsealed a moment ago, or has gone
        if other is not None:
            yield from _read(other, limit, damage)


def _read_rows(stream: Stream, limit: int) -> Iterator[tuple[int, bytes]]:
    offset, row_bytes = stream.header.header_bytes, stream.header.row_bytes
    with stream.path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(offset)
        while data := file.read(min(limit, end - offset)):
            whole_rows = data[: len(data) - len(data) % row_bytes]
            yield offset, whole_rows
            offset += len(whole_rows)
            if len(whole_rows) < limit:
                return


def _read_sealed(found: Sealed, limit: int, damage: list[Damage]) -> Iterator[tuple[int, bytes]]:
    num_rows = limit // found.header.row_bytes
    for first, numbers in iterate_sealed(found, damage):
        for start in range(0, len(numbers), num_rows):
            yield found.offset(first + start), numbers[start : start + num_rows].tobytes()


def last_rows(stream: Stream, count: int) -> list[Row]:
    """The last ``count`` whole rows of a stream.

    Raises:
        FormatError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        if stream.sealed is not None:
            return tail_sealed(stream.sealed, count)
        return tail_rows(stream.path, stream.header, count)
    except FileNotFoundError:
        other = open_stream(stream.path)
        return [] if other is None else last_rows(other, count)


def iterate_records(path: Path, damage: list[Damage]) -> Iterator[dict[str, Any]]:
    """The records of one JSON-lines file, up to where it ended when reading began."""
    offset = 0
    try:
        end = path.stat().st_size
        while offset < end:
            scan = scan_text(path, offset)
            damage += scan.damage
            yield from scan.records
            if scan.offset == offset:
                return
            offset = scan.offset
    except FileNotFoundError:
        return  # it holds no records
    except OSError as error:
        damage.append(unreadable(path, error))


def iterate_overflow(directory: RunDir, damage: list[Damage]) -> Iterator[Columns]:
    """The records of ``metrics*.jsonl``, each as columns of one row."""
    for path in directory.overflow_files():
        yield from iterate_overflow_file(path, damage)


def iterate_overflow_file(path: Path, damage: list[Damage]) -> Iterator[Columns]:
    """The records of one of them."""
    for line in iterate_records(path, damage):
        numbers = {key: value for key, value in line.items() if key not in RECORD_KEYS and is_number(value)}
        yield Columns(
            split=str(line.get("split", "train")),
            attempt=whole(line.get("attempt"), 0),
            rank=whole(line.get("rank"), rank_of(path.name)),
            steps=[number(line.get("step"))],
            t=[number(line.get("t"))],
            values={key: [value] for key, value in numbers.items()},
        )


def unreadable(path: Path, error: Exception) -> Damage:
    """A whole file that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return Damage(path=str(path), offset=0, size_bytes=size, reason=f"cannot be read: {reason}")
