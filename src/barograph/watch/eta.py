"""How much longer a run takes, as a range that knows evaluation phases.

Steps and phases are timed apart, because a run of 10 ms steps with a 6 s evaluation every 200 of them is not a run
of 40 ms steps. Memory and the cost of every call are bounded. The module looks at times only: it reads no file
and no clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Final

import msgspec

MAX_MARKS: Final = 64
MAX_DURATIONS: Final = 32
MIN_INTERVALS: Final = 2
FEW: Final = 4
ROUNDING: Final = 1e-9


class EtaRange(msgspec.Struct, frozen=True, kw_only=True):
    """Time left, as a range.

    Attributes:
        low_s: seconds, not negative.
        high_s: seconds, at least ``low_s``; infinite while an evaluation that is planned was never measured.
        n: how many timed pieces (step intervals and phases, or epochs) the range rests on.
    """

    low_s: float
    high_s: float
    n: int


class _Mark(msgspec.Struct):
    """A step that was reached: when, and how many seconds of phases had gone by."""

    t: float
    step: float
    busy_s: float


class _Recurring:
    """One kind of phase: how often it comes and how long it takes."""

    def __init__(self) -> None:
        self.durations_s: deque[float] = deque(maxlen=MAX_DURATIONS)
        self.num_steps = 0
        self.first_step = 0.0
        self.last_step = -math.inf

    def add(self, step: float, duration_s: float) -> None:
        """Count one more phase; several at one step are one occurrence that took their sum."""
        if self.num_steps and step == self.last_step:
            self.durations_s[-1] += duration_s
            return
        if not self.num_steps:
            self.first_step = step
        self.last_step = max(self.last_step, step)
        self.num_steps += 1
        self.durations_s.append(duration_s)

    def still_to_come(self, total_steps: float, eval_steps: int | None) -> tuple[int, int]:
        """Fewest and most occurrences up to ``total_steps``."""
        left = total_steps - self.last_step
        if self.last_step > self.first_step:
            period = (self.last_step - self.first_step) / (self.num_steps - 1)
        elif self.first_step > 0 and eval_steps and self.first_step % eval_steps == 0:
            period = eval_steps
        elif self.first_step > 0:  # seen once: it may come as often again, or never
            return 0, max(0, math.ceil(left / self.first_step - ROUNDING))
        else:
            return 0, 0
        return max(0, math.floor(left / period + ROUNDING)), max(0, math.ceil(left / period - ROUNDING))


class Eta:
    """Estimate the time that a run still needs.

    The time left is ``steps left x seconds per step`` plus, for each kind of phase, ``occurrences left x seconds
    each``. Seconds per step come from the later half of the run so far, with the phases taken out; how often a
    phase comes is what was seen. Each factor is a band: the 10 % and 90 % quantiles, no narrower than two standard
    errors around the mean, and wider by ``50 % / n`` where only n pieces were timed.

    Measured in ``tests/watch/test_eta.py`` over 900 estimates of simulated runs, asked a little after 5 % to 90 %
    of each: with noise alone the truth was inside every range; with rare slow steps inside 92 %; with steps that
    slow down by 20 % all along inside 80 %; with evaluations every 200 steps inside 98 %. Half of the ranges were
    narrower than 25 % of their middle for steps alone, and than 60 % with evaluations or rare slow steps. It is no
    promise: a machine that becomes twice as slow tomorrow is in no range of today.

    Args:
        total_steps: the step at which training ends.
        total_epochs: how many epochs; used when ``total_steps`` is unknown.
        eval_steps: a full evaluation is planned every so many steps. Before the first of them was passed, the
            range has no upper end, since nobody has measured what is still to come.

    >>> eta = Eta(total_steps=100)
    >>> for step in range(1, 11):
    ...     eta.step(step, t=2.0 * step)
    >>> left = eta.remaining()
    >>> left.low_s < 180 < left.high_s
    True
    """

    def __init__(
        self,
        *,
        total_steps: float | None = None,
        total_epochs: int | None = None,
        eval_steps: int | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.total_epochs = total_epochs
        self.eval_steps = eval_steps
        self._marks: list[_Mark] = []
        self._last: _Mark | None = None
        self._spacing = 0.0
        self._stride = 1
        self._skipped = 0
        self._busy_s = 0.0
        self._phases: dict[str, _Recurring] = {}
        self._epochs_s: deque[float] = deque(maxlen=MAX_DURATIONS)
        self._epoch = -1
        self._first_epoch: int | None = None
        self._epoch_t: float | None = None

    def restart(self, *, t: float | None = None) -> None:
        """Begin a new attempt at unix time ``t``: the pause before it was not training.

        What was learned about the length of phases and epochs stays.
        """
        self._marks.clear()
        self._last = None
        self._stride, self._skipped = 1, 0
        self._epoch_t = t

    def step(self, step: float, *, t: float) -> None:
        """Note that ``step`` was done at unix time ``t``.

        An older fact that arrives late is passed over. Where only one of step and time goes back, the loop began
        anew or the clock was set: earlier times no longer count.
        """
        last = self._last
        if not (math.isfinite(step) and math.isfinite(t)):
            return
        if last is not None and (step - last.step) * (t - last.t) < 0:
            self.restart(t=self._epoch_t)
            last = None
        if last is not None and (step <= last.step or t <= last.t):
            return
        self._spacing = step - last.step if last is not None else 0.0
        self._last = _Mark(t, step, self._busy_s)
        self._skipped += 1
        if self._skipped >= self._stride or not self._marks:
            self._skipped = 0
            self._marks.append(self._last)
            if len(self._marks) >= MAX_MARKS:  # keep every second: the marks stay spread over the whole run
                del self._marks[1::2]
                self._stride *= 2

    def phase(self, name: str, *, started_t: float, duration_s: float, step: float | None = None) -> None:
        """Note that an outermost phase took ``duration_s`` seconds from unix time ``started_t`` on.

        It may be told after later steps were: facts of two files arrive in either order. Phases inside phases
        must not be told, or their time would count twice.
        """
        if not (math.isfinite(duration_s) and duration_s >= 0):
            return
        if step is None or not math.isfinite(step):
            step = next((mark.step for mark in self._newest_first() if mark.t <= started_t), 0.0)
        self._phases.setdefault(name, _Recurring()).add(step, duration_s)
        self._busy_s += duration_s
        for mark in self._newest_first():
            if mark.t <= started_t:
                break
            mark.busy_s += min(duration_s, mark.t - started_t)

    def _newest_first(self) -> Iterator[_Mark]:
        if self._last is not None:
            yield self._last
        yield from (mark for mark in reversed(self._marks) if mark is not self._last)

    def epoch(self, epoch: int, *, t: float) -> None:
        """Note that ``epoch`` ended at unix time ``t``. Epochs may be counted from 0 or from 1."""
        if self._epoch_t is not None and t > self._epoch_t:
            self._epochs_s.append(t - self._epoch_t)
        self._epoch_t = t
        self._epoch = epoch
        self._first_epoch = epoch if self._first_epoch is None else min(epoch, self._first_epoch)

    def remaining(self, *, now: float | None = None) -> EtaRange | None:
        """Time left, counted from unix time ``now`` (default: from the last fact).

        Between two facts the range shrinks with the clock, but by no more than a step and a phase usually take:
        a run that hangs does not come nearer to its end.

        Returns:
            None when no total is known, or before two intervals between steps (without ``total_steps``: one whole
            epoch) were timed.
        """
        if self.total_steps is not None:
            return self._remaining_by_steps(self.total_steps, now)
        if self.total_epochs is not None:
            return self._remaining_by_epochs(self.total_epochs, now)
        return None

    def _remaining_by_steps(self, total_steps: float, now: float | None) -> EtaRange | None:
        per_step_s = _later_half(self._seconds_per_step())
        last = self._last
        if last is None or len(per_step_s) < MIN_INTERVALS:
            return None
        step_low, step_high = _band(per_step_s)
        left = max(0.0, total_steps - last.step)
        low, high, n = left * step_low, left * step_high, len(per_step_s)
        longest_s = 0.0
        for recurring in self._phases.values():
            fewest, most = recurring.still_to_come(total_steps, self.eval_steps)
            if most:
                phase_low, phase_high = _band(recurring.durations_s)
                low, high, n = low + fewest * phase_low, high + most * phase_high, n + len(recurring.durations_s)
                longest_s = max(longest_s, phase_high)
        if self.eval_steps and last.step <= self.eval_steps <= total_steps and not self._seen_evaluation():
            high = math.inf
        since_s = now - last.t - (self._busy_s - last.busy_s) if now is not None else 0.0
        return _shrink(low, high, min(since_s, step_high * self._spacing + longest_s), n)

    def _seconds_per_step(self) -> list[float]:
        """Mean seconds per step of each stretch between two marks, phases taken out."""
        marks = self._marks
        if self._last is not None and len(marks) == 1 and self._last is not marks[0]:
            marks = [*marks, self._last]
        return [max(0.0, b.t - a.t - (b.busy_s - a.busy_s)) / (b.step - a.step) for a, b in pairwise(marks)]

    def _seen_evaluation(self) -> bool:
        return any(phase.last_step == self.eval_steps for phase in self._phases.values())

    def _remaining_by_epochs(self, total_epochs: int, now: float | None) -> EtaRange | None:
        epochs_s = _later_half(list(self._epochs_s))
        if not epochs_s or self._epoch_t is None:
            return None
        low, high = _band(epochs_s)
        # Counted from 0, epoch 7 is the eighth; from 1, the seventh; unknown where the first two were not seen.
        most_done = self._epoch if self._first_epoch == 1 else self._epoch + 1
        fewest_done = self._epoch + 1 if self._first_epoch == 0 else self._epoch
        since_s = now - self._epoch_t if now is not None else 0.0
        return _shrink(
            max(0, total_epochs - most_done) * low,
            max(0, total_epochs - fewest_done) * high,
            min(since_s, high),
            len(epochs_s),
        )


def _shrink(low_s: float, high_s: float, elapsed_s: float, n: int) -> EtaRange:
    elapsed_s = max(0.0, elapsed_s)
    return EtaRange(low_s=max(0.0, low_s - elapsed_s), high_s=max(0.0, high_s - elapsed_s), n=n)


def _later_half(values: list[float]) -> list[float]:
    """What is recent, as soon as there is enough of it; the first steps of a run are often slow."""
    return values if len(values) < FEW else values[len(values) // 2 :]


def _band(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    mean, n = fmean(ordered), len(ordered)
    error = 2.0 * pstdev(ordered) / math.sqrt(n)
    slack = 0.5 * mean / n
    low = min(_quantile(ordered, 0.1), mean - error) - slack
    high = max(_quantile(ordered, 0.9), mean + error) + slack
    return max(0.0, low), high


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Quantile of sorted values, linear between them."""
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
