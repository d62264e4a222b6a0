"""How far a faulty run is from its twin, in units of the noise of the twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from bench.faults.curves import Curves, Key

AT_ONCE: Final = 8.0
"""One record so many times its noise away from the twin shows it."""
HELD: Final = 4.0
"""So do three of five records so many times."""
NUM_HELD, OF_RECORDS = 3, 5
NOISE_RECORDS: Final = 32
LOG_FLOOR: Final = 0.05
LINEAR_FLOOR: Final = 0.02
"""Noise that is assumed at least: of the logarithm, or as a share of the twin's whole range."""


def apart(faulty: Curves, twin: Curves, key: Key, onset: int) -> float | None:
    """The first record that is too far from the twin's of the same step, in units of the twin's noise."""
    expected = dict(zip(twin.steps[key], twin.values[key], strict=True))
    is_log = all(value > 0 for value in twin.values[key])
    scale = log if is_log else float
    finite = [value for value in twin.values[key] if math.isfinite(value)]
    usual = [scale(value) for value in finite]
    floor = LOG_FLOOR if is_log else max(LINEAR_FLOOR * (max(finite) - min(finite)), 1e-9)
    recent: list[tuple[float, bool]] = []
    for place, (step, value) in enumerate(zip(faulty.steps[key], faulty.values[key], strict=True)):
        if step < onset or step not in expected:
            continue
        if not math.isfinite(value) and math.isfinite(expected[step]):
            return step
        noise = local_noise(usual, place, floor=floor)
        far = abs(scale(value) - scale(expected[step])) / noise
        if far > AT_ONCE:
            return step
        recent = [*recent[-OF_RECORDS + 1 :], (step, far > HELD)]
        held = [at for at, is_far in recent if is_far]
        if len(held) >= NUM_HELD:
            return held[0]
    return None


def local_noise(usual: Sequence[float], place: int, *, floor: float = LOG_FLOOR) -> float:
    """The noise of the records around a place, and no less than a floor."""
    return max(noise_of(usual[max(place - NOISE_RECORDS, 0) : place + NOISE_RECORDS]), floor)


def log(value: float) -> float:
    """The natural logarithm; minus infinity where there is none."""
    return math.log(value) if value > 0 else -math.inf


def noise_of(values: Sequence[float]) -> float:
    """The standard deviation of what is left when the trend is taken away, robustly."""
    steps = sorted(abs(b - a) for a, b in pairwise(values))
    return 1.4826 / math.sqrt(2) * steps[len(steps) // 2] if steps else 0.0
