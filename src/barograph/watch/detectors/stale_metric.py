"""A metric that repeats itself or stops coming while the training goes on."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import FOREVER, Detector, Pace, Sample
from barograph.watch.roles import VAL_WORDS
from barograph.watch.signal import BLOCK, WINDOW, Signal

LEAST_SAME: Final = 8
LATE_BLOCKS: Final = 2
"""In a long run it looks at every so many blocks."""
TIMES_LONGEST: Final = 4
"""A metric that repeats itself now and then has to do so this much longer than it ever did."""
KEPT: Final = 16
MIN_LOOKS: Final = 10
MIN_TURNS: Final = 3
"""Of the direction, among the kept values: a measurement goes up and down, a schedule does not."""
MIN_DISTINCT: Final = 0.9
NOT_SET: Final = 1e-6
"""A number that is not its own rounding to three digits by this share was measured, not set."""
SETTLED: Final = 1e-5
"""A metric whose last changes were below this share has come to rest."""
MISSED_INTERVALS: Final = 3.2
NUM_INTERVALS: Final = 8
MIN_EVALS: Final = 4
MIN_WAIT: Final = 24
PROGRAMMED: Final = frozenset({"lr", "loss_scale"})


class _Seen(msgspec.Struct):
    """What is kept of one metric.

    Attributes:
        values: at every eighth record.
        longest: for how long it has repeated itself, and ceased to.
        pending: for how long it does now.
        num_looks: how many values were taken.
        is_counted: whether it came back to values that it had had: a share of few examples, which may stay the same.
    """

    values: list[float] = msgspec.field(default_factory=list)
    longest: int = 0
    pending: int = 0
    num_looks: int = 0
    is_counted: bool = False

    def take(self, value: float) -> None:
        """Keep a value that was not repeated for long."""
        self.num_looks += 1
        values = self.values
        values.append(value)
        if len(values) > KEPT:
            del values[0]


class StaleMetric(Detector):
    """A measured value is repeated exactly for eight records, or evaluations have stopped for 3.2 of their intervals.

    Only a metric that was seen to go up and down, with hardly a value twice, can be stale: learning rates, weights of
    a schedule, epochs, flags and counters are not, nor are a clipped norm, an accuracy of 0 or 1, a metric that repeats
    its last evaluation between two (it has to do so four times longer than ever before), one that has converged, and
    a share of few examples, which returned to exact values before: it stays the same when the model hardly changes.

    Measured on the tuning half of FaultBench: 15 of 15 such faults noticed, after 12 steps in the median; 12 of 12
    alerts right, no false incident. Not for metrics that are constants by design.
    """

    name: ClassVar[str] = "stale_metric"
    reads: ClassVar[tuple[str, ...]] = ("*",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    seen: dict[str, _Seen] = msgspec.field(default_factory=dict)
    last_steps: dict[str, float] = msgspec.field(default_factory=dict)
    steps_each: dict[str, float] = msgspec.field(default_factory=dict)
    evals: list[int] = msgspec.field(default_factory=list)
    num_evals: int = 0
    eval_step: float = math.nan
    stale: list[str] = msgspec.field(default_factory=list)
    waits: dict[str, int] = msgspec.field(default_factory=dict)
    num_known: int = 0
    has_missed: bool = False

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        found, split = None, sample.split
        before = self.last_steps.get(split, math.nan)
        self.last_steps[split] = sample.step
        if sample.step > before:
            self.steps_each[split] = (sample.step - before) / BLOCK
        if len(sample.context.all_signals) != self.num_known:
            self.num_known, self.waits = len(sample.context.all_signals), {}
        num_waits = self.waits.get(split, 0)
        if num_waits:
            self.waits[split] = num_waits - 1
        else:
            found = self._look_at_all(sample, split)
        if found is None and split not in VAL_WORDS:
            found = self._missing(sample)
        self.is_active = bool(self.stale) or self.has_missed
        return found

    def _look_at_all(self, sample: Sample, split: str) -> Alert | None:
        """Look at those that have their turn, and find for how many blocks no other one has its own."""
        count, is_turn, ahead = -1, False, FOREVER
        for key, signal in sample.context.all_signals.items():
            if signal.split != split or signal.role in PROGRAMMED:
                continue
            if signal.count != count:  # most of them have come together
                count, is_turn = signal.count, signal.is_turn(LATE_BLOCKS)
                ahead = min(ahead, signal.next_turn(LATE_BLOCKS))
            if not is_turn:
                continue
            seen = self.seen.get(key)
            if seen is None:
                seen = self.seen[key] = _Seen()
            if signal.num_same or seen.pending or signal.nonfinite_run or self.stale:
                found = self._look(sample, key, signal, seen)
                if found is not None:
                    return found  # one at a time
            elif signal.count:
                seen.take(signal.value)
        self.waits[split] = max(ahead - 1, 0) // BLOCK
        return None

    def _look(self, sample: Sample, key: str, signal: Signal, seen: _Seen) -> Alert | None:
        """Look at one that repeats itself, has done so until now, or may."""
        if signal.nonfinite_run or not signal.count:
            return None
        num_same = signal.num_same
        if num_same != seen.pending:
            if num_same < seen.pending + BLOCK:
                seen.longest = max(seen.longest, seen.pending)
            seen.pending = num_same
        if num_same < LEAST_SAME:
            seen.take(signal.value)
            if key in self.stale:
                self.stale.remove(key)
            return None
        if key in self.stale:
            return None
        if signal.num_same < max(LEAST_SAME, TIMES_LONGEST * seen.longest) or not _is_measured(seen, signal.value):
            return None
        seen.is_counted = seen.is_counted or _comes_back(signal)
        if seen.is_counted:
            return None
        self.stale.append(key)
        return None if self.is_quiet(sample) else self._repeats(sample, signal)

    def _repeats(self, sample: Sample, signal: Signal) -> Alert:
        since = sample.step - signal.num_same * self.steps_each.get(sample.split, 1.0)
        text = f"{signal.name} is {signal.value!r} in {signal.num_same + 1} records, since about step {since:.10g}"
        return self.alert(
            sample,
            f"{text}, and was never twice the same before",
            severity="warning",
            since=since,
            metrics=[signal],
            evidence=[
                Evidence(
                    name=f"repetitions of {signal.name}",
                    value=float(signal.num_same),
                    threshold=float(LEAST_SAME),
                    first_step=since,
                    last_step=sample.step,
                )
            ],
            causes=[
                "an old value that is logged again",
                "an input that does not change: the same batch, a stuck loader",
            ],
            remedies=[
                Remedy(text=f"check where {signal.name} is computed: is it in the loop, and does it see the new batch"),
                Remedy(text="if the loss repeats too: is the loader giving the same batch"),
            ],
            confidence=0.8,
        )

    def _missing(self, sample: Sample) -> Alert | None:
        """Evaluations are counted in records, because their steps may be epochs."""
        known = sample.context.signals
        val = known.get("val_loss") or known.get("val_accuracy") or known.get("quality")
        if val is None or not val.count:
            return None
        num_records = sample.context.num_records
        num_evals = val.count + val.num_nonfinite
        if num_evals != self.num_evals:
            self.evals.append(num_records)
            del self.evals[: -NUM_INTERVALS - 1]
            self.num_evals, self.eval_step, self.has_missed = num_evals, sample.step, False
        if self.has_missed or len(self.evals) < MIN_EVALS or self.is_quiet(sample):
            return None
        interval = max(b - a for a, b in pairwise(self.evals))
        waited = num_records - self.evals[-1]
        if waited < max(MISSED_INTERVALS * interval, MIN_WAIT):
            return None
        self.has_missed = True
        due = self.eval_step + (sample.step - self.eval_step) * interval / waited
        return self.alert(
            sample,
            f"there was no {val.name} in {waited} records, since about step {self.eval_step:.10g}; before, it came "
            f"every {interval} at most",
            severity="warning",
            since=due,
            metrics=[val],
            evidence=[
                Evidence(
                    name=f"records without {val.name}",
                    value=float(waited),
                    threshold=MISSED_INTERVALS * interval,
                    first_step=self.eval_step,
                    last_step=sample.step,
                )
            ],
            causes=["the evaluation is no longer called", "the evaluation fails and the failure is swallowed"],
            remedies=[Remedy(text=f"check what starts the evaluation: one was due at about step {due:.0f}")],
            confidence=0.93,
        )


def _comes_back(signal: Signal) -> bool:
    """Whether a metric returned to exact values before it stayed at one, as a share of so many examples does."""
    before = signal.newest(WINDOW)[: -signal.num_same - 1]
    return len(set(before)) < MIN_DISTINCT * len(before)


def _is_measured(seen: _Seen, value: float) -> bool:
    """Whether this is a metric that varied freely before and has not come to rest."""
    values = seen.values
    if seen.num_looks < MIN_LOOKS or len(set(values)) < MIN_DISTINCT * len(values) or value in (0.0, 1.0, 100.0):
        return False
    if abs(float(f"{value:.3g}") - value) < NOT_SET * abs(value):
        return False
    steps = [b - a for a, b in pairwise(values)]
    turns = sum(a * b < 0.0 for a, b in pairwise(steps))
    return turns >= MIN_TURNS and math.fabs(steps[-1]) > SETTLED * abs(value)
