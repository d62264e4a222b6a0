"""One process at a time: two that seal and unseal the same run could each remove the file that the other relies on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barograph.errors import RunBusyError


@contextmanager
def alone(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock file for a block; it is removed at the end, and one that a killed process left is taken over.

    Args:
        path: the lock file.
        what: what the other one does, for the message.

    Raises:
        RunBusyError: another process holds it.
        OSError: it cannot be made, or the file system has no locks.
    """
    descriptor = _open_locked(path, what)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _open_locked(path: Path, what: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_that_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise RunBusyError(f"another process {what} {path.parent} just now; wait for it, then try again") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it: the lock is on a file without a name


def _is_that_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
