"""OLMo-core's rule for skipping a step: loss or gradient norm above the mean of the last 128 by so many deviations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Score, Seen, by_score, geometric, series, z_scores

WINDOW: Final = 128
FEWEST: Final = 63
"""Of values before the newest one, which it counts too: 64 in all."""


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    highest = [-math.inf] * len(seen)
    for role in ("loss", "grad_norm"):
        found = list(series(seen, role))
        finite = [(place, value) for place, value in found if math.isfinite(value)]
        z = z_scores([value for _, value in finite], window=WINDOW, fewest=FEWEST)
        for (place, _), value in zip(finite, z, strict=True):
            highest[place] = max(highest[place], value)
        for place, value in found:
            if not math.isfinite(value):
                highest[place] = math.inf
    yield from ((place, None, value) for place, value in enumerate(highest))


BASELINE: Final = Baseline(
    label="OLMo's skip-step rule",
    rule="loss or gradient norm over 6 deviations above the mean of its last 128, from the 64th on; not finite ones",
    levels=geometric(6.0),
    published=6.0,
    names_types=False,
    alarms=by_score(_scores),
)
