"""``barograph-rows/1``: metrics as rows of float64 behind one line of JSON.

    header   one JSON object, padded with spaces to ``header_bytes`` (a multiple of 4096), ending in a newline
    rows     len(columns) little-endian float64 each: ``step`` first, ``t`` (unix seconds, UTC) last

so ``np.fromfile(f, "<f8", offset=4096).reshape(-1, len(columns))`` reads a stream. This module knows one stream;
which stream a record goes to is decided in ``facts.metrics``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.descriptor import AppendFile, keep_cut
from barograph.facts.log import Damage

FORMAT: Final = "barograph-rows/1"
HEADER_BLOCK: Final = 4096
EXACT_INT: Final = 2**53
HOST_SPLIT: Final = "host"
"""Split of the rows that the host sampler writes; training logs under other splits."""
SCAN_BYTES: Final = 1 << 20

Row = tuple[float, ...]


class StreamHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a rows file.

    Attributes:
        run_id: the run that the rows belong to.
        columns: names of the numbers of a row, ``step`` first and ``t`` last.
        split: e.g. ``train``, ``val``, ``test``.
        attempt: 0 for the first, one more at each resume.
        rank: the process's rank in a distributed run.
        header_bytes: where the rows start.
        pid: the process that writes the stream.
        format: ``barograph-rows/1``.
    """

    run_id: str
    columns: list[str]
    split: str = "train"
    attempt: int = 0
    rank: int = 0
    header_bytes: int = HEADER_BLOCK
    pid: int = 0
    format: str = FORMAT

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return 8 * len(self.columns)


class RowScan(msgspec.Struct, kw_only=True):
    """What a scan of a rows file found: whole rows, where to go on, and rows that hold no fact."""

    rows: list[Row]
    offset: int
    damage: list[Damage]


def encode_header(header: StreamHeader) -> bytes:
    """The header's bytes, padded; ``header_bytes`` grows by whole blocks when the columns need it."""
    size = HEADER_BLOCK
    while True:
        line = msgspec.json.encode(msgspec.structs.replace(header, header_bytes=size))
        if len(line) < size:
            return line.ljust(size - 1) + b"\n"
        size = (len(line) // HEADER_BLOCK + 1) * HEADER_BLOCK


def read_header(path: Path) -> StreamHeader | None:
    """Read a stream's header.

    Returns:
        None when the header is not whole yet: the file was created a moment ago or its writer was killed then.

    Raises:
        FormatError: the file is no rows file, or of a newer format.
    """
    with path.open("rb") as file:
        line = file.readline()  # of any length: a thousand columns with long names fill a megabyte
    if not line.endswith(b"\n") and line[:1] in (b"", b"{") and b"\0" not in line:
        return None
    try:
        header = msgspec.json.decode(line, type=StreamHeader)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: the header of the rows file is damaged ({error}); its rows are not read") from None
    if header.format != FORMAT or len(header.columns) < 2 or header.header_bytes != len(line):  # noqa: PLR2004 - step and t at least
        raise FormatError(
            f"{path}: format {header.format!r} with {len(header.columns)} columns in {len(line)} bytes is not "
            f"{FORMAT}; read it with the release of Barograph that wrote it"
        )
    return header


class RowStream:
    """One open rows file. The caller serialises the writes (``facts.metrics`` holds the lock).

    Args:
        path: file to create; it must not exist.
        header: what the stream holds.

    Raises:
        FileExistsError: the file exists already.
        OSError: the header could not be written; no file is left behind.
    """

    def __init__(self, path: Path, header: StreamHeader) -> None:
        self.header = header
        self.file = AppendFile(path, exclusive=True)
        try:
            self.file.write(encode_header(header))
        except BaseException:
            self.file.close()
            path.unlink(missing_ok=True)
            raise
        self.pack = struct.Struct(f"<{len(header.columns)}d").pack

    @property
    def num_rows(self) -> int:
        """Whole rows in the file; counted by its size, so that appending need not count."""
        size = os.fstat(self.file.fd).st_size if self.file.fd >= 0 else self.file.size_bytes
        return (size - self.header.header_bytes) // self.header.row_bytes

    def append(self, row: Sequence[float]) -> None:
        """Append one row, in the order of ``header.columns``, with one write."""
        self.write(self.pack(*row))

    def write(self, row: bytes, written: int = 0) -> None:
        """Append a packed row of which ``written`` bytes (-1: the call failed) were written already.

        Raises:
            OSError: nothing of the row is in the file.
        """
        self.file.size_bytes = self.header.header_bytes + self.num_rows * self.header.row_bytes
        if written:
            self.file.finish_write(row, written)
        else:
            self.file.write(row)

    def sync(self) -> None:
        """Put what was written on the device."""
        self.file.sync()

    def close(self) -> None:
        """Close the file."""
        self.file.size_bytes = self.header.header_bytes + self.num_rows * self.header.row_bytes
        self.file.close()


def repair_rows(path: Path) -> int:
    """Cut a rows file to its last whole row; the cut bytes are kept beside it.

    Returns:
        Number of bytes cut. A file whose header is not whole is cut to nothing; one whose header is damaged is left
        as it is, because nobody knows how long its rows are.
    """
    try:
        header = read_header(path)
    except FormatError:
        return 0
    size = path.stat().st_size
    end = 0 if header is None else size - (size - header.header_bytes) % header.row_bytes
    return keep_cut(path, end) if end < size else 0


def scan_rows(path: Path, header: StreamHeader, offset: int = 0, *, limit: int = SCAN_BYTES) -> RowScan:
    """Read the whole rows from byte ``offset`` on (0: the first row), about ``limit`` bytes of them.

    A row with ``t == 0`` ends in the zero bytes that a power cut leaves where data had not reached the device (no
    recorded row has that time); its numbers cannot be told from zeros, so it is skipped and counted.
    """
    offset = max(offset, header.header_bytes)
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(max(limit, header.row_bytes))
    return parse_rows(path, header, offset, data)


def parse_rows(path: Path, header: StreamHeader, offset: int, data: bytes) -> RowScan:
    """The whole rows of bytes that stand at ``offset`` of a stream; ``path`` is named where they hold no fact."""
    whole = len(data) - len(data) % header.row_bytes
    unpack = struct.Struct(f"<{len(header.columns)}d").iter_unpack
    scan = RowScan(rows=list(unpack(data[:whole])), offset=offset + whole, damage=[])
    if scan.rows and not all(row[-1] for row in scan.rows):
        _drop_holes(path, header, offset, scan)
    return scan


def _drop_holes(path: Path, header: StreamHeader, offset: int, scan: RowScan) -> None:
    size = header.row_bytes
    for index, row in enumerate(scan.rows):
        if not row[-1]:
            reason = "a row of zero bytes" if not any(row) else "a row that ends in zero bytes"
            scan.damage.append(Damage(path=str(path), offset=offset + index * size, size_bytes=size, reason=reason))
    scan.rows = [row for row in scan.rows if row[-1]]


def iterate_rows(path: Path, header: StreamHeader | None = None) -> Iterator[Row]:
    """Yield every whole row of a stream; nothing when its header is not whole."""
    header = header or read_header(path)
    offset = 0
    while header is not None:
        scan = scan_rows(path, header, offset)
        yield from scan.rows
        if scan.offset <= max(offset, header.header_bytes):
            return
        offset = scan.offset


def tail_rows(path: Path, header: StreamHeader, count: int) -> list[Row]:
    """The last ``count`` whole rows, read from the end of the file."""
    size = os.stat(path).st_size  # noqa: PTH116 - a str or a Path, and one call
    whole = (size - header.header_bytes) // header.row_bytes
    first = max(0, whole - count)
    offset = header.header_bytes + first * header.row_bytes
    return scan_rows(path, header, offset, limit=max(1, (whole - first) * header.row_bytes)).rows


def as_columns(header: StreamHeader, rows: Sequence[Row]) -> dict[str, Any]:
    """Turn rows into one list per column."""
    return dict(zip(header.columns, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
