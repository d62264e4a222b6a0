"""Learning-rate schedules, as factors of the peak."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

WARMUP_SHARE: Final = 0.08
NUM_CYCLES: Final = 3
LEAST: Final = 0.02


def _warmup(progress: float) -> float:
    return min(1.0, (progress + 1e-3) / WARMUP_SHARE)


def _cosine(progress: float) -> float:
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * progress))


def _warmup_cosine(progress: float) -> float:
    if progress < WARMUP_SHARE:
        return _warmup(progress)
    return _cosine((progress - WARMUP_SHARE) / (1 - WARMUP_SHARE))


def _one_cycle(progress: float) -> float:
    rise = 0.3
    if progress < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / rise))
    return max(_cosine((progress - rise) / (1 - rise)), 1e-3)


FACTORS: Final[dict[str, Callable[[float], float]]] = {
    "constant": lambda _progress: 1.0,
    "warmup": _warmup,
    "cosine": _cosine,
    "warmup_cosine": _warmup_cosine,
    "linear": lambda progress: 1.0 - 0.95 * progress,
    "step_decay": lambda progress: 0.1 ** int(progress / 0.34),
    "restarts": lambda progress: _cosine(progress * NUM_CYCLES % 1.0),
    "one_cycle": _one_cycle,
    "exponential": lambda progress: math.exp(-3.0 * progress),
}


def factor(schedule: str, step: int, steps: int) -> float:
    """The share of the peak learning rate at a step."""
    return FACTORS[schedule](step / steps)
