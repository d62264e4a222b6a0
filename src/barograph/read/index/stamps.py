"""What tells whether a run's files are as they were: inode, size and times of each, without reading any.

A stamp is taken before its file is read. Files that changed within the last seconds are not believed, because clocks
of file systems are coarse: a second change in the same tick would leave the same stamp.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from barograph.errors import FormatError
from barograph.facts.rundir import RunDir
from barograph.facts.state import (
    ExitRecord,
    ProcessRecord,
    boot_id,
    is_alive,
    is_here,
    oom_kills,
    pid_namespace,
    read_exit,
    read_process,
)
from barograph.read.status import STALL_S

Stamp = tuple[int, int, int, int]
"""Inode, size, time of modification and of change in nanoseconds."""
Grounds = Literal["files", "machine", "age", "life"]

NOT_READ: Final = ("scalars.csv",)


def stamp(path: str) -> Stamp | None:
    """The stamp of a file or directory; None when it is not there, or may not be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called tens of thousands of times; a Path costs as much again
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stamps_of(path: str) -> list[tuple[str, Stamp | None]]:
    """Stamps of all that the line of a run in a table may come from, by name within the run's directory."""
    names = ["run.json", "edits.jsonl", "facts"]
    try:
        with os.scandir(f"{path}/facts") as entries:
            names += sorted(f"facts/{entry.name}" for entry in entries if entry.name not in NOT_READ)
    except OSError:
        pass  # a run without facts, or one that may not be read: the stamp of "facts" says which
    return [(name, stamp(f"{path}/{name}")) for name in names]


def are_unchanged(path: str, stamps: Iterable[tuple[str, Stamp | None]], known: Mapping[str, Stamp | None]) -> bool:
    """Whether every file is as it was.

    Args:
        path: the run's directory.
        stamps: what ``stamps_of`` said.
        known: stamps that were taken just now, by name.
    """
    for name, expected in stamps:  # noqa: SIM110 - all() costs a tenth more, where a table spends its time
        if (known[name] if name in known else stamp(f"{path}/{name}")) != expected:
            return False
    return True


def newest_ns(stamps: Iterable[Stamp | None]) -> int:
    """The latest change, in unix nanoseconds."""
    return max((time_ns for found in stamps if found is not None for time_ns in found[2:]), default=0)


def grounds(path: str, *, now_t: float) -> Grounds:
    """What the status of a run rests upon.

    ``files``: what they say is all there is to know. ``machine``: its process on this machine is gone, for good.
    ``age``: its machine is another one, so the age of its heartbeat counts. ``life``: it may be recording.
    """
    directory = RunDir(Path(path))
    process, ended = _process(directory), _exit(directory)
    if ended is not None and (process is None or ended.attempt >= process.attempt):
        return "files"
    if process is None:
        events = stamp(str(directory.events()))
        return "files" if events is None or now_t - events[2] / 1e9 > STALL_S else "life"
    if not is_here(process):
        return "age"
    return "life" if not process.start_ticks or is_alive(process) else "machine"


def this_machine() -> str:
    """This machine, this boot, this namespace of processes, and its count of processes killed for memory."""
    return "\n".join((socket.gethostname(), boot_id(), pid_namespace(), str(oom_kills())))


def _process(directory: RunDir) -> ProcessRecord | None:
    try:
        return read_process(directory.process())
    except (FormatError, OSError):
        return None


def _exit(directory: RunDir) -> ExitRecord | None:
    try:
        return read_exit(directory.exit())
    except (FormatError, OSError):
        return None
