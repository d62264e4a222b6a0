"""ZClip (arXiv 2504.02507): the gradient norm against a moving mean and variance that see clipped values only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Raw, Seen, geometric, series

KEPT: Final = 0.97
WARM_STEPS: Final = 25
TINY: Final = 1e-6


def _alarms(seen: Sequence[Seen], levels: Sequence[float], _name: str) -> list[list[Raw]]:
    norms = list(series(seen, "grad_norm"))
    return [list(_at(norms, level)) for level in levels]


def _at(norms: Sequence[tuple[int, float]], level: float) -> Iterator[Raw]:
    first: list[float] = []
    mean = variance = 0.0
    for place, norm in norms:
        if not math.isfinite(norm):
            yield place, None
            continue
        if len(first) < WARM_STEPS:
            first.append(norm)
            mean = math.fsum(first) / len(first)
            variance = math.fsum((it - mean) ** 2 for it in first) / len(first)
            continue
        spread = math.sqrt(variance)
        z = (norm - mean) / (spread + TINY)
        taken = norm
        if z > level:
            yield place, None
            taken = mean + level * level / z * spread
        mean = KEPT * mean + (1 - KEPT) * taken
        variance = KEPT * variance + (1 - KEPT) * (taken - mean) ** 2


BASELINE: Final = Baseline(
    label="ZClip's rule",
    rule="gradient norm with z > 2.5 over moving mean and variance (0.97), 25 steps of warm-up; not finite ones",
    levels=geometric(2.5),
    published=2.5,
    names_types=False,
    alarms=_alarms,
)
