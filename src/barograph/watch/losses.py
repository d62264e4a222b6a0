"""What the detectors of the loss have in common: what explains a change of it.

It judges nothing: thresholds stand in the detectors.
"""

from __future__ import annotations

import math
from operator import sub
from typing import Final

import msgspec

from barograph.watch.detector import Sample, shown
from barograph.watch.signal import BLOCK, Signal

HOVERING: Final = ("d_loss", "g_loss", "reward", "entropy")
"""Where one of these roles is, the loss is that of a game or of a policy: it need not fall."""
NUM_EVALUATIONS: Final = 32
FEW_EVALUATIONS: Final = 5
NUM_TRAIN: Final = 24
MAX_ONSET: Final = 20
"""Among so many of the newest records an onset is looked for."""
MIN_NOISE: Final = 0.01
PUSHED_RECORDS: Final = 4
PUSHED_FACTOR: Final = 1.5
GROWTH: Final = 1.6
"""What comes at once does not grow by more than this factor afterwards."""
FEWEST_CLASSES: Final = 10
MOST_CLASSES: Final = 1000
_NOISE_OF_STEPS: Final = 1.4826 / math.sqrt(2)
_NOISE_OF_BENDS: Final = 1.4826 / math.sqrt(6)


def hovers(sample: Sample) -> bool:
    """Whether the loss is one that need not fall."""
    return not sample.context.signals.keys().isdisjoint(HOVERING)


def stride(signal: Signal) -> float:
    """Steps from one record to the next, of late; 1 when that is not known."""
    steps = signal.recent_steps[-2:]
    return max((steps[-1] - steps[0]) / 8, 1e-9) if len(steps) == 2 else 1.0  # noqa: PLR2004 - two blocks of eight


def is_disturbed(sample: Sample, signal: Signal, *, records: int) -> bool:
    """Whether the run was resumed, or the schedule was restarted as planned, so many records ago at most."""
    context = sample.context
    if context.attempt and context.records_in_attempt < records:
        return True
    schedule = context.schedule
    if not schedule.restarts or schedule.peak_step == schedule.jump_step:
        return False
    return 0 <= sample.step - schedule.jump_step < records * stride(signal)


def lr_jump(sample: Sample, signal: Signal, *, since: float, records: int = 4) -> str:
    """How the learning rate jumped shortly before a step, in words; empty when it did not."""
    schedule = sample.context.schedule
    slack = records * stride(signal)
    if not since - slack <= schedule.jump_step <= since + slack:
        return ""
    return f"the learning rate went from {shown(schedule.jump_from)} to {shown(schedule.jump_to)} there"


def top_of(signal: Signal) -> float:
    """The largest of the newest eight ``x``, of which there have to be some."""
    if signal.count % BLOCK:
        return max(signal.newest(BLOCK))
    return signal.block[-1]


def highest_of(signal: Signal) -> float:
    """The largest value of the newest block; zeros have no logarithm, but they do repeat themselves."""
    if not (signal.block or signal.newest(1)) or (signal.value == 0.0 and signal.num_same >= BLOCK - 1):
        return signal.value
    return signal.value_of(top_of(signal))


def median_of(values: list[float]) -> float:
    """The upper median; NaN of nothing."""
    return sorted(values)[len(values) // 2] if values else math.nan


def noise_of(values: list[float]) -> float:
    """Standard deviation of values around their trend, from their first differences."""
    steps = list(map(sub, values[1:], values))
    drift = median_of(steps)
    return median_of([abs(step - drift) for step in steps]) * _NOISE_OF_STEPS if steps else 0.0


def is_abrupt(signal: Signal, num_after: int) -> bool:
    """Whether a rise happened from one record to the next and went no further, as when the data change.

    The weights change step by step: what they cause grows over some records.

    Args:
        signal: the loss.
        num_after: how many of its newest records are after the rise; 8 to 24.
    """
    values = signal.newest(num_after + 16)
    before, after = values[:-num_after], values[-num_after:]
    if len(before) < 8:  # noqa: PLR2004 - a median of less says nothing
        return False
    level = median_of(before)
    rise = median_of(after) - level
    if rise <= 0.0:
        return False
    noise = noise_of(before)
    slack = max(signal.by_factor(GROWTH), 2.5 * noise)
    if median_of(after[-6:]) - median_of(after[:6]) > 0.2 * rise + 0.5 * noise:
        return False
    is_at_once = after[0] - level > 0.6 * rise and max(after[:6]) - after[0] < slack
    return is_at_once and median_of(after[-6:]) - level < 1.4 * rise and median_of(before[-3:]) - level < 0.3 * rise


class Evaluations(msgspec.Struct):
    """The newest values on the validation data, each with the training loss of its time.

    Attributes:
        vals: on the signal's scale, oldest first.
        trains: training losses on their scale; NaN where there are none.
        steps: when.
        num: how many there were in all.
        num_train: how many training losses there had been at the newest.
    """

    vals: list[float] = []
    trains: list[float] = []
    steps: list[float] = []
    num: int = 0
    num_train: int = 0
    is_log: tuple[bool, bool] = (True, True)

    def take(self, val: Signal, train: Signal | None) -> None:
        """Take the newest evaluation."""
        scales = (val.is_log, train is None or train.is_log)
        if scales != self.is_log:  # logarithms and plain values do not mix
            self.is_log, self.num = scales, 0
            self.vals, self.trains, self.steps = [], [], []
        level = math.nan
        if train is not None and train.count:
            fresh = train.count - self.num_train
            level = median_of(train.newest(min(fresh, NUM_TRAIN))) if fresh > 0 else train.x
            self.num_train = train.count
        self.vals.append(val.x)
        self.trains.append(level)
        self.steps.append(val.step)
        self.num += 1
        if len(self.vals) > 2 * NUM_EVALUATIONS:
            for kept in (self.vals, self.trains, self.steps):
                del kept[:NUM_EVALUATIONS]

    def noise(self) -> float:
        """Of the newer half of the validation values, at least one per cent."""
        return max(_noise_of_bends(self.vals), MIN_NOISE)

    def train_noise(self) -> float:
        """Of the newer half of the training losses."""
        return _noise_of_bends(self.trains)


def _noise_of_bends(values: list[float]) -> float:
    """Noise of the newer half of some values, of second differences: few values have no one trend."""
    newest = values[-NUM_EVALUATIONS:]
    newest = newest[-max(len(newest) // 2, FEW_EVALUATIONS) :]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(newest, newest[1:], newest[2:], strict=False)]
    return median_of(bends) * _NOISE_OF_BENDS if bends else 0.0


def is_reweighted(sample: Sample) -> bool:
    """Whether another term of the loss is being pushed down: the loss is higher as that term weighs more."""
    kl = sample.get("kl")
    if kl is None or not kl.is_warm():
        return False
    return median_of(kl.newest(PUSHED_RECORDS)) < median_of(kl.newest(MAX_ONSET + 4)[:4]) - kl.by_factor(PUSHED_FACTOR)


def grew(sample: Sample, *, records: int = 20) -> bool:
    """Whether the gradient norm left its usual range upwards within the newest records."""
    grad = sample.get("grad_norm")
    if grad is None:
        return False
    moved = grad.moved(since=records, least=4.0)
    return moved is not None and moved.surprise > 0


def steps_grew(sample: Sample, *, before: float) -> bool:
    """Whether the steps of the optimiser grew before the loss did: then it was not the data."""
    for role in ("update_ratio", "grad_norm"):
        signal = sample.get(role)
        moved = None if signal is None else signal.moved(since=MAX_ONSET, least=6.0)
        if moved is not None and moved.surprise > 0 and moved.step < before:
            return True
    return False


def num_classes(sample: Sample) -> float | None:
    """How many there are to guess among: as configured, or as the first accuracies have it."""
    configured = sample.context.setting("num_classes", "vocab_size", "num_labels")
    accuracy = sample.get("accuracy")
    if configured is not None or accuracy is None or not accuracy.recent:
        return configured
    share = accuracy.start / 100 if accuracy.high > 1.0 else accuracy.start
    return min(max(1 / share, FEWEST_CLASSES), MOST_CLASSES) if share > 0.0 else MOST_CLASSES
