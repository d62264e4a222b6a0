"""Plain z-scores: every metric against mean and standard deviation of its last hundred values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from barograph.watch.roles import ROLES
from bench.faults.baselines.base import Baseline, Score, Seen, by_score, geometric, series, z_scores

WINDOW: Final = 100
FEWEST: Final = 30
WATCHED: Final = frozenset(name for name, role in ROLES.items() if role.scale != "plain")


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    highest = [0.0] * len(seen)
    for role in WATCHED & {role for it in seen for role in it.values}:
        found = list(series(seen, role))
        finite = [(place, value) for place, value in found if math.isfinite(value)]
        z = z_scores([value for _, value in finite], window=WINDOW, fewest=FEWEST)
        for (place, _), value in zip(finite, z, strict=True):
            highest[place] = max(highest[place], abs(value))
        for place, value in found:
            if not math.isfinite(value):
                highest[place] = math.inf
    yield from ((place, None, value) for place, value in enumerate(highest))


BASELINE: Final = Baseline(
    label="z-score",
    rule="a value more than 3 standard deviations from the mean of its last 100, from the 30th on; not finite ones",
    levels=geometric(3.0),
    published=3.0,
    names_types=False,
    alarms=by_score(_scores),
)
