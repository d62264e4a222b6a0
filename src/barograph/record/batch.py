"""``batch`` mode, for file systems where a write is slow: rows are gathered and written together.

It may lose what was logged since the last write: up to 2 ms or 64 KiB of rows in a busy loop, and up to the
companion's period (0.2 s) after the last call of a burst. ``direct`` mode, the default, loses nothing.
"""

from __future__ import annotations

import os
import threading
from time import monotonic
from typing import Final

from barograph.record.guard import Guard

BATCH_S: Final = 0.002
BATCH_BYTES: Final = 64 * 1024


class BatchWriter:
    """Stands in for the write call of ``run.log``.

    Args:
        guard: is told of rows that could not be written.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._buffers: dict[int, bytearray] = {}
        self._row_bytes: dict[int, int] = {}
        self.lock = threading.RLock()
        self._flushing = False
        self._last = monotonic()

    def __call__(self, fd: int, row: bytes, row_bytes: int) -> int:
        """Take a row; it is written with the next batch."""
        with self.lock:
            buffer = self._buffers.get(fd)
            if buffer is None:
                buffer = self._buffers[fd] = bytearray()
                self._row_bytes[fd] = row_bytes
            buffer += row
            if len(buffer) >= BATCH_BYTES or monotonic() - self._last >= BATCH_S:
                self.flush()
        return row_bytes

    def flush(self) -> None:
        """Write every gathered row; what a signal handler logs meanwhile waits for the next batch."""
        with self.lock:
            if self._flushing:
                return
            self._flushing = True
            try:
                self._last = monotonic()
                for fd, buffer in list(self._buffers.items()):
                    rows = bytes(buffer)
                    del buffer[: len(rows)]
                    self._write(fd, rows)
            finally:
                self._flushing = False

    def _write(self, fd: int, rows: bytes) -> None:
        if not rows:
            return
        start = os.fstat(fd).st_size
        row_bytes, done = self._row_bytes[fd], 0
        try:
            while done < len(rows):
                done += os.write(fd, rows[done:])
        except OSError as error:
            whole = done - done % row_bytes
            if whole != done:
                os.ftruncate(fd, start + whole)
            self._guard.failed("metrics", error, lost=(len(rows) - whole) // row_bytes)

    @property
    def num_waiting(self) -> int:
        """Rows that are gathered and not written."""
        return sum(len(buffer) // self._row_bytes[fd] for fd, buffer in list(self._buffers.items()))

    def forget(self) -> None:
        """Drop the buffers; their files were closed after a flush, or belong to the parent of a fork."""
        self._buffers.clear()
        self._row_bytes.clear()
