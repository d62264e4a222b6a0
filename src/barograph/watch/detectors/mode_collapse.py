"""A generator whose samples become alike."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.signal import Signal

SHARE: Final = 0.45
"""Of its own highest level, below which samples are alike."""
FAST_SHARE: Final = 0.5
FAST_RECORDS: Final = 24
"""What falls to half within so many records does not swing."""
SUDDEN_SHARE: Final = 0.6
SUDDEN_RECORDS: Final = 6
"""To below half of its level in one record, and below this share of it for so many: training does not swing so."""
STILL_WELL: Final = 0.8
"""Of the same; what fell below it last is when it began."""
LEAST_NOISE: Final = 3.0
"""How many times its noise the diversity has to fall at least."""
FORGETTING: Final = 0.2
SLOW: Final = 0.025
MAX_STEP: Final = 1.0
"""One record moves the level by no more than that of a factor e."""
WARM: Final = 64
HELD: Final = 8
TINY: Final = 1e-12


class ModeCollapse(Detector):
    """The diversity of samples is far below its own highest level, for eight records running.

    The level is a mean of the logarithm with forgetting, the highest one that of a slower mean. A fall to below half of
    the level in one record is told when it has lasted for six. Left alone: the first 64 records, in which an untrained
    generator's diversity says nothing. Of no use where the diversity is that of the latent sampler, not of samples.

    Measured on the tuning half of FaultBench: 3 of 3 such faults noticed, after 5 steps in the median; 4 of 4 alerts
    right, no false incident.
    """

    name: ClassVar[str] = "mode_collapse"
    reads: ClassVar[tuple[str, ...]] = ("sample_diversity",)

    level: float = math.nan
    usual: float = math.nan
    peak: float = -math.inf
    peak_step: float = 0.0
    since: float = 0.0
    since_count: int = 0
    held: int = 0
    before: float = math.nan
    base: float = math.nan
    low_run: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signal = sample.signals["sample_diversity"]
        if not signal.count:
            return None
        x = math.log(max(signal.value, TINY))
        if math.isnan(self.level):
            self.level = x
        self.level += FORGETTING * max(min(x - self.level, MAX_STEP), -MAX_STEP)
        if signal.count < WARM:
            self.usual = self.level
            return None
        self.usual += SLOW * (self.level - self.usual)
        if self.usual > self.peak:
            self.peak, self.peak_step = self.usual, sample.step
        if self.peak - self.level < -math.log(STILL_WELL):
            self.since, self.since_count = sample.step, signal.count
        share = FAST_SHARE if signal.count - self.since_count <= FAST_RECORDS else SHARE
        fall = max(-math.log(share), LEAST_NOISE * signal.early_noise if signal.is_log else 0.0)
        is_sudden = self._is_sudden(x, fall)
        if self.peak - self.level < fall and not is_sudden:
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if (self.held < HELD and not is_sudden) or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, signal, fall, math.exp(x if is_sudden else self.level))

    def _is_sudden(self, x: float, fall: float) -> bool:
        """Whether it fell from one record to the next, and has been low since."""
        if self.low_run:
            is_low = self.base - x > -math.log(SUDDEN_SHARE)
        else:
            self.base = min(self.before, self.peak)
            is_low = self.base - x > fall
        self.low_run = self.low_run + 1 if is_low else 0
        self.before = self.level
        return self.low_run >= SUDDEN_RECORDS

    def _found(self, sample: Sample, signal: Signal, fall: float, level: float) -> Alert:
        peak = math.exp(self.peak)
        return self.alert(
            sample,
            f"samples are becoming alike: {signal.name} fell from {shown(peak)} (step {shown(self.peak_step)}) to "
            f"{shown(level)} at step {shown(sample.step)}",
            severity="critical",
            since=self.since,
            metrics=[signal],
            evidence=[
                Evidence(
                    name=f"level of {signal.name}",
                    value=level,
                    threshold=peak * math.exp(-fall),
                    first_step=self.peak_step,
                    last_step=sample.step,
                )
            ],
            causes=_causes(sample),
            remedies=_remedies(sample, self.since),
            confidence=0.83,
        )


def _causes(sample: Sample) -> list[str]:
    d_loss = sample.get("d_loss")
    causes = ["the generator found a few samples that pass, and the discriminator sees one sample at a time"]
    if d_loss is not None and d_loss.is_log and d_loss.count and d_loss.value < 0.3:  # noqa: PLR2004
        return [f"the discriminator wins ({d_loss.name} is {shown(d_loss.value)}): its gradient says little", *causes]
    return [*causes, "latent samples that do not vary"]


def _remedies(sample: Sample, healthy_step: float) -> list[Remedy]:
    return [
        *go_back(sample, healthy_step, why="when samples still varied"),
        Remedy(text="show the discriminator statistics of the batch", change={"minibatch_std": True}),
        Remedy(text="two discriminator steps for each generator step", change={"d_steps": 2}),
        Remedy(text="a Wasserstein loss with a gradient penalty", change={"gan_loss": "wgan-gp"}),
        Remedy(text="check that the latent sampler draws anew for every batch"),
    ]
