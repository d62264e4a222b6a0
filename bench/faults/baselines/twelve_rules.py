"""The twelve published rules of a public training-diagnosis module, as its code has them, their mistakes included.

An epoch is one evaluation, or 50 records where there are none. Two rules say nothing here: its memory rule needs a
share of the machine's memory, which is not in the records, and nothing in it ever emits a learning-rate issue.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from bench.faults.baselines.base import Baseline, Rolling, Score, Seen, by_score, geometric

Z: Final = 3.0
Z_WINDOW: Final = 100
TURNS: Final = 0.3
FLAT: Final = 0.01
GAP: Final = 1.5
HIGH_NORM: Final = 100.0
LOW_NORM: Final = 1e-6
SLOW: Final = 0.5
RECORDS_PER_EPOCH: Final = 50
NUM_SPEEDS: Final = 9


class _Rules:
    """Its state: what it keeps of the losses, the speeds, and its threshold, which drifts."""

    def __init__(self) -> None:
        self.threshold = Z
        self.losses = Rolling(Z_WINDOW)
        self.speeds: deque[float] = deque(maxlen=NUM_SPEEDS)
        self.loss = math.nan
        self.num_losses = self.num_evaluations = 0

    @property
    def epoch(self) -> int:
        return self.num_evaluations or self.num_losses // RECORDS_PER_EPOCH

    def take(self, values: dict[str, float]) -> Iterator[tuple[str, float]]:
        """The rules that have something to say, with how strongly; 1 is their threshold."""
        for value in values.values():
            if value != value:  # noqa: PLR0124 - NaN
                yield "non_finite", math.inf
        finite = {role: value for role, value in values.items() if value == value}  # noqa: PLR0124
        if "loss" in finite:
            yield from self._loss(finite["loss"])
        if "val_loss" in finite:
            self.num_evaluations += 1
            if self.epoch > 10 and self.loss > 0:
                yield "overfitting", finite["val_loss"] / (GAP * self.loss)
        if "grad_norm" in finite:
            norm = finite["grad_norm"]
            yield "exploding_gradient", norm / HIGH_NORM
            yield "vanishing_gradient", LOW_NORM / norm if norm > 0 else math.inf
        if "throughput" in finite:
            yield from self._speed(finite["throughput"])

    def _loss(self, loss: float) -> Iterator[tuple[str, float]]:
        window = self.losses
        if len(window) >= 10:
            z = window.z(loss)
            yield "loss_spike" if z > 0 else "divergence", abs(z) / self.threshold
        window.add(loss)
        self.loss = loss
        self.num_losses += 1
        recent = list(window.values)
        if len(recent) >= 20:
            yield "oscillation", _turns(recent[-20:]) / TURNS
            if self.epoch > 5:
                rise = _slope(recent[-20:]) * 20 / max(abs(window.mean()), 1e-12)
                yield "underfitting", 1 + rise if rise > 0 else 0.0
            overall, late = window.spread(), _spread(recent[-10:])
            self.threshold *= 0.95 if late < overall else 1.05
        if len(recent) >= 50:
            mean, spread = math.fsum(recent[-50:]) / 50, _spread(recent[-50:])
            yield "plateau", FLAT * abs(mean) / spread if spread > 0 else math.inf

    def _speed(self, speed: float) -> Iterator[tuple[str, float]]:
        if len(self.speeds) == NUM_SPEEDS and speed > 0:
            yield "throughput_drop", SLOW * math.fsum(self.speeds) / NUM_SPEEDS / speed
        self.speeds.append(speed)


def _turns(values: Sequence[float]) -> float:
    """The share of values at which the direction changes."""
    steps = [b - a for a, b in pairwise(values)]
    return sum(a * b < 0 for a, b in pairwise(steps)) / (len(steps) - 1)


def _slope(values: Sequence[float]) -> float:
    middle = (len(values) - 1) / 2
    mean = math.fsum(values) / len(values)
    up = math.fsum((place - middle) * (value - mean) for place, value in enumerate(values))
    return up / math.fsum((place - middle) ** 2 for place in range(len(values)))


def _spread(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    rules = _Rules()
    for place, it in enumerate(seen):
        for name, strength in rules.take(it.values):
            yield place, name, strength


BASELINE: Final = Baseline(
    label="twelve published rules",
    rule="z > 3 of 100 with a drifting threshold, > 30 % turns in 20, variation < 1 % in 50, gap, slope, limits",
    levels=geometric(1.0),
    published=1.0,
    names_types=True,
    alarms=by_score(_scores),
)
