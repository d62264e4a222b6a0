"""Delivers alerts, each to each action once: one daemon thread, a bounded queue, and a file that says how far it is.

``facts/deliveries.jsonl`` has a line before a delivery (``begun``) and one after it (``done``, ``failed``, or ``again``
when it is to be tried later). What is done is never delivered again; what is begun and not done is, with the same key,
by whoever has the file next. A slow server holds up nobody but the other deliveries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.rundir import RunDir
from barograph.read.identity import identify, read_run_json
from barograph.watch.actions.action import Action, DeliveryError, Message
from barograph.watch.actions.claim import ClaimedLog, Report

MAX_JOBS: Final = 256
BACKOFF_S: Final = (1.0, 4.0, 15.0)
"""How long after each try that failed the next one is made; after the last one it is given up."""
MAX_WAIT_S: Final = 60.0
FINAL: Final = frozenset({"done", "failed"})


class Job(msgspec.Struct):
    """One alert for one action.

    Attributes:
        action: where it goes.
        line: the alert.
        due_s: when the next try is due, on the monotonic clock.
        num_tries: how many there were.
    """

    action: Action
    line: dict[str, Any]
    due_s: float = 0.0
    num_tries: int = 0


class Outbox:
    """Delivers to several actions.

    Args:
        directory: the run.
        actions: their names differ.
        report: told once of each action that fails, and of what could not be delivered.
        clock: unix seconds, for the file.
        backoff_s: how long after each try that failed the next one is made.
        max_jobs: more than so many alerts do not wait; those are counted, and left to the next watcher.

    Attributes:
        num_done: deliveries made here.
        num_failed: deliveries given up here.
        num_dropped: deliveries for which there was no place.
    """

    def __init__(
        self,
        directory: RunDir,
        actions: Sequence[Action],
        *,
        report: Report,
        clock: Callable[[], float] = time.time,
        backoff_s: Sequence[float] = BACKOFF_S,
        max_jobs: int = MAX_JOBS,
    ) -> None:
        self.num_done = self.num_failed = self.num_dropped = 0
        self._directory = directory
        self._actions = list(actions)
        self._report = report
        self._clock = clock
        self._backoff_s = tuple(backoff_s)
        self._max_jobs = max_jobs
        self._run: dict[str, Any] | None = None
        self._log = ClaimedLog(directory.deliveries, directory.deliveries_lock, report=self._report)
        self._changed = threading.Condition()
        self._final: set[tuple[str, str]] = set()
        self._jobs: dict[tuple[str, str], Job] = {}
        self._reported: set[str] = set()
        self._stop_at_s: float | None = None
        self._thread: threading.Thread | None = None
        self.poll()

    def offer(self, line: dict[str, Any]) -> None:
        """Have a line of ``alerts.jsonl`` delivered by every action that has not delivered it yet."""
        with self._changed:
            for action in self._actions:
                key = (str(line["id"]), action.name)
                if key in self._final or key in self._jobs:
                    continue
                if len(self._jobs) < self._max_jobs:
                    self._jobs[key] = Job(action=action, line=line)
                    self._changed.notify()
                else:
                    self._drop(key)

    def poll(self) -> None:
        """See what another watcher has delivered; deliver, once there is none."""
        with self._changed:
            for record in self._log.poll():
                key = (str(record.get("id")), str(record.get("action")))
                if record.get("outcome") in FINAL:
                    self._final.add(key)
                    self._jobs.pop(key, None)
            if self._log.is_writer and self._jobs and self._thread is None and self._stop_at_s is None:
                self._thread = threading.Thread(target=self._work, name="barograph-alerts", daemon=True)
                self._thread.start()

    def close(self, *, limit_s: float) -> None:
        """Deliver what waits, for so long at most; what is not delivered then is left to the next watcher."""
        self.poll()
        with self._changed:
            self._stop_at_s = time.monotonic() + limit_s
            self._changed.notify()
            was_ours = self._log.is_writer
        if self._thread is not None:
            self._thread.join(limit_s)  # if it takes longer it writes down how it ended, and then gives up the lock
        else:
            self._log.close()
        if was_ours and self._jobs:
            self._report(
                f"deliveries of alerts not made yet: {len(self._jobs)} ({self._names()}); whoever watches "
                f"{self._directory.path} next makes them: `barograph follow {self._directory.path} --watch`"
            )

    def _names(self) -> str:
        return ", ".join(sorted({name for _, name in list(self._jobs)}))

    def _drop(self, key: tuple[str, str]) -> None:
        self.num_dropped += 1
        if self._log.is_writer:
            self._write(key, "dropped", reason=f"{self._max_jobs} deliveries were waiting")
        self._tell(
            "queue",
            f"more than {self._max_jobs} deliveries of alerts wait ({self._names()}), so that more are left to the "
            f"next watcher of {self._directory.path}; free what holds them up",
        )

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._try(job)
        with self._changed:
            self._log.close()

    def _next(self) -> Job | None:
        """The job that is due first, when it is due; None at the end."""
        with self._changed:
            while True:
                now_s, stop_at_s = time.monotonic(), self._stop_at_s
                if stop_at_s is not None and (not self._jobs or now_s >= stop_at_s):
                    return None
                job = min(self._jobs.values(), key=lambda it: it.due_s, default=None)
                if job is not None and job.due_s <= now_s:
                    return job
                moments_s = [it for it in (None if job is None else job.due_s, stop_at_s) if it is not None]
                self._changed.wait(min(moments_s) - now_s if moments_s else None)

    def _try(self, job: Job) -> None:
        key = (str(job.line["id"]), job.action.name)
        job.num_tries += 1
        self._write_down(key, "begun", num_tries=job.num_tries)
        failure: DeliveryError | None = None
        try:
            job.action.deliver(Message(line=job.line, run=self._of_run()))
        except DeliveryError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - what an action of other hands raises is told, never raised
            failure = DeliveryError(f"{type(error).__name__}: {error}")
        if failure is None:
            self._end(key, "done", job)
        elif failure.may_retry and job.num_tries <= len(self._backoff_s):
            wait_s = min(max(self._backoff_s[job.num_tries - 1], failure.after_s), MAX_WAIT_S)
            job.due_s = time.monotonic() + wait_s
            self._write_down(key, "again", num_tries=job.num_tries, reason=str(failure))
        else:
            self._end(key, "failed", job, reason=str(failure))

    def _end(self, key: tuple[str, str], outcome: str, job: Job, **more: Any) -> None:
        self._write_down(key, outcome, num_tries=job.num_tries, **more)
        with self._changed:
            self._final.add(key)
            self._jobs.pop(key, None)
            self.num_done += outcome == "done"
            self.num_failed += outcome == "failed"
        if outcome == "failed":
            self._tell(
                key[1],
                f"alerts do not arrive by {key[1]!r}: {more['reason']}. Training goes on, and they are in "
                f"{self._directory.alerts}; correct watch['actions'], or look at {self._log.path}",
            )

    def _write_down(self, key: tuple[str, str], outcome: str, **more: Any) -> None:
        with self._changed:
            self._write(key, outcome, **more)

    def _write(self, key: tuple[str, str], outcome: str, **more: Any) -> None:
        """Append a line; where there is no place for it the alert is delivered nevertheless, perhaps twice."""
        try:
            self._log.append({"t": self._clock(), "id": key[0], "action": key[1], "outcome": outcome, **more})
        except (OSError, FormatError) as error:
            self._tell(
                "file",
                f"{self._log.path} cannot be written ({error}), so that alerts may be delivered again by the next "
                f"watcher; free the cause",
            )

    def _tell(self, what: str, text: str) -> None:
        """Say once what is wrong with something."""
        if what not in self._reported:
            self._reported.add(what)
            self._report(text)

    def _of_run(self) -> dict[str, Any]:
        if self._run is None:
            record = read_run_json(self._directory, [])
            identity = identify(self._directory, record, [])
            provenance = record.get("provenance", record)
            host = provenance.get("host") if isinstance(provenance, dict) else None
            self._run = {
                "id": identity.run_id,
                "name": identity.name,
                "project": identity.project,
                "directory": str(self._directory.path.resolve()),
                "host": host.get("name") if isinstance(host, dict) else None,
            }
        return self._run
