"""A loss that swings up and down instead of falling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, lower_lr, setting_name
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import hovers, is_disturbed, median_of, stride
from barograph.watch.signal import WINDOW, Signal
from barograph.watch.surprise import STRICTNESS

GROUP: Final = 4
NUM_GROUPS: Final = 32
LATE_BLOCKS: Final = 4
"""In a long run it looks at every so many blocks of eight."""
SWING: Final = 0.3
"""How far it has to swing, as a logarithm."""
NOISES: Final = 3.0
NUM_TURNS: Final = 6
LEAST_SHARE: Final = 0.05
"""A swing below this share of the loss that the run began with is not worth a person's time."""
LIKENESS: Final = 0.35
ALTERNATION: Final = -0.55
"""Correlation of neighbours; white noise of 48 records is within +-0.3."""
FIRST_RECORDS: Final = 64
HOLD: Final = 2
RESTART_RECORDS: Final = 150


class Oscillation(Detector):
    """The loss turns six times within 128 records by more than noise can, or alternates from record to record.

    It is never told by mere changes of direction, of which white noise has two in three records. Left alone: losses of
    games and policies, the first records, and those after a resume or a restart of the learning rate.

    Measured on the tuning half of FaultBench: 1 of 4 such faults noticed, after 13 steps in the median; it said
    nothing there. Slow to see and often silent: steps that are too large mostly show as a divergence or not
    at all.

    Attributes:
        means: the middle of each of the newest groups, on the loss's scale.
        taken: how many losses are in groups.
        was_log: whether these are logarithms.
        held: for how many blocks of eight running it has swung.
        since: the step at which it began to.
    """

    name: ClassVar[str] = "oscillation"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200

    means: list[float] = msgspec.field(default_factory=list)
    taken: int = 0
    held: int = 0
    was_log: bool = True
    since: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if loss.is_log != self.was_log:
            self.was_log, self.means = loss.is_log, []
        if not loss.is_turn(LATE_BLOCKS):
            return None
        self._take_groups(loss)
        if loss.count < FIRST_RECORDS:
            return None
        means = self.means[-NUM_GROUPS:]
        swing, spread = STRICTNESS * max(SWING, NOISES * loss.noise), max(means) - min(means)
        alternates = loss.noise > 1.2 * loss.spread and 2 * loss.noise > SWING
        if alternates or spread >= swing:
            worth = _worth(loss)
            swing, alternates = max(swing, worth), alternates and 2 * loss.noise > worth
        turns = turns_of(means, swing) if spread >= swing else 0
        likeness = neighbours(loss.newest(WINDOW)) if alternates or turns >= NUM_TURNS else 0.0
        waves = turns >= NUM_TURNS and likeness > LIKENESS and not self._stepped(swing)
        if not waves and not (alternates and likeness < ALTERNATION):
            self.held, self.is_active = 0, self.is_active and turns > NUM_TURNS // 2
            return None
        if not self.held:
            self.since = sample.step - (NUM_GROUPS * GROUP if waves else WINDOW) * stride(loss)
        self.held += 1
        if self.held < HOLD or self.is_active or self.is_quiet(sample) or hovers(sample):
            return None
        if is_disturbed(sample, loss, records=RESTART_RECORDS):
            return None
        turns = turns if waves else 0
        return self._found(sample, loss, turns=turns, swing=swing, alternation=likeness)

    def _take_groups(self, loss: Signal) -> None:
        """The middles of the groups that there are since the last time."""
        num = min(loss.count - self.taken, WINDOW)
        newest = loss.newest(num) if num else []
        whole = len(newest) // GROUP * GROUP
        self.taken = loss.count - len(newest) + whole
        for place in range(0, whole, GROUP):
            group = sorted(newest[place : place + GROUP])
            self.means.append((group[1] + group[2]) / 2)
        if len(self.means) > 2 * NUM_GROUPS:
            del self.means[:NUM_GROUPS]

    def _stepped(self, swing: float) -> bool:
        """Whether the level of the older half is another than that of the newer: a change, not a swing."""
        half = NUM_GROUPS // 2
        older, newer = self.means[-NUM_GROUPS:-half], self.means[-half:]
        return not older or abs(median_of(newer) - median_of(older)) > swing

    def _found(self, sample: Sample, loss: Signal, *, turns: int, swing: float, alternation: float) -> Alert:
        if turns >= NUM_TURNS:
            low, high = min(self.means[-NUM_GROUPS:]), max(self.means[-NUM_GROUPS:])
            how = f"turned {turns} times within {NUM_GROUPS * GROUP} records"
            evidence = Evidence(name=f"turns by x{math.exp(swing):.3g}", value=float(turns), threshold=float(NUM_TURNS))
        else:
            low, high = loss.low, loss.high
            how = "alternates from record to record"
            evidence = Evidence(name="correlation of neighbours", value=alternation, threshold=ALTERNATION)
        context = sample.context
        momentum = context.setting("momentum", "beta1")
        remedies = lower_lr(sample, 0.3)
        if momentum is not None and momentum > 0.8:  # noqa: PLR2004
            name = setting_name(context, "momentum", "beta1")
            remedies.append(Remedy(text=f"momentum of 0.8 instead of {momentum:g}", change={name: 0.8}))
        batch = context.setting("batch_size", "batch", "bs")
        if batch:
            name = setting_name(context, "batch_size", "batch", "bs")
            remedies.append(
                Remedy(text=f"a batch of {2 * batch:g} instead of {batch:g}", change={name: int(2 * batch)})
            )
        return self.alert(
            sample,
            f"the loss swings between {shown(loss.value_of(low))} and {shown(loss.value_of(high))}: it {how}, since "
            f"about step {shown(max(self.since, loss.first_step))}",
            severity="warning",
            since=max(self.since, loss.first_step),
            metrics=[loss],
            evidence=[evidence],
            causes=["a learning rate at the edge of stability", "momentum that overshoots", "batches that take turns"],
            remedies=[*remedies, *clip(sample)],
            confidence=0.5,
        )


def turns_of(values: list[float], swing: float) -> int:
    """How often a series turns by at least a swing.

    >>> turns_of([0, 1, 0, 1, 0.9, 1, 0], 0.5), turns_of([0, 1, 2, 3], 0.5)
    (4, 0)
    """
    low = high = values[0]
    turns, direction = 0, 0
    for value in values:
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value >= swing:
            turns, direction, low, high = turns + (direction > 0), -1, value, value
        elif direction <= 0 and value - low >= swing:
            turns, direction, low, high = turns + (direction < 0), 1, value, value
    return turns


def neighbours(values: list[float]) -> float:
    """Correlation of neighbours once the trend is taken away: -1 when they alternate, 0 for white noise.

    >>> round(neighbours([1.0, 2.0] * 24), 2)
    -0.98
    """
    size = len(values)
    mean = sum(values) / size
    middle = (size - 1) / 2
    slope = sum((place - middle) * value for place, value in enumerate(values)) / sum(
        (place - middle) ** 2 for place in range(size)
    )
    rest = [value - mean - slope * (place - middle) for place, value in enumerate(values)]
    power = sum(it * it for it in rest)
    return sum(a * b for a, b in pairwise(rest)) / power if power else 0.0


def _worth(loss: Signal) -> float:
    """The least swing that is worth telling, on the loss's scale."""
    if not loss.is_log:
        return 0.3 * abs(loss.start)
    level = loss.value_of(loss.median)
    return math.log1p(LEAST_SHARE * loss.value_of(loss.start) / level) if level > 0 else math.inf
