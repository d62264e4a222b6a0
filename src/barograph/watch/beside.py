"""A run, watched from another process: its metrics, its silences, and how it ended, whether or not training can say so.

It only looks: it changes nothing of the run and takes no notice of who else watches. What it finds in facts is what a
replay finds; what it sees of the living process (stopped by a signal, waiting for a disk) is added as a cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.rundir import RunDir
from barograph.facts.state import ProcessRecord, is_here, read_process
from barograph.read.status import LIVING, Status, is_stopped, read_status
from barograph.watch.alert import Alert, Remedy
from barograph.watch.death import DeathWatch
from barograph.watch.effort import Effort
from barograph.watch.ending import ending
from barograph.watch.incident import Told
from barograph.watch.life import STALL
from barograph.watch.watcher import Watcher

POLL_S: Final = 0.2
STATUS_S: Final = 1.0
VISIBLE_S: Final = 0.5
"""So long may a fact take from its time to the file."""
STOPPED_POLLS: Final = 5
_STALE_BEATS: Final = 3


class Beside:
    """Watches one process of a run until it has ended.

    Args:
        directory: the run.
        watcher: reads and judges its facts.
        rank: of the process.
        clock: unix seconds.
        monotonic: seconds.

    Attributes:
        status: the newest that is known.
    """

    def __init__(
        self,
        directory: RunDir,
        watcher: Watcher,
        *,
        rank: int = 0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._watcher = watcher
        self._rank = rank
        self._clock, self._monotonic = clock, monotonic
        self._process: ProcessRecord | None = None
        self._death: DeathWatch | None = None
        self._effort: Effort | None = None
        self._next_s = 0.0
        self._num_stopped = 0
        self.status = self._look_at_process()

    def run(self, tell: Callable[[Sequence[Told]], object], *, sleep: Callable[[float], object] = time.sleep) -> Status:
        """Tell what is found until the run has ended and everything of it was judged.

        Args:
            tell: called with what is new after every look; with nothing, too, so that it can look after deliveries.
            sleep: waits for so many seconds; where the process can be held on to, its end cuts the wait short.
        """
        while self.status.state in LIVING:
            told = [*self._stopped(), *self._watcher.poll(now_t=self._clock() - VISIBLE_S, effort=self._effort)]
            tell([self._with_what_is_seen(it) for it in told])
            self._wait(sleep)
            if self._monotonic() >= self._next_s or self._has_ended():
                self.status = self._look_at_process()
        tell(self.finish())
        return self.status

    def finish(self) -> list[Told]:
        """What is told about a run that has ended: what was not read yet, its last silence, its end."""
        told = self._watcher.finish(ended_t=None if self.status.state in LIVING else self.status.since_t)
        death = self._death.death() if self._death is not None else None
        end = ending(self.status, self._watcher.monitor.context, death=death, rank=self._rank)
        return told if end is None else [*told, end]

    def close(self) -> None:
        """Let the process go."""
        if self._death is not None:
            self._death.close()
            self._death = None

    def _look_at_process(self) -> Status:
        self._next_s = self._monotonic() + STATUS_S
        try:
            process = read_process(self._directory.process(self._rank))
        except (FormatError, OSError):  # the status says what is wrong with it
            process = None
        if process is not None and process != self._process:
            self.close()
            self._process, self._death = process, DeathWatch(process)
            self._effort = Effort(process.pid, monotonic=self._monotonic) if is_here(process) else None
        if self._death is not None:
            self._death.look()
        return read_status(self._directory.path, rank=self._rank, now=self._clock)

    def _has_ended(self) -> bool:
        return self._death is not None and self._death.has_ended()

    def _wait(self, sleep: Callable[[float], object]) -> None:
        if self._death is None or not self._death.is_held or self._death.has_ended():
            sleep(POLL_S)
        else:
            self._death.wait(POLL_S)

    def _stopped(self) -> list[Told]:
        """The silence of a process that a signal has stopped for so long that all it recorded was read."""
        process = self._process
        if process is None or not is_here(process) or not is_stopped(process.pid):
            self._num_stopped = 0
            return []
        self._num_stopped += 1
        if self._num_stopped <= STOPPED_POLLS:
            return []
        return self._watcher.life.wait(self._clock() - VISIBLE_S, is_stopped=True)

    def _with_what_is_seen(self, told: Told) -> Told:
        if told.alert.type != STALL or told.stage == "ended":
            return told
        return msgspec.structs.replace(told, alert=self._seen(told.alert))

    def _seen(self, alert: Alert) -> Alert:
        """What the process is seen to do, as the likeliest cause."""
        process = self._process
        if process is None or not is_here(process):
            return alert
        remedies = alert.remedies
        if is_stopped(process.pid):
            cause = f"process {process.pid} is stopped by a signal (SIGSTOP, ^Z)"
            remedies = [Remedy(text=f"continue it: kill -CONT {process.pid}"), *remedies]
        elif _waits_for_disk(process.pid):
            cause = f"process {process.pid} waits for a disk or a network file system"
        else:
            silence_s = self._clock() - _changed_t(self._directory.process(self._rank))
            if silence_s > _STALE_BEATS * process.heartbeat_s:
                cause = f"process {process.pid} hangs in native code: its heartbeat stands still for {silence_s:.0f} s"
            else:
                is_computing = self._effort is not None and self._effort.is_computing()
                does = "computes" if is_computing else "waits or computes"
                cause = f"process {process.pid} lives, its heartbeat goes on: its main thread {does}"
        return msgspec.structs.replace(alert, causes=[cause, *alert.causes], remedies=remedies)


def _waits_for_disk(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rfind(b")") + 2 :][:1] == b"D"


def _changed_t(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
