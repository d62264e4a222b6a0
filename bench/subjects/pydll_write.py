"""The same floor by `ctypes.PyDLL`: the write keeps the interpreter lock."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from typing import TYPE_CHECKING

from bench.subjects.os_write import open_rows, read_rows
from bench.work import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Row, Values

SPEC = Spec(label="pack + PyDLL write", kind="floor")


class Recorder:
    """One system call per row, made without handing the interpreter lock to another thread."""

    def __init__(self) -> None:
        row = struct.Struct("<7d")
        self._pack = row.pack
        self._size = ctypes.c_size_t(row.size)  # made once: `argtypes` would convert it anew on every call
        self._clock = time.time
        self._write = ctypes.PyDLL(None).write
        self._write.restype = ctypes.c_ssize_t
        self._fd = -1

    def open(self, home: Path) -> None:
        """Open the file."""
        self._fd = open_rows(home)

    def log(self, step: int, values: Values) -> None:
        """Write one row."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._write(
            self._fd,
            self._pack(step, loss, accuracy, lr, grad_norm, throughput, self._clock()),
            self._size,
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read_back(self, home: Path) -> Iterator[Row]:
        """Yield the whole rows."""
        return read_rows(home)
