"""Page-Hinkley (river) on standardised log loss, upwards only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Raw, Seen, log_losses

PUBLISHED: Final = 50.0
LEVELS: Final = (3.0, 5.0, 8.0, 12.0, 18.0, 25.0, 35.0, PUBLISHED, 70.0, 100.0, 150.0, 220.0, 330.0, 500.0, 1000.0, 1e4)


def _alarms(seen: Sequence[Seen], levels: Sequence[float], _name: str) -> list[list[Raw]]:
    losses = list(log_losses(seen))
    return [list(_at(losses, level)) for level in levels]


def _at(losses: Sequence[tuple[int, float | None]], threshold: float) -> Iterator[Raw]:
    from river import drift  # needed by whoever asks for this baseline

    detector = drift.PageHinkley(threshold=threshold, mode="up")
    for place, x in losses:
        if x is None:
            yield place, None
            continue
        detector.update(x)
        if detector.drift_detected:
            yield place, None


BASELINE: Final = Baseline(
    label="river Page-Hinkley",
    rule="a rise of standardised log loss by Page-Hinkley (threshold 50, delta 0.005); losses that are not finite",
    levels=LEVELS,
    published=PUBLISHED,
    names_types=False,
    alarms=_alarms,
)
