"""Amazon SageMaker Debugger's rules that scalars allow, with their published defaults, at every record.

Its rules on whole tensors (saturated activations, class imbalance, ...) and on the load of the machine have no
counterpart in what is logged; LossNotDecreasing compares with ten records before, as its default says.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Score, Seen, by_score, geometric

VANISHED: Final = 1e-7
PATIENCE_STEPS: Final = 10
OVERFIT: Final = 0.1
TRAIN_PATIENCE: Final = 5
VAL_PATIENCE: Final = 10
GAIN: Final = 0.1
UNCHANGED_STEPS: Final = 3
RELATIVE: Final = 1e-5
DEAD: Final = 0.5
LARGE_UPDATE: Final = 10.0
SMALL_UPDATE: Final = 1e-8
OUTLIERS: Final = 10
OUTLIER_Z: Final = 3.0
MEMORY_WINDOW: Final = 10
MEMORY_RISE: Final = 0.05
STALLED_S: Final = 1800.0
AT_LEAST_ONE: Final = 1.0 - 1e-9
"""Most of its rules fire at their threshold, not above it."""


class _Rules:
    """Its state."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=PATIENCE_STEPS)
        self.same: dict[str, tuple[float, int]] = {}
        self.memory: deque[float] = deque(maxlen=MEMORY_WINDOW)
        self.memory_mean = math.nan
        self.best = {"loss": math.inf, "val_loss": math.inf}
        self.waited = {"loss": 0, "val_loss": 0}
        self.loss = math.nan
        self.t = math.nan
        self.times = (0, 0.0, 0.0)
        self.num_outliers = 0

    def take(self, it: Seen) -> Iterator[tuple[str, float]]:
        """The rules that have something to say, with how strongly; 1 is their threshold."""
        finite = {role: value for role, value in it.values.items() if value == value}  # noqa: PLR0124
        if len(finite) < len(it.values):
            yield "non_finite", math.inf
        if self.t == self.t:
            yield "stall", (it.t - self.t) / STALLED_S
        self.t = it.t
        if "loss" in finite:
            yield from self._not_decreasing(finite["loss"])
        if "val_loss" in finite and self.loss > 0:
            yield "overfitting", (finite["val_loss"] - self.loss) / self.loss / OVERFIT
        yield from self._overtraining(finite)
        yield from self._tensors(finite)
        yield from self._machine(finite)

    def _not_decreasing(self, loss: float) -> Iterator[tuple[str, float]]:
        self.loss = loss
        if len(self.losses) == PATIENCE_STEPS and self.losses[0] > 0 and loss >= self.losses[0]:
            yield "underfitting", loss / self.losses[0] + 1e-12
        self.losses.append(loss)

    def _overtraining(self, finite: dict[str, float]) -> Iterator[tuple[str, float]]:
        for role in self.best.keys() & finite.keys():
            if finite[role] < self.best[role] - GAIN:
                self.best[role], self.waited[role] = finite[role], 0
            else:
                self.waited[role] += 1
        if "val_loss" in finite:
            yield "plateau", min(self.waited["loss"] / TRAIN_PATIENCE, self.waited["val_loss"] / VAL_PATIENCE)

    def _tensors(self, finite: dict[str, float]) -> Iterator[tuple[str, float]]:
        if "grad_norm" in finite:
            yield "vanishing_gradient", VANISHED / finite["grad_norm"] if finite["grad_norm"] > 0 else math.inf
        if "dead_fraction" in finite:
            yield "dead_units", finite["dead_fraction"] / DEAD
        if "update_ratio" in finite:
            ratio = finite["update_ratio"]
            yield "frozen", SMALL_UPDATE / ratio if ratio > 0 else math.inf
            yield "exploding_gradient", ratio / LARGE_UPDATE
        for role in ("loss", "val_loss", "grad_norm"):
            if role in finite:
                before, count = self.same.get(role, (math.nan, 0))
                count = count + 1 if math.isclose(before, finite[role], rel_tol=RELATIVE, abs_tol=1e-8) else 0
                self.same[role] = finite[role], count
                yield "stale_metric", (count + 1) / UNCHANGED_STEPS if count else 0.0

    def _machine(self, finite: dict[str, float]) -> Iterator[tuple[str, float]]:
        if "step_time" in finite:
            yield from self._outlier(finite["step_time"])
        if "memory" in finite:
            self.memory.append(finite["memory"])
            if len(self.memory) == MEMORY_WINDOW:
                mean = math.fsum(self.memory) / MEMORY_WINDOW
                if self.memory_mean > 0:
                    yield "memory_growth", (mean / self.memory_mean - 1) / MEMORY_RISE
                else:
                    self.memory_mean = mean

    def _outlier(self, value: float) -> Iterator[tuple[str, float]]:
        count, mean, squares = self.times
        if count >= 10 and value > mean + OUTLIER_Z * math.sqrt(squares / count):
            self.num_outliers += 1
            yield "throughput_drop", self.num_outliers / (OUTLIERS + 1)
        gap = value - mean
        mean += gap / (count + 1)
        self.times = count + 1, mean, squares + gap * (value - mean)


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    rules = _Rules()
    for place, it in enumerate(seen):
        for name, strength in rules.take(it):
            yield place, name, strength


BASELINE: Final = Baseline(
    label="SageMaker Debugger's rules",
    rule="LossNotDecreasing, Overfit, Overtraining, VanishingGradient, DeadRelu, WeightUpdateRatio, UnchangedTensor, "
    "ExplodingTensor, StepOutlier, memory increase, StalledTraining",
    levels=geometric(AT_LEAST_ONE),
    published=AT_LEAST_ONE,
    names_types=True,
    alarms=by_score(_scores),
)
