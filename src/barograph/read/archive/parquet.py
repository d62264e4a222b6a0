"""One stream of rows to Parquet and back, every bit of it; a few megabytes in memory at a time.

This module knows bytes and files of one stream. Whether a run may be sealed, and in which order files are replaced so
that no fact is ever lost, is decided in ``read.archive.seal``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import StreamHeader, read_header
from barograph.read.sealed import FORMAT, KEY, Sealed, iterate_sealed, padded

ENCODING: Final = "BYTE_STREAM_SPLIT"
COMPRESSION: Final = "zstd"
LEVEL: Final = 3
"""Level 9 saves 0.4 % more and takes three times as long; level 19 saves 3 % more and takes forty times as long."""
GROUP_BYTES: Final = 8 << 20
MIN_GROUP_ROWS: Final = 4096
"""Of a stream of a thousand metrics: a group of fewer rows spends too much on what describes it."""


class RowsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole rows file.

    Attributes:
        path: the file.
        header: what it holds.
        header_text: its first line without the padding.
        num_rows: how many rows there are.
        torn_bytes: how many bytes stand behind the last whole row.
    """

    path: Path
    header: StreamHeader
    header_text: bytes
    num_rows: int
    torn_bytes: int

    @property
    def size_bytes(self) -> int:
        """Header and whole rows."""
        return self.header.header_bytes + self.num_rows * self.header.row_bytes

    @property
    def group_rows(self) -> int:
        """How many rows of it make a row group."""
        return max(MIN_GROUP_ROWS, GROUP_BYTES // self.header.row_bytes)


def open_rows(path: Path) -> RowsFile | None:
    """Look at a rows file.

    Returns:
        None when its header is not whole: it holds no rows.

    Raises:
        FormatError: its header is damaged, or names two columns alike.
        OSError: it cannot be read.
    """
    header = read_header(path)
    if header is None:
        return None
    with path.open("rb") as file:
        line = file.read(header.header_bytes)
        num_bytes = file.seek(0, 2) - header.header_bytes
    if len(set(header.columns)) < len(header.columns):
        raise FormatError(f"{path}: two of its columns have one name, {header.columns!r:.120}; it stays as it is")
    num_rows, torn_bytes = divmod(num_bytes, header.row_bytes)
    return RowsFile(path=path, header=header, header_text=line.rstrip(b" \n"), num_rows=num_rows, torn_bytes=torn_bytes)


def hash_rows(rows: RowsFile) -> str:
    """SHA-256 of the header and the whole rows."""
    found = hashlib.sha256(padded(rows.header_text, rows.header.header_bytes))
    for numbers in iterate_file(rows):
        found.update(numbers.tobytes())
    return found.hexdigest()


def iterate_file(rows: RowsFile) -> Iterator[npt.NDArray[np.float64]]:
    """The whole rows, a row group at a time.

    Raises:
        FormatError: there are fewer than there were.
        OSError: the file cannot be read.
    """
    width = len(rows.header.columns)
    with rows.path.open("rb") as file:
        file.seek(rows.header.header_bytes)
        for first in range(0, rows.num_rows, rows.group_rows):
            num_rows = min(rows.group_rows, rows.num_rows - first)
            data = file.read(num_rows * rows.header.row_bytes)
            if len(data) < num_rows * rows.header.row_bytes:
                raise FormatError(f"{rows.path}: it was cut while it was read; run the command again")
            yield np.frombuffer(data, dtype="<f8").reshape(num_rows, width)


def write_parquet(rows: RowsFile, sink: IO[bytes]) -> None:
    """Write the rows as Parquet, with what is needed to turn them back.

    Raises:
        OSError: the source cannot be read, or the sink cannot be written.
    """
    schema = pa.schema([pa.field(name, pa.float64(), nullable=False) for name in rows.header.columns])
    seen = hashlib.sha256(padded(rows.header_text, rows.header.header_bytes))
    last_row = b""
    with pq.ParquetWriter(sink, schema, **writer_options(rows.header.columns)) as writer:
        for numbers in iterate_file(rows):
            seen.update(numbers.tobytes())
            last_row = numbers[-1].tobytes()
            columns = [pa.array(np.ascontiguousarray(numbers[:, place])) for place in range(numbers.shape[1])]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=rows.group_rows)
        told = {
            "format": FORMAT.encode(),
            "header": rows.header_text,
            "num_rows": str(rows.num_rows).encode(),
            "rows_sha256": seen.hexdigest().encode(),
            "last_row": last_row.hex().encode(),
        }
        writer.add_key_value_metadata({KEY + name: value for name, value in told.items()})


def writer_options(columns: list[str], *, extremes_of: tuple[str, ...] = ("step", "t")) -> dict[str, Any]:
    """How numbers are written, by measurement (docs/decisions.md).

    Args:
        columns: names of the columns of float64.
        extremes_of: columns whose extremes are written down, so that engines skip row groups. Not those that may hold
            NaN: Parquet's extremes leave NaN out, and a query for ``loss > 10`` would then find it or not by chance.
    """
    return {
        "compression": COMPRESSION,
        "compression_level": LEVEL,
        "use_dictionary": False,
        "column_encoding": dict.fromkeys(columns, ENCODING),
        "write_statistics": [name for name in columns if name in extremes_of],
        "write_page_checksum": True,
        "store_schema": False,
    }


def hash_sealed(sealed: Sealed) -> str:
    """SHA-256 of the rows file that a sealed stream stands for, computed from its numbers.

    Raises:
        FormatError: a part of it cannot be read.
        OSError: the file cannot be read.
    """
    found = hashlib.sha256(sealed.header_line)
    for numbers in _whole(sealed):
        found.update(numbers.tobytes())
    return found.hexdigest()


def write_rows(sealed: Sealed, sink: IO[bytes]) -> None:
    """Write the rows file that a sealed stream stands for.

    Raises:
        FormatError: what was read has another SHA-256 than the rows had when they were sealed.
        OSError: the source cannot be read, or the sink cannot be written.
    """
    seen = hashlib.sha256(sealed.header_line)
    sink.write(sealed.header_line)
    for numbers in _whole(sealed):
        seen.update(numbers.tobytes())
        sink.write(numbers.tobytes())
    if seen.hexdigest() != sealed.rows_sha256:
        raise FormatError(f"{sealed.path}: {altered(seen.hexdigest(), sealed)}")


def altered(found: str, sealed: Sealed) -> str:
    """What is wrong with a sealed stream that has another hash."""
    return (
        f"its numbers have the SHA-256 {found}, not {sealed.rows_sha256} as when it was sealed: restore it from a copy"
    )


def _whole(sealed: Sealed) -> Iterator[npt.NDArray[np.float64]]:
    damage: list[Damage] = []
    for _, numbers in iterate_sealed(sealed, damage):
        if damage:
            raise FormatError(f"{sealed.path}: {damage[0].reason}; restore the file from a copy")
        yield numbers
