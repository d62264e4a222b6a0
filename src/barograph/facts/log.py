"""Text files of a run: one strict JSON record per line, appended by one writer, read by anybody.

A reader never sees the bytes after the last newline, because a torn number is still a number; a damaged line
in the middle is skipped and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode, encode
from barograph.facts.descriptor import AppendFile, keep_cut

SCAN_BYTES: Final = 8 << 20


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a file that holds no fact.

    Attributes:
        path: the file.
        offset: byte at which the damage starts.
        size_bytes: how many bytes it covers.
        reason: what is wrong there.
    """

    path: str
    offset: int
    size_bytes: int
    reason: str


class TextScan(msgspec.Struct, kw_only=True):
    """What a scan of a text file found.

    Attributes:
        records: the whole records, in file order.
        offset: where the next scan goes on: just after the last newline seen.
        damage: lines that are no records.
    """

    records: list[dict[str, Any]]
    offset: int
    damage: list[Damage]


class TextLog:
    """Appends records to a JSON-lines file; the file is repaired when it is opened.

    Args:
        path: file to append to; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self.cut_bytes = repair_text(path)
        self.file = AppendFile(path)
        self.num_records = 0

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record with one write.

        Raises:
            TypeError: the record has no JSON form; nothing was written.
            OSError: the file could not be written; nothing of the record is in it.
        """
        self.file.write(encode(record) + b"\n")
        self.num_records += 1

    def sync(self) -> None:
        """Put what was written on the device."""
        self.file.sync()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def repair_text(path: Path) -> int:
    """Cut a file that does not end in a newline to its last one; the cut bytes are kept beside it.

    Returns:
        Number of bytes cut; 0 when the file is whole or absent.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    end = _last_newline(path, size)
    return keep_cut(path, end) if end < size else 0


def _last_newline(path: Path, size: int, block: int = 1 << 16) -> int:
    """Offset just after the last newline; 0 when there is none."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def scan_text(path: Path, offset: int = 0, *, limit: int = SCAN_BYTES) -> TextScan:
    """Read the whole records from ``offset`` on, about ``limit`` bytes of them.

    A file that does not exist has no records. Never raises for what the file holds.
    """
    scan = TextScan(records=[], offset=offset, damage=[])
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return scan
    with file:
        file.seek(offset)
        chunk = file.read(limit)
        while chunk and b"\n" not in chunk:
            more = file.read(limit)
            if not more:
                return scan
            chunk += more
    end = chunk.rfind(b"\n")
    if end >= 0:
        for line in chunk[:end].split(b"\n"):  # not splitlines(), which also splits at carriage returns
            _scan_line(path, line + b"\n", scan)
    return scan


def _scan_line(path: Path, line: bytes, scan: TextScan) -> None:
    if line.strip():
        try:
            scan.records.append(decode(line))
        except FormatError as error:
            reason = "NUL bytes" if not line.strip(b"\0\n") else str(error)
            scan.damage.append(Damage(path=str(path), offset=scan.offset, size_bytes=len(line), reason=reason))
    scan.offset += len(line)


def iterate(path: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the whole records from ``offset`` on; damaged lines are skipped."""
    while True:
        scan = scan_text(path, offset)
        yield from scan.records
        if scan.offset == offset:
            return
        offset = scan.offset
