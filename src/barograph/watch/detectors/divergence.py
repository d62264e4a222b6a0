"""A training loss that rises from its best level and stays up."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.advice import clip, go_back, lower_lr
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import (
    grew,
    hovers,
    is_abrupt,
    is_disturbed,
    is_reweighted,
    lr_jump,
    median_of,
    noise_of,
    steps_grew,
    stride,
)
from barograph.watch.signal import BLOCK, EACH_SECOND, MAX_LOG, Signal
from barograph.watch.surprise import STRICTNESS

LEAST_FACTOR: Final = 1.5
FACTOR_AT_WARM_UP: Final = 2.5
FACTOR_OF_GAMES: Final = 8.0
NOISES: Final = 1.5
WANDERS: Final = 4.0
LOST_SHARE: Final = 0.25
"""At least so much of what had been gained has to be lost, on the loss's scale."""
LEAST_SHARE: Final = 0.03
"""And so much of the loss that the run began with."""
HOLD: Final = 12
DUE: Final = 0
"""Of the next look: it is due."""
ABRUPT_HOLD: Final = 24
"""A rise from one record to the next is first of all other data; it is a divergence when it stays as long as this."""
FIRST_RECORDS: Final = 48
RESTART_RECORDS: Final = 40
EXPLAINING: Final = 8
"""Since so many records at least there has to be what explains a gradient norm that was told."""
NEAR_FACTOR: Final = 1.2
"""Noise is that of healthy records: those not further from the best level."""
BACK_SHARE: Final = 0.2
"""A loss that came down by this share of its rise within the newest records is on its way back."""
SPIKE_SHARE: Final = 0.4
SPIKE_RECORDS: Final = 22
NOW_RECORDS: Final = 6
"""So long a loss that is below this share of its rise, by its highest but one, may be a spike."""
LOST_FOR_GOOD: Final = 0.5
"""It is none where so much of all that the run had gained is lost: the loss of guessing is below many a spike."""
LEVEL_BLOCKS: Final = 3
MAX_ONSET: Final = 24
NUM_BLOCKS: Final = 24
NOISE_BLOCKS: Final = 8
"""In a long run the noise is found anew at every so many blocks."""


class Divergence(Detector):
    """Two of three losses are above a limit over the best level of the run, twelve records long.

    The limit is a factor of 1.5, or more where the loss is noisy, wanders, or has come down far. Left alone: the first
    records, those after a resume or a planned restart. A rise from one record to the next at an unchanged learning rate
    is left to ``data_shift`` unless it stays. Losses of games and policies have to grow by a factor of eight.

    Measured on the tuning half of FaultBench: 8 of 9 such faults noticed, after 41.5 steps in the median; 35 of 35
    alerts right, no false incident. Not for objectives without a floor, whose level means nothing.

    Attributes:
        best: the lowest level of three blocks, on the loss's scale.
        best_step: when.
        noise: what it has varied by near its best level, times a safe factor.
        limit: what the loss has to stay above, in its own unit.
        next: at how many losses these are found anew: at each second block, in a long run at each fourth.
        score: plus one for a loss above the limit, minus two for one below.
        num: records since the score left zero.
        since: the step at which it did.
        was_log: whether these are logarithms.
        was_abrupt: whether it rose from one record to the next.
    """

    name: ClassVar[str] = "divergence"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    cooldown: ClassVar[int] = 100
    calm_z: ClassVar[float | None] = math.inf
    explains: ClassVar[tuple[str, ...]] = ("exploding_gradient",)

    best: float = math.inf
    best_step: float = 0.0
    noise: float = 0.0
    limit: float = math.inf
    next: int = 2 * BLOCK
    score: int = 0
    num: int = 0
    since: float = math.nan
    was_log: bool = True
    was_abrupt: bool = False

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if loss.value <= self.limit:
            if self.score > 0:
                self.score = max(self.score - 2, 0)
                self.num += 1
                if not self.score and loss.count >= self.next:
                    self.next = DUE
            elif loss.count >= self.next:
                self._look(sample, loss)
            if self.is_active and not self.score:
                self.is_active = False
            return None
        if loss.nonfinite_run:
            return None
        if not self.score:
            self.num, self.since = 0, sample.step
        self.num += 1
        self.score = min(self.score + 1, 2 * HOLD)
        if self.score < HOLD or self.is_active or self.is_quiet(sample):
            return None
        if self.score == HOLD and self.num <= MAX_ONSET:
            abrupt = is_abrupt(loss, self.num) or is_abrupt(loss, self.num + 1)
            self.was_abrupt = abrupt and not steps_grew(sample, before=self.since)
        return self._judge(sample, loss)

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return not (self.score or self.is_active or self.next == DUE)

    def calm_below(self, role: str) -> float:  # noqa: ARG002 - it reads one role
        """See ``barograph.watch.monitor.Bounded``."""
        return self.limit

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``: most of the newest losses are above the limit, and were before the norm was told."""
        loss = sample.get("loss")
        if loss is None or loss.nonfinite_run or self.is_active or hovers(sample):
            return None
        newest = loss.newest(HOLD)
        if not newest or loss.value_of(median_of(newest)) <= self.limit:
            return None
        num = round((sample.step - alert.since_step) / stride(loss))
        if num < EXPLAINING or (num <= MAX_ONSET and is_abrupt(loss, num)):
            return None
        if not self.score:
            self.since, self.num = alert.since_step, num
        self.was_abrupt = False
        return self._judge(sample, loss)

    def _change_scale(self, loss: Signal) -> None:
        """The loss is no logarithm any more: what was learnt is taken to its own unit."""
        self.was_log = loss.is_log
        if not loss.is_log and self.best < math.inf:
            top = math.exp(min(self.best + self.noise, MAX_LOG))
            self.best = math.exp(min(self.best, MAX_LOG))
            self.noise = top - self.best

    def _look(self, sample: Sample, loss: Signal) -> None:
        """Find the best level and the limit anew."""
        size = (2 if loss.count < EACH_SECOND else 4) * BLOCK
        self.next = (loss.count // size + 1) * size
        if loss.is_log != self.was_log:
            self._change_scale(loss)
        level = loss.level(LEVEL_BLOCKS)
        if math.isnan(level):
            return
        if level < self.best:
            self.best, self.best_step = level, loss.recent_steps[-1]
        if not self.noise or (loss.is_turn(NOISE_BLOCKS) and level < self.best + loss.by_factor(NEAR_FACTOR)):
            self.noise = NOISES * loss.noise + WANDERS * noise_of(loss.recent[-NUM_BLOCKS:])
        if loss.count < FIRST_RECORDS:
            return
        factor = FACTOR_AT_WARM_UP if sample.context.schedule.is_warming_up(sample.step) else LEAST_FACTOR
        if hovers(sample):
            factor = FACTOR_OF_GAMES
        gained = max(loss.start - self.best, 0.0)
        rise = max(self.noise, LOST_SHARE * gained)
        if not loss.is_log:
            self.limit = self.best + STRICTNESS * max(2 * rise, (factor - 1) * abs(self.best))
            return
        limit = loss.value_of(self.best + STRICTNESS * max(rise, math.log(factor)))
        self.limit = max(limit, loss.value_of(self.best) + LEAST_SHARE * loss.value_of(loss.start))

    def _is_falling(self, loss: Signal) -> bool:
        """Whether the loss is on its way back, so that it does not stay up."""
        newest = loss.newest(HOLD)
        third = HOLD // 3
        now = median_of(newest[-third:])
        fall = min(median_of(newest[:third]), median_of(newest[third:-third])) - now
        return fall > max(BACK_SHARE * (now - self.best), loss.noise / 2)

    def _may_be_spike(self, loss: Signal) -> bool:
        """Whether most of what it rose by is gone already: ``loss_spike`` says whether it comes back."""
        newest = loss.newest(min(self.num, SPIKE_RECORDS))
        if self.num > SPIKE_RECORDS or len(newest) < EXPLAINING:
            return False
        now = median_of(newest[-NOW_RECORDS:])
        top, now, best, start = (loss.value_of(it) for it in (sorted(newest)[-2], now, self.best, loss.start))
        return now - best < min(SPIKE_SHARE * (top - best), LOST_FOR_GOOD * (start - best))

    def _judge(self, sample: Sample, loss: Signal) -> Alert | None:
        if loss.is_log != self.was_log:
            self._change_scale(loss)
        jumped = lr_jump(sample, loss, since=self.since)
        if is_disturbed(sample, loss, records=RESTART_RECORDS):
            return None
        if self.was_abrupt and self.num < ABRUPT_HOLD and not jumped:
            return None
        if self._is_falling(loss) or self._may_be_spike(loss) or is_reweighted(sample):
            return None
        level = median_of(loss.newest(HOLD))
        best = loss.value_of(self.best)
        now = loss.value_of(level)
        return self.alert(
            sample,
            f"the loss rose from {shown(best)}, its best level (step {shown(self.best_step)}), to {shown(now)} and has "
            f"stayed there since step {shown(self.since)}",
            severity="critical",
            since=self.since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"median of {HOLD} values of {loss.name}",
                    value=now,
                    threshold=self.limit,
                    first_step=self.since,
                    last_step=sample.step,
                )
            ],
            causes=_causes(sample, jumped),
            remedies=_remedies(sample, self.since, self.best_step),
            confidence=0.5 if hovers(sample) else 0.95,
        )


def _causes(sample: Sample, jumped: str) -> list[str]:
    causes = [jumped] if jumped else []
    if grew(sample):
        causes.append("steps that are too large: the gradient grew with the loss")
    else:
        causes.append("a learning rate that is too high for where the run is")
    return [*causes, "data, labels or code that changed there"]


def _remedies(sample: Sample, since: float, best_step: float) -> list[Remedy]:
    back = go_back(sample, since, why="with the lower learning rate")
    if not back:
        text = f"go back to weights from before step {shown(since)}; the best level was at step {shown(best_step)}"
        back = [Remedy(text=text)]
    return [*back, *lower_lr(sample, 0.3), *clip(sample)]
