"""A learning rate that changes as no schedule does, that is over too early, or that fits no optimizer."""

from __future__ import annotations

import math
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import BLOCK

UP_FACTOR: Final = 2.2
DOWN_FACTOR: Final = 30.0
"""Step decays go down by known factors, ten at most in common use."""
SAME: Final = 1.05
"""Rates within this factor are one rate."""
RESTART_FROM: Final = 0.25
"""Schedules restart from the bottom: from less than this share of the peak."""
SETTLED_RECORDS: Final = 64
CREEP_FACTOR: Final = 2.5
RAMP_FACTOR: Final = 3.0
"""A step of a warm-up is not so many times the largest one before it."""
EARLY_LOOKS: Final = 2
"""In the first sixteen records a warm-up may go up by any factor."""
FLAT_LOOKS: Final = 16
FLAT_FACTOR: Final = 5.5
"""A warm-up at a constant rate goes up once, from a fifth or a third of the rate."""
GONE_SHARE: Final = 1e-3
DEAD_SHARE: Final = 1e-6
GONE_PROGRESS: Final = 0.75
HELD_RECORDS: Final = 20
LONG_SHARE: Final = 0.1
"""Of a run of unknown length: a cosine is that low only in its last thousandth."""
FALLEN: Final = 0.9
MOST_RECORDS: Final = 500
ADAPTIVE: Final = ("adam", "lamb", "rmsprop", "lion", "adafactor", "nadam", "radam")
HIGHEST_ADAPTIVE: Final = 0.1
HIGHEST_SGD: Final = 10.0
RANGE_LOOK: Final = 5
LATE_RANGE_LOOK: Final = 12
LOWEST_ADAPTIVE: Final = 1e-5
LOWEST_SGD: Final = 1e-4


class LearningRate(Detector):
    """The learning rate left its schedule, reached its end early, or is out of any range that trains.

    It knows the shapes: a warm-up comes first and rises evenly; a restart begins at the bottom and goes back to the
    peak, not above it; a decay goes down by ten at most, and is steep only when there is little left; a rate that
    goes to the one in the configuration is as it should be. What fits none of these is told: a jump up by 2.2 times
    or down by 30 times in one record; a rate that creeps to 2.5 times where it had settled, or above
    the peak from which it had come down; a jump up right after a
    resume (the schedule began anew); a rate below a thousandth of its peak before three quarters of the planned run,
    or a millionth where no length is planned, for 20 records; and a rate that no one uses with the optimizer of the
    configuration, while the loss does not fall.

    Measured on the tuning half of FaultBench: 12 of 12 such faults noticed, after 6 steps in the median; 14 of 14
    alerts right, no false incident. Not for rates that a program chooses by feedback.
    """

    name: ClassVar[str] = "learning_rate"
    reads: ClassVar[tuple[str, ...]] = ("lr",)
    pace: ClassVar[Pace] = "block"

    lr: float = math.nan
    peak: float = 0.0
    largest_rise: float = 0.0
    num_changes: int = 0
    seen_jump_step: float = math.nan
    looks: int = 0
    flat_lr: float = 0.0
    left_peak: float = 0.0
    fell_step: float = math.nan
    flat_step: float = math.nan
    flat_records: int = 0
    low_records: int = 0
    low_since: float = math.nan
    alarm_low: float = 0.0
    alarm_high: float = math.inf
    until: int = 0
    was_told_low: bool = False

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        schedule = sample.context.schedule
        before, now, jump_step = self.lr, schedule.lr, schedule.jump_step
        if now != now:  # noqa: PLR0124 - NaN
            return None
        self.looks += 1
        if self.is_active and (not self.alarm_low < now < self.alarm_high or sample.context.num_records > self.until):
            self.is_active = False
        has_jumped = jump_step == jump_step and jump_step != self.seen_jump_step  # noqa: PLR0124 - NaN
        found = None
        if now == before and not has_jumped:
            self._stay(sample, now)
        else:
            found = None if self.is_quiet(sample) else self._changed(sample, before, now, has_jumped=has_jumped)
            self._remember(sample, before, now, has_jumped=has_jumped)
        if found is None and not self.is_active:
            found = self._is_gone(sample, now) if self.low_records >= HELD_RECORDS else None
            found = found or (self._out_of_range(sample) if self.looks <= LATE_RANGE_LOOK else None)
        return found

    def _stay(self, sample: Sample, now: float) -> None:
        """The same rate as a block ago, whatever it was in between."""
        peak = sample.context.schedule.peak
        self.peak = max(self.peak, peak)
        self.flat_records += BLOCK
        if self.flat_records >= SETTLED_RECORDS:
            self.flat_lr, self.flat_step = now, sample.step
        if self.low_records or now < GONE_SHARE * self.peak:
            self._see_low(sample, now)

    def _see_low(self, sample: Sample, now: float) -> None:
        """Count the records at next to nothing."""
        self.low_records = self.low_records + BLOCK if now < GONE_SHARE * self.peak else 0
        if self.low_records == BLOCK:
            self.low_since = sample.step

    def _remember(self, sample: Sample, before: float, now: float, *, has_jumped: bool) -> None:
        if has_jumped:
            self.seen_jump_step = sample.context.schedule.jump_step
        if not math.isnan(before):
            self.num_changes += 1
            self.largest_rise = max(self.largest_rise, now - before)
            self.fell_step = sample.step if now < before else self.fell_step
        self.flat_records = 0
        if now < FALLEN * self.peak:
            self.left_peak = self.peak
        self.peak = max(self.peak, now, sample.context.schedule.peak)
        self.lr = now
        self._see_low(sample, now)

    def _changed(self, sample: Sample, before: float, now: float, *, has_jumped: bool) -> Alert | None:
        """What is to be said of a jump in one record of the block, or of the way from the block before."""
        schedule = sample.context.schedule
        if has_jumped and schedule.jump_to > UP_FACTOR * schedule.jump_from:
            return self._up(sample, schedule.jump_from, schedule.jump_to)
        if now > before:
            return self._crept(sample, now)
        fallen_from = schedule.jump_from if has_jumped else before
        is_steep = now * DOWN_FACTOR < fallen_from and (has_jumped or now == 0.0) and fallen_from > 0.2 * self.peak
        if not is_steep or self.looks < EARLY_LOOKS or _is_over(sample.context, sample.step):
            return None
        return self._down(sample, fallen_from, now, step=schedule.jump_step if has_jumped else sample.step)

    def _up(self, sample: Sample, before: float, now: float) -> Alert | None:
        context = sample.context
        is_resumed = context.attempt > 0 and context.records_in_attempt <= BLOCK
        has_fallen = before < FALLEN * self.peak
        if is_resumed and has_fallen:
            return self._jumped(sample, before, now, is_resumed=True)
        if now <= SAME * (_configured(context) or 0.0):
            return None
        if has_fallen and now <= SAME * self.peak:
            is_restart = before < RESTART_FROM * self.peak
            return None if is_restart else self._jumped(sample, before, now)
        if not has_fallen and self._is_ramp(before, now):
            return None
        return self._jumped(sample, before, now)

    def _crept(self, sample: Sample, now: float) -> Alert | None:
        """A rate that goes on rising above where it had settled, or above the peak from which it had come down."""
        if now < self.peak or now <= SAME * (_configured(sample.context) or 0.0):
            return None
        if 0.0 < CREEP_FACTOR * self.flat_lr < now:
            before, what, since = self.flat_lr, "where it had settled", self.flat_step
        elif 0.0 < CREEP_FACTOR * self.left_peak < now:
            before, what, since = self.left_peak, "its peak before it came down", self.fell_step
        else:
            return None
        found = self._jumped(sample, before, now)
        self.flat_lr = self.left_peak = 0.0
        text = f"the learning rate has risen from {shown(before)}, {what}, to {shown(now)} at step {sample.step:.10g}"
        return msgspec.structs.replace(found, text=text, since_step=since)

    def _is_ramp(self, before: float, now: float) -> bool:
        """Whether this is a step of a warm-up: among the first changes, or no larger than those before it."""
        if self.looks <= EARLY_LOOKS:
            return True
        if self.num_changes == 0:
            return self.looks <= FLAT_LOOKS and now < FLAT_FACTOR * before
        return self.flat_lr == 0.0 and now - before <= RAMP_FACTOR * self.largest_rise

    def _jumped(self, sample: Sample, before: float, now: float, *, is_resumed: bool = False) -> Alert:
        self.alarm_low, self.alarm_high = math.sqrt(before * now) if before > 0 else now / 2, math.inf
        times = f"{now / before:.3g} times" if before > 0 else "from zero"
        step = sample.context.schedule.jump_step
        what = f"the learning rate went from {shown(before)} to {shown(now)} ({times}) at step {step:.10g}"
        if is_resumed:
            text = f"{what}, as the run was resumed: its schedule began anew"
            causes = ["the scheduler's state was not restored with the weights"]
            remedies = [
                Remedy(text="save and load the scheduler's state_dict, or pass last_epoch"),
                Remedy(text=f"set the learning rate back to {before:g}", change={"lr": before}),
            ]
        else:
            text = f"{what}, which is no warm-up and no restart"
            causes = ["a schedule that is set up wrongly, or set again", "an edited configuration"]
            remedies = [Remedy(text=f"set the learning rate back to {before:g}", change={"lr": before})]
        remedies += go_back(sample, step, why="if the loss suffered")
        return self._found(sample, text, before, now, causes=causes, remedies=remedies, since=step)

    def _down(self, sample: Sample, before: float, now: float, *, step: float) -> Alert:
        self.alarm_low, self.alarm_high = -1.0, math.sqrt(before * max(now, before / DOWN_FACTOR**2))
        text = f"the learning rate fell from {shown(before)} to {shown(now)} at step {step:.10g}, at once"
        causes = ["scheduler.step() called once per batch with the settings of epochs", "an edited configuration"]
        remedies = [
            Remedy(text=f"set the learning rate back to {before:g}", change={"lr": before}),
            Remedy(text="check whether the scheduler's milestones are steps or epochs"),
        ]
        return self._found(sample, text, before, now, causes=causes, remedies=remedies, since=step)

    def _found(
        self,
        sample: Sample,
        text: str,
        before: float,
        now: float,
        *,
        causes: list[str],
        remedies: list[Remedy],
        since: float | None = None,
    ) -> Alert:
        signal = sample.signals["lr"]
        self.until = sample.context.num_records + MOST_RECORDS
        threshold = UP_FACTOR * before if now > before else before / DOWN_FACTOR
        return self.alert(
            sample,
            text,
            severity="warning",
            since=since,
            metrics=[signal],
            evidence=[Evidence(name=signal.name, value=now, threshold=threshold, last_step=sample.step)],
            causes=causes,
            remedies=remedies,
            confidence=0.94,
        )

    def _is_gone(self, sample: Sample, now: float) -> Alert | None:
        if self.was_told_low:
            return None
        progress = sample.context.progress(sample.step)
        if progress is None:
            is_early = now < DEAD_SHARE * self.peak and self.low_records > LONG_SHARE * self.looks * BLOCK
        else:
            is_early = progress < GONE_PROGRESS
        if not is_early:
            return None
        self.was_told_low = True
        self.alarm_low, self.alarm_high = -1.0, 10 * GONE_SHARE * self.peak
        done = f" with {progress:.0%} of the planned run done" if progress is not None else ""
        text = f"the learning rate is down to {shown(now)} from {shown(self.peak)}{done}: nothing more is learned"
        total = sample.context.total_steps
        remedies = [Remedy(text="check whether the scheduler is stepped per batch with the settings of epochs")]
        if total:
            remedies.append(Remedy(text=f"let the schedule end at step {total:.10g}", change={"total_steps": total}))
        causes = ["a schedule that is shorter than the run"]
        return self._found(sample, text, self.peak, now, causes=causes, remedies=remedies, since=self.low_since)

    def _out_of_range(self, sample: Sample) -> Alert | None:
        """A rate that no one uses with this optimizer, when the loss agrees."""
        if self.looks not in (RANGE_LOOK, LATE_RANGE_LOOK) or sample.get("reward") or sample.get("d_loss"):
            return None
        optimizer, loss = _optimizer(sample.context), sample.get("loss")
        if not optimizer or loss is None or not loss.recent or loss.recent[-1] < loss.start - loss.noise:
            return None
        is_adaptive = any(word in optimizer for word in ADAPTIVE)
        if not is_adaptive and "sgd" not in optimizer:
            return None
        lowest, highest = (LOWEST_ADAPTIVE, HIGHEST_ADAPTIVE) if is_adaptive else (LOWEST_SGD, HIGHEST_SGD)
        is_low = self.peak < lowest and self.looks == LATE_RANGE_LOOK
        if not is_low and (self.peak <= highest or self.looks != RANGE_LOOK):
            return None
        tried = 1e-3 if is_adaptive else 0.1
        self.alarm_low, self.alarm_high = (-1.0, lowest) if is_low else (highest, math.inf)
        side = f"below {lowest:g}, too low" if is_low else f"above {highest:g}, too high"
        text = f"the learning rate of {shown(self.peak)} is {side} for {optimizer}, and the loss does not fall"
        causes = ["a rate meant for another optimizer", "a rate that was scaled with the batch, or misread"]
        remedies = [Remedy(text=f"try {tried:g}", change={"lr": tried})]
        limit = lowest * DOWN_FACTOR if is_low else highest / UP_FACTOR
        return self._found(sample, text, limit, self.peak, causes=causes, remedies=remedies)


def _configured(context: Context) -> float | None:
    return context.setting("max_lr", "peak_lr", "lr", "learning_rate")


def _optimizer(context: Context) -> str:
    for key, value in context.config.items():
        if key.rsplit(".", 1)[-1] in ("optimizer", "optim", "optimizer_name") and isinstance(value, str):
            return value.lower()
    return context.config["optimizer.name"].lower() if isinstance(context.config.get("optimizer.name"), str) else ""


def _is_over(context: Context, step: float) -> bool:
    progress = context.progress(step)
    return progress is not None and progress > 0.9  # noqa: PLR2004 - the last tenth
