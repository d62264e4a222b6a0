"""Who writes a run and how it ended: ``process.json`` (its modification time is the heartbeat) and ``exit.json``.

Whether a run lives is never guessed from its events: a process id alone may be used again, so the record also holds
the boot id, the process's start time in clock ticks and the host.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode, encode
from barograph.facts.descriptor import replace_file

HEARTBEAT_S: Final = 5.0
STALE_HEARTBEATS: Final = 12
"""Heartbeats that may be missed before a process on another machine counts as gone."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD: Final = 19  # of /proc/PID/stat, counted after the closing parenthesis of the name

R = TypeVar("R")


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The process that writes an attempt.

    Attributes:
        attempt: which attempt it writes.
        pid: its process id.
        host: the machine's name.
        boot_id: the machine's boot, or "" where the system does not tell.
        start_ticks: when the process started, in clock ticks since boot; 0 where the system does not tell.
        started_t: unix seconds at which the attempt began.
        heartbeat_s: how often the file's modification time is renewed, in seconds.
        oom_kills: the control group's count of out-of-memory kills at the start, or None.
        launch: what the processes of one distributed launch have in common, "" for a single process.
        pid_namespace: in which the process id counts: containers of one host may each have a process 7.
    """

    attempt: int
    pid: int
    host: str
    boot_id: str = ""
    start_ticks: int = 0
    started_t: float = 0.0
    heartbeat_s: float = HEARTBEAT_S
    oom_kills: int | None = None
    launch: str = ""
    pid_namespace: str = ""


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, written by the process itself.

    Attributes:
        attempt: which attempt ended.
        status: ``finished``, ``failed`` or ``killed``.
        t: unix seconds.
        reason: the exception, the signal's name, or None.
        total_time_s: wall time of the attempt.
        summary: what ``run.summary`` held.
        ledger: the cost of recording.
        success: verdicts of the success criteria.
    """

    attempt: int
    status: str
    t: float
    reason: str | None = None
    total_time_s: float = 0.0
    summary: dict[str, Any] = {}
    ledger: dict[str, Any] = {}
    success: list[dict[str, Any]] = []


def this_process(*, attempt: int, t: float | None = None, launch: str = "") -> ProcessRecord:
    """The record of the calling process."""
    pid = os.getpid()
    return ProcessRecord(
        attempt=attempt,
        pid=pid,
        host=socket.gethostname(),
        boot_id=boot_id(),
        start_ticks=start_ticks(pid),
        started_t=time.time() if t is None else t,
        oom_kills=oom_kills(),
        launch=launch,
        pid_namespace=pid_namespace(),
    )


def boot_id() -> str:
    """An identifier of this boot of this machine; "" where the system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """The namespace in which process ids are to be read, e.g. ``pid:[4026531836]``; "" where there is no such thing."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone or the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0


def oom_kills() -> int | None:
    """How many processes of this control group the kernel has killed for memory; None where unknown."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition("::")[2]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text(encoding="ascii")
        return int(events.split("oom_kill ")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None


def is_here(record: ProcessRecord) -> bool:
    """Whether the record is of this machine, boot and process namespace, so that its process can be looked at."""
    same_namespace = record.pid_namespace in ("", pid_namespace())
    return same_namespace and record.host == socket.gethostname() and record.boot_id == boot_id()


def is_alive(record: ProcessRecord) -> bool:
    """Whether the process lives on this machine (call ``is_here`` first)."""
    if record.start_ticks:
        return start_ticks(record.pid) == record.start_ticks
    try:  # no /proc: a process id is the best there is
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_process(path: Path, record: ProcessRecord) -> None:
    """Write ``process.json`` atomically."""
    replace_file(path, encode(msgspec.structs.asdict(record)) + b"\n")


def read_process(path: Path) -> ProcessRecord | None:
    """Read ``process.json``; None when there is none.

    Raises:
        FormatError: the file holds no such record.
    """
    return _read(path, ProcessRecord)


def write_exit(path: Path, record: ExitRecord) -> None:
    """Write ``exit.json`` atomically."""
    replace_file(path, encode(msgspec.structs.asdict(record)) + b"\n")


def read_exit(path: Path) -> ExitRecord | None:
    """Read ``exit.json``; None when there is none.

    Raises:
        FormatError: the file holds no such record.
    """
    return _read(path, ExitRecord)


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.convert(decode(path.read_bytes()), kind, strict=False)
    except FileNotFoundError:
        return None
    except msgspec.ValidationError as error:
        raise FormatError(f"{path}: {error}; restore the file from a copy, or remove it") from None
