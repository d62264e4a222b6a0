"""The companion: one daemon thread that reads the run's own files and feeds what shows and mirrors them.

It also does what should not happen in the training thread: heartbeat, host samples, ``fsync`` at moments. It is
never waited for while training runs; at the end what is left is done in the caller's thread, with a time limit.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT, SCAN_BYTES
from barograph.facts.state import HEARTBEAT_S
from barograph.read.follow import Consumer, Fact, Follower, Rows
from barograph.record.attempt import Attempt

PERIOD_S: Final = 0.2
SYNC_S: Final = 30.0
JOIN_S: Final = 10.0
SIGNAL_JOIN_S: Final = 2.0
MAX_ROWS: Final = 2048
SYNC_MOMENTS: Final = frozenset({"on_start", "on_epoch_end", "on_checkpoint", "on_resume", "on_train_end"})


_signalled_s: list[float] = []


def hurry() -> None:
    """A signal asks the process to end: who sent it may soon send one that kills, so that little time is left."""
    _signalled_s[:] = [time.monotonic()]


def is_hurried() -> bool:
    """Whether a signal has just asked the process to end."""
    return any(time.monotonic() - signalled_s < JOIN_S for signalled_s in _signalled_s)


class Sampler(Protocol):
    """Measures the machine."""

    def due(self) -> bool:
        """Whether it is time for a sample."""

    def sample(self) -> dict[str, float]:
        """The figures, by name."""


class Companion:
    """Feeds consumers from the run's files while training runs.

    Args:
        attempt: the attempt it accompanies.
        consumers: by name; one that fails is reported, detached and not fed again.
        follower: goes on where it stands; from the beginning, when not given.
        sampler: measures the machine, or None.
        period_s: how often files are looked at.
        join_s: how long the end of the run may take; soon after a signal it is ``SIGNAL_JOIN_S`` at most.

    Attributes:
        is_behind: the time was not enough, so that consumers have not seen every fact.
        detached: names of the consumers that failed and were not fed again.
    """

    def __init__(
        self,
        attempt: Attempt,
        consumers: dict[str, Consumer],
        *,
        follower: Follower | None = None,
        sampler: Sampler | None = None,
        period_s: float = PERIOD_S,
        join_s: float = JOIN_S,
    ) -> None:
        self._attempt = attempt
        self._consumers = consumers
        self._follower = follower or Follower(attempt.directory, rank=attempt.rank)
        self._sampler = sampler
        self._period_s = period_s
        self._join_s = join_s
        self._wake = threading.Event()
        self._stopping = False
        self._turn = threading.Lock()
        self._cpu_s = 0.0
        self.is_behind = self._is_stuck = False
        self.detached: set[str] = set()
        self._waiting: deque[list[Fact]] = deque()
        self._next_heartbeat = self._next_sync = 0.0
        self._thread = threading.Thread(target=self._loop, name="barograph-companion", daemon=True)
        attempt.companion_cpu_s = lambda: self._cpu_s

    def start(self) -> None:
        """Begin."""
        self._next_sync = time.monotonic() + SYNC_S
        self._thread.start()

    def _loop(self) -> None:
        self._attempt.guard.run_in_background()
        while not self._stopping:
            with self._turn:
                has_more = self._tick()
            self._cpu_s = time.thread_time()
            if not has_more:
                self._wake.wait(self._period_s)

    def _tick(self) -> bool:
        self._attempt.flush()
        with self._attempt.guard.boundary("heartbeat", misuse=True):
            self._beat()
        with self._attempt.guard.boundary("host sampler", misuse=True):
            self._sample()
        return bool(self._feed())

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_S
            path = self._attempt.directory.process(self._attempt.rank)
            if path.exists():
                os.utime(path)
        if now >= self._next_sync:
            self._next_sync = now + SYNC_S
            self._attempt.sync()

    def _sample(self) -> None:
        if self._sampler is not None and self._sampler.due():
            figures = self._sampler.sample()
            if figures:
                t = self._attempt.clock()
                self._attempt.metrics.append(figures, step=round(self._attempt.wall_s, 3), split=HOST_SPLIT, t=t)

    def _feed(self) -> list[Fact]:
        """Feed the next facts, so few that it does not take long.

        Without a fact the consumers are fed none: time has passed, and an ETA moves on during a long evaluation.
        """
        if not self._waiting:
            self._waiting += _portions(self._poll())
        facts = self._waiting.popleft() if self._waiting else []
        if any(isinstance(fact, Event) and fact.moment in SYNC_MOMENTS for fact in facts):
            self._attempt.sync()
        for name in list(self._consumers):
            self._feed_one(name, facts)
        return facts

    def _poll(self) -> list[Fact]:
        with self._attempt.guard.boundary("companion", misuse=True):
            return self._follower.poll()
        return []

    def _feed_one(self, name: str, facts: Sequence[Fact]) -> None:
        done = False
        with self._attempt.guard.boundary(name, misuse=True):
            self._consumers[name].feed(facts)
            done = True
        if not done:
            del self._consumers[name]
            self.detached.add(name)

    def drain(self) -> None:
        """Stop the thread and feed what is there, in the caller's thread, for as long as there is time.

        Raises:
            TimeoutError: a consumer does not come back, or there are too many facts; they are left behind.
        """
        started_s = time.monotonic()
        was_stopped, self._stopping = self._stopping, True
        self._wake.set()
        if self._thread.is_alive() and not was_stopped and threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, self._deadline_s(started_s) - started_s))
        self._is_stuck = not self._turn.acquire(timeout=0 if self._thread.is_alive() else -1)
        if not self._is_stuck:
            try:
                self.is_behind = self.is_behind or not self._feed_rest(started_s)
            finally:
                self._turn.release()
        self.is_behind = self.is_behind or self._is_stuck
        if self.is_behind:
            raise TimeoutError(
                f"the companion did not finish within {self._deadline_s(started_s) - started_s:g} s; the run's files "
                f"are whole, what shows or mirrors them may lag (is the terminal's output being read?)"
            )

    def _deadline_s(self, started_s: float) -> float:
        """When the end that began then has to be over; a signal that comes meanwhile brings it nearer."""
        deadline_s = started_s + self._join_s
        for signalled_s in _signalled_s:
            if signalled_s > started_s - JOIN_S:
                deadline_s = min(deadline_s, max(started_s, signalled_s) + SIGNAL_JOIN_S)
        return deadline_s

    def _feed_rest(self, started_s: float) -> bool:
        """Feed what is in the files now; False when there was no time for all of it.

        What comes later is from a forked child, which may go on for ever.
        """
        num_polls = self._num_polls()
        while time.monotonic() < self._deadline_s(started_s):
            if not self._waiting:
                num_polls -= 1
            if not self._feed() or (num_polls <= 0 and not self._waiting):
                return True
        return False

    def _num_polls(self) -> int:
        """After so many polls everything is read that is in the files now; a poll takes at least half of its limit."""
        directory, size_bytes = self._attempt.directory, 0
        with self._attempt.guard.boundary("companion", misuse=True):
            for path in (*directory.rows_files(), *directory.overflow_files(), *directory.events_files()):
                size_bytes = max(size_bytes, path.stat().st_size)
        return 2 + 2 * size_bytes // SCAN_BYTES

    def close(self) -> None:
        """Feed the last facts and close the consumers, except while one of them does not come back.

        Raises:
            TimeoutError: as for ``drain``.
        """
        try:
            self.drain()
        finally:
            if not self._is_stuck:
                for name, consumer in self._consumers.items():
                    with self._attempt.guard.boundary(name, misuse=True):
                        consumer.close()
                self._consumers.clear()


def _portions(facts: Sequence[Fact]) -> Iterator[list[Fact]]:
    """The facts in their order, so few rows at a time that the thread soon notices that it is to end."""
    portion: list[Fact] = []
    num_rows = 0
    for fact in facts:
        if not isinstance(fact, Rows):
            portion.append(fact)
            continue
        for start in range(0, len(fact.rows), MAX_ROWS):
            rows = fact.rows[start : start + MAX_ROWS]
            if num_rows + len(rows) > MAX_ROWS:
                yield portion
                portion, num_rows = [], 0
            portion.append(msgspec.structs.replace(fact, rows=rows))
            num_rows += len(rows)
    if portion:
        yield portion
