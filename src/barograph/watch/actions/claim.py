"""A file of JSON lines that many watchers read and one of them appends to: the first that got the lock.

The lock is an exclusive ``flock`` on a file beside it, which the system takes back when the process dies, however it
does. A forked child gives its copy away at once, or it would keep the lock of a parent that was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from barograph.facts.log import TextLog, repair_text, scan_text

Report = Callable[[str], None]
NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""What file systems that have no locks answer."""


class ClaimedLog:
    """Reads a file of records that others may append to, and appends to it once nobody else does.

    Args:
        path: the file.
        lock_path: the file that is locked; it stays, and holds nothing.
        report: told once of what does not work.

    Attributes:
        is_writer: whether this one appends.
        is_forked: the process was forked off the one that reads and writes; nothing is done here any more.
    """

    def __init__(self, path: Path, lock_path: Path, *, report: Report) -> None:
        self.path = path
        self.is_writer = self.is_forked = False
        self._lock_path = lock_path
        self._report = report
        self._has_reported = self._is_closed = False
        self._offset = 0
        self._lock_fd = -1
        self._log: TextLog | None = None
        _open.add(self)

    def poll(self) -> list[dict[str, Any]]:
        """What others have appended since the last poll; after it this one is the writer, if nobody else is."""
        if self.is_writer or self.is_forked or self._is_closed:
            return []
        found = self._read()
        if self._claim():
            found += self._read()  # under the lock, so that nothing of the one before is missed
        return found

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a record; only the writer may.

        Raises:
            OSError: the file could not be written; nothing of the record is in it.
        """
        assert self.is_writer, "only the writer appends"
        if self._log is None:  # not before there is something to write: a run without alerts has no file of them
            self._log = TextLog(self.path)
        self._log.append(record)

    def sync(self) -> None:
        """Put what was appended on the device.

        Raises:
            OSError: it could not be put there.
        """
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Give the lock to somebody else; closing twice is harmless."""
        self._is_closed = True
        self.is_writer = False
        if self._log is not None:
            self._log.close()
            self._log = None
        self._release()

    def forget(self) -> None:
        """In the child of a fork: the parent has the lock, and the child must not hold it for it."""
        self.is_forked = True
        self.is_writer = False
        self._release()

    def _release(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _read(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            while (scan := scan_text(self.path, self._offset)).offset > self._offset:
                self._offset = scan.offset
                found += scan.records
        except OSError as error:
            self._tell(f"{self.path} cannot be read ({error}); free the cause")
        return found

    def _claim(self) -> bool:
        """Take the lock, if it is free; whether this one is the writer now."""
        try:
            self._lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._lock()
            repair_text(self.path)  # before it is read to its end
            self.is_writer = True
        except (BlockingIOError, FileNotFoundError):  # somebody else has it, or there are no facts yet
            self._release()
        except OSError as error:
            self._release()
            self._tell(
                f"{self.path} cannot be written ({error}), so that what is found here is not recorded; free the cause"
            )
        return self.is_writer

    def _lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self._tell(
                f"{self._lock_path} is on a file system without locks ({error}), so that two watchers would both write "
                f"{self.path}; let one at a time watch this run"
            )

    def _tell(self, text: str) -> None:
        """Say what does not work; it is tried again at each poll."""
        if not self._has_reported:
            self._has_reported = True
            self._report(text)


_open: weakref.WeakSet[ClaimedLog] = weakref.WeakSet()


def _forget_all() -> None:
    for log in list(_open):
        log.forget()


os.register_at_fork(after_in_child=_forget_all)
