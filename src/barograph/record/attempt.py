"""One process's writing of one attempt: its files, its guard, its ledger, and how it survives a fork.

``Run`` is what people call; this is what it calls. Files are opened when the first fact needs them, so a directory
that cannot be written costs facts (counted), never training.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, Literal

from barograph.facts.descriptor import WRITE
from barograph.facts.events import EventLog
from barograph.facts.kinds import Event
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import tail_rows
from barograph.facts.rundir import RunDir
from barograph.record.batch import BatchWriter
from barograph.record.flight import FlightRecorder
from barograph.record.guard import Guard
from barograph.record.identity import Identity
from barograph.record.ledger import Ledger
from barograph.record.scalars import ScalarLog

WriteMode = Literal["direct", "batch"]
MAX_FLIGHT_DUMPS: Final = 20


class Attempt:
    """The files that this process writes for one attempt of a run.

    Args:
        directory: where.
        identity: who.
        number: 0 for the first attempt, one more at each resume.
        rank: this process's rank; ranks other than 0 have files of their own.
        guard: what happens when recording fails.
        write: ``direct`` (every fact on disk when the call returns) or ``batch``.
        first_step: the step of the first record that names none.
        clock: unix seconds.
    """

    def __init__(
        self,
        directory: RunDir,
        identity: Identity,
        *,
        number: int = 0,
        rank: int = 0,
        guard: Guard | None = None,
        write: WriteMode = "direct",
        first_step: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.number = number
        self.rank = rank
        self.guard = guard or Guard()
        self.guard.report = self._report_failure
        self.clock = clock
        self.pid = os.getpid()
        self.is_fork = False
        self.batch = BatchWriter(self.guard) if write == "batch" else None
        self.metrics = MetricsLog(directory, run_id=identity.run_id, attempt=number, rank=rank, clock=clock)
        self.metrics.before_append = None if self.batch is None else self.batch.flush
        self.scalars = ScalarLog(
            self.metrics, guard=self.guard, write=self.batch or WRITE, clock=clock, first_step=first_step
        )
        self.flight = FlightRecorder(clock=clock)
        self.companion_cpu_s: Callable[[], float] = lambda: 0.0
        self._events: EventLog | None = None
        self._opening = threading.RLock()
        self._num_dumps = 0
        self._started_ns = time.perf_counter_ns()

    @property
    def events(self) -> EventLog:
        """The event log, opened and repaired at first use.

        Raises:
            OSError: it cannot be opened.
        """
        log = self._events
        if log is None:
            with self._opening:  # two threads at once would give two logs the same numbers
                log = self._events = self._events or self._open_events()
        return log

    def _open_events(self) -> EventLog:
        self.directory.ensure_facts()
        path = self.directory.events(self.rank, self.pid if self.is_fork else None)
        return EventLog(path, clock=self.clock)

    def record(self, moment: str, payload: Mapping[str, Any]) -> Event | None:
        """Record an event; None when it could not be written (which the ledger counts).

        Raises:
            MisuseError: the payload has a reserved key.
        """
        with self.guard.boundary("events", lost=1):
            origin: dict[str, Any] = {"attempt": self.number} if self.number else {}
            if self.rank:
                origin["rank"] = self.rank
            return self.events.append(moment, {**origin, **payload})
        return None

    def _report_failure(self, part: str, error: BaseException, trace: str) -> None:
        payload = {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": trace,
            "source": f"barograph {part}",
        }
        self.events.append("on_exception", payload)

    @property
    def wall_s(self) -> float:
        """Seconds since this attempt began; not moved by clocks that jump."""
        return (time.perf_counter_ns() - self._started_ns) / 1e9

    def recent(self, name: str, count: int, *, split: str = "train") -> list[float]:
        """The last ``count`` recorded values of a metric, oldest first; read from the run's own files."""
        tails: list[list[tuple[float, float]]] = []
        for (_lane, stream_split, keys), stream in list(self.metrics.streams.items()):
            if stream_split == split and name in keys:
                place = stream.header.columns.index(name)
                rows = tail_rows(stream.file.path, stream.header, count)
                tails.append([(row[-1], row[place]) for row in rows])
        # Merged by time, each stream in its own order: a clock that jumps back makes no row of a stream older.
        return [value for _t, value in heapq.merge(*tails, key=lambda pair: pair[0])][-count:]

    def last_facts(self) -> dict[str, Any]:
        """The newest row of each stream and the number of the newest event, for a crash record."""
        rows = {
            stream.file.path.name: dict(zip(stream.header.columns, row, strict=True))
            for stream in list(self.metrics.streams.values())
            for row in tail_rows(stream.file.path, stream.header, 1)
        }
        return {"rows": rows, "num_events": 0 if self._events is None else self._events.num_events}

    def dump_flight(self, reason: str) -> str | None:
        """Write the flight recorder; the dump's path relative to the run, or None when there was nothing to write."""
        if not len(self.flight) or self._num_dumps >= MAX_FLIGHT_DUMPS:
            return None
        with self.guard.boundary("flight recorder"):
            number = self._num_dumps
            while (path := self.directory.flight(number, self.rank)).exists():
                number += 1
            self._num_dumps += 1
            self.flight.dump(path, reason=reason)
            return str(path.relative_to(self.directory.path))
        return None

    def ledger(self) -> Ledger:
        """The cost of recording so far."""
        timings = self.scalars.timings
        num_events = 0 if self._events is None else self._events.num_events
        with nullcontext() if self.batch is None else self.batch.lock:  # a row waits or is written, never both
            waiting = 0 if self.batch is None else self.batch.num_waiting
            num_records = self.metrics.num_records
        written = num_records + num_events
        pending = self.scalars.num_pending + waiting
        num_calls = num_records - self.metrics.num_host_records + pending
        logging_s = timings.total_s(num_calls)
        wall_s = self.wall_s
        return Ledger(
            accepted=written + pending + self.guard.lost,
            written=written,
            pending=pending,
            lost=self.guard.lost,
            log_calls=num_calls,
            call_p50_us=timings.quantile_us(0.5, num_calls),
            call_p99_us=timings.quantile_us(0.99, num_calls),
            call_max_us=timings.max_ns / 1000 if timings.max_ns else None,
            logging_s=logging_s,
            wall_s=wall_s,
            share_of_wall=None if logging_s is None or wall_s <= 0 else logging_s / wall_s,
            companion_cpu_s=self.companion_cpu_s(),
            bytes=self.metrics.num_bytes + (0 if self._events is None else self._events.size_bytes),
            failures=dict(self.guard.failures),
        )

    def flush(self, *, wait: bool = False) -> None:
        """Write what waits in memory: batches, and device values that have arrived (``wait``: all of them)."""
        with self.guard.boundary("metrics"):
            self.scalars.settle(wait=wait)
            if self.batch is not None:
                self.batch.flush()

    def sync(self) -> None:
        """Put everything that was recorded on the device."""
        self.flush()
        with self.guard.boundary("sync"):
            self.metrics.sync()
            if self._events is not None:
                self._events.sync()

    def close(self, reason: str) -> None:
        """Close the files; what waited in memory was flushed before. ``reason`` is told to whoever logs later."""
        self.scalars.close(reason)
        with self.guard.boundary("close"):
            self.metrics.close()
            if self.batch is not None:
                self.batch.forget()
            if self._events is not None:
                self._events.close()
                self._events = None

    def after_fork_in_child(self) -> None:
        """Give the child files of its own: one writer per file. Its inherited locks may be held for ever."""
        self.is_fork, self.pid = True, os.getpid()
        self.guard.renew_lock()
        self._opening = threading.RLock()
        old_metrics, old_events = self.metrics, self._events
        self._events = None
        self.metrics = MetricsLog(
            self.directory,
            run_id=self.identity.run_id,
            attempt=self.number,
            rank=self.rank,
            pid=self.pid,
            clock=self.clock,
        )
        self.batch = None  # nothing would write what waits: the companion is the parent's
        self.scalars.rebind(self.metrics, WRITE)
        for stream in old_metrics.streams.values():
            stream.file.close()
        if old_events is not None:
            old_events.abandon()
