"""A loss that was falling and stops at once, well before the end of the run."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Final

from barograph.watch.advice import go_back, setting_name
from barograph.watch.alert import Alert, Evidence, Remedy, Severity
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import hovers, is_disturbed, median_of
from barograph.watch.signal import BLOCK, Signal
from barograph.watch.surprise import STRICTNESS

WINDOW_BLOCKS: Final = 6
NUM_WINDOWS: Final = 5
LEAST_GAIN: Final = 0.02
"""What a window of 48 records has to have gained before."""
FLAT_GAIN: Final = 0.012
EXPECTED_SHARE: Final = 0.2
"""Less than this share of what the gains before promised is a stop."""
LATEST: Final = 0.75
LOW_LR: Final = 0.03
LATE_BLOCKS: Final = 4
"""In a long run it looks at every so many blocks."""
LOW_BLOCKS: Final = 8
MOST_LOW_BLOCKS: Final = 48
HALF: Final = 4
NOISES: Final = 0.7
KINK_NOISES: Final = 1.5
LOW_SHARE: Final = 0.3
"""Without a planned length: of the run so far, this much has been at a low learning rate."""
LATEST_LOW: Final = 0.5
SOLVED_SHARE: Final = 0.05
SOLVED_ACCURACY: Final = 0.97


class Plateau(Detector):
    """Two windows of 48 records gained nothing after two that promised more, before 75 per cent of the run.

    A loss that levels off is none: only a kink. It is a warning where a learning rate that came down early explains
    it, an information otherwise. Not for games and policies, nor for runs that are as good as solved.

    Measured on the tuning half of FaultBench: no such fault in it; 2 of 3 alerts right, no false incident.

    Attributes:
        low: for how many blocks the learning rate has been under three per cent of its peak.
        low_step: since when.
        level: of the loss when it was found, on its scale.
    """

    name: ClassVar[str] = "plateau"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 400

    low: int = 0
    low_step: float = 0.0
    level: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if sample.context.schedule.share_of_peak() >= LOW_LR:
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
        if len(recent) < NUM_WINDOWS * WINDOW_BLOCKS or recent[-1] < recent[-WINDOW_BLOCKS] - 3 * LEAST_GAIN:
            return None
        return None if _is_over(sample) else self._kink(sample, loss)

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
        if gained < STRICTNESS * max(LEAST_GAIN / 2 * unit, NOISES * loss.noise) or since > EXPECTED_SHARE * gained:
            return None
        return self._found(sample, loss, old, gained, records=(half * BLOCK, low * BLOCK), is_lr=True)

    def _kink(self, sample: Sample, loss: Signal) -> Alert | None:
        """Whether the loss stopped though its learning rate did not."""
        size, recent = WINDOW_BLOCKS, loss.recent
        if (
            max(recent[-NUM_WINDOWS * size : (1 - NUM_WINDOWS) * size]) - min(recent[-3 * size : -2 * size])
            < 2 * KINK_NOISES * loss.noise
        ):
            return None  # too little was gained before, whatever the medians are
        levels = [median_of(recent[-size * k : len(recent) - size * (k - 1)]) for k in range(NUM_WINDOWS, 0, -1)]
        older, old, new, newest = (before - after for before, after in pairwise(levels))
        unit = 1.0 if loss.is_log else max(abs(levels[0]), loss.noise)
        flat = STRICTNESS * FLAT_GAIN * unit
        if max(new, newest) >= flat or new + newest <= -4 * flat - loss.noise / 4:
            return None
        if min(older, old) < LEAST_GAIN * unit + KINK_NOISES * loss.noise or old < 0.5 * older:
            return None
        ratio = min(old / older, 1.0)
        is_levelling = new + newest > EXPECTED_SHARE * (old * ratio + old * ratio * ratio)
        if is_levelling or loss.recent_steps[-NUM_WINDOWS * size] <= sample.context.schedule.jump_step <= sample.step:
            return None
        if sample.context.schedule.restarts or is_disturbed(sample, loss, records=NUM_WINDOWS * size * BLOCK):
            return None
        records = size * BLOCK
        return self._found(sample, loss, levels[-3], old, records=(records, 2 * records), is_lr=False)

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
            confidence=0.6 if is_lr else 0.5,
        )


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
