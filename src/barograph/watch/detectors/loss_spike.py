"""A training loss that jumps up for a few records and comes back."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import grew, hovers, is_disturbed, is_reweighted, lr_jump, median_of
from barograph.watch.signal import BLOCK, WINDOW, Signal
from barograph.watch.surprise import BEYOND_TAIL, is_high

LEAST_Z: Final = 8.0
LEAST_FACTOR: Final = 1.3
"""Below this factor over the usual level a spike is not worth a person's time."""
LEAST_SHARE: Final = 0.05
"""Nor is one below this share of the loss that the run began with."""
SPREADS: Final = 0.7
"""The noise may be larger than the newest differences say: not much less than the window's spread."""
SPREAD_OF_QUARTILES: Final = 1 / 1.349
RESTART_RECORDS: Final = 30
MAX_RECORDS: Final = 20
"""What has not come back after so many records is no spike."""
NUM_BACK: Final = 2
BACK_SHARE: Final = 0.35
BACK_FACTOR: Final = 3.0
TAIL_BLOCKS: Final = 4
"""In a long run the tail is found anew at every so many blocks, and when one has a high peak."""
DUE: Final = 0
"""Of the next block: it is over."""
NUM_PEAKS: Final = 32
NUM_NOISES: Final = 9
FEW_PEAKS: Final = 8
EARLY_Z: Final = 12.0
EARLY_FACTOR: Final = 2.0
EARLY_SHARE: Final = 0.3
"""Before the run has shown what is usual."""
TAIL_STEPS: Final = 4.8
"""From a block's median peak to the one in 10 000 blocks, in steps to its 90th percentile, for exponential tails."""


class LossSpike(Detector):
    """The loss went far above its level, trend, noise and rare values, and came back within twenty records.

    It is told when it has come back, usually two records after: until then it may be a divergence or other data.
    Left alone: the first records, those after a resume, and the bump after a restart of the learning rate.

    Measured on the tuning half of FaultBench: 2 of 2 such faults noticed, after 3.5 steps in the median; 2 of 2 alerts
    right, no false incident. Not for losses of single samples, of which heavy tails are the nature.

    Attributes:
        rare: how large ``z`` has to be, by the run's own rare values.
        next: how many losses there have to be for the next block.
        trigger: below this a loss is not looked at, in its own unit.
        peaks: the largest ``z`` of the newest blocks.
        noises: of the loss, at the ends of the newest blocks.
        noise: the largest of the newest of these and their median.
        num: records since the jump; 0 when there is none.
        num_back: how many of the newest of them were back.
        since: the step of the jump.
        last: the step of the last record up there.
        usual: the level before it, on the loss's scale.
        top: the highest since, on that scale.
        top_z: the same in units of noise.
        was_log: whether these are logarithms.
    """

    name: ClassVar[str] = "loss_spike"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    calm_z: ClassVar[float | None] = LEAST_Z

    rare: float = EARLY_Z
    next: int = BLOCK
    trigger: float = math.inf
    peaks: list[float] = msgspec.field(default_factory=list)
    noises: list[float] = msgspec.field(default_factory=list)
    noise: float = 0.0
    num: int = 0
    num_back: int = 0
    since: float = math.nan
    last: float = math.nan
    usual: float = 0.0
    top: float = 0.0
    top_z: float = 0.0
    was_log: bool = True

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if self.num and loss.is_log == self.was_log:
            return self._follow(sample, loss)
        if loss.count >= self.next:
            self._close_block(loss)
        if loss.value < self.trigger:
            self.is_active = False
            return None
        is_early = len(self.peaks) < FEW_PEAKS
        is_rare = loss.x - loss.expected > self.rare * self.noise
        if (
            is_rare
            and loss.nonfinite_run == 0
            and is_high(loss, LEAST_Z)
            and _is_worth_it(loss, rare=self.rare, is_early=is_early)
        ):
            if is_disturbed(sample, loss, records=RESTART_RECORDS):
                return None
            self.num, self.num_back, self.usual = 1, 0, loss.expected
            self.since, self.last, self.top, self.top_z = sample.step, sample.step, loss.x, loss.z
            self.was_log = loss.is_log
        return None

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return not (self.num or self.is_active or self.next == DUE)

    def _close_block(self, loss: Signal) -> None:
        """Keep the highest of the newest eight losses, and find what would be surprising."""
        self.next = loss.count - loss.count % BLOCK + BLOCK
        if not loss.is_warm():
            return
        expected = loss.expected
        self.noises.append(loss.noise)
        del self.noises[:-NUM_NOISES]
        self.noise = max(loss.noise, median_of(self.noises))
        self.peaks.append(max((max(loss.newest(BLOCK)) - expected) / self.noise, 0.0))
        if len(self.peaks) > 2 * NUM_PEAKS:
            del self.peaks[:NUM_PEAKS]
        is_due = self.peaks[-1] > LEAST_Z or loss.is_turn(TAIL_BLOCKS)
        if len(self.peaks) >= FEW_PEAKS and is_due:
            ordered = sorted(self.peaks[-NUM_PEAKS:])
            size = len(ordered)
            usual = ordered[size // 2]
            by_tail = usual + TAIL_STEPS * (ordered[size - 1 - size // 8] - usual)
            self.rare = max(LEAST_Z, by_tail, BEYOND_TAIL * ordered[-2])
        self.trigger = loss.value_of(expected + 0.8 * self.rare * self.noise - BLOCK * abs(loss.slope))

    def _follow(self, sample: Sample, loss: Signal) -> Alert | None:
        self.num += 1
        if loss.x > self.top:
            self.top, self.top_z = loss.x, max(loss.z, self.top_z)
        if loss.x - self.usual > min(BACK_SHARE * (self.top - self.usual), loss.by_factor(BACK_FACTOR)):
            self.num_back, self.last = 0, sample.step
        else:
            self.num_back += 1
        if self.num_back >= NUM_BACK:
            self._leave(loss)
            return None if self.is_quiet(sample) or is_reweighted(sample) else self._found(sample, loss)
        if self.num > MAX_RECORDS or loss.nonfinite_run:
            self._leave(loss)  # a divergence, other data, or the end
        return None

    def _leave(self, loss: Signal) -> None:
        """Follow it no longer; a block that has ended meanwhile is to be closed at the next record."""
        self.num = 0
        if loss.count >= self.next:
            self.next = DUE

    def _found(self, sample: Sample, loss: Signal) -> Alert:
        top, usual = shown(loss.value_of(self.top)), shown(loss.value_of(self.usual))
        until = "" if self.last == self.since else f" to {shown(self.last)}"
        jumped = lr_jump(sample, loss, since=self.since)
        causes = ["an unusual batch", "a step that was too large"]
        if jumped or grew(sample):
            causes = [jumped or "a step that was too large: the gradient grew with it", causes[0]]
        return self.alert(
            sample,
            f"the loss jumped from {usual} to {top} at step {shown(self.since)}{until}, "
            f"{self.top_z:.0f} times its usual noise, and came back",
            severity="warning",
            since=self.since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"highest {loss.name}",
                    value=loss.value_of(self.top),
                    threshold=loss.value_of(self.usual + self.rare * loss.noise),
                    first_step=self.since,
                    last_step=self.last,
                ),
                Evidence(name="times its noise", value=self.top_z, threshold=self.rare),
            ],
            causes=causes,
            remedies=[
                Remedy(text=f"look at the batches of step {shown(self.since)}{until}; if they are broken, skip them"),
                *clip(sample),
                *go_back(sample, self.since, why=f"and skip the batches up to step {shown(self.last)} if it recurs"),
            ],
            confidence=0.5 if hovers(sample) else 0.75,
        )


def _spread(loss: Signal) -> float:
    """Of the window before the newest value, its trend taken away: a loss that falls fast is not a noisy one."""
    values = sorted(x - place * loss.slope for place, x in enumerate(loss.newest(WINDOW)[:-1]))
    size = len(values)
    return min(loss.spread, (values[(3 * size) // 4] - values[size // 4]) * SPREAD_OF_QUARTILES)


def _is_worth_it(loss: Signal, *, rare: float, is_early: bool) -> bool:
    """Whether a jump is large enough to tell a person, however quiet the run is."""
    usual = loss.expected
    factor, share = (EARLY_FACTOR, EARLY_SHARE) if is_early else (LEAST_FACTOR, LEAST_SHARE)
    rise = loss.x - usual
    if rise < loss.by_factor(factor) or rise < rare * SPREADS * _spread(loss):
        return False
    return not loss.is_log or loss.value - loss.value_of(usual) > share * loss.value_of(loss.start)
