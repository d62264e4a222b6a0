"""A loss that was falling and stops at once, well before the end of the run."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import mul
from typing import ClassVar, Final

from barograph.watch.advice import go_back, setting_name
from barograph.watch.alert import Alert, Evidence, Remedy, Severity
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import hovers, is_disturbed, median_of
from barograph.watch.signal import BLOCK, Signal
from barograph.watch.surprise import STRICTNESS

WINDOW_BLOCKS: Final = 6
LEAST_BLOCKS: Final = 16
MOST_BLOCKS: Final = 48
NUM_WINDOWS: Final = 4
"""The fall is judged by three windows of a quarter each of the time that it took."""
LEAST_GAIN: Final = 0.02
"""What such a window has to have gained."""
GAIN_ERRORS: Final = 1.0
SUM_ERRORS: Final = 6.0
FLAT_ERRORS: Final = 3.0
ERROR_OF_MEDIANS: Final = 1.6
"""Of a median of medians of n records: the noise times this over the root of n."""
WANDERING: Final = 1.25
"""A spread beyond so many times the noise is that of records that resemble their neighbours, and says less."""
MOST_RATIO: Final = 0.95
FLAT_GAIN: Final = 0.012
EXPECTED_SHARE: Final = 0.25
"""Less than this share of what the gains before promised is a stop."""
STARVED_SHARE: Final = 0.2
LATEST: Final = 0.75
LOW_LR: Final = 0.03
LATE_BLOCKS: Final = 4
"""In a long run it looks at every so many blocks."""
LOW_BLOCKS: Final = 8
MOST_LOW_BLOCKS: Final = 48
HALF: Final = 4
NOISES: Final = 0.7
PULLS: Final = 0.8
"""Below this share of its gradient a loss may be at its floor."""
PULLS_STEADY: Final = 0.4
"""The same where validation says that the weights hardly move: near a floor they do, by the noise of their steps."""
KINK: Final = 10.0
"""Twice the logarithm of how many times likelier a kink is than an approach to a floor: 150 times."""
TIMES: Final = tuple(0.5 * 1.25**place for place in range(21))
"""Of an approach, in blocks: from less than can be told from a kink to longer than any window here."""
STEADY: Final = 4
"""Changes from evaluation to evaluation; before them, the one in which the loss stopped, and two of the fall."""
STEADY_SHARE: Final = 0.1
"""Of the changes during the fall, at most so much is left ..."""
STEADY_BENDS: Final = 0.02
"""... and so even: no noise of steps is in it."""
FULL_FALL: Final = 0.4
"""A change that is less than this share of the one before it is that of a fall that levels off."""
LEAST_CHANGE: Final = 0.1
LOW_SHARE: Final = 0.3
"""Without a planned length: of the run so far, this much has been at a low learning rate."""
LATEST_LOW: Final = 0.5
SOLVED_SHARE: Final = 0.05
SOLVED_ACCURACY: Final = 0.97


class Plateau(Detector):
    """The loss has gained nothing in as many records as its fall took, or 192, though that promised much more.

    A loss that levels off is none, only a kink: the gains of the last windows of the fall, continued by their ratio,
    are four times what came, and two lines explain the blocks 150 times better than an exponential approach, which is
    how any floor is reached. Noise that could hide the approach makes it silent. Where gradients are logged they have
    to be there still, for those of a loss that is at its floor are small.

    Validation tells it too: weights that hardly move change it by the same little from one evaluation to the next, at
    once after a fall, while steps of a live training leave their noise in it.

    It is a warning where a learning rate that came down early explains it, an information otherwise; from 75 per cent
    of the run on it is none. Not for games and policies, nor for runs that are as good as solved, nor where the
    learning rate climbs or was restarted. Where some layers go on learning, nothing tells it from a floor.

    Measured on the tuning half of FaultBench: 5 of 9 such faults noticed, after 92 steps in the median; 7 of 7 alerts
    right, no false incident.

    Attributes:
        low: for how many blocks the learning rate has been under three per cent of its peak.
        low_step: since when.
        level: of the loss when it was found, on its scale.
        num_evals: how many evaluations had been looked at.
    """

    name: ClassVar[str] = "plateau"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 400

    low: int = 0
    low_step: float = 0.0
    level: float = math.nan
    num_evals: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if sample.context.schedule.share_of_peak() >= LOW_LR:
            if self.low:
                self.low = 0
        else:
            if not self.low:
                self.low_step = sample.step
            self.low += 1
        if not loss.is_turn(LATE_BLOCKS):
            return None
        recent = loss.recent
        if self.is_active:
            self.is_active = median_of(recent[-WINDOW_BLOCKS:]) > self.level - 3 * FLAT_GAIN
            return None
        if len(recent) < LOW_BLOCKS + 2 * HALF or self.is_quiet(sample) or hovers(sample) or _is_solved(sample, loss):
            return None
        if self.low:
            return self._starved(sample, loss)
        if _is_over(sample):
            return None
        return self._steady(sample, loss) or (self._kink(sample, loss) if len(recent) >= LEAST_BLOCKS else None)

    def _starved(self, sample: Sample, loss: Signal) -> Alert | None:
        """Whether the loss stopped when the learning rate went away, early in the run."""
        low, recent = self.low, loss.recent
        half = min((len(recent) - low) // 2, 2 * HALF)
        if low < LOW_BLOCKS or low > MOST_LOW_BLOCKS or half < HALF:
            return None
        progress = sample.context.progress(self.low_step)
        is_early = low > LOW_SHARE * len(recent) if progress is None else progress < LATEST_LOW
        if not is_early:
            return None
        older, old = median_of(recent[-low - 2 * half : -low - half]), median_of(recent[-low - half : -low])
        new, newest = median_of(recent[-low : HALF - low]), median_of(recent[-HALF:])
        unit = 1.0 if loss.is_log else max(abs(older), loss.noise)
        gained, since = older - old, new - newest
        if gained < STRICTNESS * max(LEAST_GAIN / 2 * unit, NOISES * loss.noise) or since > STARVED_SHARE * gained:
            return None
        return self._found(sample, loss, old, gained, records=(half * BLOCK, low * BLOCK), is_lr=True)

    def _kink(self, sample: Sample, loss: Signal) -> Alert | None:
        """Whether the loss has gained nothing in as many records as it took to come there, and was in full fall."""
        recent = loss.recent[-MOST_BLOCKS:]
        half = len(recent) // 2
        size = half // NUM_WINDOWS
        fall, flat = recent[half - 3 * size : half], recent[half:]
        if fall[-1] - fall[0] > -2 * LEAST_GAIN or flat[0] - flat[-1] > fall[0] - fall[-1]:
            return None
        levels = [median_of(fall[place : place + size]) for place in range(0, 3 * size, size)]
        lowest_before = min(loss.recent[: -len(flat) - 2 * size], default=math.inf)
        if lowest_before < levels[2] or not _stopped(levels, flat, loss):
            return None  # it falls still, or it fell back only, after a rise
        since, first = loss.recent_steps[-len(flat)], loss.recent_steps[-len(flat) - 3 * size]
        if first <= sample.context.schedule.jump_step or _is_explained(sample, since, loss, records=2 * half * BLOCK):
            return None
        if not _still_pulls(sample, half, size) or not _is_kinked(recent[half - 3 * size :], size):
            return None
        gained = levels[1] - levels[2]
        return self._found(sample, loss, levels[2], gained, records=(size * BLOCK, len(flat) * BLOCK), is_lr=False)

    def _steady(self, sample: Sample, loss: Signal) -> Alert | None:
        """Whether the validation loss was in full fall, and changes by next to nothing since, evenly and at once."""
        val = sample.get("val_loss")
        if val is None or val.count == self.num_evals:
            return None
        self.num_evals = val.count
        xs = val.newest(STEADY + 4)
        if len(xs) < STEADY + 4 or not val.is_log:
            return None
        changes = [before - after for before, after in pairwise(xs)]
        earlier, before, since = changes[0], changes[1], changes[-STEADY:]
        if before < LEAST_CHANGE * STRICTNESS or before < FULL_FALL * earlier:
            return None
        bends = max(abs(b - a) for a, b in pairwise(since))
        if max(map(abs, since)) > STEADY_SHARE * before or bends > STEADY_BENDS * before or min(since) < 0.0:
            return None
        return self._stopped_with_validation(sample, loss, val, before)

    def _stopped_with_validation(self, sample: Sample, loss: Signal, val: Signal, before: float) -> Alert | None:
        """What to say when the training loss has stopped as well, and nothing explains it."""
        interval = (val.step - val.first_step) / (val.count - 1)
        since, recent, places = val.step - STEADY * interval, loss.recent, loss.recent_steps
        num = sum(step > since for step in places)
        num_fall = sum(since - 2 * interval < step <= since - interval for step in places)
        num_mixed = sum(since - interval < step <= since for step in places)
        if num < HALF or not num_fall:
            return None
        if abs(median_of(recent[-num:][: num // 2]) - median_of(recent[-num // 2 :])) > before / 2:
            return None  # the training loss goes on
        if max(recent) > loss.start + before / 2:
            return None  # the fall only took back a rise
        records = (num + num_mixed + num_fall) * BLOCK
        if _is_explained(sample, since - interval, loss, records=records):
            return None
        if not _pulled(sample, num, num_mixed + num_fall, share=PULLS_STEADY):
            return None
        return self._found(sample, loss, recent[-num], before, records=(num_fall * BLOCK, num * BLOCK), is_lr=False)

    def _found(
        self, sample: Sample, loss: Signal, before: float, gained: float, *, records: tuple[int, int], is_lr: bool
    ) -> Alert:
        self.level = median_of(loss.recent[-WINDOW_BLOCKS:])
        since = loss.recent_steps[-1 - records[1] // BLOCK]
        schedule = sample.context.schedule
        why = f", with a learning rate of {shown(schedule.lr)}, {schedule.share_of_peak():.2g} of its peak" * is_lr
        much = f"{(1 - math.exp(-gained)) * 100:.2g}%" if loss.is_log else shown(gained)
        severity: Severity = "warning" if is_lr else "info"
        causes = ["a learning rate that is too low or too high to go further", "layers that do not learn"]
        return self.alert(
            sample,
            f"the loss stopped at {shown(loss.value_of(self.level))} at step {shown(since)}: it had fallen by {much} "
            f"within {records[0]} records before, and has gained nothing in {records[1]} since{why}",
            severity=severity,
            since=since,
            metrics=[loss],
            evidence=[
                Evidence(
                    name=f"median of {WINDOW_BLOCKS * BLOCK} values of {loss.name}",
                    value=loss.value_of(self.level),
                    threshold=loss.value_of(before - gained * EXPECTED_SHARE),
                    first_step=since,
                    last_step=sample.step,
                )
            ],
            causes=["the learning rate came down too early"] if is_lr else causes,
            remedies=_remedies(sample, since, is_lr=is_lr),
            confidence=0.89 if is_lr else 0.5,
        )


def _stopped(levels: list[float], flat: list[float], loss: Signal) -> bool:
    """Whether a fall over three levels promised much more than the blocks since have brought.

    What it promised is that its gains go on by the ratio of the last two: so does what approaches a floor.
    """
    older, old = levels[0] - levels[1], levels[1] - levels[2]
    num = len(flat) // NUM_WINDOWS
    noise = max(loss.noise, (loss.spread / WANDERING) ** 2 / loss.noise) if loss.noise else 0.0
    error = STRICTNESS * ERROR_OF_MEDIANS * noise / math.sqrt(max(num, 1) * BLOCK)
    unit = STRICTNESS * LEAST_GAIN * (1.0 if loss.is_log else max(abs(levels[0]), loss.noise))
    if min(older, old) < unit + GAIN_ERRORS * error or older + old < SUM_ERRORS * error or old < 0.5 * older:
        return False
    ratio = min(old / older, MOST_RATIO)
    promised = old * ratio * (1.0 - ratio**NUM_WINDOWS) / (1.0 - ratio)
    middle, newest = median_of(flat[: len(flat) // 2]), median_of(flat[len(flat) // 2 :])
    gained = max(levels[2] - newest, 2 * (middle - newest), 0.0) + FLAT_ERRORS * error
    is_level = abs(middle - newest) < max(2 * error, old / 4) and newest < levels[0]
    return is_level and gained < EXPECTED_SHARE * promised


def _is_explained(sample: Sample, since: float, loss: Signal, *, records: int) -> bool:
    """Whether the schedule or a resume is why the loss stopped: a rate that still climbs or was restarted."""
    schedule = sample.context.schedule
    if schedule.restarts or schedule.peak_step > since:
        return True
    return is_disturbed(sample, loss, records=records)


def _still_pulls(sample: Sample, half: int, size: int) -> bool:
    """Whether there is a gradient yet: where there is nothing more to learn, it goes with the loss."""
    if sample.get("grad_norm") is None:  # nobody knows; without a learning rate, a step of it may be all there was
        return sample.get("lr") is not None
    return _pulled(sample, half, 3 * size, share=PULLS)


def _pulled(sample: Sample, num: int, num_fall: int, *, share: float) -> bool:
    """Whether the gradient of so many newest blocks is more than a share of that of the blocks before, of the fall."""
    grad = sample.get("grad_norm")
    if grad is None:
        return False
    if len(grad.recent) < num + num_fall:
        return False
    before, now = median_of(grad.recent[-num - num_fall : -num]), median_of(grad.recent[-num:])
    return now > before + (math.log(share) if grad.is_log else (share - 1.0) * abs(before))


def _is_kinked(blocks: list[float], size: int) -> bool:
    """Whether two lines are far better than an approach to a floor, for the last two or three windows of a fall.

    Both have a level, a height and a place in time; their errors are compared as those of equal Gaussian noise.
    """
    for first in (0, size):
        ys = blocks[first:]
        count = len(ys)
        mean = sum(ys) / count
        ys = [y - mean for y in ys]
        corners = (corner / 2 for corner in range(4, 2 * (count - 3)))
        lines = min(_error(ys, [max(corner - place, 0.0) for place in range(count)]) for corner in corners)
        approach = min(_error(ys, [math.exp(-place / time) for place in range(count)]) for time in TIMES)
        if approach > 0.0 and (lines <= 0.0 or count * math.log(approach / lines) > STRICTNESS * KINK):
            return True
    return False


def _error(ys: list[float], xs: list[float]) -> float:
    """The sum of squares that a straight relation to another series leaves of one whose mean is 0."""
    mean = sum(xs) / len(xs)
    sxy: float = sum(map(mul, xs, ys))
    sxx: float = sum(map(mul, xs, xs)) - len(xs) * mean * mean
    syy: float = sum(map(mul, ys, ys))
    return max(syy - sxy * sxy / sxx, 0.0) if sxx > 0.0 else syy


def _is_over(sample: Sample) -> bool:
    """Whether the run is so near its end that a loss may stop."""
    progress = sample.context.progress(sample.step)
    return progress is not None and progress > LATEST


def _is_solved(sample: Sample, loss: Signal) -> bool:
    if loss.is_log and loss.recent[-1] < loss.start + math.log(SOLVED_SHARE):
        return True
    accuracy = sample.get("accuracy")
    return accuracy is not None and accuracy.count > 0 and accuracy.median > SOLVED_ACCURACY


def _remedies(sample: Sample, since: float, *, is_lr: bool) -> list[Remedy]:
    context, schedule = sample.context, sample.context.schedule
    name = setting_name(context, "lr", "learning_rate")
    if is_lr:
        until = f" over all {context.total_steps:g} steps" if context.total_steps else ""
        change = {"total_steps": context.total_steps} if context.total_steps else {}
        return [
            Remedy(text=f"let the schedule come down{until}, not by step {shown(since)}", change=change),
            *go_back(sample, since, why=f"with a learning rate of {schedule.peak:.3g}"),
            Remedy(text=f"stop here: at {shown(schedule.lr)} nothing more is learnt"),
        ]
    found = [Remedy(text="check which layers are frozen, and whether this is the best that the data allow")]
    if schedule.lr > 0:
        higher, lower = float(f"{schedule.lr * 3:.3g}"), float(f"{schedule.lr / 3:.3g}")
        found = [
            Remedy(text=f"a learning rate of {higher:g} for some 100 steps", change={name: higher}),
            Remedy(text=f"or one of {lower:g}, if the loss is noisy here", change={name: lower}),
            *found,
        ]
    return found
