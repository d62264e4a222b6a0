"""Gradients whose size has become much more erratic than it was, as with a batch that is smaller than it should be."""

from __future__ import annotations

import math
from operator import sub
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, halve_lr
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import median_of
from barograph.watch.signal import Signal

NEWEST: Final = 17
"""The noise of now is that of so many records: sixteen differences."""
LEAST_NOISE_FACTOR: Final = 3.0
ABOVE_HIGHEST: Final = 1.3
"""Beyond the noisiest block before."""
LEAST_LEVEL_FACTOR: Final = 3.3
RISING_FACTOR: Final = 1.5
"""A level that rises so much from block to block is on its way: an explosion, not noise."""
LOW_FACTOR: Final = 20.0
"""A quarter of the norms so far below their usual level are those of batches that are known by heart."""
OWN_SHARE: Final = 0.4
"""Of the noise of the norm, that of the norm for its loss: less is a loss that scatters, of batches that differ."""
FALL_FACTOR: Final = 1.05
"""A loss that fell by this factor while the norm rose is a phase of learning, not noise."""
WORSE_FACTOR: Final = 1.5
BEFORE_BLOCKS: Final = 6
LEARNED_SHARE: Final = 0.1
"""Of its first level: below it a gradient is mostly noise, in every training."""
LATE_BLOCKS: Final = 2
"""In a long run it looks at every so many blocks, while nothing is odd: they share no differences."""
HELD_BLOCKS: Final = 2
MIN_BLOCKS: Final = 16
KEPT_BLOCKS: Final = 24
SKIPPED_BLOCKS: Final = 3
"""The newest blocks are not part of what is usual."""
LEAST_NOISE: Final = 0.3
"""A norm that varies by less than this share is steady, whatever it was before."""
_NOISE_OF_STEPS: Final = 1.4826 / math.sqrt(2)


class GradientNoise(Detector):
    """The norm varies three times more than before, or its level is 3.3 times what it was, with no gain in loss.

    Held for two blocks of eight records. What is usual is the median of the 24 blocks before, so a slow change, as near
    the end of a training, is none. Left alone: changes of the learning rate by half or more, a loss that falls,
    and one below a tenth of its first level.
    Not for policy gradients and adversarial training, whose norms wander by nature.

    Measured on the tuning half of FaultBench: 3 of 3 such faults noticed, after 5 steps in the median; 0 of 0 alerts
    right, no false incident.
    """

    name: ClassVar[str] = "gradient_noise"
    reads: ClassVar[tuple[str, ...]] = ("grad_norm",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    noises: list[float] = msgspec.field(default_factory=list)
    levels: list[float] = msgspec.field(default_factory=list)
    losses: list[float] = msgspec.field(default_factory=list)
    held: int = 0
    since: float = math.nan
    quiet_lr: float = math.nan
    quiet_blocks: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        grad = sample.signals["grad_norm"]
        is_turn = self.held or grad.is_turn(LATE_BLOCKS)
        found = self._look(sample, grad) if is_turn and grad.is_log and grad.count >= NEWEST else None
        self.rests_until = 0 if self.held else sample.context.num_records + grad.next_turn(LATE_BLOCKS)
        return found

    def _look(self, sample: Sample, grad: Signal) -> Alert | None:
        newest = grad.newest(NEWEST)
        noise, level = _noise_of(newest), grad.recent[-1]
        if not self.is_active:
            self._remember(sample, noise, level)
        self._see_lr(sample)
        if len(self.noises) < MIN_BLOCKS or self.quiet_blocks > 0 or sample.get("d_loss") or sample.get("reward"):
            return None
        is_noisy, is_high = self._is_noisy(sample, noise, newest), self._is_high(sample, level, noise)
        if not (is_noisy or is_high) or self._has_gained(sample):
            self.held, self.is_active = 0, False
            return None
        self.held += 1
        if self.held == 1:
            self.since = grad.recent_steps[-2]
        is_rising = level - grad.recent[-2] > math.log(RISING_FACTOR)
        if self.is_active or self.held < HELD_BLOCKS or is_rising or self.is_quiet(sample):
            return None
        return self._found(sample, grad, noise if is_noisy else None)

    def _is_noisy(self, sample: Sample, noise: float, newest: list[float]) -> bool:
        if noise < LEAST_NOISE or noise < ABOVE_HIGHEST * max(self.noises[:-SKIPPED_BLOCKS]):
            return False
        if noise < LEAST_NOISE_FACTOR * _usual(self.noises):
            return False
        if sorted(newest)[NEWEST // 4] < _usual(self.levels) - math.log(LOW_FACTOR):
            return False
        loss = sample.get("loss")
        losses = loss.newest(NEWEST) if loss is not None and loss.is_log else []
        return len(losses) < NEWEST or _noise_of(list(map(sub, newest, losses))) > OWN_SHARE * noise

    def _is_high(self, sample: Sample, level: float, noise: float) -> bool:
        if level < max(self.levels[:-SKIPPED_BLOCKS]) or self._is_worse(sample):
            return False
        return level - _usual(self.levels) > math.log(LEAST_LEVEL_FACTOR) and noise > _usual(self.noises)

    def _is_worse(self, sample: Sample) -> bool:
        """Whether the loss rose with the gradient: that is a divergence or an explosion, or other data."""
        loss = sample.get("loss")
        if loss is None or not loss.recent or not self.losses:
            return False
        usual = _usual(self.losses)
        return median_of(loss.newest(NEWEST)) - usual > loss.by_factor(WORSE_FACTOR)

    def _remember(self, sample: Sample, noise: float, level: float) -> None:
        loss = sample.get("loss")
        newest = loss.recent[-1] if loss is not None and loss.recent else math.nan
        for kept, value in ((self.noises, noise), (self.levels, level), (self.losses, newest)):
            kept.append(value)
            if len(kept) > KEPT_BLOCKS:
                del kept[0]

    def _see_lr(self, sample: Sample) -> None:
        """A learning rate that changes makes another regime; what is usual in it has to be seen first."""
        lr = sample.context.schedule.lr
        if not (self.quiet_lr / 2 < lr < self.quiet_lr * 2) and lr == lr:  # noqa: PLR0124 - NaN
            is_first = math.isnan(self.quiet_lr)
            self.quiet_lr, self.quiet_blocks = lr, 0 if is_first else MIN_BLOCKS
        elif self.quiet_blocks > 0:
            self.quiet_blocks -= 1

    def _has_gained(self, sample: Sample) -> bool:
        """Whether most of the newest losses are below the level of before, or there is little left to learn."""
        loss = sample.get("loss")
        if loss is None or not loss.recent or len(self.losses) <= BEFORE_BLOCKS:
            return True
        if loss.is_log and loss.recent[-1] - loss.start < math.log(LEARNED_SHARE):
            return True
        newest = sorted(loss.newest(NEWEST))
        return not newest[(3 * len(newest)) // 4] > self.losses[-BEFORE_BLOCKS] - loss.by_factor(FALL_FACTOR)

    def _found(self, sample: Sample, grad: Signal, noise: float | None) -> Alert:
        usual_noise = _usual(self.noises)
        level, usual_level = grad.value_of(grad.recent[-1]), grad.value_of(_usual(self.levels))
        if noise is not None:
            text = f"the gradient norm varies by {noise:.0%} from record to record, before it was {usual_noise:.0%}"
            evidence = Evidence(
                name="variation of " + grad.name, value=noise, threshold=LEAST_NOISE_FACTOR * usual_noise
            )
        else:
            text = f"the gradient norm is {shown(level)} and more erratic, before it was {shown(usual_level)}"
            evidence = Evidence(name=grad.name, value=level, threshold=LEAST_LEVEL_FACTOR * usual_level)
        return self.alert(
            sample,
            f"{text}, since step {self.since:.10g}, and the loss does not fall",
            severity="warning",
            since=self.since,
            metrics=[grad],
            evidence=[evidence],
            causes=[
                "a smaller batch than before",
                "gradients that are no longer accumulated or averaged",
                "noisier data",
            ],
            remedies=[
                Remedy(text="check how many samples are averaged: batch size, accumulation, all-reduce"),
                *halve_lr(sample, more=", or double the batch"),
                *clip(sample, norm=usual_level),
            ],
            confidence=0.5,
        )


def _noise_of(newest: list[float]) -> float:
    steps: list[float] = sorted(map(abs, map(sub, newest[1:], newest)))
    return steps[len(steps) // 2] * _NOISE_OF_STEPS


def _usual(values: list[float]) -> float:
    before = sorted(values[:-SKIPPED_BLOCKS])
    return before[len(before) // 2]
