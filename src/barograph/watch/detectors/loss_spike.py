"""A training loss that jumps up for a few records and comes back."""

from __future__ import annotations

import math
from itertools import repeat
from operator import mul, sub, truediv
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import grew, hovers, is_disturbed, is_reweighted, lr_jump, median_of, stride, top_of
from barograph.watch.signal import BLOCK, WINDOW, Signal
from barograph.watch.surprise import STRICTNESS, is_high

FIRST_Z: Final = 4.0
"""From here on it is followed."""
UP_Z: Final = 2.0
PAIR_Z: Final = 5.0
LEAST_Z: Final = 6.0
"""For each of two records running: noise that is independent from record to record does not come in pairs."""
SINGLE_Z: Final = 12.0
"""For one record alone, which may be one example."""
LEAST_FACTOR: Final = 1.3
"""Below this factor over the usual level a spike is not worth a person's time."""
LEAST_SHARE: Final = 0.05
"""Nor is one below this share of the loss that the run began with."""
SOLVED_SHARE: Final = 0.1
"""Below this share of it a loss is that of few hard examples: a jump has to be as large as this."""
SPREAD_OF_QUARTILES: Final = 1 / 1.349
_PLACES: Final = tuple(range(WINDOW))
STEEP_Z: Final = 6.0
STEEP_FACTOR: Final = 3.0
NUM_STEEP: Final = 2
"""Where the gradient norm is surprising in so many of its records, it is enough that the loss is out of its range."""
EXPLAINING: Final = 8
"""Since so many records at least there has to be a spike that explains a gradient norm."""
RESTART_RECORDS: Final = 30
NUM_BACK: Final = 2
BACK_SHARE: Final = 0.35
BACK_FACTOR: Final = 3.0
CLIMB_SHARE: Final = 0.5
CLIMB_RECORDS: Final = 3
"""At least half of the rise is made by one record, or by two running, above all of so many before: what climbs for
longer and comes down as slowly is a hump, as when a codebook is found, or a swing."""
LOOKS: Final = (20, 40)
"""What has not come back after so many records, but to a share of its height, and still falls, is on its way back."""
COMING_SHARE: Final = 0.4
COMING_RECORDS: Final = 8
CALM_SHARE: Final = 0.999
"""Of the rise from which on a loss is followed; the rest is for rounding."""
NUM_NOW: Final = 4
TAIL_BLOCKS: Final = 4
"""In a long run the tail is found anew at every so many blocks, and when one has a high peak."""
DUE: Final = 0
"""Of the next block: it is over."""
NUM_PEAKS: Final = 32
NUM_NOISES: Final = 9
NUM_WEIGHTS: Final = 4
LEAST_WEIGHT: Final = 0.7
"""Records that resemble their neighbours more than that come in runs by themselves: they count as one."""
FEW_PEAKS: Final = 8
EARLY_Z: Final = 8.0
EARLY_FACTOR: Final = 2.0
EARLY_SHARE: Final = 0.3
"""Before the run has shown what is usual."""
TAIL_STEPS: Final = 4.8
"""From a block's median peak to the one in 10 000 blocks, in steps to its 90th percentile, for exponential tails."""
PAIR_STEPS: Final = 3.5
"""The same to what two records running reach once in as many: each may be the more usual for it."""
MOST_OF_ONE: Final = 1.5
"""What one of two records may count for, in what is asked of each."""
BEYOND_PEAKS: Final = 1.2
"""How far beyond the highest but one of the newest peaks two records have to be."""
PAIR_BEYOND: Final = 1.3
"""As good is it to be so far beyond the highest of all: one of n is the highest with a chance of 1 in n, whatever its
distribution is, and two running with its square."""
BEYOND_HIGHEST: Final = 2.0
"""One alone has to be so far beyond it: exponential tails, whose highest grows with log n, get there once in n**2."""
FORGETTING: Final = 0.998
"""Of the highest, at each block of eight."""
HIGH_RATE: Final = 0.5
"""After a planned restart, the share of its peak above which the learning rate explains bumps."""


class LossSpike(Detector):
    """The loss went far above its level, trend, noise and rare values, and came back within twenty records.

    Two records running have to be up there, or one alone so high that no tail of the run explains it: bad batches and
    steps that were too large leave traces in more than one record, while the rare example of a heavy-tailed loss is
    gone with its batch. Half of the rise is made at once, and the gradient norm, where it is logged, is back as well.
    It is told when it has come back, usually two records after: until then it may be a divergence or other data; what
    falls back slowly is told after twenty or forty, on its way. Left alone: the first records, those after a resume,
    and those after a restart of the learning rate until it has come down to half of its peak.

    Measured on the tuning half of FaultBench: 11 of 12 such faults noticed, after 5 steps in the median; 14 of 14
    alerts right, no false incident. Not for losses of single samples, of which heavy tails are the nature.

    Attributes:
        height: the largest ``z`` of a usual block.
        first: above this one a loss is followed.
        rare: how large ``z`` has to be for two records running, by the run's own rare values.
        single: the same for one record alone.
        highest: the largest rise of all blocks, slowly forgotten.
        next: how many losses there have to be for the next block.
        trigger: below this a loss is not looked at, in its own unit.
        calm: up to here none in the next block is followed, in its own unit.
        peaks: the largest ``z`` of the newest blocks.
        rises: the same on the loss's scale; where noise grows, as it does when losses fall, that is less.
        noises: of the loss, at the ends of the newest blocks.
        noise: the largest of the newest of these and their median.
        num: records since the jump; 0 when there is none.
        num_back: how many of the newest of them were back.
        since: the step of the jump.
        last: the step of the last record up there.
        usual: the level before it, on the loss's scale.
        least: how far above it is worth telling.
        top: the highest since, on that scale.
        top_z: the same in units of noise.
        scale: the noise before the jump.
        weight: what one record counts for, less than one where records resemble their neighbours.
        heights: of the newest records up there, above ``height``, added up.
        most: the most that this has been.
        newest: the newest of these heights.
        both: the most that two records running were both above.
        num_steep: in how many records the gradient norm was surprisingly high as well.
        was_log: whether these are logarithms.
    """

    name: ClassVar[str] = "loss_spike"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    calm_z: ClassVar[float | None] = math.inf
    explains: ClassVar[tuple[str, ...]] = ("exploding_gradient",)

    height: float = EARLY_Z / 3
    first: float = EARLY_Z
    rare: float = EARLY_Z
    single: float = math.inf
    highest: float = 0.0
    next: int = BLOCK
    trigger: float = math.inf
    calm: float = math.inf
    peaks: list[float] = msgspec.field(default_factory=list)
    rises: list[float] = msgspec.field(default_factory=list)
    noises: list[float] = msgspec.field(default_factory=list)
    noise: float = 0.0
    num: int = 0
    num_back: int = 0
    since: float = math.nan
    last: float = math.nan
    usual: float = 0.0
    least: float = 0.0
    top: float = 0.0
    top_z: float = 0.0
    scale: float = 0.0
    weight: float = 1.0
    heights: float = 0.0
    most: float = 0.0
    newest: float = 0.0
    both: float = 0.0
    num_steep: int = 0
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
        rise = loss.x - loss.expected
        if rise <= self.first * self.noise or loss.nonfinite_run or loss.z <= FIRST_Z:
            return None
        grad = sample.signals.get("grad_norm")
        scale = self.noise if grad is not None and is_high(grad, STEEP_Z) else max(self.noise, _spread(loss))
        if rise <= self.first * scale or is_disturbed(sample, loss, records=RESTART_RECORDS) or _is_restarted(sample):
            return None
        self.num, self.num_back, self.usual, self.least = 1, 0, loss.expected, self._least_rise(loss)
        self.scale, self.heights, self.most, self.was_log = scale, 0.0, 0.0, loss.is_log
        self.newest, self.both, self.num_steep = 0.0, 0.0, 0
        self.since, self.last, self.top = sample.step, sample.step, -math.inf
        self._climb(sample, loss)
        return None

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return not (self.num or self.is_active or self.next == DUE)

    def calm_below(self, role: str) -> float:  # noqa: ARG002 - it reads one role
        """See ``barograph.watch.stream_plan.Bounded``."""
        return self.calm

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``: the norm is what a spike has left behind, of which most is gone already."""
        loss = sample.get("loss")
        if loss is None or self.num < EXPLAINING or loss.nonfinite_run or alert.since_step < self.since - stride(loss):
            return None
        top, now, usual = (loss.value_of(it) for it in (self.top, max(loss.newest(NUM_NOW)), self.usual))
        if now - usual > COMING_SHARE * (top - usual) or not self._is_spike(loss) or is_reweighted(sample):
            return None
        return self._found(sample, loss, is_back=False)

    def _close_block(self, loss: Signal) -> None:
        """Keep the highest of the newest eight losses, and find what would be surprising."""
        self.next = loss.count - loss.count % BLOCK + BLOCK
        if not loss.is_warm():
            return
        expected, noise, noises, peaks = loss.expected, loss.noise, self.noises, self.peaks
        noises.append(noise)
        if len(noises) > NUM_NOISES:
            del noises[0]
        usual = sorted(noises)[len(noises) // 2]
        self.noise = noise = noise if noise > usual else usual  # noqa: FURB136 - max takes five times as long
        rise = top_of(loss) - expected
        rise = rise if rise > 0.0 else 0.0  # noqa: FURB136 - see above
        peak, highest = rise / noise, self.highest * FORGETTING
        peaks.append(peak)
        self.rises.append(rise)
        self.highest = rise if rise > highest else highest  # noqa: FURB136 - see above
        if len(peaks) > 2 * NUM_PEAKS:
            del peaks[:NUM_PEAKS], self.rises[:NUM_PEAKS]
        is_due = peak > LEAST_Z or loss.is_turn(TAIL_BLOCKS)
        if is_due or len(peaks) <= FEW_PEAKS:
            weight = _independence(noise, _spread(loss))
            self.weight += (weight - self.weight) / min(len(peaks), NUM_WEIGHTS)
        if is_due and len(peaks) >= FEW_PEAKS:
            self._find_tail(noise)
        usual, reach = expected - BLOCK * abs(loss.slope), self.first * noise
        self.trigger, self.calm = loss.value_of(usual + 0.8 * reach), loss.value_of(usual + CALM_SHARE * reach)

    def _find_tail(self, noise: float) -> None:
        """Find what is rare, by the newest peaks."""
        now = map(truediv, self.rises[-NUM_PEAKS:], repeat(noise))
        ordered = sorted(map(min, self.peaks[-NUM_PEAKS:], now))
        size = len(ordered)
        usual = ordered[size // 2]
        high = ordered[size - 1 - size // 8]
        self.height, self.first = usual, max(FIRST_Z, high)
        self.rare = max(LEAST_Z, usual + PAIR_STEPS * (high - usual), BEYOND_PEAKS * ordered[-2])
        self.single = max(SINGLE_Z, usual + TAIL_STEPS * (high - usual), BEYOND_HIGHEST * (self.highest / noise))

    def _follow(self, sample: Sample, loss: Signal) -> Alert | None:
        self.num += 1
        if self._climb(sample, loss):
            self.num_back, self.last = max(self.num_back - 1, 0), sample.step
        else:
            self.num_back += 1
        is_back = self.num_back >= NUM_BACK
        if not (is_back or loss.nonfinite_run or self.num in LOOKS):
            return None
        is_over = is_back or (self.num in LOOKS and self._is_coming_back(loss))
        if not is_over and not loss.nonfinite_run and self.num < LOOKS[-1]:
            return None
        is_spike = is_over and not (loss.nonfinite_run or (is_back and _is_steep(sample))) and self._is_spike(loss)
        self._leave(loss)
        if not is_spike or (hovers(sample) and not loss.is_log):
            return None  # nothing, a divergence, other data, the end, or an objective that has no level
        return None if self.is_quiet(sample) or is_reweighted(sample) else self._found(sample, loss, is_back=is_back)

    def _is_coming_back(self, loss: Signal) -> bool:
        """Whether most of the rise is gone, in the loss's own unit, and more of it goes."""
        newest = loss.newest(2 * COMING_RECORDS)
        before, level = median_of(newest[:COMING_RECORDS]), median_of(newest[COMING_RECORDS:])
        top, now, usual = (loss.value_of(it) for it in (self.top, level, self.usual))
        return before - level > self.scale / 2 and now - usual < COMING_SHARE * (top - usual)

    def _climb(self, sample: Sample, loss: Signal) -> bool:
        """Add up how high it is; whether it is not back."""
        grad, rise = sample.signals.get("grad_norm"), loss.x - self.usual
        if grad is not None and is_high(grad, STEEP_Z):
            self.num_steep += 1
        self.newest, before = rise / self.scale, self.newest
        self.both = max(self.both, min(self.newest, before))
        self.top, self.top_z = max(self.top, loss.x), max(self.top - self.usual, rise) / self.scale
        if rise > max(self.height, UP_Z) * self.scale:
            self.heights += self.weight * min(rise / self.scale - self.height, MOST_OF_ONE * (self.rare - self.height))
            self.most = max(self.most, self.heights)
        else:
            self.heights = 0.0
        slack = min(BACK_SHARE * (self.top - self.usual), loss.by_factor(BACK_FACTOR))
        return rise > max(slack, BACK_SHARE * self.least)

    def _is_spike(self, loss: Signal) -> bool:
        """Whether it was high enough: two records running, more of them that are less high, or one that is higher.

        Heights of records running add up, as logarithms of probabilities do where tails are exponential.
        """
        rise = self.top - self.usual
        if rise < self.least or _climb_of(loss.newest(self.num + 2 * CLIMB_RECORDS)) < CLIMB_SHARE * rise:
            return False
        if self.top_z > STRICTNESS * self.single:
            return True
        if self.num_steep >= NUM_STEEP and self.top_z > STRICTNESS * FIRST_Z:
            return True
        if self.weight < LEAST_WEIGHT:
            return False
        is_pair = self.both > STRICTNESS * max(PAIR_Z, PAIR_BEYOND * self.highest / self.scale)
        return is_pair or self.most >= STRICTNESS * 2 * (self.rare - self.height)

    def _least_rise(self, loss: Signal) -> float:
        """How far a jump has to go to be worth a person's time, however quiet the run is; on the loss's scale."""
        is_early = len(self.peaks) < FEW_PEAKS
        least = loss.by_factor(EARLY_FACTOR if is_early else LEAST_FACTOR)
        if not loss.is_log:
            return least
        level, start = loss.value_of(loss.expected), loss.value_of(loss.start)
        share = EARLY_SHARE if is_early else LEAST_SHARE if level > SOLVED_SHARE * start else SOLVED_SHARE
        return max(least, math.log1p(share * start / level)) if level > 0.0 else math.inf

    def _leave(self, loss: Signal) -> None:
        """Follow it no longer; a block that has ended meanwhile is to be closed at the next record."""
        self.num = 0
        if loss.count >= self.next:
            self.next = DUE

    def _found(self, sample: Sample, loss: Signal, *, is_back: bool) -> Alert:
        top, usual = shown(loss.value_of(self.top)), shown(loss.value_of(self.usual))
        until = "" if self.last == self.since else f" to {shown(self.last)}"
        jumped = lr_jump(sample, loss, since=self.since)
        needed = self.rare if self.rare < self.top_z < self.single else min(self.first, self.top_z)
        causes = ["an unusual batch", "a step that was too large"]
        if jumped or grew(sample):
            causes = [jumped or "a step that was too large: the gradient grew with it", causes[0]]
        return self.alert(
            sample,
            f"the loss jumped from {usual} to {top} at step {shown(self.since)}{until}, "
            f"{self.top_z:.0f} times its usual noise, and {'came' if is_back else 'is coming'} back",
            severity="warning",
            since=self.since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"highest {loss.name}",
                    value=loss.value_of(self.top),
                    threshold=loss.value_of(self.usual + needed * self.scale),
                    first_step=self.since,
                    last_step=self.last,
                ),
                Evidence(name="times its noise", value=self.top_z, threshold=needed),
            ],
            causes=causes,
            remedies=[
                Remedy(text=f"look at the batches of step {shown(self.since)}{until}; if they are broken, skip them"),
                *clip(sample),
                *go_back(sample, self.since, why=f"and skip the batches up to step {shown(self.last)} if it recurs"),
            ],
            confidence=0.5 if hovers(sample) else 0.94,
        )


def _spread(loss: Signal) -> float:
    """Of the window before the newest value, its trend taken away: a loss that falls fast is not a noisy one."""
    values = loss.newest(WINDOW)[:-1]
    size, slope = len(values), loss.slope
    values = sorted(map(sub, values, map(mul, _PLACES, repeat(slope, size))))
    return min(loss.spread, (values[(3 * size) // 4] - values[size // 4]) * SPREAD_OF_QUARTILES)


def _independence(noise: float, spread: float) -> float:
    """How much a record says beside its neighbour: 1 for white noise, less for losses that were smoothed or wander.

    By von Neumann's ratio: the noise of differences against the spread tells the correlation r of neighbours, and so
    many of n correlated records are independent: n (1 - r) / (1 + r). It is taken twice, up to 1, since the
    ratio of 48 white records is often as low as 0.8.
    """
    if noise >= spread:
        return 1.0
    apart = (noise / spread) ** 2
    return min(1.0, 2.0 * apart / (2.0 - apart))


def _climb_of(values: list[float]) -> float:
    """The most that one value, or two running, are above all of the three before."""
    places = range(CLIMB_RECORDS, len(values) - 1)
    return max((max(values[it], values[it + 1]) - max(values[it - CLIMB_RECORDS : it]) for it in places), default=0.0)


def _is_steep(sample: Sample) -> bool:
    """Whether the gradient norm is still far above what is usual, so that no bad batch is all that was."""
    grad = sample.get("grad_norm")
    if grad is None or not grad.is_warm():
        return False
    return min(grad.newest(NUM_BACK)) - grad.median > grad.by_factor(STEEP_FACTOR)


def _is_restarted(sample: Sample) -> bool:
    """Whether the learning rate is high after a planned restart; one above all before it was not planned."""
    schedule = sample.context.schedule
    return schedule.restarts > 0 and schedule.peak_step != schedule.jump_step and schedule.share_of_peak() > HIGH_RATE
