"""The floor that the budgets are measured against: pack a row, write it with `os.write`."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

from bench.work import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Row, Values

SPEC = Spec(label="pack + os.write", kind="floor")
FILE = "rows"


def open_rows(home: Path) -> int:
    """Return a descriptor that every write appends to."""
    return os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def read_rows(home: Path) -> Iterator[Row]:
    """Yield the whole rows of a floor's file."""
    row = struct.Struct("<7d")
    data = (home / FILE).read_bytes()
    for step, *values, _t in row.iter_unpack(data[: len(data) // row.size * row.size]):
        yield int(step), tuple(values)


class Recorder:
    """One system call per row; the call gives the interpreter lock away."""

    def __init__(self) -> None:
        self._pack = struct.Struct("<7d").pack
        self._clock = time.time
        self._write = os.write
        self._fd = -1

    def open(self, home: Path) -> None:
        """Open the file."""
        self._fd = open_rows(home)

    def log(self, step: int, values: Values) -> None:
        """Write one row."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._write(self._fd, self._pack(step, loss, accuracy, lr, grad_norm, throughput, self._clock()))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read_back(self, home: Path) -> Iterator[Row]:
        """Yield the whole rows."""
        return read_rows(home)
