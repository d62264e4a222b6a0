"""A quality metric that falls from its best while the losses go on improving."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import Evaluations, hovers, median_of
from barograph.watch.signal import Signal
from barograph.watch.surprise import STRICTNESS

LEAST_SHARE: Final = 0.03
NOISES: Final = 4.0
HOLD: Final = 3
SMOOTH: Final = 3
FEW: Final = 12
"""With fewer values than these there is no smoothing of them."""
LOSS_GAIN: Final = 0.02
LOSS_NOISES: Final = 3.0


class QualityDrop(Detector):
    """The quality is three per cent below its best for three evaluations, the loss two per cent lower than then.

    More than three per cent where the metric is noisy. Not for games and policies, whose losses say nothing about it,
    nor where the loss has risen too: that is a divergence, or overfitting.

    Measured on the tuning half of FaultBench: 8 of 8 such faults noticed, after 50 steps in the median; 2 of 4 alerts
    right, no false incident.

    Attributes:
        evaluations: of the quality, each with the loss of its time.
        best: the highest level, on the signal's scale.
        best_step: when.
        best_loss: the loss then.
        held: how many evaluations running it has been too low.
    """

    name: ClassVar[str] = "quality_drop"
    reads: ClassVar[tuple[str, ...]] = ("quality",)

    evaluations: Evaluations = msgspec.field(default_factory=Evaluations)
    best: float = -math.inf
    best_step: float = 0.0
    best_loss: float = math.nan
    held: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        quality, known = sample.signals["quality"], self.evaluations
        loss = sample.get("val_loss") or sample.get("loss")
        known.take(quality, loss)
        if known.num == 1:
            self.best, self.held = -math.inf, 0
        is_few = known.num <= FEW
        level = known.vals[-1] if is_few else median_of(known.vals[-SMOOTH:])
        at_loss = known.trains[-1] if is_few else median_of(known.trains[-SMOOTH:])
        if level >= self.best:
            self.best, self.best_step, self.best_loss = level, quality.step, at_loss
            self.held, self.is_active = 0, False
            return None
        least = STRICTNESS * max(NOISES * known.noise(), LEAST_SHARE * abs(self.best))
        gain = max(LOSS_GAIN, LOSS_NOISES * known.train_noise())
        if level > self.best - least or not at_loss < self.best_loss - gain:
            self.held = 0
            self.is_active = self.is_active and level < self.best - least / 2
            return None
        self.held += 1
        if self.held != HOLD or self.is_active or self.is_quiet(sample) or hovers(sample) or loss is None:
            return None
        return self._found(sample, quality, loss, level=level, least=least, at_loss=at_loss)

    def _found(
        self, sample: Sample, quality: Signal, loss: Signal, *, level: float, least: float, at_loss: float
    ) -> Alert:
        was, now = shown(loss.value_of(self.best_loss)), shown(loss.value_of(at_loss))
        near = sample.context.checkpoint_before(self.best_step + 0.5)
        take = "" if near is None else f"; the newest checkpoint up to it is {near[1]} (step {shown(near[0])})"
        return self.alert(
            sample,
            f"{quality.name} fell from {shown(self.best)} at step {shown(self.best_step)}, its best, to {shown(level)} "
            f"while {loss.name} went from {was} to {now}",
            severity="warning",
            since=self.best_step,
            metrics=[quality, loss],
            evidence=[
                Evidence(
                    name=quality.name,
                    value=level,
                    threshold=self.best - least,
                    first_step=self.best_step,
                    last_step=quality.step,
                )
            ],
            causes=["the loss is no longer what the quality needs", "overfitting that the loss does not show"],
            remedies=[
                Remedy(text=f"take the weights of step {shown(self.best_step)}{take}"),
                Remedy(text=f"stop early on {quality.name}, not on {loss.name}", change={"monitor": quality.name}),
            ],
            confidence=0.5,
        )
