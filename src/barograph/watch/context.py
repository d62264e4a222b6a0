"""What is known about the run besides its metrics: plans, configuration, schedule, checkpoints, attempts, phases.

Detectors read it to leave announced things alone: warm-up, restarts, step decays, evaluations, resumes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.facts.kinds import Event
from barograph.watch.signal import Signal

LR_JUMP: Final = 1.5
"""A learning rate that changes by this factor in one record is a change of schedule, not a slope of it."""
MAX_CONFIG: Final = 256
NUM_CHECKPOINTS: Final = 8
QUIET_PHASES: Final = ("eval", "valid", "test", "checkpoint", "save", "init", "compile", "warm")


class Schedule(msgspec.Struct):
    """The learning rate so far.

    Attributes:
        lr: newest.
        peak: highest so far.
        peak_step: when it was first that high.
        first: the first one.
        jump_step: when it last changed by ``LR_JUMP`` or more in one record; NaN when it never did.
        jump_from: from what.
        jump_to: to what.
        restarts: how many times it went up again after it had come down.
        fell: whether it has come down from its peak.
    """

    lr: float = math.nan
    peak: float = 0.0
    peak_step: float = 0.0
    first: float = math.nan
    jump_step: float = math.nan
    jump_from: float = math.nan
    jump_to: float = math.nan
    restarts: int = 0
    fell: bool = False

    def take(self, value: float, step: float) -> None:
        """Take the next learning rate; not finite ones are none."""
        if not math.isfinite(value) or value < 0:
            return
        before, self.lr = self.lr, value
        if math.isnan(before):
            self.first = self.peak = value
            self.peak_step = step
            return
        if value > self.peak:
            self.peak, self.peak_step = value, step
        if before > 0 and value > 0 and not 1 / LR_JUMP < value / before < LR_JUMP:
            self.jump_step, self.jump_from, self.jump_to = step, before, value
            if value > before and self.fell:
                self.restarts += 1
        self.fell = self.fell or value < 0.9 * self.peak

    def take_many(self, values: Sequence[float], steps: Sequence[float]) -> None:
        """Take some learning rates one after the other; one that stays, or comes down, costs next to nothing."""
        low, high, before = min(values), max(values), self.lr
        if low == high == before:
            return
        # a schedule that comes down smoothly makes no peak and no jump, whatever its shape; a NaN is passed over
        last = values[-1]
        is_smooth = low > 0.0 and high <= self.peak and max(high, before) < LR_JUMP * min(low, before)
        if is_smooth and self.fell and last == last:  # noqa: PLR0124 - NaN
            self.lr = last
            return
        for value, step in zip(values, steps, strict=True):
            self.take(value, step)

    def is_warming_up(self, step: float) -> bool:
        """Whether the learning rate is still on its way up to its first peak."""
        return not self.fell and self.first < 0.9 * self.peak and step <= self.peak_step

    def share_of_peak(self) -> float:
        """The learning rate as a share of its peak; 1 when nothing is known."""
        return self.lr / self.peak if self.peak > 0 else 1.0


class Context(msgspec.Struct):
    """See the module.

    Attributes:
        config: the run's configuration, flat, with dots; at most ``MAX_CONFIG`` keys.
        total_steps: planned, None when nobody said.
        total_epochs: planned, None when nobody said.
        eval_steps: how often an evaluation is planned, None when nobody said.
        attempt: the newest attempt.
        resumed_step: the step at which the newest attempt began, NaN in the first.
        records_in_attempt: how many records of the newest attempt there were.
        num_records: how many records there were in all.
        step: of the newest record.
        t: of the newest record.
        schedule: the learning rate.
        checkpoints: the newest ones, as (step, path).
        phase_t: when the newest phase that is not training ended, unix seconds; 0 when there was none.
        num_phases: how many of them there were.
        signals: by role, the metric that has it.
        all_signals: every metric that is watched, by ``SPLIT/NAME``.
    """

    config: dict[str, Any] = {}
    total_steps: float | None = None
    total_epochs: float | None = None
    eval_steps: float | None = None
    attempt: int = 0
    resumed_step: float = math.nan
    records_in_attempt: int = 0
    num_records: int = 0
    step: float = 0.0
    t: float = 0.0
    schedule: Schedule = msgspec.field(default_factory=Schedule)
    checkpoints: list[tuple[float, str]] = []
    phase_t: float = 0.0
    num_phases: int = 0
    signals: dict[str, Signal] = {}
    all_signals: dict[str, Signal] = {}

    def take_event(self, event: Event) -> None:
        """Take what an event says about the run."""
        payload = event.payload
        match event.moment:
            case "on_start":
                self.total_steps = _number(payload.get("total_steps")) or self.total_steps
                self.total_epochs = _number(payload.get("total_epochs")) or self.total_epochs
                self.eval_steps = _number(payload.get("eval_steps")) or self.eval_steps
            case "on_checkpoint":
                step = _number(payload.get("step"))
                self.checkpoints.append((self.step if step is None else step, str(payload.get("path", ""))))
                del self.checkpoints[:-NUM_CHECKPOINTS]
                self.phase_t = event.t
            case "on_validation_end":
                self.phase_t = event.t
                self.num_phases += 1
            case "on_phase_end":
                if any(word in str(payload.get("name", "")).lower() for word in QUIET_PHASES):
                    self.phase_t = event.t
                    self.num_phases += 1
            case _:
                pass

    def begin_attempt(self, attempt: int, step: float) -> None:
        """A resumed run begins to record."""
        self.attempt, self.resumed_step, self.records_in_attempt = attempt, step, 0

    def setting(self, *names: str) -> float | None:
        """The first number in the configuration under one of these names, at any depth."""
        for name in names:
            for key, value in self.config.items():
                if key == name or key.endswith(f".{name}"):
                    found = _number(value)
                    if found is not None:
                        return found
        return None

    def progress(self, step: float) -> float | None:
        """The share of the planned run that is done; None when nobody said how long it is."""
        if not self.total_steps:
            return None
        return min(max(step / self.total_steps, 0.0), 1.0)

    def checkpoint_before(self, step: float) -> tuple[float, str] | None:
        """The newest checkpoint that is not after a step."""
        return next((found for found in reversed(self.checkpoints) if found[0] <= step), None)


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration with dots for depth: numbers, texts and booleans, at most ``MAX_CONFIG`` of them."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found.update(flat_config(value, f"{name}."))
        elif isinstance(value, (bool, int, float, str)):
            found[name] = value
        if len(found) >= MAX_CONFIG:
            break
    return dict(list(found.items())[:MAX_CONFIG])


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
