"""The one way bytes get into a run's files: a whole write on an ``O_APPEND`` descriptor, or none of it.

Which call writes is measured (docs/decisions.md). ``os.write`` gives the interpreter lock away; beside a thread
that computes in Python without pause it comes back 5 ms later. ``write`` called through ``ctypes.PyDLL`` keeps
the lock: 0.3 us dearer alone, three thousand times quicker there.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from barograph.errors import FormatError

WriteCall = Callable[[int, bytes, int], int]

QUICK_BYTES: Final = 1 << 16
"""Larger writes take so long that other threads should run meanwhile."""


def _find_write() -> WriteCall:
    if sys.platform == "win32":  # pragma: no cover - PyDLL(None) exists on POSIX only
        return lambda fd, data, _size: os.write(fd, data)
    # No argtypes (converting through them costs 0.5 us): the size travels as a C int, which the calling
    # conventions of x86-64 and AArch64 extend to the register; QUICK_BYTES keeps it in range.
    call: WriteCall = ctypes.PyDLL(None).write
    return call


WRITE: Final[WriteCall] = _find_write()


class AppendFile:
    """A descriptor that appends whole records. One writer per file; the caller serialises the calls.

    Args:
        path: file to append to.
        exclusive: refuse (``FileExistsError``) when the file exists already.
    """

    __slots__ = ("broken", "fd", "path", "size_bytes")

    def __init__(self, path: Path, *, exclusive: bool = False) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.fd = os.open(path, flags | (os.O_EXCL if exclusive else 0), 0o644)
        self.path = path
        self.size_bytes = os.fstat(self.fd).st_size
        self.broken: str | None = None

    def write(self, data: bytes) -> None:
        """Append ``data`` whole.

        Raises:
            OSError: nothing of ``data`` is in the file (``ENOSPC``, ``EDQUOT``, ``EIO``, ...).
            FormatError: an earlier torn write could be neither completed nor taken back.
        """
        if self.broken is not None:
            raise FormatError(self.broken)
        size = len(data)
        written = WRITE(self.fd, data, size) if size <= QUICK_BYTES else 0
        if written == size:
            self.size_bytes += size
        else:
            self.finish_write(data, written)

    def finish_write(self, data: bytes, written: int) -> None:
        """Complete a write that returned ``written`` bytes (or -1), or take it back and raise."""
        done = max(written, 0)
        while done < len(data):
            try:
                done += os.write(self.fd, data[done:])  # also tells why, which the quick call does not
            except OSError as error:
                self._take_back(done)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.size_bytes += len(data)

    def _take_back(self, torn_bytes: int) -> None:
        if torn_bytes == 0:
            return
        try:
            os.ftruncate(self.fd, self.size_bytes)
        except OSError as error:
            self.broken = (
                f"{self.path}: a write was torn after {torn_bytes} bytes and could not be taken back ({error}); "
                f"nothing more is appended to it"
            )
            raise

    def sync(self) -> None:
        """Ask the operating system to put the data on the device (``fdatasync``)."""
        getattr(os, "fdatasync", os.fsync)(self.fd)

    def close(self) -> None:
        """Close the descriptor; closing twice is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def keep_cut(path: Path, start: int) -> int:
    """Cut ``path`` at ``start`` and keep the cut bytes beside it, in ``NAME.cut-START``.

    Returns:
        Number of bytes cut.
    """
    with path.open("r+b") as file:
        file.seek(start)
        tail = file.read()
        if tail:
            keep = path.with_name(f"{path.name}.cut-{start}")
            with keep.open("ab") as kept:
                kept.write(tail)
                kept.flush()
                os.fsync(kept.fileno())
            file.truncate(start)
            file.flush()
            os.fsync(file.fileno())
    return len(tail)


def temporary_path(path: Path) -> Path:
    """A name beside ``path`` that no other thread or process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that is put on the device and gets its name when the block ends well, and else leaves nothing behind."""
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` as a whole, atomically: readers see the old bytes or the new ones, never a part."""
    with replacing(path) as file:
        file.write(data)
