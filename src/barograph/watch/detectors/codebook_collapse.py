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
LATE_NEVER: Final = 0.15
"""The same of small codebooks once the run is on its way: a smaller share was never taken into use."""
LATE: Final = 0.3
"""Of the planned run."""
LATE_RECORDS: Final = 256
"""Where nobody said how long it is."""
ALONE: Final = 1.3
"""A perplexity below it is that of one code, whatever the size of the codebook."""
LEAST_NOISE: Final = 5.0
FORGETTING: Final = 0.2
SLOW: Final = 0.025
STILL_WELL: Final = math.log(0.8)
"""Of a slower mean; what fell below it last is when it began."""
MAX_STEP: Final = 1.0
RISING: Final = 0.1
"""So much above a slower mean, as a logarithm, it is on its way up."""
START_RECORDS: Final = 64
"""Before so many nothing is told, and up to ``YOUNG_RECORDS`` only that one code is left."""
YOUNG_RECORDS: Final = 96
"""An encoder that has just begun to learn moves faster than its codes: most of them are lost to it, and come back."""
HELD: Final = 6
FEW: Final = 8.0
"""Codes in use below which it is looked at where nobody said how many there are; the most that are few when late."""
TINY: Final = 1e-12


class CodebookCollapse(Detector):
    """The codebook's perplexity, or the share of it that is used, is far below its highest level or never rose.

    The size is ``codebook_size`` of the configuration. That it never rose is told after 64 records of one code, after
    96 of hardly any, and after three tenths of the run of few. Left alone: the first 96 records otherwise, in which
    healthy codebooks lose most of their codes and get them back, a use that is rising, and one above three tenths of
    the codebook.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 68 steps in the median; 6 of 6 alerts
    right, no false incident. Not for codebooks that are meant to be used in part.
    """

    name: ClassVar[str] = "codebook_collapse"
    reads: ClassVar[tuple[str, ...]] = ("codebook_perplexity", "codebook_usage")

    level: float = math.nan
    before: float = math.nan
    peak: float = -math.inf
    peak_step: float = 0.0
    size: float = 0.0
    most: float = math.nan
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
            self.most = math.log(LOW * self.size if self.size else FEW)
        self.level += FORGETTING * max(min(x - self.level, MAX_STEP), -MAX_STEP)
        self.before += SLOW * (self.level - self.before)
        if signal.count < START_RECORDS:
            return None
        if self.level > self.peak and signal.count >= YOUNG_RECORDS:
            self.peak, self.peak_step = self.level, sample.step
        if self.level > self.before + STILL_WELL:
            self.since = sample.step
        limit = self._limit(sample, signal) if self.level < self.most else -math.inf
        if self.level > limit:
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held < HELD or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, signal, limit)

    def _limit(self, sample: Sample, signal: Signal) -> float:
        """Below which level, as a logarithm, it is a collapse now."""
        fall = max(-math.log(SHARE), LEAST_NOISE * signal.early_noise if signal.is_log else 0.0)
        lost = min(self.peak - fall, self.most)
        if self.level > self.before + RISING:
            return lost
        never = NEVER * self.size if signal.count >= YOUNG_RECORDS else 0.0
        if self.size > 1.0 and _is_late(sample, signal):
            never = max(never, min(LATE_NEVER * self.size, FEW))
        if signal.role == "codebook_perplexity":
            never = max(never, ALONE)
        return max(lost, math.log(never)) if never else lost

    def _found(self, sample: Sample, signal: Signal, limit: float) -> Alert:
        level, peak = math.exp(self.level), math.exp(self.peak)
        fell = (
            f", after {shown(peak)} at step {shown(self.peak_step)}"
            if self.peak - self.level > -math.log(SHARE)
            else ""
        )
        highest = [Evidence(name="its highest level", value=peak, last_step=self.peak_step)] if peak else []
        return self.alert(
            sample,
            f"few codes of the codebook are used: {signal.name} is {shown(level)} at step {shown(sample.step)}{fell}",
            severity="critical",
            since=signal.first_step if self.peak < limit + RISING else self.since,
            metrics=[signal],
            evidence=[
                Evidence(name=f"level of {signal.name}", value=level, threshold=math.exp(limit), last_step=sample.step),
                *highest,
            ],
            causes=[
                "codes that no input is near are never moved, and more inputs go to the few that are",
                "a first codebook far away from what the encoder gives",
                "a learning rate at which the encoder runs away from its codes",
            ],
            remedies=_remedies(sample.context),
            confidence=0.88,
        )


def _is_late(sample: Sample, signal: Signal) -> bool:
    """Whether codes should have been taken into use by now."""
    progress = sample.context.progress(sample.step)
    return signal.count >= LATE_RECORDS if progress is None else progress >= LATE


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
