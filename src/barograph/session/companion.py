"""The companion: one daemon thread that reads the run's own files and feeds what shows and mirrors them.

It also does what should not happen in the training thread: heartbeat, host samples, ``fsync`` at moments. It is
never waited for while training runs; at the end what is left is done in the caller's thread, with a time limit.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Final, Protocol

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT
from barograph.facts.state import HEARTBEAT_S
from barograph.read.follow import Consumer, Fact, Follower, Rows
from barograph.record.attempt import Attempt

PERIOD_S: Final = 0.2
SYNC_S: Final = 30.0
JOIN_S: Final = 10.0
SYNC_MOMENTS: Final = frozenset({"on_start", "on_epoch_end", "on_checkpoint", "on_resume", "on_train_end"})


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
        join_s: how long the end of the run waits for a consumer that does not come back.

    Attributes:
        is_behind: a consumer did not come back, so that the others have not seen every fact.
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
        self.is_behind = False
        self._ended_t: float | None = None
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
        with self._attempt.guard.boundary("heartbeat"):
            self._beat()
        with self._attempt.guard.boundary("host sampler"):
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
        """Feed the next facts, some megabytes at most.

        Without a fact the consumers are fed none: time has passed, and an ETA moves on during a long evaluation.
        """
        facts = self._poll()
        if any(isinstance(fact, Event) and fact.moment in SYNC_MOMENTS for fact in facts):
            self._attempt.sync()
        for name in list(self._consumers):
            self._feed_one(name, facts)
        return facts

    def _poll(self) -> list[Fact]:
        with self._attempt.guard.boundary("companion"):
            return self._follower.poll()
        return []

    def _feed_one(self, name: str, facts: Sequence[Fact]) -> None:
        done = False
        with self._attempt.guard.boundary(name):
            self._consumers[name].feed(facts)
            done = True
        if not done:
            del self._consumers[name]

    def drain(self) -> None:
        """Stop the thread and feed what is there, in the caller's thread.

        Raises:
            TimeoutError: a consumer does not come back; it is left behind.
        """
        was_stopped, self._stopping = self._stopping, True
        self._wake.set()
        if self._thread.is_alive() and not was_stopped and threading.current_thread() is not self._thread:
            self._thread.join(self._join_s)
        self.is_behind = not self._turn.acquire(timeout=0 if self._thread.is_alive() else -1)
        if self.is_behind:
            raise TimeoutError(
                f"the companion did not finish within {self._join_s:g} s; the run's files are whole, what shows or "
                f"mirrors them may lag (is the terminal's output being read?)"
            )
        self._ended_t = self._ended_t or self._attempt.clock()
        try:
            while (facts := self._feed()) and min(map(_time_of, facts)) < self._ended_t:
                pass  # facts that are newer come from a forked child, which may go on for ever
        finally:
            self._turn.release()

    def close(self) -> None:
        """Feed the last facts and close the consumers."""
        self.drain()
        for name, consumer in self._consumers.items():
            with self._attempt.guard.boundary(name):
                consumer.close()
        self._consumers.clear()


def _time_of(fact: Fact) -> float:
    return fact.rows[0][-1] if isinstance(fact, Rows) else fact.t
