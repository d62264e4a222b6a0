"""Validation data that the model has seen: results that are too good for what the training shows."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import Evaluations, hovers, is_disturbed, median_of, noise_of, stride
from barograph.watch.signal import Signal
from barograph.watch.surprise import STRICTNESS

LEAST_GAP: Final = 0.25
"""How much of the gap between the losses' logarithms has to go at least."""
USUAL_GAP: Final = 0.1
"""How large it has to have been."""
MOST_LEFT: Final = math.log(2.0)
"""What is evaluated on training examples is not twice their loss."""
VAL_FALL: Final = 0.17
"""By how much the logarithm of the validation loss has to fall with it."""
TRAIN_FALL: Final = 0.1
TRAIN_SHARE: Final = 0.4
NOISES: Final = 5.0
BEFORE: Final = 6
NEWEST: Final = 3
FACTOR: Final = 3.0
HOLD: Final = 3
LR_RECORDS: Final = 6
MADE_HARDER: Final = ("drop", "augment", "mixup", "cutmix", "smooth", "noise", "mask")


class Leakage(Detector):
    """The gap between validation and training loss closes at once, with the training loss no better; or is reversed.

    It closes when validation examples get into training, or training examples into the validation. Reversed: the
    validation loss is a third of the training loss or less at three evaluations running, and nothing in the
    configuration makes training harder than validation. A leak from the first step on that does neither looks like
    good data and is not found.

    Measured on the tuning half of FaultBench: 1 of 2 such faults noticed, after 20 steps in the median; 1 of 1 alerts
    right, no false incident. Not for evaluations on ever new samples.

    Attributes:
        evaluations: the newest.
        held: at how many evaluations running the gap has been reversed.
    """

    name: ClassVar[str] = "leakage"
    reads: ClassVar[tuple[str, ...]] = ("val_loss",)
    cooldown: ClassVar[int] = 400

    evaluations: Evaluations = msgspec.field(default_factory=Evaluations)
    held: int = 0
    told_num: int = -1000

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        val, loss, known = sample.signals["val_loss"], sample.get("loss"), self.evaluations
        known.take(val, loss)
        self.is_active = self.is_active and known.num - self.told_num < NEWEST
        if loss is None or not val.is_log or not loss.is_log or hovers(sample):
            return None
        gap = known.vals[-1] - known.trains[-1]
        is_far_below = gap < -math.log(FACTOR) * STRICTNESS
        is_learning = is_far_below and known.trains[-1] < min(known.trains) + math.log(FACTOR) / 2
        self.held = self.held + 1 if is_learning else 0
        if self.is_quiet(sample) or known.num - self.told_num < 2 * BEFORE:
            return None
        if self.held == HOLD and not _is_harder(sample.context):
            return self._reversed(sample, val, loss)
        return self._closed(sample, val, loss)

    def _reversed(self, sample: Sample, val: Signal, loss: Signal) -> Alert:
        known = self.evaluations
        train, now = shown(loss.value_of(known.trains[-1])), shown(val.value)
        return self._alert(
            sample,
            f"the validation loss is {now} with a training loss of {train}, and was as far below it at the {HOLD} "
            "newest evaluations: it is too good",
            since=known.steps[-HOLD],
            evidence=[
                Evidence(
                    name="validation loss over training loss",
                    value=math.exp(known.vals[-1] - known.trains[-1]),
                    threshold=1 / FACTOR,
                    first_step=known.steps[-HOLD],
                    last_step=val.step,
                )
            ],
            causes=["the answer is among the features of the validation data", "validation examples are trained on"],
            confidence=0.5,
        )

    def _closed(self, sample: Sample, val: Signal, loss: Signal) -> Alert | None:
        if self.evaluations.num < BEFORE or is_disturbed(sample, loss, records=40):
            return None
        for num_after in (2, 3):
            found = self._closing(num_after)
            if found is not None and not self._is_scheduled(sample, loss, num_after):
                return self._told(sample, val, num_after, before=found[0], after=found[1])
        return None

    def _closing(self, num_after: int) -> tuple[float, float] | None:
        """The gap before and after, when it closed that many evaluations ago; None when it did not."""
        known = self.evaluations
        val_fall = min(known.vals[-3 - num_after : -num_after]) - max(known.vals[-2:])
        if val_fall < STRICTNESS * VAL_FALL:
            return None
        vals, trains = known.vals[-BEFORE - num_after :], known.trains[-BEFORE - num_after :]
        gaps = [v - t for v, t in zip(vals, trains, strict=True)][-3 - num_after :]
        before, after = median_of(gaps[:3]), max(gaps[3:])
        train_fall = trains[-num_after - 1] - median_of(trains[-2:])
        if val_fall < STRICTNESS * max(VAL_FALL, NOISES * noise_of(vals[:-num_after])) or before < USUAL_GAP:
            return None
        if train_fall > max(TRAIN_FALL, TRAIN_SHARE * val_fall):
            return None
        is_closed = after < MOST_LEFT and before - after >= STRICTNESS * max(LEAST_GAP, 0.5 * val_fall)
        return (before, after) if is_closed else None

    def _is_scheduled(self, sample: Sample, loss: Signal, num_after: int) -> bool:
        """Whether the learning rate jumped about then, as the losses may fall at different times after that."""
        span = self.evaluations.steps[-1] - self.evaluations.steps[-2 - num_after]
        return sample.step - sample.context.schedule.jump_step < span + LR_RECORDS * stride(loss)

    def _told(self, sample: Sample, val: Signal, num_after: int, *, before: float, after: float) -> Alert:
        known = self.evaluations
        since = known.steps[-num_after]
        was, now = shown(math.exp(known.vals[-num_after - 1])), shown(val.value)
        return self._alert(
            sample,
            f"the validation loss fell from {was} to {now} at step {shown(since)} while the training loss did not: it "
            f"was {math.exp(before):.3g} times the training loss and is {math.exp(after):.3g} times",
            since=since,
            evidence=[
                Evidence(
                    name="validation loss over training loss",
                    value=math.exp(after),
                    threshold=math.exp(before - LEAST_GAP),
                    first_step=since,
                    last_step=val.step,
                )
            ],
            causes=["the evaluation uses training examples", "validation examples came into the training data"],
            confidence=0.67,
        )

    def _alert(
        self,
        sample: Sample,
        text: str,
        *,
        since: float,
        evidence: list[Evidence],
        causes: list[str],
        confidence: float,
    ) -> Alert:
        self.told_num = self.evaluations.num
        found = [it for it in (sample.get("val_loss"), sample.get("loss")) if it is not None]
        return self.alert(
            sample,
            text,
            severity="warning",
            since=since,
            metrics=found,
            evidence=evidence,
            causes=causes,
            remedies=[
                Remedy(text="look for examples that are in both sets: hash them, then split by group, not by row"),
                Remedy(text="check which loader the evaluation uses, and that no feature holds the target"),
                *go_back(sample, since, why="before the validation data were seen"),
            ],
            confidence=confidence,
        )


def _is_harder(context: Context) -> bool:
    """Whether training is made harder than validation, or may be: without a configuration nobody knows."""
    if not context.config:
        return True
    return any(value and any(word in key.lower() for word in MADE_HARDER) for key, value in context.config.items())
