"""How the process of a run died, as the kernel tells whoever was watching when it did.

A process that is killed leaves nothing behind, and one that calls ``os._exit`` leaves the same nothing. The kernel
knows: Linux 6.15 and later tell the exit status of any process that one holds a descriptor of; before, its entry in
/proc does while nobody has waited for it. What cannot be known is None; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
from pathlib import Path
from typing import Final

import msgspec

from barograph.facts.state import ProcessRecord, is_alive, is_here

_INFO_BYTES: Final = 64  # the first version of struct pidfd_info
_INFO_REQUEST: Final = (3 << 30) | (_INFO_BYTES << 16) | (0xFF << 8) | 11  # PIDFD_GET_INFO
_INFO_EXIT: Final = 1 << 3  # PIDFD_INFO_EXIT
_INFO_CODE_AT: Final = 60
_EXIT_FIELD: Final = 49  # of /proc/PID/stat, counted after the closing parenthesis of the name
_GROUP_FILES: Final = (
    ("", "/sys/fs/cgroup{group}/memory.events"),
    ("memory", "/sys/fs/cgroup/memory{group}/memory.oom_control"),
)
_MACHINE_FILE: Final = Path("/proc/vmstat")


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel knows about the end of a process.

    Attributes:
        signal: the number of the signal that killed it; 0 when it ended by itself; None when unknown.
        exit_code: what it gave when it ended by itself, else None.
        oom_kills: how many processes the kernel killed for memory just then, of its control group or, where that
            does not tell, of the machine; None when unknown.
    """

    signal: int | None = None
    exit_code: int | None = None
    oom_kills: int | None = None

    def is_out_of_memory(self) -> bool:
        """Whether it was killed while the kernel killed for memory."""
        return bool(self.oom_kills) and self.signal in (None, signal.SIGKILL)


class DeathWatch:
    """Holds on to a process, so that its end can be told.

    Args:
        record: the process; one of another machine, or that is gone, cannot be held on to.
    """

    def __init__(self, record: ProcessRecord) -> None:
        self._pid = record.pid
        self._descriptor = -1
        self._files: list[Path] = []
        self._oom_kills: int | None = None
        if not (is_here(record) and hasattr(os, "pidfd_open")):
            return
        with contextlib.suppress(OSError):  # gone, or a kernel before 5.3
            self._descriptor = os.pidfd_open(record.pid)
        if self._descriptor >= 0 and not is_alive(record):  # another process has its id
            self.close()
            return
        self._files = [*_group_files(record.pid), _MACHINE_FILE]
        self.look()

    @property
    def is_held(self) -> bool:
        """Whether the end of the process will be noticed."""
        return self._descriptor >= 0

    def look(self) -> None:
        """Note how many processes were killed for memory up to now; to be called every second or so while it lives."""
        if not self.has_ended():
            self._oom_kills = self._count()

    def has_ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self.wait(0.0)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ends, or the time is over. Where it cannot be held on to, the answer is False at once."""
        if self._descriptor < 0:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(1000 * timeout_s))

    def death(self) -> Death:
        """What is known of its end; to be called when it has ended."""
        if not self.has_ended():
            return Death()
        status = self._status()
        before, after = self._oom_kills, self._count()
        kills = after - before if before is not None and after is not None else None
        if status is None:
            return Death(oom_kills=kills)
        number = status & 0x7F
        return Death(signal=number, exit_code=None if number else status >> 8, oom_kills=kills)

    def close(self) -> None:
        """Let it go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _status(self) -> int | None:
        return self._status_by_descriptor() if (status := self._status_of_zombie()) is None else status

    def _status_by_descriptor(self) -> int | None:
        import fcntl  # noqa: PLC0415 - not on every system

        info = bytearray(_INFO_BYTES)
        struct.pack_into("<Q", info, 0, _INFO_EXIT)
        try:
            fcntl.ioctl(self._descriptor, _INFO_REQUEST, info)
        except OSError:  # a kernel before 6.15
            return None
        (known,) = struct.unpack_from("<Q", info, 0)
        (status,) = struct.unpack_from("<i", info, _INFO_CODE_AT)
        return int(status) if known & _INFO_EXIT else None

    def _status_of_zombie(self) -> int | None:
        """As long as the descriptor shows an end and the id is a zombie's, it is this process's."""
        try:
            stat = Path(f"/proc/{self._pid}/stat").read_bytes()
            fields = stat[stat.rindex(b")") + 2 :].split()
            return int(fields[_EXIT_FIELD]) if fields[0] == b"Z" else None
        except (OSError, ValueError, IndexError):
            return None

    def _count(self) -> int | None:
        """Kills for memory so far; the first file that tells is the one that is asked from then on."""
        for path in self._files:
            count = _oom_kills(path)
            if count is not None:
                self._files = [path]
                return count
        return None


def _group_files(pid: int) -> list[Path]:
    """Where the control group of a process counts kills for memory, in both versions of control groups."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    groups = {controllers: group for _, controllers, group in (line.split(":", 2) for line in lines)}
    return [Path(file.format(group=groups[name])) for name, file in _GROUP_FILES if name in groups]


def _oom_kills(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
