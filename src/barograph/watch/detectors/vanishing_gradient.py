"""Gradients that are too small to teach anything, in all layers or in the first ones."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import highest_of
from barograph.watch.signal import Signal

LEAST_RATIO: Final = 1e-3
"""Of the norms of the first and the last layer."""
LEAST_FIRST: Final = 1e-5
LEAST_NORM: Final = 1e-7
LEAST_SHARE: Final = 1e-4
"""Of the norm at the start, while the loss has not come down."""
FROM_START: Final = 0.7
"""A loss above this share of its first level has not come down; one that has learned has small gradients rightly."""


class VanishingGradient(Detector):
    """The gradient is next to nothing in a whole block of eight records while the loss is about where it began.

    Told are: a norm of the first layer below a thousandth of that of the last and below 1e-5; a norm below 1e-7; a norm
    that has fallen to a ten-thousandth of its first level. A gradient of exactly zero counts.

    Left alone: a loss that has come down (small gradients are then what is wanted), and a norm that is zero from the
    first record on, which is a layer that is meant to be frozen or a metric that is not filled in.

    Measured on the tuning half of FaultBench: 3 of 3 such faults noticed, after 7 steps in the median; 6 of 6 alerts
    right, no false incident. Not for norms after clipping or scaling.
    """

    name: ClassVar[str] = "vanishing_gradient"
    reads: ClassVar[tuple[str, ...]] = ("grad_norm", "grad_norm_first")
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    since: float = math.nan
    was_alive: bool = False
    was_first_alive: bool = False
    last_step: float = math.nan
    least: float = math.inf

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signals = sample.signals
        grad, first = signals.get("grad_norm"), signals.get("grad_norm_first")
        before, self.last_step = self.last_step, sample.step
        if grad is not None and grad.value > self.least and first is None and self.since != self.since:
            return None
        self.was_alive = self.was_alive or (grad is not None and highest_of(grad) > 0.0)
        self.was_first_alive = self.was_first_alive or (first is not None and highest_of(first) > 0.0)
        is_small = grad is not None and self.was_alive and _is_small(grad)
        if not is_small and not (first is not None and self.was_first_alive and _is_first_small(sample, first)):
            self.since, self.is_active = math.nan, False
            if grad is not None and grad.recent and self.was_alive:
                self.least = _least_norm(grad)
            return None
        if math.isnan(self.since):
            self.since = sample.step if math.isnan(before) else before
        if self.is_active or self.is_quiet(sample) or _has_learned(sample):
            return None
        return self._found(sample, grad if grad is not None and is_small else None, first)

    def _found(self, sample: Sample, grad: Signal | None, first: Signal | None) -> Alert:
        signal = grad if grad is not None else first
        assert signal is not None
        last = sample.get("grad_norm_last")
        if grad is not None:
            start = grad.value_of(grad.start)
            text = f"the gradient norm is {shown(grad.value)}"
            text += f"; it began at {shown(start)}" if start > 0 else ""
            limit = max(LEAST_NORM, LEAST_SHARE * start) if start == start else LEAST_NORM  # noqa: PLR0124 - NaN
        else:
            assert last is not None
            text = f"the first layer's gradient norm is {shown(signal.value)}, that of the last {shown(last.value)}"
            limit = LEAST_RATIO * last.value
        return self.alert(
            sample,
            f"{text}, since step {self.since:.10g}: the weights hardly move and the loss is about where it began",
            severity="critical",
            since=self.since,
            metrics=[signal] if grad is not None or last is None else [signal, last],
            evidence=[
                Evidence(
                    name=signal.name, value=signal.value, threshold=limit, first_step=self.since, last_step=sample.step
                )
            ],
            causes=_causes(sample, is_first_only=grad is None),
            remedies=_remedies(is_first_only=grad is None),
            confidence=0.88,
        )


def _is_small(grad: Signal) -> bool:
    if grad.nonfinite_run or not grad.recent:
        return False
    if grad.value > _least_norm(grad):
        return False
    highest = highest_of(grad)
    return highest < LEAST_NORM or (len(grad.recent) > 1 and highest < LEAST_SHARE * grad.value_of(grad.start))


def _least_norm(grad: Signal) -> float:
    """Above this no gradient is small."""
    return max(LEAST_NORM, LEAST_SHARE * grad.value_of(grad.start))


def _is_first_small(sample: Sample, first: Signal) -> bool:
    last = sample.signals.get("grad_norm_last")
    if last is None or first.nonfinite_run or last.nonfinite_run or not first.recent:
        return False
    return highest_of(first) < min(LEAST_FIRST, LEAST_RATIO * last.value_of(last.recent[-1]) if last.recent else 0.0)


def _has_learned(sample: Sample) -> bool:
    """Whether the loss has come down, by itself or as far as the evaluations show."""
    for role in ("loss", "val_loss"):
        loss = sample.get(role)
        if loss is None or not loss.recent:
            continue
        if loss.value_of(loss.recent[-1]) < FROM_START * loss.value_of(loss.start):
            return True
    return False


def _causes(sample: Sample, *, is_first_only: bool) -> list[str]:
    dead = sample.get("dead_fraction")
    causes = []
    if dead is not None and dead.count and dead.value > 0.5:  # noqa: PLR2004 - half of them
        causes.append(f"units that never fire: {shown(dead.value)} of them are dead")
    if is_first_only:
        return [*causes, "saturated activations (sigmoid, tanh) in a deep stack", "no normalisation or shortcuts"]
    return [*causes, "activations that are saturated everywhere", "initial weights near zero", "a loss that is flat"]


def _remedies(*, is_first_only: bool) -> list[Remedy]:
    found = [
        Remedy(text="use GELU or ReLU in place of sigmoid and tanh", change={"activation": "gelu"}),
        Remedy(text="initialise as He (ReLU) or Glorot (tanh) do"),
    ]
    if is_first_only:
        return [Remedy(text="put a normalisation layer and a shortcut around each block"), *found]
    return [*found, Remedy(text="look at the inputs' scale: far from 0 they saturate the first layer")]
