"""Metrics of a run as columns, a bounded number of rows at a time: what summaries and curves are computed from.

Rows and ``metrics.jsonl`` look the same from here. A file that cannot be read, or a part of it, is noted as damage
and never raises.
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
from barograph.facts.rows import SCAN_BYTES, StreamHeader, read_header, scan_rows
from barograph.facts.rundir import RunDir, rank_of
from barograph.read.follow import RECORD_KEYS, is_number, number, whole


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
    """One rows file whose header is whole."""

    path: Path
    header: StreamHeader


def find_streams(directory: RunDir, damage: list[Damage]) -> list[Stream]:
    """The rows files of a run by attempt, rank and number; those without a readable header are noted in ``damage``."""
    streams = []
    for path in directory.rows_files():
        try:
            header = read_header(path)
        except (FormatError, OSError) as error:
            damage.append(unreadable(path, error))
            continue
        if header is not None:
            streams.append(Stream(path=path, header=header))
    return sorted(streams, key=lambda stream: (stream.header.attempt, stream.header.rank, stream.path.name))


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
    header = stream.header
    limit = max(limit - limit % header.row_bytes, header.row_bytes)
    offset = header.header_bytes
    try:
        with stream.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(offset)
            while data := file.read(min(limit, end - offset)):
                data = data[: len(data) - len(data) % header.row_bytes]
                block = array("d", data)
                if sys.byteorder == "big":
                    block.byteswap()
                if not all(block[len(header.columns) - 1 :: len(header.columns)]):  # a row of zero bytes
                    scan = scan_rows(stream.path, header, offset, limit=len(data))
                    damage += scan.damage
                    block = array("d", itertools.chain.from_iterable(scan.rows))
                offset += len(data)
                yield block
                if len(data) < limit:
                    return
    except OSError as error:
        damage.append(unreadable(stream.path, error))


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
