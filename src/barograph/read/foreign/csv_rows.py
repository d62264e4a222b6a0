"""CSV files that another program appends to: whole rows only, each with its place, numbers to the bit.

Importers of tables share it; it knows no tool.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from barograph.facts.log import Damage

HEAD_BYTES: Final = 1 << 16
_MAX_DIGITS: Final = 309
"""As many as the greatest float64 has; what is longer is infinite, as in every reader of floats."""
_INTEGER: Final = re.compile(r"[+-]?\d+")


class CsvRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row that is as wide as the first line.

    Attributes:
        cells: by column, empty ones too.
        path: the file.
        offset: byte at which the row begins.
        size_bytes: its length.
    """

    cells: dict[str, str]
    path: Path
    offset: int
    size_bytes: int

    def damage(self, reason: str) -> Damage:
        """The row as a place that holds no fact."""
        return Damage(path=str(self.path), offset=self.offset, size_bytes=self.size_bytes, reason=reason)


def csv_columns(path: Path) -> list[str]:
    """The names in a file's first line; empty when there is none; never raises."""
    try:
        if not path.is_file():  # to open a pipe would wait for a writer
            return []
        with path.open("rb") as file:
            head, newline, _ = file.read(HEAD_BYTES).partition(b"\n")
        return next(csv.reader([head.decode("utf-8", "replace").rstrip("\r")]), []) if newline else []
    except (OSError, csv.Error):
        return []


def csv_rows(path: Path, damage: list[Damage]) -> Iterator[CsvRow]:
    """The rows below the first line; torn ones and those of another width are noted in ``damage``.

    Raises:
        OSError: the file cannot be read.
    """
    head: list[str] | None = None
    with path.open("rb") as file:
        lines = _Lines(path, file, damage)
        reader = csv.reader(lines, strict=True)  # a quoted cell that does not end is an error, not a cell
        while True:
            start = lines.offset
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                size = lines.offset - start
                damage.append(Damage(path=str(path), offset=start, size_bytes=size, reason=str(error)))
                continue
            if head is None:
                head = _distinct(cells)
            elif cells:
                named = dict(zip(head, cells, strict=False))
                row = CsvRow(cells=named, path=path, offset=start, size_bytes=lines.offset - start)
                if len(cells) == len(head):
                    yield row
                else:
                    damage.append(row.damage(f"a row of {len(cells)} cells below a first line of {len(head)}"))


def _distinct(names: list[str]) -> list[str]:
    """Names of columns, of which two may be called alike."""
    found: list[str] = []
    for name in names:
        free = name
        while free in found or (free != name and free in names):
            free += "_"
        found.append(free)
    return found


class _Lines:
    """A file's lines as text, those that end; knows how many bytes were given out."""

    def __init__(self, path: Path, file: IO[bytes], damage: list[Damage]) -> None:
        self.offset = 0
        self._path, self._file, self._damage = path, file, damage

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if line and not line.endswith(b"\n"):
            reason = "the last line is torn"
            place = Damage(path=str(self._path), offset=self.offset, size_bytes=len(line), reason=reason)
            self._damage.append(place)
            line = b""
        if not line:
            raise StopIteration
        self.offset += len(line)
        return line.decode("utf-8", "replace")


def number_of(cell: str) -> float | None:
    """The number that a cell is; None when it is something else.

    >>> [number_of(cell) for cell in ("3", "0.5", "nan", "1e-3", "tensor(1)")]
    [3, 0.5, nan, 0.001, None]
    """
    try:
        if len(cell) <= _MAX_DIGITS and _INTEGER.fullmatch(cell):
            return int(cell)
        return float(cell)
    except ValueError:
        return None
