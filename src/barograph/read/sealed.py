"""One sealed stream: the rows of a ``metrics.NNN.rows`` file, bit for bit, as a Parquet file of the same number.

Who the stream is stands in the file's footer and is read here without a Parquet library; pyarrow is imported when
rows are asked for. Places in a sealed stream are byte offsets of its rows file, so a reader that stood in the middle
of that file goes on in this one. Nothing here writes; ``read.archive`` does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import Row, RowScan, StreamHeader, parse_rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT: Final = "barograph-sealed/1"
KEY: Final = "barograph."
_MAGIC: Final = b"PAR1"
_ENDING: Final = struct.Struct("<I4s")  # length of the footer, magic
_TEXT_FIELD: Final = b"\x18"  # Thrift's compact protocol: the next field is a string
_MORE: Final = 0x80  # of a number of seven bits per byte, lowest first


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What the footer of a sealed stream says.

    Attributes:
        path: the file.
        header: of the rows file that was sealed.
        header_text: the header as it stood there, without its padding.
        num_rows: how many rows there are.
        rows_sha256: SHA-256 of the whole rows file, header included.
        last_row: the newest row; empty when there is none.
    """

    path: Path
    header: StreamHeader
    header_text: bytes
    num_rows: int
    rows_sha256: str
    last_row: bytes = b""

    @property
    def end(self) -> int:
        """Size of the rows file."""
        return self.offset(self.num_rows)

    @property
    def header_line(self) -> bytes:
        """The first line of the rows file."""
        return padded(self.header_text, self.header.header_bytes)

    def offset(self, row: int) -> int:
        """Where a row starts in the rows file."""
        return self.header.header_bytes + row * self.header.row_bytes

    def row(self, offset: int) -> int:
        """The row that starts at an offset of the rows file; 0 for one in its header."""
        return max(0, offset - self.header.header_bytes) // self.header.row_bytes


def padded(header_text: bytes, header_bytes: int) -> bytes:
    """The header line of a rows file."""
    return header_text.ljust(header_bytes - 1) + b"\n"


def read_sealed(path: Path) -> Sealed:
    """Read the footer of a sealed stream.

    Raises:
        FormatError: the file is no sealed stream, or of a newer format.
        OSError: it cannot be read.
    """
    footer = _read_footer(path)
    told = {name: _value(footer, KEY + name) for name in ("format", "header", "num_rows", "rows_sha256", "last_row")}
    if told["format"] != FORMAT.encode():
        raise FormatError(f"{path}: its format is {told['format']!r}, not {FORMAT}; use the release that sealed it")
    try:
        found = Sealed(
            path=path,
            header=msgspec.json.decode(told["header"] or b"", type=StreamHeader),
            header_text=told["header"] or b"",
            num_rows=int(told["num_rows"] or b""),
            rows_sha256=(told["rows_sha256"] or b"").decode("ascii"),
            last_row=bytes.fromhex((told["last_row"] or b"").decode("ascii")),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise FormatError(f"{path}: its footer is damaged ({error}); restore the file from a copy") from None
    if len(found.last_row) != (found.header.row_bytes if found.num_rows else 0):
        raise FormatError(f"{path}: its footer says {found.num_rows} rows and has another last row; restore the file")
    return found


def _read_footer(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ENDING.size))
        ending = file.read(_ENDING.size)
        length, magic = _ENDING.unpack(ending) if len(ending) == _ENDING.size else (0, b"")
        if magic != _MAGIC or length > size - _ENDING.size:
            raise FormatError(f"{path}: it does not end as a Parquet file of {size} bytes; restore it from a copy")
        file.seek(size - _ENDING.size - length)
        return file.read(length)


def _value(footer: bytes, key: str) -> bytes | None:
    """The value of a key of the footer; the last one, since keys stand behind everything that users name."""
    name = key.encode("ascii")
    start = footer.rfind(_TEXT_FIELD + bytes([len(name)]) + name + _TEXT_FIELD)
    if start < 0:
        return None
    place = start + len(name) + 3
    length = shift = 0
    while place < len(footer):
        byte = footer[place]
        length |= (byte & (_MORE - 1)) << shift
        place, shift = place + 1, shift + 7
        if not byte & _MORE:
            break
    return footer[place : place + length]


class SealedRows:
    """The rows of a sealed stream, a group of some megabytes at a time.

    Args:
        sealed: its footer.

    Raises:
        FormatError: the file is damaged where it says what it holds.
        OSError: it cannot be read.
    """

    def __init__(self, sealed: Sealed) -> None:
        import pyarrow as pa  # noqa: PLC0415 - runs that are not sealed are read without it
        import pyarrow.parquet as pq  # noqa: PLC0415 - the same

        self.sealed = sealed
        self._damaged: tuple[type[Exception], ...] = (OSError, pa.ArrowException)
        try:
            self._file: Any = pq.ParquetFile(sealed.path, page_checksum_verification=True)
        except pa.ArrowException as error:
            raise FormatError(f"{sealed.path}: {_first_line(error)}; restore the file from a copy") from None
        told = self._file.metadata
        sizes = [told.row_group(group).num_rows for group in range(told.num_row_groups)]
        if sum(sizes) != sealed.num_rows or self._file.schema_arrow.names != sealed.header.columns:
            raise FormatError(f"{sealed.path}: its rows are not those its footer names; restore the file from a copy")
        self._groups: list[tuple[int, int]] = []
        for size in sizes:
            first = self._groups[-1][1] if self._groups else 0
            self._groups.append((first, first + size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def portion(self, first: int) -> tuple[int, npt.NDArray[np.float64], list[Damage]]:
        """The rows from ``first`` to the end of its group.

        Returns:
            The row to go on with, the rows, and the damage that stands in their place.
        """
        import numpy as np  # noqa: PLC0415 - the same

        index = next((i for i, (_, end) in enumerate(self._groups) if first < end), None)
        width = len(self.sealed.header.columns)
        if index is None:
            return first, np.empty((0, width)), []
        start, end = self._groups[index]
        try:
            table = self._file.read_row_group(index, use_threads=False)
        except self._damaged as error:
            return end, np.empty((0, width)), [self._damage(first, end, error)]
        rows = np.empty((end - start, width), dtype="<f8")
        for place in range(width):
            rows[:, place] = table.column(place).to_numpy()
        return end, rows[first - start :], []

    def _damage(self, first: int, end: int, error: Exception) -> Damage:
        offset, stop = self.sealed.offset(first), self.sealed.offset(end)
        return Damage(path=str(self.sealed.path), offset=offset, size_bytes=stop - offset, reason=_first_line(error))


def iterate_sealed(sealed: Sealed, damage: list[Damage]) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """All rows, group after group, each with the number of its first row.

    Raises:
        FormatError: the file is damaged where it says what it holds.
        OSError: it cannot be read.
    """
    first = 0
    with SealedRows(sealed) as rows:
        while first < sealed.num_rows:
            end, numbers, found = rows.portion(first)
            damage += found
            yield end - len(numbers), numbers
            first = end


def scan_sealed(sealed: Sealed, offset: int = 0) -> RowScan:
    """Read rows from an offset of the rows file on, some megabytes of them, as ``scan_rows`` does.

    A file that cannot be read is noted as damage once, in place of all its rows.

    Raises:
        FileNotFoundError: it has gone.
    """
    offset = max(offset, sealed.header.header_bytes)
    if offset >= sealed.end:
        return RowScan(rows=[], offset=offset, damage=[])
    try:
        with SealedRows(sealed) as rows:
            end, numbers, damage = rows.portion(sealed.row(offset))
    except FileNotFoundError:
        raise
    except (FormatError, OSError) as error:
        size = sealed.end - offset
        damage = [Damage(path=str(sealed.path), offset=offset, size_bytes=size, reason=_first_line(error))]
        return RowScan(rows=[], offset=sealed.end, damage=damage)
    scan = parse_rows(sealed.path, sealed.header, offset, numbers.tobytes())
    return RowScan(rows=scan.rows, offset=sealed.offset(end), damage=damage + scan.damage)


def tail_sealed(sealed: Sealed, count: int) -> list[Row]:
    """The last ``count`` rows; the newest one needs no Parquet library."""
    first = max(0, sealed.num_rows - count)
    if count <= 1 or sealed.num_rows <= 1:
        data = sealed.last_row if count else b""
        return parse_rows(sealed.path, sealed.header, sealed.offset(first), data).rows
    rows: list[Row] = []
    with SealedRows(sealed) as source:
        while first < sealed.num_rows:
            end, numbers, _ = source.portion(first)
            rows += parse_rows(sealed.path, sealed.header, sealed.offset(first), numbers.tobytes()).rows
            first = end
    return rows


def _first_line(error: Exception) -> str:
    return f"cannot be read: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
