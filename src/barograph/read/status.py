"""The truth about a run's life and death: running, stalled, finished, failed, killed or lost.

It looks at who writes (``process.json``, whose modification time is the heartbeat), whether that very process
lives, and how it said it ended (``exit.json``). It never believes the events alone, and it changes nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode
from barograph.facts.events import to_event
from barograph.facts.kinds import Event
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT
from barograph.facts.rundir import RunDir
from barograph.facts.state import STALE_HEARTBEATS, ProcessRecord, is_alive, is_here, oom_kills, read_exit, read_process
from barograph.read.columns import Stream, find_streams, iterate_records, last_rows

State = Literal["running", "stalled", "finished", "failed", "killed", "lost"]
ENDED: Final = frozenset({"finished", "failed", "killed"})
LIVING: Final = frozenset({"running", "stalled"})
STALL_S: Final = 60.0
STALL_GAPS: Final = 20
STALL_PHASES: Final = 2
FIRST_FACTS_S: Final = 600.0
NUM_RECENT: Final = 64
_MIN_GAPS: Final = 3
_TAIL_BYTES: Final = 1 << 16
_PROCESS_NAME: Final = re.compile(r"^process(?:\.rank(?P<rank>\d+))?\.json$")
_GONE: Final = "the process is gone without an exit record: SIGKILL, out of memory or power"

R = TypeVar("R")


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is doing, and how that is known.

    Attributes:
        state: ``running``; ``stalled``: its process lives and records nothing; ``finished``, ``failed``,
            ``killed``: it ended so; ``lost``: nothing shows that it lives, and nothing here can tell how it ended.
        reason: in words; for ``failed`` and ``killed`` what was recorded.
        since_t: unix seconds: when it ended; for ``running`` when the attempt began; else the last sign of life.
            None when nothing tells.
    """

    state: State
    reason: str = ""
    since_t: float | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """How this machine is asked about processes.

    Attributes:
        is_here: whether a process belongs to this machine and this boot.
        is_alive: whether it lives.
        is_stopped: whether the process of that id is stopped by a signal (SIGSTOP, ^Z).
        oom_kills: how many processes of the control group the kernel has killed for memory; None where unknown.
    """

    is_here: Callable[[ProcessRecord], bool]
    is_alive: Callable[[ProcessRecord], bool]
    is_stopped: Callable[[int], bool]
    oom_kills: Callable[[], int | None]


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal; False where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rfind(b")") + 2 :][:1] == b"T"


THIS_MACHINE: Final = Machine(is_here=is_here, is_alive=is_alive, is_stopped=is_stopped, oom_kills=oom_kills)


def read_status(
    path: str | os.PathLike[str],
    *,
    rank: int = 0,
    now: Callable[[], float] = time.time,
    machine: Machine = THIS_MACHINE,
) -> Status:
    """The status of a run.

    A run is ``stalled`` when its process lives and nothing was recorded for longer than 60 s, 20 times the median gap
    between its own recent facts, and twice its longest recent phase; before it has a rhythm, for ten minutes. A
    process that a signal stopped is stalled at once. Clocks of machines that share files are taken to agree.

    Args:
        path: the run's directory.
        rank: which process of a distributed run; rank 0 owns the run.
        now: unix seconds.
        machine: what is asked about processes.
    """
    directory = RunDir(Path(path))
    process, damaged_process = _read(read_process, directory.process(rank))
    ended, damaged_exit = _read(read_exit, directory.exit(rank))
    if ended is not None and (process is None or ended.attempt >= process.attempt):
        return _as_recorded(ended.status, ended.reason, ended.t)
    if process is None:
        return _without_process(directory, rank, damaged_process or damaged_exit, now())
    if not machine.is_here(process):
        return _elsewhere(directory, rank, process, now())
    if machine.is_alive(process):
        return _living(directory, rank, process, now(), stopped=machine.is_stopped(process.pid))
    return _gone(directory, rank, process, damaged_exit, oom_now=machine.oom_kills())


def read_ranks(
    path: str | os.PathLike[str], *, now: Callable[[], float] = time.time, machine: Machine = THIS_MACHINE
) -> dict[int, Status]:
    """The status of each process of a distributed run that has left a process record, by rank.

    Args:
        path: the run's directory.
        now: unix seconds.
        machine: what is asked about processes.
    """
    names = [_PROCESS_NAME.match(entry.name) for entry in RunDir(Path(path)).facts.glob("process*.json")]
    ranks = sorted(int(name["rank"] or 0) for name in names if name)
    return {rank: read_status(path, rank=rank, now=now, machine=machine) for rank in ranks}


def _read(reader: Callable[[Path], R | None], path: Path) -> tuple[R | None, str]:
    """A record of state, or why there is none although there is a file."""
    try:
        return reader(path), ""
    except (FormatError, OSError) as error:
        return None, f"{path.name} cannot be read ({error})"


def _as_recorded(status: Any, reason: Any, t: float | None) -> Status:
    reason = str(reason or "")
    if isinstance(status, str) and status in ENDED:
        return Status(state=cast("State", status), reason=reason, since_t=t)
    return Status(state="failed", reason=reason or f"ended with the status {status!r}", since_t=t)


def _heartbeat_t(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _elsewhere(directory: RunDir, rank: int, process: ProcessRecord, now_t: float) -> Status:
    beat_t = _heartbeat_t(directory.process(rank))
    age_s = now_t - beat_t
    if age_s < STALE_HEARTBEATS * process.heartbeat_s:
        return Status(
            state="running",
            reason=f"process {process.pid} on {process.host}, last heartbeat {max(age_s, 0.0):.0f} s ago",
            since_t=process.started_t,
        )
    return Status(
        state="lost",
        reason=f"process {process.pid} on {process.host} gave no heartbeat for {age_s:.0f} s and left no exit record: "
        f"that machine is gone or was restarted, or these files are an old copy",
        since_t=beat_t,
    )


def _living(directory: RunDir, rank: int, process: ProcessRecord, now_t: float, *, stopped: bool) -> Status:
    recent = _Recent(directory, rank)
    last_t = recent.last_t or process.started_t
    if stopped:
        reason = f"process {process.pid} is stopped by a signal; `kill -CONT {process.pid}` continues it"
        return Status(state="stalled", reason=reason, since_t=last_t)
    silence_s, limit_s = now_t - last_t, recent.limit_s()
    if silence_s <= limit_s:
        return Status(state="running", reason=f"process {process.pid}", since_t=process.started_t)
    reason = f"process {process.pid} lives and recorded nothing for {silence_s:.0f} s (its limit is {limit_s:.0f} s)"
    beat_s = now_t - _heartbeat_t(directory.process(rank))
    if beat_s > STALE_HEARTBEATS * process.heartbeat_s:
        reason += f", no heartbeat for {beat_s:.0f} s: it hangs, or these files are a copy"
    return Status(state="stalled", reason=reason, since_t=last_t)


def _gone(directory: RunDir, rank: int, process: ProcessRecord, damaged: str, *, oom_now: int | None) -> Status:
    recent = _Recent(directory, rank)
    ending = recent.ending(process.attempt)
    if ending is not None:
        status = _as_recorded(ending.payload.get("status", "finished"), ending.payload.get("reason"), ending.t)
        note = damaged or "there is no exit record"
        return msgspec.structs.replace(
            status, reason=f"{status.reason + '; ' if status.reason else ''}by its last event; {note}"
        )
    reason = f"{_GONE} ({damaged})" if damaged else _GONE
    if oom_now is not None and process.oom_kills is not None and oom_now > process.oom_kills:
        reason += (
            f"; out of memory is likely: the kernel has killed {oom_now - process.oom_kills} process(es) of the "
            f"control group for memory since the run began"
        )
    last_t = max(recent.last_t or 0.0, _heartbeat_t(directory.process(rank)))
    return Status(state="killed", reason=reason, since_t=last_t)


def _without_process(directory: RunDir, rank: int, damaged: str, now_t: float) -> Status:
    """Runs of loops that write events and no process record."""
    damage: list[Damage] = []
    last: Event | None = None
    lifecycle: Event | None = None
    for record in iterate_records(directory.events(rank), damage):
        last = to_event(record)
        if last.moment in ("on_start", "on_resume", "on_train_end"):
            lifecycle = last
    if lifecycle is not None and lifecycle.moment == "on_train_end":
        return _as_recorded(lifecycle.payload.get("status", "finished"), lifecycle.payload.get("reason"), lifecycle.t)
    changed_t = _heartbeat_t(directory.events(rank))
    origin = _read_origin(directory)
    if origin:
        reason = f"imported from {origin}, which does not tell how it ended"
        return Status(state="lost", reason=reason, since_t=changed_t or (last.t if last is not None else None))
    why = damaged or "there is no process record"
    if 0 <= now_t - changed_t < STALL_S and last is not None:
        reason = f"{why}; its events grew {now_t - changed_t:.0f} s ago"
        return Status(state="running", reason=reason, since_t=None if lifecycle is None else lifecycle.t)
    reason = f"{why}, and no on_train_end: nothing tells whether it lives or how it ended"
    return Status(state="lost", reason=reason, since_t=changed_t or None)


def _read_origin(directory: RunDir) -> str:
    """The tool that recorded a run which was imported; "" for a run of our own."""
    try:
        provenance = decode(directory.identity.read_bytes()).get("provenance")
        origin = provenance["imported_from"] if isinstance(provenance, dict) else {}
        return str(origin["tool"])
    except (OSError, FormatError, KeyError, TypeError):
        return ""  # whoever asks who the run is counts what is damaged


class _Recent:
    """The newest facts of one rank; samples of the machine are none, since they go on when training hangs."""

    def __init__(self, directory: RunDir, rank: int) -> None:
        self._events = [to_event(record) for record in _tail_records(directory.events(rank))]
        times = [event.t for event in self._events]
        for stream in find_streams(directory, []):
            if stream.header.rank == rank and stream.header.split != HOST_SPLIT:
                times += [row[-1] for row in _tail(stream)]
        self._times = sorted(times)[-NUM_RECENT:]

    @property
    def last_t(self) -> float | None:
        """Unix seconds of the newest fact."""
        return self._times[-1] if self._times else None

    def limit_s(self) -> float:
        """How long the run may be silent before it counts as stalled."""
        gaps = [later - earlier for earlier, later in itertools.pairwise(self._times)]
        if len(gaps) < _MIN_GAPS:
            return FIRST_FACTS_S
        durations = [event.payload.get("duration_s") for event in self._events if event.moment == "on_phase_end"]
        longest_s = max((d for d in durations if isinstance(d, (int, float))), default=0.0)
        return max(STALL_S, STALL_GAPS * _median(gaps), STALL_PHASES * longest_s)

    def ending(self, attempt: int) -> Event | None:
        """The ``on_train_end`` of that attempt, when it was recorded."""
        for event in reversed(self._events):
            if event.moment == "on_train_end" and event.payload.get("attempt", 0) == attempt:
                return event
        return None


def _median(values: list[float]) -> float:
    """The middle one, the upper of two; ``statistics`` would cost several milliseconds at each start."""
    return sorted(values)[len(values) // 2]


def _tail(stream: Stream) -> list[tuple[float, ...]]:
    """The newest rows; of a sealed stream, which nobody writes any more, the newest one."""
    try:
        return last_rows(stream, NUM_RECENT if stream.sealed is None else 1)
    except (FormatError, OSError):
        return []


def _tail_records(path: Path) -> list[dict[str, Any]]:
    """The whole records in the last bytes of a JSON-lines file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            data = file.read()
    except OSError:
        return []
    lines = data[: data.rfind(b"\n") + 1].split(b"\n")[1 if start else 0 :]
    records = []
    for line in lines:
        try:
            records.append(decode(line))
        except FormatError:
            continue  # whoever reads the whole file counts it
    return records
