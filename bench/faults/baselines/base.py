"""What a baseline is: it sees the samples that our detectors see and says at which it alarms, for each of its levels.

Its alarms are told as ours are: a cool-down of 50 records for each type, and the same grouping into incidents, so that
it is not charged for saying one thing many times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from barograph.watch.alert import Alert
from barograph.watch.detector import COOLDOWN_RECORDS
from barograph.watch.incident import Incidents
from barograph.watch.monitor import SETTLE_RECORDS
from bench.faults.episodes import Alarm

UNNAMED: Final = "unnamed"
NUM_LEVELS: Final = 41
LAXEST: Final = 0.25
STRICTEST: Final = 1e6


class Seen(NamedTuple):
    """A record as detectors were shown it; ``values`` are by role, NaN for what is not finite."""

    step: float
    t: float
    split: str
    attempt: int
    record: int
    values: dict[str, float]


Raw = tuple[int, str | None]
"""The place of a sample, and of which type; None where no type is named."""
Score = tuple[int, str | None, float]
"""The same with how strongly; it alarms where this is above the level."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody to be better than.

    Attributes:
        label: as the tables name it.
        rule: what it does, in a line.
        levels: of its one threshold, the laxest first.
        published: the level that its authors chose; None for chance, which is given our rate.
        names_types: whether its alarms say what is wrong.
        alarms: for samples, levels and the run's name, the alarms at each level.
    """

    label: str
    rule: str
    levels: tuple[float, ...]
    published: float | None
    names_types: bool
    alarms: Callable[[Sequence[Seen], Sequence[float], str], list[list[Raw]]]


def geometric(published: float) -> tuple[float, ...]:
    """Levels around the published one and far beyond."""
    ratio = (STRICTEST / LAXEST) ** (1 / (NUM_LEVELS - 1))
    return tuple(sorted({*(published * LAXEST * ratio**place for place in range(NUM_LEVELS)), published}))


def by_score(
    score: Callable[[Sequence[Seen]], Iterable[Score]],
) -> Callable[[Sequence[Seen], Sequence[float], str], list[list[Raw]]]:
    """The alarms of a rule whose threshold changes nothing but the comparison."""

    def alarms(seen: Sequence[Seen], levels: Sequence[float], _name: str) -> list[list[Raw]]:
        found = [it for it in score(seen) if it[2] > levels[0]]
        return [[(place, type_) for place, type_, value in found if value > level] for level in levels]

    return alarms


def told(seen: Sequence[Seen], raw: Iterable[Raw]) -> list[Alarm]:
    """What a person is told of these alarms."""
    incidents = Incidents()
    quiet_until: dict[str, int] = {}
    found = []
    for place, type_ in raw:
        at, name = seen[place], type_ or UNNAMED
        incidents.settle(set(), (at.record - 1) // SETTLE_RECORDS * SETTLE_RECORDS, step=at.step, t=at.t)
        if at.record < quiet_until.get(name, 0):
            for incident in incidents.open:
                incident.last_record = at.record if name in incident.types else incident.last_record
            continue
        quiet_until[name] = at.record + COOLDOWN_RECORDS
        alert = Alert(type=name, severity="warning", text="", step=at.step, since_step=at.step, id=f"{name}-{place}")
        news = incidents.take(alert, at.record)
        if news is not None:
            found.append(Alarm(step=at.step, type=type_, is_new=news.stage == "opened"))
    return found


def series(seen: Sequence[Seen], role: str) -> Iterator[tuple[int, float]]:
    """The values of a role, each with its place."""
    for place, it in enumerate(seen):
        value = it.values.get(role)
        if value is not None:
            yield place, value


def log_losses(seen: Sequence[Seen]) -> Iterator[tuple[int, float | None]]:
    """The logarithm of the training loss, standardised by all losses before it; None for what is not finite.

    Losses that are not positive are taken as they are. Nothing comes before there are ten.
    """
    count, mean, squares = 0, 0.0, 0.0
    for place, value in series(seen, "loss"):
        if not math.isfinite(value):
            yield place, None
            continue
        x = math.log(value) if value > 0 else value
        if count >= 10:
            spread = math.sqrt(squares / count)
            yield place, (x - mean) / spread if spread > 0 else 0.0
        count += 1
        step = x - mean
        mean += step / count
        squares += step * (x - mean)


def z_scores(values: Sequence[float], *, window: int, fewest: int) -> list[float]:
    """How many standard deviations each value is from the mean of the ``window`` before it.

    Zero for the first ``fewest``; infinite where all values before it were equal and it is not.
    """
    x = np.asarray(values, dtype=float)
    z = np.zeros(len(x))
    with np.errstate(all="ignore"):
        for place in range(fewest, min(window, len(x))):
            z[place] = (x[place] - x[:place].mean()) / x[:place].std(ddof=1)
        if len(x) > window:
            before = np.lib.stride_tricks.sliding_window_view(x, window)[:-1]
            z[window:] = (x[window:] - before.mean(axis=1)) / before.std(axis=1, ddof=1)
    z[np.isnan(z)] = 0.0
    return z.tolist()


class Rolling:
    """Mean and standard deviation of the newest values."""

    def __init__(self, size: int) -> None:
        self.values: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self.values)

    def mean(self) -> float:
        """Their mean."""
        return math.fsum(self.values) / len(self.values)

    def spread(self) -> float:
        """Their standard deviation."""
        mean = self.mean()
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values) / max(len(self.values) - 1, 1))

    def z(self, value: float) -> float:
        """How many standard deviations a value is above the mean."""
        spread = self.spread()
        if spread > 0:
            return (value - self.mean()) / spread
        mean = self.mean()
        return 0.0 if value == mean else math.copysign(math.inf, value - mean)

    def add(self, value: float) -> None:
        """Take a value; the oldest goes."""
        self.values.append(value)
