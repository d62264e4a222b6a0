"""What a run's events come to: attempts, epochs, checks, alerts, the end. One pass, one event at a time.

Memory grows with attempts, checks and alerts, not with examples or epochs. Events that are not as their moment asks
are counted and left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from barograph.facts.kinds import (
    Event,
    OnCheck,
    OnEpochEnd,
    OnExample,
    OnException,
    OnResume,
    OnTrainEnd,
    OnValidationEnd,
    Payload,
    parse,
)
from barograph.read.metrics import count_nonfinite, is_finite

TRAINING: Final = "training"

P = TypeVar("P", bound=Payload)


class AttemptInfo(msgspec.Struct, kw_only=True):
    """One attempt of a run.

    Attributes:
        number: 0 for the first.
        started_t: unix seconds; None when its start was not recorded.
        ended_t: unix seconds at which its end was recorded; None when none was.
        status: ``finished``, ``failed`` or ``killed``; None when its end was not recorded.
        reason: why it ended, when it did not finish.
        total_time_s: its wall time, when its end was recorded.
    """

    number: int
    started_t: float | None = None
    ended_t: float | None = None
    status: str | None = None
    reason: str | None = None
    total_time_s: float | None = None


class Digest:
    """Takes in events.

    Attributes:
        moments: how many events of each moment there are.
        attempts: by number.
        checks: every check that ran, in order.
        alerts: what the script itself called for a person about, in order.
        summary: results that stand for the whole run, as they were last set.
        last_epoch: the newest epoch that ended.
        best_epoch: the first epoch with the lowest finite validation loss.
        last_val_loss: the newest validation loss that an event carries, with the place it stands at.
        nonfinite_counts: how many numbers of epochs are ``nan``, ``inf``, ``-inf``.
        failures: exceptions that ended training, and parts of the recorder that failed, in order.
        end: the newest end of an attempt that says how long it took.
        misfits: events whose payload is not as their moment asks, with what is wrong.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.moments: Counter[str] = Counter()
        self.attempts: dict[int, AttemptInfo] = {}
        self.checks: list[OnCheck] = []
        self.alerts: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.last_epoch: OnEpochEnd | None = None
        self.best_epoch: OnEpochEnd | None = None
        self.last_val_loss: dict[str, Any] | None = None
        self.nonfinite_counts: Counter[str] = Counter()
        self.failures: list[OnException] = []
        self.end: OnTrainEnd | None = None
        self.misfits: list[tuple[Event, str]] = []
        self._best_val_loss = math.inf
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Take in one event."""
        self.moments[event.moment] += 1
        match event.moment:
            case "on_start":
                self._attempt(event).started_t = event.t
            case "on_resume":
                self._resume(event)
            case "on_epoch_end":
                self._epoch(event)
            case "on_validation_end" | "on_example":
                self._validation(event)
            case "on_check":
                self.checks += self._parsed(event, OnCheck)
            case "on_exception":
                self.failures += self._parsed(event, OnException)
            case "on_train_end":
                self._train_end(event)
            case _:
                self._custom(event)

    def _parsed(self, event: Event, kind: type[P]) -> list[P]:
        """The payload; nothing when it is not as it should be."""
        try:
            return [parse(event, kind)]
        except msgspec.ValidationError as error:
            self.misfits.append((event, str(error)))
            return []

    def _attempt(self, event: Event) -> AttemptInfo:
        number = event.payload.get("attempt", 0)
        number = number if isinstance(number, int) else 0
        return self.attempts.setdefault(number, AttemptInfo(number=number))

    def _resume(self, event: Event) -> None:
        for resumed in self._parsed(event, OnResume):
            number = resumed.previous_attempt
            previous = self.attempts.setdefault(number, AttemptInfo(number=number))
            if previous.status is None:
                previous.status = resumed.previous_status

    def _epoch(self, event: Event) -> None:
        for epoch in self._parsed(event, OnEpochEnd):
            losses = [loss for loss in (epoch.train_loss, epoch.val_loss) if loss is not None]
            self.nonfinite_counts.update(count_nonfinite([*losses, *epoch.metrics.values()]))
            self.last_epoch = epoch
            if epoch.val_loss is None:
                continue
            self.last_val_loss = {"value": epoch.val_loss, "epoch": epoch.epoch}
            if is_finite(epoch.val_loss) and epoch.val_loss < self._best_val_loss:
                self._best_val_loss, self.best_epoch = epoch.val_loss, epoch

    def _validation(self, event: Event) -> None:
        kind: type[OnExample | OnValidationEnd] = OnExample if event.moment == "on_example" else OnValidationEnd
        for found in self._parsed(event, kind):
            loss = (
                found.val_loss
                if isinstance(found, OnExample)
                else found.metrics.get("val_loss", found.metrics.get("loss"))
            )
            if loss is not None:
                self.last_val_loss = {"value": loss, "step": found.step}

    def _train_end(self, event: Event) -> None:
        """Other loops may name neither a status nor a time."""
        attempt = self._attempt(event)
        attempt.ended_t, attempt.status = event.t, str(event.payload.get("status", "finished"))
        if "total_time_s" not in event.payload:
            return
        complete = msgspec.structs.replace(event, payload={"status": "finished", **event.payload})
        for end in self._parsed(complete, OnTrainEnd):
            self.end = end
            attempt.reason, attempt.total_time_s = end.reason, end.total_time_s
            self.summary |= end.summary

    def _custom(self, event: Event) -> None:
        payload = event.payload
        match payload.get("kind"):
            case "summary" if payload.get("removed"):
                self.summary.pop(str(payload.get("key")), None)
            case "summary":
                self.summary[str(payload.get("key"))] = payload.get("value")
            case "alert":
                self.alerts.append({"t": event.t, **payload})
            case _:
                pass  # notes, media and what other programs record do not come into the digest
