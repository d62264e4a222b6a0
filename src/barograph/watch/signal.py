"""The shared statistics of one metric: level, trend, noise and how surprising its newest value is.

Detectors read these instead of keeping their own, so that what counts as unusual is decided in one place. Everything
is O(1) per record and bounded: a window of 48 records, medians of blocks of eight, and a whole-run history of at most
128 medians whose resolution is halved whenever it is full.

Robust throughout: the level is a median, the spread a quartile range, the noise that of first differences (so a trend
is none). They are looked at every eighth record, less often in long runs, and are of the records before.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log, nan, sqrt
from operator import sub
from typing import Final

import msgspec

from barograph.watch.alert import Moved
from barograph.watch.roles import Role

WINDOW: Final = 48
BLOCK: Final = 8
NUM_RECENT: Final = 64
NUM_HISTORY: Final = 128
NUM_PEAKS: Final = 32
MOST_LATE: Final = 8
"""Blocks from one look at the window to the next."""
WARM_RECORDS: Final = 24
"""Before so many records nothing is surprising."""
EACH_BLOCK: Final = 128
EACH_SECOND: Final = 512
EACH_FOURTH: Final = 4096
"""Up to so many records the window is looked at each block, each second or fourth one; then mostly each eighth."""
USUAL_Z: Final = 6.0
MAX_Z: Final = 1e6
MAX_LOG: Final = 700.0
_MIDDLE: Final = BLOCK // 2
_MOST_RECENT: Final = 2 * NUM_RECENT
_SPREAD_OF_QUARTILES: Final = 1 / 1.349
_NOISE_OF_STEPS: Final = 1.4826 / sqrt(2)
Scaled = tuple[list[float], list[float]]
"""Some values on the scale of their signal, as they came and sorted."""


class Signal(msgspec.Struct):
    """One metric on one split, of one process.

    ``x`` is the value on the signal's scale: its logarithm while ``is_log``, else the value itself.

    Attributes:
        name: as logged.
        split: where.
        role: what it is for; "" for a metric without a role.
        scale: of the role.
        better: ``low`` or ``high``.
        floor: the smallest noise that is assumed, on the signal's scale.
        is_log: whether ``x`` is a logarithm; a signal that turns out not to be positive starts again without.
        count: how many finite values there were.
        value: the newest finite value.
        step: its step.
        first_step: the step of the first value.
        num_nonfinite: how many values were not finite.
        nonfinite_run: how many in a row, up to now.
        num_same: how many times running the newest value has been repeated.
        noise: standard deviation of what is left when the trend is taken away.
        early_noise: the same when the window was full for the first time.
        slope: change of the level per record.
        start: median of the first eight ``x``.
        best: the best block median so far (lowest, or highest where the role says so).
        best_step: the last step of that block.
        recent: medians of the newest blocks of eight records, oldest first.
        recent_steps: the last step of each.
        history: means of medians over the whole run, oldest first, of ``history_records`` records each.
        history_steps: the last step of each.
        history_records: how many records one of them stands for.
        next_block: the count at which the next block is over.
        block: the ``x`` of the newest block that is over, sorted.
    """

    name: str
    split: str = "train"
    role: str = ""
    scale: str = "linear"
    better: str = "low"
    floor: float = 0.0
    is_log: bool = False
    count: int = 0
    value: float = nan
    step: float = 0.0
    first_step: float = nan
    num_nonfinite: int = 0
    nonfinite_run: int = 0
    num_same: int = 0
    noise: float = 0.0
    early_noise: float = 0.0
    slope: float = 0.0
    start: float = nan
    best: float = nan
    best_step: float = 0.0
    recent: list[float] = []
    recent_steps: list[float] = []
    history: list[float] = []
    history_steps: list[float] = []
    history_records: int = BLOCK
    next_block: int = BLOCK
    block: list[float] = []
    _xs: list[float] = []
    _steps: list[float] = []
    _level: float = 0.0
    _level_at: int = 0
    _per_noise: float = 0.0
    _halves: list[float] = []
    _peaks: list[float] = []
    _next_look: int = BLOCK
    _sum: float = 0.0

    @classmethod
    def of(cls, name: str, split: str, role: Role | None) -> Signal:
        """A signal without a value."""
        if role is None:
            return cls(name=name, split=split, scale="plain")
        return cls(
            name=name,
            split=split,
            role=role.name,
            scale=role.scale,
            better=role.better or "low",
            floor=role.floor,
            is_log=role.scale == "log",
        )

    def take(self, value: float, step: float) -> None:
        """Take the next value."""
        if value - value != 0.0:
            self.num_nonfinite += 1
            self.nonfinite_run += 1
            return
        self.nonfinite_run = 0
        self.num_same = self.num_same + 1 if value == self.value else 0
        self.value = value
        self.step = step
        if not self.count:
            self.first_step = step
        self.count += 1
        if self.scale == "plain":
            return
        if self.is_log and value < 0.0:
            self._start_again()
        if self.is_log:
            # a loss of 0 is one that underflowed, or a perfect batch: as good as the best so far, and no other scale
            self._xs.append(log(value) if value else min(self._xs, default=0.0))
        else:
            self._xs.append(value)
        self._steps.append(step)
        if self.count >= self.next_block:
            self._close_block(sorted(self._xs[-BLOCK:]))

    def scale_calm(self, values: Sequence[float], limit: float) -> Scaled | None:
        """The next values, all finite, on the signal's scale; None when they have to be taken one by one.

        That is when one of them is further than a limit, in units of noise, from what is expected. None but the last
        may close a block.
        """
        if self.is_log:
            try:
                xs = list(map(log, values))
            except ValueError:  # one of them is not positive
                return None
        else:
            xs = list(values)
        ordered = sorted(xs)
        if limit < inf and (per_noise := self._per_noise):
            slope = self.slope
            first = self._level + slope * (self.count + 1 - self._level_at)
            last = first + slope * (len(xs) - 1)
            low, high = (first, last) if slope > 0.0 else (last, first)
            if (ordered[-1] - low) * per_noise > limit or (high - ordered[0]) * per_noise > limit:
                return None
        return xs, ordered

    def take_calm(self, values: Sequence[float], steps: Sequence[float], scaled: Scaled) -> None:
        """Take values that ``scale_calm`` found to be usual, as it gave them."""
        xs, ordered = scaled
        self._xs.extend(xs)  # storing the list anew, as += does, takes as long as this
        self._steps.extend(steps)
        self.pass_calm(values, steps)
        if self.count >= self.next_block:
            self._close_block(ordered if len(ordered) == BLOCK else sorted(self._xs[-BLOCK:]))

    def pass_calm(self, values: Sequence[float], steps: Sequence[float]) -> None:
        """Take finite values, two or more, of a metric that has no statistics."""
        if self.nonfinite_run:  # here and below: to look is cheaper than to store
            self.nonfinite_run = 0
        last = values[-1]
        if last != values[-2]:
            if self.num_same:
                self.num_same = 0
        elif last == self.value and values.count(last) == len(values):
            self.num_same += len(values)
        else:
            before, num_same = self.value, self.num_same
            for value in values:
                num_same = num_same + 1 if value == before else 0
                before = value
            self.num_same = num_same
        self.value, self.step = last, steps[-1]
        count = self.count
        if not count:
            self.first_step = steps[0]
        self.count = count + len(values)

    @property
    def x(self) -> float:
        """The newest value on the signal's scale."""
        return self._xs[-1] if self._xs else self.value

    @property
    def median(self) -> float:
        """Of the window; 0 before there is one."""
        ordered = sorted(self._halves)
        return ordered[len(ordered) // 2] if ordered else 0.0

    @property
    def spread(self) -> float:
        """Standard deviation of the window by its quartiles, trend included."""
        ordered = sorted(self._halves)
        size = len(ordered)
        return (ordered[(3 * size) // 4] - ordered[size // 4]) * _SPREAD_OF_QUARTILES if ordered else 0.0

    @property
    def low(self) -> float:
        """The smallest ``x`` of the window."""
        return min(self._halves, default=0.0)

    @property
    def high(self) -> float:
        """The largest ``x`` of the window."""
        return max(self._halves, default=0.0)

    @property
    def tail(self) -> float:
        """How large ``|z|`` was before the window was looked at, its rare peaks left out: usual for heavy tails."""
        until = len(self._peaks) - self._num_late()
        highest = sorted(self._peaks[max(until - NUM_PEAKS, 0) : until])
        rare = -3 if len(highest) > 3 else 0  # noqa: PLR2004 - the two rarest may be faults
        return highest[rare] if highest else 0.0

    @property
    def expected(self) -> float:
        """What the newest value was expected to be, by level and trend of those before it, on the signal's scale."""
        return self._level + self.slope * (self.count - self._level_at)

    @property
    def z(self) -> float:
        """How far the newest value is from what was expected, in units of ``noise``; 0 before there is a window."""
        if not self._per_noise:
            return 0.0
        return (self._xs[-1] - self._level - self.slope * (self.count - self._level_at)) * self._per_noise

    def is_warm(self) -> bool:
        """Whether there are enough records for ``z`` to mean something."""
        return self._per_noise > 0.0

    def is_turn(self, blocks: int) -> bool:
        """Whether one who looks at every so many blocks, in a short run at each, has to do so at this one."""
        count = self.count
        return count < EACH_SECOND or not count // BLOCK % (blocks if count < EACH_FOURTH else 2 * blocks)

    def next_turn(self, blocks: int) -> int:
        """At the end of a block: for how many records ``is_turn`` cannot hold again; see ``Detector.rests_until``."""
        each = blocks * (BLOCK if self.count < EACH_FOURTH else 2 * BLOCK)
        return 0 if self.count < EACH_SECOND else each - self.count % each

    def by_factor(self, factor: float) -> float:
        """How much a change by a factor is on the signal's scale; without logarithms, that share of its level."""
        if self.is_log:
            return log(factor)
        return (factor - 1.0) * max(abs(self.median), self.noise)

    def value_of(self, x: float) -> float:
        """A number on the signal's scale in the metric's own unit."""
        return exp(MAX_LOG if x > MAX_LOG else x) if self.is_log else x  # noqa: FURB136 - min takes five times as long

    def newest(self, count: int) -> list[float]:
        """The newest ``x``, oldest first; at most a window of them."""
        return self._xs[-count if count < WINDOW else -WINDOW :]

    def level(self, num_blocks: int) -> float:
        """The median of the newest blocks' medians; NaN when there are not so many."""
        if len(self.recent) < num_blocks:
            return nan
        return sorted(self.recent[-num_blocks:])[num_blocks // 2]

    def moved(self, *, since: int, least: float) -> Moved | None:
        """The first of the newest records, fewer than half a window, that is out of the usual range of those before.

        None when none of them is so many times the noise from what was expected.
        """
        before = self._xs[-WINDOW:-since]
        noise = max(_noise_of(before), self.floor)
        if len(before) < BLOCK or noise <= 0.0:
            return None
        half = len(before) // 2
        level, slope = _trend_of(sorted(before[:half]), sorted(before[-half:]), len(before))
        for place, (x, step) in enumerate(zip(self._xs[-since:], self._steps[-since:], strict=True), start=1):
            z = (x - level - slope * place) / noise
            if abs(z) > least:
                return Moved(metric=self.name, step=step, surprise=max(min(z, MAX_Z), -MAX_Z))
        return None

    def _start_again(self) -> None:
        """Go on without logarithms: the metric is not positive, so a factor means nothing to it."""
        self.is_log, self.floor = False, 0.0
        for name in ("recent", "history", "block"):
            setattr(self, name, [exp(min(x, MAX_LOG)) for x in getattr(self, name)])
        self._xs = [exp(min(x, MAX_LOG)) for x in self._xs]
        self.start, self.best = exp(min(self.start, MAX_LOG)), exp(min(self.best, MAX_LOG))
        if num := (self.count - 1) % self.history_records // BLOCK:  # the newest value is counted, and not in yet
            self._sum = num * exp(min(self._sum / num, MAX_LOG))
        self._peaks = []
        self._per_noise, self.slope, self.early_noise = 0.0, 0.0, 0.0

    def _close_block(self, ordered: list[float]) -> None:
        """A block is over; these are its ``x``, sorted."""
        step, count, median, recent = self.step, self.count, ordered[_MIDDLE], self.recent
        self.next_block, self.block = count + BLOCK, ordered
        if not recent:
            self.start = median
        if not (median >= self.best if self.better == "low" else median <= self.best):
            self.best, self.best_step = median, step
        recent.append(median)
        self.recent_steps.append(step)
        if len(recent) > _MOST_RECENT:
            del recent[:NUM_RECENT], self.recent_steps[:NUM_RECENT]
        self._sum += median
        if not count % self.history_records:
            self._add_history()
        if per_noise := self._per_noise:
            expected = self._level + self.slope * (count - self._level_at)
            above, below = ordered[-1] - expected, expected - ordered[0]
            z = (above if above > below else below) * per_noise  # noqa: FURB136 - max and min take five times as long
            self._peaks.append(z if z < MAX_Z else MAX_Z)  # noqa: FURB136 - see above
        if count >= self._next_look:
            self._next_look = count + BLOCK * (1 if count < EACH_BLOCK else 2 if count < EACH_SECOND else 4)
            if self._is_due():
                self._look_at_window()
            if len(self._xs) > 2 * WINDOW:
                del self._xs[:WINDOW], self._steps[:WINDOW]

    def _num_late(self) -> int:
        """How many of the peaks came since the window was looked at."""
        return (self.count - self._level_at) // BLOCK if self._per_noise else 0

    def _is_due(self) -> bool:
        """Whether the window is to be looked at now; in a long run it waits for the eighth block while all is usual."""
        late = self._num_late() if self.count >= EACH_FOURTH and self.count // BLOCK % MOST_LATE else 0
        return not late or max(self._peaks[-late:]) > USUAL_Z

    def _add_history(self) -> None:
        """Keep the mean of as many medians as ``history_records`` stand for."""
        self.history.append(self._sum / (self.history_records // BLOCK))
        self._sum = 0.0
        self.history_steps.append(self.step)
        if len(self.history) == NUM_HISTORY:
            pairs = range(0, NUM_HISTORY, 2)
            self.history = [(self.history[place] + self.history[place + 1]) / 2 for place in pairs]
            self.history_steps = self.history_steps[1::2]
            self.history_records *= 2

    def _look_at_window(self) -> None:
        """Find level, trend and noise; what is asked for less often is found when it is, in the sorted halves."""
        values = self._xs[-WINDOW:]
        size = len(values)
        older, newer = sorted(values[: size // 2]), sorted(values[size // 2 :])
        self._halves = older + newer
        if len(self._peaks) > 2 * NUM_PEAKS:
            del self._peaks[:-NUM_PEAKS]
        self.noise = noise = max(_noise_of(values), self.floor)
        if size < WARM_RECORDS:
            return
        self._level, self.slope = _trend_of(older, newer, size)  # of whole blocks, so that the halves are alike
        self._level_at = self.count
        self._per_noise = 1.0 / noise if noise > 0.0 else 0.0
        if size == WINDOW and not self.early_noise:
            self.early_noise = noise


def _noise_of(values: list[float]) -> float:
    steps = sorted(map(abs, map(sub, values[1:], values)))
    return steps[len(steps) // 2] * _NOISE_OF_STEPS if steps else 0.0


def _trend_of(older: list[float], newer: list[float], size: int) -> tuple[float, float]:
    """The level at the newest of so many values, and its change per value, by their sorted halves."""
    half = len(older)
    before, after = older[half // 2], newer[half // 2]
    slope = (after - before) / (size - half)
    return after + slope * half / 2, slope
