"""A loss that swings up and down instead of falling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, lower_lr, setting_name
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.losses import hovers, is_disturbed, stride
from barograph.watch.signal import WARM_RECORDS, WINDOW, Signal
from barograph.watch.surprise import STRICTNESS

GROUP: Final = 4
LATE_BLOCKS: Final = 4
"""In a long run it looks at every so many blocks of eight."""
SWING: Final = 0.3
"""How far it has to swing, as a logarithm."""
NOISES: Final = 3.0
"""In units of the noise before: middles of four, 192 records of them, have a range of two to three."""
NOISES_NOW: Final = 2.4
"""In units of the noise now, which swings of a few records make larger: what is only noisier has no such range."""
BEYOND_USUAL: Final = 2.0
"""How far beyond the rises that there were before: losses that wander do so from the beginning."""
FORGETTING: Final = 0.995
"""Of these, at each new low."""
LEAST_SUM: Final = 1.0
"""Of all rises, as a logarithm: small swings have to come more often than large ones."""
COMPARABLE: Final = 0.4
"""The lower of two swings is at least this share of the higher, or it is a jump and what follows of it."""
WITHIN: Final = 192
"""Records from the foot of the first rise to the top of the second."""
LEAST_SHARE: Final = 0.05
"""A swing below this share of the loss that the run began with is not worth a person's time."""
LIKENESS: Final = 0.35
ALTERNATION: Final = -0.55
"""Correlation of neighbours; white noise of 48 records is within +-0.3."""
FIRST_RECORDS: Final = 64
HOLD: Final = 2
RESTART_RECORDS: Final = 150
LATELY: Final = 40
STEADY_BLOCKS: Final = 5
"""Of eight records: as many as these, and as many before, in which it was steady."""
HALVES: Final = 3
"""Ways up and down that are two swings, the first of them unfinished."""
PAIR: Final = 2


class Turn(msgspec.Struct):
    """An extreme of the loss, where it turned.

    Attributes:
        at: how many losses there had been.
        x: the loss there, on its scale.
    """

    at: int
    x: float


class Oscillation(Detector):
    """The loss goes up, back and up again within 192 records, far beyond its noise, or alternates each record.

    Two rises with a fall between them, of comparable height: one alone may be a spike. Whatever the period: middles of
    four records tell swings of ten records to a hundred, the correlation of neighbours those of two. It is never told
    by mere changes of direction, of which white noise has two in three records. A loss that wanders by itself, as
    one that was smoothed does, has to swing twice as far as it ever rose before. Left alone: losses of games and
    policies, the first records, and those after a resume or a restart of the learning rate.

    Measured on the tuning half of FaultBench: 10 of 12 such faults noticed, after 4 steps in the median; 5 of 5 alerts
    right, no false incident. Slow to see and often silent: steps that are too large mostly show as a divergence or not
    at all.

    Attributes:
        turns: where the loss has turned by as much as counts, a low first, oldest first; the last may still move.
        taken: how many losses are in groups.
        was_log: whether these are logarithms.
        quiet_noise: of the loss before it began to swing.
        usual: the largest rise that came to nothing, slowly forgotten.
        rise: from the last low, while it is too small to count; it may go on.
        held: for how many blocks of eight running it has alternated.
        since: the step at which it began to.
    """

    name: ClassVar[str] = "oscillation"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 200
    explains: ClassVar[tuple[str, ...]] = ("loss_spike",)

    turns: list[Turn] = msgspec.field(default_factory=list)
    taken: int = 0
    was_log: bool = True
    quiet_noise: float = 0.0
    usual: float = 0.0
    rise: float = 0.0
    held: int = 0
    since: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        loss = sample.signals["loss"]
        if loss.is_log != self.was_log:
            self.was_log, self.turns, self.usual, self.rise = loss.is_log, [], 0.0, 0.0
        self.rests_until = sample.context.num_records + loss.next_turn(LATE_BLOCKS)
        if not loss.is_turn(LATE_BLOCKS):
            return None
        self._take_groups(loss)
        if loss.count < FIRST_RECORDS:
            return None
        rises = self._rises(loss)
        alternates = 2 * loss.noise > STRICTNESS * SWING and self._may_alternate(loss)
        likeness = neighbours(loss.newest(WINDOW)) if rises or alternates else 0.0
        if likeness <= LIKENESS:
            rises = []
        self.held = self.held + 1 if alternates and likeness < ALTERNATION else 0
        if self.held == 1:
            self.since = sample.step - WINDOW * stride(loss)
        if not rises and not self.held:
            self.is_active = self.is_active and len(self.turns) > HALVES
            return None
        is_early = self.is_active or self.is_quiet(sample) or (self.held < HOLD and not rises)
        if is_early or hovers(sample) or is_disturbed(sample, loss, records=RESTART_RECORDS):
            return None
        return self._swings(sample, loss, rises) if rises else self._alternates(sample, loss, likeness)

    @staticmethod
    def _may_alternate(loss: Signal) -> bool:
        """Whether there is more between neighbours than in all, and enough to be worth telling."""
        return loss.noise > 1.2 * loss.spread and 2 * loss.noise > _worth(loss)

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:  # noqa: ARG002 - the protocol
        """See ``Cause``: a jump that is one of several swings, down and up, is no spike.

        A loss that was as high before, fell far below what it ever was and jumped back has swung as much as one that
        jumped twice; what it fell before as well is its training.
        """
        loss = sample.context.signals["loss"]
        before = loss.recent[-2 * STEADY_BLOCKS : -STEADY_BLOCKS]
        if self.is_active or len(before) < STEADY_BLOCKS or not self.quiet_noise:
            return None
        if hovers(sample) or is_disturbed(sample, loss, records=RESTART_RECORDS):
            return None
        pairs = [min(pair) for pair in pairwise(loss.newest(LATELY))]
        least = STRICTNESS * max(SWING, 2 * NOISES * self.quiet_noise, _worth(loss), 2 * (max(before) - min(before)))
        found = turning(pairs, least)
        if len(found) < HALVES + (found[:1] > [0.0]):
            return None
        sizes = sorted(map(abs, found))
        if sizes[0] < COMPARABLE * sizes[-1]:
            return None
        return self._found(
            sample,
            loss,
            (min(pairs), max(pairs)),
            f"turned {len(found) - 1} times within {LATELY} records",
            Evidence(name="least of its swings, as a factor", value=math.exp(sizes[0]), threshold=math.exp(least)),
            since=sample.step - LATELY * stride(loss),
        )

    def _take_groups(self, loss: Signal) -> None:
        """Follow the turns of the middles of four since the last time."""
        num = min(loss.count - self.taken, WINDOW)
        newest = loss.newest(num) if num else []
        whole = len(newest) // GROUP * GROUP
        first, self.taken = loss.count - len(newest), loss.count - len(newest) + whole
        if loss.count < WARM_RECORDS:
            return
        if self.turns and self.turns[0].at < loss.count - 2 * WITHIN:
            self._forget(loss.count - WITHIN)
        if len(self.turns) <= 1:
            self.quiet_noise = loss.noise
        swing = STRICTNESS * max(SWING, NOISES * self.quiet_noise, NOISES_NOW * loss.noise)
        for place in range(0, whole, GROUP):
            group = sorted(newest[place : place + GROUP])
            self._turn(first + place + GROUP, (group[1] + group[2]) / 2, swing)

    def _turn(self, at: int, x: float, swing: float) -> None:
        """Take the next middle: it goes on as the loss went, or turns."""
        turns = self.turns
        if not turns:
            turns.append(Turn(at, x))
            return
        last = turns[-1]
        ahead = x - last.x
        if len(turns) % 2:  # the last one is a low
            if ahead <= 0.0:
                last.at, last.x = at, x
                self.usual, self.rise = max(self.usual * FORGETTING, self.rise), 0.0
            elif ahead >= swing:
                turns.append(Turn(at, x))
                self.rise = 0.0
            elif ahead > self.rise:
                self.rise = ahead
        elif ahead >= 0.0:
            last.at, last.x = at, x
        elif -ahead >= swing:
            turns.append(Turn(at, x))

    def _forget(self, before: int) -> None:
        """Swings that led to nothing are what is usual."""
        turns = self.turns
        while len(turns) > PAIR and turns[1].at < before:
            self.usual = max(self.usual, turns[1].x - turns[0].x)
            del turns[:PAIR]
        if len(turns) <= PAIR:  # a low, or a rise that has not come back: a new level
            del turns[:-1]
            turns[0].at = max(turns[0].at, before)

    def _rises(self, loss: Signal) -> list[tuple[Turn, Turn]]:
        """The newest rises that count, two or more, with a fall between them; of comparable height."""
        turns = self.turns
        if len(turns) <= HALVES:
            return []
        pairs = [it for it in zip(turns[::2], turns[1::2], strict=False) if it[0].at >= FIRST_RECORDS]
        if len(pairs) < PAIR:
            return []
        top = max(high.x - low.x for low, high in pairs)
        least = STRICTNESS * max(BEYOND_USUAL * self.usual, NOISES_NOW * loss.noise, _worth(loss), COMPARABLE * top)
        newest = [(low, high) for low, high in pairs if high.x - low.x >= least]
        while len(newest) > PAIR and newest[-1][1].at - newest[0][0].at > WITHIN:
            del newest[0]
        if len(newest) < PAIR or newest[-1][1].at - newest[0][0].at > WITHIN:
            return []
        unit = 1.0 if loss.is_log else abs(loss.start)
        if sum(high.x - low.x for low, high in newest) < STRICTNESS * LEAST_SUM * unit:
            return []
        return newest if newest[-1][1].at >= loss.count - WINDOW else []

    def _swings(self, sample: Sample, loss: Signal, rises: list[tuple[Turn, Turn]]) -> Alert:
        low, high = min(low.x for low, _ in rises), max(high.x for _, high in rises)
        records = rises[-1][1].at - rises[0][0].at
        least = min(high.x - low.x for low, high in rises)
        since = _step_of(loss, rises[0][0])
        return self._found(
            sample,
            loss,
            (low, high),
            f"rose {len(rises)} times within {records} records, and came back between",
            Evidence(
                name="lowest of its rises, on its scale" if not loss.is_log else "lowest of its rises, as a logarithm",
                value=least,
                threshold=max(BEYOND_USUAL * self.usual, NOISES * self.quiet_noise, NOISES_NOW * loss.noise),
                first_step=since,
                last_step=_step_of(loss, rises[-1][1]),
            ),
            since=since,
        )

    def _alternates(self, sample: Sample, loss: Signal, alternation: float) -> Alert:
        evidence = Evidence(name="correlation of neighbours", value=alternation, threshold=ALTERNATION)
        how = "alternates from record to record"
        return self._found(sample, loss, (loss.low, loss.high), how, evidence, since=self.since)

    def _found(
        self, sample: Sample, loss: Signal, span: tuple[float, float], how: str, evidence: Evidence, *, since: float
    ) -> Alert:
        since = max(since, loss.first_step)
        low, high = (shown(loss.value_of(it)) for it in span)
        return self.alert(
            sample,
            f"the loss swings between {low} and {high}: it {how}, since about step {shown(since)}",
            severity="warning",
            since=since,
            metrics=[loss],
            evidence=[evidence],
            causes=["a learning rate at the edge of stability", "momentum that overshoots", "batches that take turns"],
            remedies=_remedies(sample),
            confidence=0.86,
        )


def _step_of(loss: Signal, turn: Turn) -> float:
    return loss.step - (loss.count - turn.at) * stride(loss)


def _remedies(sample: Sample) -> list[Remedy]:
    context = sample.context
    momentum = context.setting("momentum", "beta1")
    remedies = lower_lr(sample, 0.3)
    if momentum is not None and momentum > 0.8:  # noqa: PLR2004
        name = setting_name(context, "momentum", "beta1")
        remedies.append(Remedy(text=f"momentum of 0.8 instead of {momentum:g}", change={name: 0.8}))
    batch = context.setting("batch_size", "batch", "bs")
    if batch:
        name = setting_name(context, "batch_size", "batch", "bs")
        remedies.append(Remedy(text=f"a batch of {2 * batch:g} instead of {batch:g}", change={name: int(2 * batch)}))
    return [*remedies, *clip(sample)]


def turning(values: list[float], swing: float) -> list[float]:
    """How far a series moved, one way and then the other, each time by at least a swing.

    >>> turning([0, 1, 0.2, 1, 1.5, 0], 0.5), turning([0, -1, -2, -2.1], 0.5)
    ([1, -0.8, 1.3, -1.5], [-2.1])
    """
    found: list[float] = []
    foot = top = values[0]
    for value in values:
        if not found:
            foot, top = min(foot, value), max(top, value)
            if value - foot >= swing:
                found.append(value - foot)
                top = value
            elif top - value >= swing:
                found.append(value - top)
                foot = value
        elif found[-1] > 0.0:
            if value > top:
                found[-1] += value - top
                top = value
            elif top - value >= swing:
                found.append(value - top)
                foot = value
        elif value < foot:
            found[-1] += value - foot
            foot = value
        elif value - foot >= swing:
            found.append(value - foot)
            top = value
    return found


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
