"""ADWIN (river) on standardised log loss. It speaks of rises only: a loss that falls is what training is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Raw, Seen, log_losses

PUBLISHED: Final = 0.002
LEVELS: Final = (0.5, 0.05, PUBLISHED, *(10.0**-power for power in (4, 7, 12, 20, 35, 60, 100, 200)))


def _alarms(seen: Sequence[Seen], levels: Sequence[float], _name: str) -> list[list[Raw]]:
    losses = list(log_losses(seen))
    return [list(_at(losses, level)) for level in levels]


def _at(losses: Sequence[tuple[int, float | None]], delta: float) -> Iterator[Raw]:
    from river import drift  # needed by whoever asks for this baseline

    detector = drift.ADWIN(delta=delta)
    for place, x in losses:
        if x is None:
            yield place, None
            continue
        before = detector.estimation
        detector.update(x)
        if detector.drift_detected and detector.estimation > before:
            yield place, None


BASELINE: Final = Baseline(
    label="river ADWIN",
    rule="a change upwards of standardised log loss by ADWIN (delta 0.002); losses that are not finite",
    levels=LEVELS,
    published=PUBLISHED,
    names_types=False,
    alarms=_alarms,
)
