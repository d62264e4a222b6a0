"""Data that are not what they were: other batches, labels or preprocessing from a step on."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import gt
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import (
    Evaluations,
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
from barograph.watch.signal import BLOCK, Signal
from barograph.watch.surprise import STRICTNESS

LEAST_FACTOR: Final = 1.3
NOISES: Final = 3.0
LEAST_SHARE: Final = 0.05
HOLD: Final = 12
DUE: Final = 0
"""Of the next look: it is due."""
LATE_BLOCKS: Final = 4
"""In a long run the limit is found anew at every so many blocks."""
FIRST_RECORDS: Final = 48
RESTART_RECORDS: Final = 40
SMOOTH_RECORDS: Final = 24
SMOOTH_FALLS: Final = 21
"""Of 23 steps; batches that differ give half, or somewhat more while the loss falls fast."""
FALL_FACTOR: Final = 1.2
QUIET_SHARE: Final = 0.25
"""To this share of what it was before the noise has to fall."""
EXPLAINING: Final = 8
MOST_EXPLAINING: Final = 24
"""It explains a gradient norm that was told so many records after it rose."""
VAL_FACTOR: Final = 1.3
VAL_NOISES: Final = 6.0
MIN_EVALUATIONS: Final = 5


class DataShift(Detector):
    """Three signs of other data, none of which the weights can give.

    The training loss steps up from one record to the next and stays, at an unchanged learning rate; or it falls
    smoothly for 24 records where it was noisy (the same batch again and again); or the validation loss steps up between
    two evaluations while the training loss does not.
    Not for curricula: a planned change of the data looks the same.

    Measured on the tuning half of FaultBench: 12 of 12 such faults noticed, after 13 steps in the median; 11 of 13
    alerts right, no false incident.

    Attributes:
        usual: the level before, in the loss's unit.
        limit: what counts as above it.
        next: how many losses there have to be for the next look.
        score: plus one for a loss above the limit, minus two for one below.
        num: records since the score left zero.
        since: the step at which it did.
        evaluations: of the validation loss.
        val_since: the step at which the validation loss stepped up; NaN when it has not.
        val_usual: its level before.
    """

    name: ClassVar[str] = "data_shift"
    reads: ClassVar[tuple[str, ...]] = ("loss", "val_loss")
    cooldown: ClassVar[int] = 150
    calm_z: ClassVar[float | None] = math.inf
    explains: ClassVar[tuple[str, ...]] = ("exploding_gradient",)

    usual: float = math.nan
    limit: float = math.inf
    next: int = BLOCK
    score: int = 0
    num: int = 0
    since: float = math.nan
    evaluations: Evaluations = msgspec.field(default_factory=Evaluations)
    val_since: float = math.nan
    val_usual: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        found = None
        loss = sample.signals.get("loss")
        if loss is not None:
            if loss.value > self.limit:
                found = self._above(sample, loss)
            elif self.score:
                self.score, self.num = max(self.score - 2, 0), self.num + 1
                self._leave(loss)
            elif loss.count >= self.next:
                found = self._look(sample, loss)
        if "val_loss" in sample.signals and found is None:
            found = self._evaluated(sample, sample.signals["val_loss"])
        return found

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return not self.score and self.next != DUE

    def calm_below(self, role: str) -> float:
        """See ``barograph.watch.monitor.Bounded``: each evaluation is looked at."""
        return self.limit if role == "loss" else -math.inf

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``: the loss stepped up with the gradient norm that was told, and has stayed."""
        loss = sample.get("loss")
        if loss is None or loss.nonfinite_run or hovers(sample):
            return None
        num = round((sample.step - alert.since_step) / stride(loss))
        if not EXPLAINING <= num <= MOST_EXPLAINING or not is_abrupt(loss, num):
            return None
        if loss.value_of(median_of(loss.newest(num))) <= self.limit or is_reweighted(sample):
            return None
        if lr_jump(sample, loss, since=alert.since_step) or is_disturbed(sample, loss, records=RESTART_RECORDS):
            return None
        self.since = alert.since_step
        return self._rose(sample, loss)

    def _leave(self, loss: Signal) -> None:
        """Where the losses are below the limit again, a block that has ended meanwhile is to be looked at next."""
        if not self.score and loss.count >= self.next:
            self.next = DUE

    def _look(self, sample: Sample, loss: Signal) -> Alert | None:
        """A block has passed without anything above the limit: find the limit anew, and look for a fall."""
        self.next, self.is_active = loss.count - loss.count % BLOCK + BLOCK, False
        if loss.count < FIRST_RECORDS:
            return None
        if self.limit == math.inf or loss.is_turn(LATE_BLOCKS):
            self._find_limit(loss)
        return self._fell(sample, loss)

    def _find_limit(self, loss: Signal) -> None:
        usual = max(loss.level(2), loss.expected)
        self.usual = loss.value_of(usual)
        rise = STRICTNESS * max(loss.by_factor(LEAST_FACTOR), NOISES * max(loss.noise, loss.spread))
        self.limit = loss.value_of(usual + rise)
        if loss.is_log:
            self.limit = max(self.limit, self.usual + LEAST_SHARE * loss.value_of(loss.start))

    def _above(self, sample: Sample, loss: Signal) -> Alert | None:
        if loss.nonfinite_run:
            return None
        if not self.score:
            self.num, self.since = 0, sample.step
        self.num, self.score = self.num + 1, self.score + 1
        if self.score < HOLD:
            return None
        records, score = min(self.num, 24), self.score
        if score == HOLD and not self.is_quiet(sample) and not hovers(sample) and is_abrupt(loss, records):
            if steps_grew(sample, before=self.since) or is_reweighted(sample):
                return None
            if lr_jump(sample, loss, since=self.since) or is_disturbed(sample, loss, records=RESTART_RECORDS):
                return None
            return self._rose(sample, loss)
        if score > 3 * HOLD:  # this is the usual level from now on
            self.limit, self.score, self.is_active = math.inf, 0, False
            self._leave(loss)
        return None

    def _rose(self, sample: Sample, loss: Signal) -> Alert:
        level = median_of(loss.newest(HOLD))
        usual, now = shown(self.usual), shown(loss.value_of(level))
        val = self.evaluations
        after = [x for x, step in zip(val.vals, val.steps, strict=True) if step >= self.since]
        same = "; the validation loss did not" if after and after[-1] < median_of(val.vals[-4:]) + 0.1 else ""
        return self.alert(
            sample,
            f"the training loss stepped from {usual} to {now} at step {shown(self.since)} and stayed there{same}",
            severity="warning",
            since=self.since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"median of {HOLD} values of {loss.name}",
                    value=loss.value_of(level),
                    threshold=self.limit,
                    first_step=self.since,
                    last_step=sample.step,
                )
            ],
            causes=["other training data from there on: labels, shard, order or preprocessing", "weights overwritten"],
            remedies=_remedies(sample, self.since),
            confidence=0.8 if same else 0.65,
        )

    def _fell(self, sample: Sample, loss: Signal) -> Alert | None:
        """Whether the loss is that of one batch, over and over: it falls smoothly where it was noisy."""
        a, b, c, d = loss.newest(4)
        values = loss.newest(2 * SMOOTH_RECORDS) if a > b > c > d else []
        if len(values) < 2 * SMOOTH_RECORDS:
            return None
        before, after = values[:-SMOOTH_RECORDS], values[-SMOOTH_RECORDS:]
        if sum(map(gt, after, after[1:])) < SMOOTH_FALLS or after[0] - after[-1] < loss.by_factor(FALL_FACTOR):
            return None
        noise, usual = noise_of(after), noise_of(before)
        if noise > QUIET_SHARE * usual:
            return None
        span = SMOOTH_RECORDS * stride(loss)
        if self.is_quiet(sample) or sample.step - sample.context.schedule.jump_step < 2 * span:
            return None
        first, last = shown(loss.value_of(after[0])), shown(loss.value_of(after[-1]))
        since = sample.step - span
        return self.alert(
            sample,
            f"the training loss fell from {first} to {last} within {SMOOTH_RECORDS} records without its usual noise "
            f"({noise / usual:.2g} of it): the same batch again and again?",
            severity="warning",
            since=since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"noise of the logarithm of {loss.name}" if loss.is_log else f"noise of {loss.name}",
                    value=noise,
                    threshold=QUIET_SHARE * usual,
                    first_step=since,
                    last_step=sample.step,
                )
            ],
            causes=["a loader that gives the same batch over and over", "a shard of duplicates"],
            remedies=_remedies(sample, since),
            confidence=0.8,
        )

    def _evaluated(self, sample: Sample, val: Signal) -> Alert | None:
        known = self.evaluations
        known.take(val, sample.get("loss"))
        if len(known.vals) <= MIN_EVALUATIONS:
            return None
        if not math.isnan(self.val_since):
            since, self.val_since = self.val_since, math.nan
            rose = known.trains[-1] - known.trains[-3]
            if val.x < self.val_usual or self.is_quiet(sample) or rose > 0.3 * (self.val_usual - known.vals[-3]):
                return None
            return self._val_rose(sample, val, since)
        before = known.vals[-9:-1]
        rises = [after - it for it, after in pairwise(before)]
        rise = max(val.by_factor(VAL_FACTOR), VAL_NOISES * noise_of(before), 1.5 * max(rises))
        usual = max(before[-2:])
        loss = sample.get("loss")
        train = 0.0 if loss is None else median_of(loss.newest(6)) - known.trains[-2]
        if val.x - usual < STRICTNESS * rise or train > 0.3 * rise:
            return None
        if is_disturbed(sample, val, records=2) or hovers(sample):
            return None
        self.val_since, self.val_usual = val.step, usual + 0.6 * rise
        return None

    def _val_rose(self, sample: Sample, val: Signal, since: float) -> Alert:
        before = median_of(self.evaluations.vals[-2 - MIN_EVALUATIONS : -2])
        return self.alert(
            sample,
            f"the validation loss stepped from {shown(val.value_of(before))} to {shown(val.value)} at step "
            f"{shown(since)} while the training loss did not rise",
            severity="warning",
            since=since,
            metrics=[val],
            evidence=[
                Evidence(
                    name=val.name,
                    value=val.value,
                    threshold=val.value_of(self.val_usual),
                    first_step=since,
                    last_step=val.step,
                )
            ],
            causes=["other validation data or preprocessing from there on", "statistics of normalisation that broke"],
            remedies=_remedies(sample, since),
            confidence=0.6,
        )


def _remedies(sample: Sample, since: float) -> list[Remedy]:
    at = shown(since)
    return [
        Remedy(text=f"compare batches from before and after step {at}: labels, value range, source, shuffling"),
        Remedy(text=f"look at what changed around step {at}: the shard, the epoch, a resume, a worker of the loader"),
        *go_back(sample, since, why="once the data are right"),
    ]
