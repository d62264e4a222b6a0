"""Where a run stands, gathered from its facts: steps, epochs, last metrics, last tier, time left.

Memory is bounded by the number of metric names. It knows no stream and no terminal, and it reads no clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from barograph.facts.kinds import Event, OnEpochEnd, OnExample, OnPhaseEnd, OnStart, OnTrainEnd, Payload
from barograph.facts.rows import HOST_SPLIT
from barograph.read.follow import Fact, Record, Rows
from barograph.watch.eta import Eta, EtaRange

MAX_MARKS_PER_FEED: Final = 64
SHOWN_METRICS: Final = 4
NOT_METRICS: Final = frozenset({"step", "t", "epoch"})


class RunState:
    """The state of the latest attempt of a run, on its lowest rank.

    Samples of the machine (split ``host``) are no progress of the run and none of its metrics.

    Attributes:
        name: the run's name, empty while unknown.
        total_steps: the planned last step, when known.
        total_epochs: the planned number of epochs, when known.
        log_steps: a fast log every so many steps, when known.
        eval_steps: a full evaluation every so many steps, when known.
        step: the latest step, None before the first.
        num_epochs: how many epochs ended.
        metrics: the latest value of each metric; those of other splits than ``train`` are named ``split/name``.
        last_tier: tier and step of the latest example.
        eta: the estimate of the time left.
        ended: whether the attempt is over.
    """

    def __init__(self) -> None:
        self.name = ""
        self.total_steps: int | None = None
        self.total_epochs: int | None = None
        self.log_steps: int | None = None
        self.eval_steps: int | None = None
        self.step: float | None = None
        self.metrics: dict[str, Any] = {}
        self.last_tier: tuple[str, int] | None = None
        self.eta = Eta()
        self.num_epochs = 0
        self.ended = False
        self._attempt = 0
        self._rank: int | None = None
        self._split: str | None = None

    def feed(self, facts: Sequence[Fact]) -> None:
        """Take in new facts, in any order between events and metrics."""
        marks: list[tuple[float, float]] = []
        for fact in facts:
            if isinstance(fact, Rows):
                marks += self._rows(fact)
            elif isinstance(fact, Record):
                marks += self._record(fact)
        marks.sort()
        every = max(1, len(marks) // MAX_MARKS_PER_FEED)
        for t, step in [*islice(marks, 0, None, every), *marks[-1:]]:
            self.eta.step(step, t=t)
        if marks:
            self.step = marks[-1][1]

    def _rows(self, fact: Rows) -> list[tuple[float, float]]:
        header = fact.header
        if not fact.rows or header.split == HOST_SPLIT or not self._is_shown(header.attempt, header.rank):
            return []
        self._take_metrics(dict(zip(header.columns, fact.rows[-1], strict=True)), header.split)
        if not self._leads(header.split):
            return []
        every = max(1, len(fact.rows) // MAX_MARKS_PER_FEED)
        return [(row[-1], row[0]) for row in (*fact.rows[::every], fact.rows[-1])]

    def _record(self, fact: Record) -> list[tuple[float, float]]:
        if fact.split == HOST_SPLIT or not self._is_shown(fact.attempt, fact.rank):
            return []
        self._take_metrics(fact.metrics, fact.split)
        return [(fact.t, fact.step)] if self._leads(fact.split) else []

    def _is_shown(self, attempt: int, rank: int) -> bool:
        """Whether facts of that attempt and rank belong to what is shown; a newer attempt begins anew."""
        if self._rank is None or rank < self._rank:
            self._rank = rank
        if attempt > self._attempt:
            self._begin(attempt)
        return attempt == self._attempt and rank == self._rank

    def _begin(self, attempt: int, t: float | None = None) -> None:
        self._attempt = attempt
        self.ended = False
        self.step = None
        self.eta.restart(t=t)

    def _leads(self, split: str) -> bool:
        """Whether the steps of ``split`` are the run's progress: those of ``train``, else of the first seen."""
        if self._split is None or split == "train":
            self._split = split
        return split == self._split

    def _take_metrics(self, values: Mapping[str, Any], split: str) -> None:
        start = "" if split == "train" else f"{split}/"
        self.metrics.update({start + name: value for name, value in values.items() if name not in NOT_METRICS})

    def take_event(self, event: Event, payload: Payload | None) -> None:
        """Take in one event and its parsed payload, None where it could not be parsed."""
        match payload:
            case OnStart():
                self._start(event, payload)
            case OnEpochEnd() if self._is_shown(payload.attempt, payload.rank):
                self.num_epochs += 1
                self.eta.epoch(payload.epoch, t=event.t)
            case OnPhaseEnd() if "/" not in payload.path and self._is_shown(payload.attempt, payload.rank):
                started_t = payload.started_t or event.t - payload.duration_s
                self.eta.phase(payload.name, started_t=started_t, duration_s=payload.duration_s, step=payload.step)
            case OnExample():
                self.last_tier = (payload.tier, payload.step)
            case OnTrainEnd() if self._is_shown(payload.attempt, payload.rank):
                self.ended = True
            case _:
                pass  # the other moments do not change where the run stands

    def _start(self, event: Event, payload: OnStart) -> None:
        if payload.attempt > self._attempt:
            self._begin(payload.attempt, event.t)
        elif self.step is None:
            self.eta.restart(t=event.t)
        self.name = payload.name
        self.total_steps = payload.total_steps
        self.total_epochs = payload.total_epochs
        self.log_steps = payload.log_steps
        self.eval_steps = payload.eval_steps
        self.eta.total_steps = payload.total_steps
        self.eta.total_epochs = payload.total_epochs
        self.eta.eval_steps = payload.eval_steps

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1; None when no total is known."""
        if self.total_steps:
            return min(1.0, (self.step or 0) / self.total_steps)
        if self.total_epochs:
            return min(1.0, self.num_epochs / self.total_epochs)
        return None

    def remaining(self, now: float) -> EtaRange | None:
        """Time left at unix time ``now``; None when unknown or over."""
        return None if self.ended else self.eta.remaining(now=now)

    def shown_metrics(self) -> dict[str, Any]:
        """The few metrics that a line has room for: losses first, then in the order in which they came."""
        names = sorted(self.metrics, key=lambda name: "loss" not in name)
        return {name: self.metrics[name] for name in names[:SHOWN_METRICS]}

    def next_full(self) -> int | None:
        """The step of the next full evaluation, when one is planned."""
        if not self.eval_steps or self.step is None:
            return None
        step = (math.floor(self.step) // self.eval_steps + 1) * self.eval_steps
        return step if self.total_steps is None or step <= self.total_steps else None
