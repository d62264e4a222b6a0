"""An alerter that looks at nothing: at each record it alarms with one probability."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Raw, Seen

PER_RECORDS: Final = 10_000
LEVELS: Final = tuple(200.0 / 1.25**place for place in range(45))


def _alarms(seen: Sequence[Seen], levels: Sequence[float], name: str) -> list[list[Raw]]:
    draws = random.Random(name)
    found = [(draws.random() * PER_RECORDS, place) for place, it in enumerate(seen) if it.split == "train"]
    return [[(place, None) for draw, place in found if draw < level] for level in levels]


BASELINE: Final = Baseline(
    label="chance, at our rate",
    rule="any record with the same probability, so that it alarms as often as we do; it looks at nothing",
    levels=LEVELS,
    published=None,
    names_types=False,
    alarms=_alarms,
)
