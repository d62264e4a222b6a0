"""The one place where it is decided what is surprising, so that all detectors share one budget of false alarms.

A detector says how surprising it needs a value to be; this module adds what the run itself has shown to be usual: a
metric with heavy tails has to go beyond its own rare values. ``STRICTNESS`` moves every threshold at once.
"""

from __future__ import annotations

from typing import Final

from barograph.watch.signal import Signal

STRICTNESS: Final = 1.0
BEYOND_TAIL: Final = 1.5
"""How far beyond what it did before a value has to go."""


def limit(signal: Signal, least: float) -> float:
    """How large ``z`` has to be to be surprising, for a detector that asks for ``least``."""
    return max(least * STRICTNESS, BEYOND_TAIL * signal.tail)


def is_high(signal: Signal, least: float) -> bool:
    """Whether the newest value is surprisingly high."""
    return signal.z > least and signal.z > limit(signal, least)


def is_low(signal: Signal, least: float) -> bool:
    """Whether the newest value is surprisingly low."""
    return -signal.z > least and -signal.z > limit(signal, least)
