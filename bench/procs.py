"""Processes and what they cost: whole trees, helpers that outlive their parent included. Linux only.

The driver is a child subreaper: whatever a subject leaves running becomes the driver's child, is waited for,
and its processor time is counted.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from resource import struct_rusage

PR_SET_CHILD_SUBREAPER: Final = 36
KIB: Final = 1024


class Cost(NamedTuple):
    """What a finished tree of processes came to.

    Attributes:
        status: exit status of the main process, negative for the signal that ended it.
        cpu_s: user and system seconds of all processes.
        timed_out: whether the main process had to be killed.
    """

    status: int
    cpu_s: float
    timed_out: bool


def become_subreaper() -> None:
    """Let orphans of our children become our own children.

    Raises:
        OSError: the kernel refuses; the processor time of helpers could not be counted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed; run the bench on Linux")


def start(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output in the file `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes], *, timeout_s: float, linger_s: float = 10.0) -> Cost:
    """Wait for a process and everything it left behind.

    Args:
        process: what `start` returned.
        timeout_s: seconds until the main process is killed.
        linger_s: seconds that helpers may outlive it before they are killed.
    """
    timed_out = not ended(process.pid, timeout_s=timeout_s)
    if timed_out:
        os.kill(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(process.returncode, _cpu_s(usage) + _reap_orphans(linger_s), timed_out)


def ended(pid: int, *, timeout_s: float) -> bool:
    """Whether a child ends within `timeout_s`; it is not waited for, so its id stays its own."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(handle)


def descendants(pid: int) -> list[int]:
    """Return the ids of all living processes below `pid`."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            below.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    front = [pid]
    while front:
        front = [child for parent in front for child in below.get(parent, [])]
        found += front
    return found


def cpu_so_far_s(pid: int) -> float:
    """Return the processor seconds of a living process's threads, to the nanosecond of the scheduler."""
    said = [_text(task) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in said if text) / 1e9


def peak_rss_bytes(pid: int | str = "self") -> int:
    """Return the largest resident size a living process has had; 0 when it is gone."""
    return _status_bytes(pid, "VmHWM:")


def rss_bytes(pid: int | str = "self") -> int:
    """Return the resident size of a living process; 0 when it is gone."""
    return _status_bytes(pid, "VmRSS:")


def _reap_orphans(linger_s: float) -> float:
    """Wait for the children that are left, kill those that stay, and return their processor seconds."""
    total = 0.0
    deadline = time.monotonic() + linger_s
    while children := [pid for pid in descendants(os.getpid()) if _parent(Path(f"/proc/{pid}")) == os.getpid()]:
        for pid in children:
            if not ended(pid, timeout_s=max(0.0, deadline - time.monotonic())):
                os.kill(pid, signal.SIGKILL)
            total += _cpu_s(os.wait4(pid, 0)[2])
    return total


def _cpu_s(usage: struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _parent(entry: Path) -> int | None:
    stat = _text(entry / "stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else None


def _status_bytes(pid: int | str, key: str) -> int:
    for line in _text(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * KIB
    return 0


def _text(path: Path) -> str:
    """Return what a file of /proc says, or nothing when its process has just ended."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
