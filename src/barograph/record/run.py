"""``Run``: what a training script holds in its hand. Made by ``barograph.init``; writes facts, reads nothing back."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakValueDictionary

import msgspec

from barograph.errors import CadenceWarning, MisuseError, RunClosedError
from barograph.facts.kinds import Event, OnException, OnTrainEnd, as_payload
from barograph.facts.metrics import Number
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, write_exit
from barograph.record.attempt import Attempt
from barograph.record.cadence import Cadence, TierCosts
from barograph.record.detail import DetailConfig
from barograph.record.guard import Guard
from barograph.record.identity import Identity
from barograph.record.ledger import Ledger
from barograph.record.media_calls import MediaCalls
from barograph.record.phases import PhaseStack
from barograph.record.summary import Summary
from barograph.record.training_calls import TrainingCalls

STATUSES: Final = ("finished", "failed", "killed")
Closing = Callable[[], None]

_here: WeakValueDictionary[tuple[str, int, int], Run] = WeakValueDictionary()
"""Runs of this process, so that a copy of one within it is the run itself."""


class _Inside(threading.local):
    """How deep the current thread is in recording an event."""

    depth = 0


class Run(TrainingCalls, MediaCalls):
    """A run that is being recorded.

    Use it as a context manager, or call ``finish``; a process that ends without either is recorded as ended by
    ``atexit``, an exception or a signal.

    Args:
        attempt: the files.
        config: the exact configuration, as JSON data.
        cadence: when fast logs and full evaluations are due.
        detail: settings of detail records.

    Attributes:
        before_end: called before the last event is written; the session puts them here.
        after_end: called after it.
        verdicts: judges the success criteria.
        resources: wall time and peak memory.
        stop_asked: whether whoever watches found a reason to stop.
        config: the configuration as it was recorded.
        cadence: when fast logs and full evaluations are due.
        summary: results that stand for the whole run; assignments are recorded at once.
        status: ``running`` until it is ``finished``, ``failed`` or ``killed``.
    """

    def __init__(self, attempt: Attempt, *, config: dict[str, Any], cadence: Cadence, detail: DetailConfig) -> None:
        self._attempt = attempt
        self._costs = TierCosts()
        self._phases = PhaseStack()
        self._detail = detail
        self._stop_requested: str | None = None
        self._last_ledger: Ledger | None = None
        self.verdicts: Callable[[], list[dict[str, Any]]] = list
        self.resources: Callable[[], dict[str, float]] = dict
        self.stop_asked: Callable[[], bool] = bool
        self.before_end: list[Closing] = []
        self.after_end: list[Closing] = []
        self.after_close: list[Closing] = []
        self._finishing = False
        self._postponed: list[Callable[[], object]] = []
        self.config = config
        self.cadence = cadence
        self.summary = Summary(self._record)
        self._inside = _Inside()
        self.status = "running"
        _here[self._key] = self
        # One frame less in the call that is made millions of times: 0.2 us.
        self.log = attempt.scalars.log  # type: ignore[method-assign]

    @property
    def _key(self) -> tuple[str, int, int]:
        return (self.id, self.attempt, self.rank)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled into another process, a run becomes a writer of files of its own, which does not end the run."""
        attempt = self._attempt
        return _adopt, (
            self._key,
            self.dir,
            attempt.identity,
            self.config,
            msgspec.structs.asdict(self.cadence),
            self._detail,
            attempt.guard.strict,
            attempt.scalars.next_step,
            self.status,
        )

    @property
    def dir(self) -> Path:
        """The run's directory."""
        return self._attempt.directory.path

    @property
    def id(self) -> str:
        """Unique for all time."""
        return self._attempt.identity.run_id

    @property
    def name(self) -> str:
        """What people call the run."""
        return self._attempt.identity.name

    @property
    def attempt(self) -> int:
        """0 for the first, one more at each resume."""
        return self._attempt.number

    @property
    def rank(self) -> int:
        """This process's rank in a distributed run; rank 0 owns the run."""
        return self._attempt.rank

    @property
    def ledger(self) -> Ledger:
        """What recording has cost so far; all in all, when the run is over."""
        return self._last_ledger or self._attempt.ledger()

    def log(
        self,
        metrics: Mapping[str, Any],
        step: Number | None = None,
        *,
        epoch: Number | None = None,
        split: str = "train",
    ) -> None:
        """Record numbers; they are on disk when this returns.

        Args:
            metrics: names and numbers: int, float, bool, or anything with one element and ``.item()``. NaN and
                infinities are facts too. A value on a GPU is copied without waiting for the device.
            step: training step; one more than the last when not given (pass it where several threads log, or two of
                them may take the same one). Steps may repeat, go back, be fractional.
            epoch: recorded as the metric ``epoch``.
            split: e.g. ``train``, ``val``, ``test``.

        Raises:
            InvalidMetricError: a name is reserved or a value is no number; nothing was written.
            RunClosedError: the run is finished.
        """
        self._open().scalars.log(metrics, step=step, epoch=epoch, split=split)

    def should_stop(self) -> bool:
        """Whether training should stop: Slurm asked for it by SIGUSR1, say, or the run is lost.

        Lost is a run with an alert of severity ``fatal``, or of what ``init(watch={"stop_on": [...]})`` names. Alerts
        come from beside the loop, some tenths of a second after the facts. The call costs no more than a look at a
        variable.
        """
        return self._stop_requested is not None or self.stop_asked()

    def request_stop(self, reason: str) -> None:
        """Ask training to stop at its next ``should_stop()``."""
        self._stop_requested = reason

    def sync(self) -> None:
        """Put everything that was recorded on the device; the system does so by itself within half a minute."""
        self._open().sync()

    def finish(self, status: str = "finished", reason: str | None = None) -> None:
        """End the run. Finishing twice is harmless; recording afterwards is an error.

        Args:
            status: ``finished``, ``failed`` or ``killed``.
            reason: why, when it did not finish.

        Raises:
            MisuseError: another status.
        """
        if status not in STATUSES:
            raise MisuseError(f"status {status!r} is none of {', '.join(STATUSES)}; choose one")
        if self._finishing:
            return
        self._finishing = True
        attempt = self._attempt
        closed = self._closed_message(status)
        attempt.guard.run_in_background()  # with strict, a failure is raised when the end is recorded
        attempt.scalars.close(closed)  # threads that go on logging are refused from here on, so that there is an end
        try:
            attempt.flush(wait=True)
            if not attempt.is_fork:
                self._run_all(self.before_end)
                self._end(status, reason)
                self._run_all(self.after_end)
            attempt.sync()
        finally:
            self._last_ledger = attempt.ledger()
            self.status = status
            attempt.close(closed)
            self._run_all(self.after_close)
            self._answer_signals()
        attempt.guard.raise_deferred()

    def _run_all(self, closings: list[Closing]) -> None:
        for closing in closings:
            with self._attempt.guard.boundary("finish", misuse=True):
                closing()

    def _end(self, status: str, reason: str | None) -> None:
        attempt = self._attempt
        success: list[dict[str, Any]] = []
        resources: dict[str, float] = {}
        with attempt.guard.boundary("success criteria"):
            success = self.verdicts()
        with attempt.guard.boundary("host sampler"):
            resources = self.resources()
        ended = OnTrainEnd(
            status=status,
            reason=reason,
            total_time_s=attempt.wall_s,
            summary=dict(self.summary),
            success=success,
            cadence=self._costs.report(self.cadence, attempt.wall_s),
            ledger=attempt.ledger().as_dict(),
            resources=resources,
        )
        attempt.record("on_train_end", as_payload(ended))
        with attempt.guard.boundary("exit record"):
            record = ExitRecord(
                attempt=attempt.number,
                status=status,
                t=attempt.clock(),
                reason=reason,
                total_time_s=attempt.wall_s,
                summary=dict(self.summary),
                ledger=attempt.ledger().as_dict(),
                success=success,
            )
            write_exit(attempt.directory.exit(attempt.rank), record)

    def _closed_message(self, status: str) -> str:
        return (
            f"run {self.name!r} ({self.id}) is {status}; nothing more can be recorded in it. "
            f"Record before finish(), or continue it with barograph.init(dir={str(self.dir)!r}, resume='allow')"
        )

    def _open(self) -> Attempt:
        if self.status != "running":
            raise RunClosedError(self._closed_message(self.status))
        return self._attempt

    def _record(self, moment: str, payload: Mapping[str, Any]) -> Event | None:
        """Record an event; signals that come meanwhile are answered after it, beyond the guarded boundary."""
        attempt = self._open()
        self._inside.depth += 1
        try:
            return attempt.record(moment, payload)
        finally:
            self._inside.depth -= 1
            if not self._is_busy:
                self._answer_signals()

    def _answer_signals(self) -> None:
        while self._postponed:
            self._postponed.pop(0)()

    def record_exception(self, error: BaseException, trace: str) -> None:
        """Record what ended training: the full stack trace, the last facts, the flight recorder."""
        attempt = self._attempt
        facts: dict[str, Any] = {}
        with attempt.guard.boundary("crash record"):
            facts = attempt.last_facts()
        dump = attempt.dump_flight("on_exception")
        raised = OnException(type=type(error).__name__, message=str(error), traceback=trace, last_facts=facts)
        self._record("on_exception", {**as_payload(raised), **({"flight": dump} if dump else {})})

    @property
    def is_fork(self) -> bool:
        """Whether this is the child of a fork, which writes files of its own and does not end the run."""
        return self._attempt.is_fork

    @property
    def _is_busy(self) -> bool:
        """Whether the current thread is recording an event, or any thread ends the run."""
        return self._inside.depth > 0 or (self._finishing and self.status == "running")

    def when_free(self, action: Callable[[], object]) -> None:
        """Run a signal handler's action now, or when the append or the ``finish`` that it interrupted is complete.

        What the action raises is the caller's: a handler of the script's may end training by an exception.
        """
        events = None
        if self._is_busy:
            self._postponed.append(action)
            return
        with self._attempt.guard.boundary("events"):
            events = self._attempt.events
        if events is None:
            action()
        else:
            events.when_free(action)

    def record_signal(self, payload: Mapping[str, Any]) -> None:
        """Record a signal and what the flight recorder holds, and put both on the device."""
        dump = self._attempt.dump_flight("on_signal")
        self._attempt.record("on_signal", {**payload, **({"flight": dump} if dump else {})})
        self._attempt.sync()

    def after_fork_in_child(self) -> None:
        """Give the child of a fork files of its own."""
        self._attempt.after_fork_in_child()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finishing:
            return
        if error is None:
            self.finish()
        elif isinstance(error, KeyboardInterrupt):
            self.finish("killed", reason="SIGINT")
        elif isinstance(error, SystemExit):
            self.finish(*outcome_of_exit(error.code))
        else:
            self.record_exception(error, format_error(error))
            self.finish("failed", reason=f"{type(error).__name__}: {error}")

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.id} {self.status} in {os.fspath(self.dir)!r}>"


def outcome_of_exit(code: object) -> tuple[str, str | None]:
    """Status and reason that an exit code stands for."""
    return ("finished", None) if code in (None, 0) else ("failed", f"exit code {code!r:.200}")


def format_error(error: BaseException) -> str:
    """The full stack trace, causes included."""
    import traceback  # noqa: PLC0415 - needed when training has failed

    return "".join(traceback.format_exception(error))


def _adopt(  # noqa: PLR0917 - pickle hands arguments over by position
    key: tuple[str, int, int],
    directory: Path,
    identity: Identity,
    config: dict[str, Any],
    cadence: dict[str, int],
    detail: DetailConfig,
    strict: bool,
    next_step: int,
    status: str,
) -> Run:
    """The run of that key: this process's own, or one that writes beside the process that pickled it."""
    run = _here.get(key)
    if run is not None:
        return run
    _, number, rank = key
    guard = Guard(strict=strict)
    attempt = Attempt(RunDir(directory), identity, number=number, rank=rank, guard=guard, first_step=next_step)
    attempt.after_fork_in_child()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CadenceWarning)  # the process that made the cadence was warned
        run = Run(attempt, config=config, cadence=Cadence(**cadence), detail=detail)
    if status == "running":
        os.register_at_fork(after_in_child=run.after_fork_in_child)  # also keeps the run: a pool sends it many times
    else:
        run.finish(status)
    return run
