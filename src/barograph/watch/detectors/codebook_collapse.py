"""A codebook of which few entries are used."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.signal import Signal

SHARE: Final = 0.35
"""Of its own highest level, below which the use of the codebook has collapsed."""
LOW: Final = 0.3
"""Of the codebook: with a larger share in use it is no collapse, however it was before."""
NEVER: Final = 0.06
"""Of the codebook: a smaller share in use is a collapse from the start."""
LEAST_NOISE: Final = 5.0
FORGETTING: Final = 0.2
SLOW: Final = 0.025
STILL_WELL: Final = 0.8
"""Of a slower mean; what fell below it last is when it began."""
MAX_STEP: Final = 1.0
RISING: Final = 0.1
"""So much above a slower mean, as a logarithm, it is on its way up."""
WARM: Final = 16
START_RECORDS: Final = 40
HELD: Final = 6
FEW: Final = 8.0
"""Codes in use below which it is looked at where nobody said how many there are."""
TINY: Final = 1e-12


class CodebookCollapse(Detector):
    """The codebook's perplexity, or the share of it that is used, is far below its highest level or never rose.

    The size is ``codebook_size`` of the configuration. Left alone: the first records, a use that is rising, and one
    that is still above three tenths of the codebook.

    Measured on the tuning half of FaultBench: 4 of 4 such faults noticed, after 44 steps in the median; 4 of 4 alerts
    right, no false incident. Not for codebooks that are meant to be used in part.
    """

    name: ClassVar[str] = "codebook_collapse"
    reads: ClassVar[tuple[str, ...]] = ("codebook_perplexity", "codebook_usage")

    level: float = math.nan
    before: float = math.nan
    peak: float = -math.inf
    peak_step: float = 0.0
    size: float = 0.0
    since: float = 0.0
    held: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signal = sample.signals.get("codebook_perplexity")
        if signal is None and sample.get("codebook_perplexity") is None:
            signal = sample.signals["codebook_usage"]
        if signal is None or not signal.count:
            return None
        x = math.log(max(signal.value, TINY))
        if math.isnan(self.level):
            self.level = self.before = x
            self.since = sample.step
            is_share = signal.role == "codebook_usage" and signal.value <= 1.0
            self.size = 1.0 if is_share else _size(sample.context)
        self.level += FORGETTING * max(min(x - self.level, MAX_STEP), -MAX_STEP)
        self.before += SLOW * (self.level - self.before)
        if signal.count < WARM:
            return None
        if self.level > self.peak:
            self.peak, self.peak_step = self.level, sample.step
        if self.level > self.before + math.log(STILL_WELL):
            self.since = sample.step
        most = math.log(LOW * self.size if self.size else FEW)
        limit = self._limit(signal, most) if self.level < most else -math.inf
        if self.level > limit:
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held < HELD or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, signal, limit)

    def _limit(self, signal: Signal, most: float) -> float:
        """Below which level, as a logarithm, it is a collapse now; ``most`` at the most."""
        fall = max(-math.log(SHARE), LEAST_NOISE * signal.early_noise if signal.is_log else 0.0)
        lost = min(self.peak - fall, most)
        if not self.size or signal.count < START_RECORDS or self.level > self.before + RISING:
            return lost
        return max(lost, math.log(NEVER * self.size))

    def _found(self, sample: Sample, signal: Signal, limit: float) -> Alert:
        level, peak = math.exp(self.level), math.exp(self.peak)
        fell = (
            f", after {shown(peak)} at step {shown(self.peak_step)}"
            if self.peak - self.level > -math.log(SHARE)
            else ""
        )
        return self.alert(
            sample,
            f"few codes of the codebook are used: {signal.name} is {shown(level)} at step {shown(sample.step)}{fell}",
            severity="critical",
            since=signal.first_step if self.peak < limit + RISING else self.since,
            metrics=[signal],
            evidence=[
                Evidence(name=f"level of {signal.name}", value=level, threshold=math.exp(limit), last_step=sample.step),
                Evidence(name="its highest level", value=peak, last_step=self.peak_step),
            ],
            causes=[
                "codes that no input is near are never moved, and more inputs go to the few that are",
                "a first codebook far away from what the encoder gives",
                "a learning rate at which the encoder runs away from its codes",
            ],
            remedies=_remedies(sample.context),
            confidence=0.83,
        )


def _size(context: Context) -> float:
    """How many codes there are; 0 when nobody said."""
    size = context.setting("codebook_size", "num_codes", "num_embeddings", "n_codes")
    return size if size is not None and size > 0.0 else 0.0


def _remedies(context: Context) -> list[Remedy]:
    found = [
        Remedy(
            text="set codes that were not used for 100 steps to outputs of the encoder", change={"restart_codes": 100}
        ),
        Remedy(text="start from k-means over the encoder's first outputs", change={"codebook_init": "kmeans"}),
        Remedy(text="move codes by a running mean", change={"codebook_ema": 0.99}),
    ]
    weight = context.setting("commitment", "commitment_cost", "commitment_weight", "beta")
    if weight is not None and weight != 0.25:  # noqa: PLR2004 - the weight of the paper
        found.append(
            Remedy(text=f"commit the encoder by 0.25 instead of {weight:g}", change={"commitment_weight": 0.25})
        )
    return [*found, Remedy(text="codes of fewer dimensions", change={"code_dim": 8})]
