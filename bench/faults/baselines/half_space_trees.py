"""Half-space trees (river) on standardised log loss. The window is shorter than river's 250: our runs are short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Score, Seen, by_score, log_losses

PUBLISHED: Final = 0.95
LEVELS: Final = (0.6, 0.7, 0.8, 0.85, 0.9, 0.93, PUBLISHED, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 0.999, 0.9999)
REACH: Final = 20.0
"""In standard deviations; closer limits put ordinary noise into leaves as empty as those of a jump."""
WINDOW: Final = 100


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    from river import anomaly  # needed by whoever asks for this baseline

    trees = anomaly.HalfSpaceTrees(window_size=WINDOW, limits={"x": (-REACH, REACH)}, seed=0)
    for count, (place, x) in enumerate(log_losses(seen)):
        if x is None:
            yield place, None, math.inf
            continue
        features = {"x": min(max(x, -REACH), REACH)}
        if count >= WINDOW:
            yield place, None, trees.score_one(features)
        trees.learn_one(features)


BASELINE: Final = Baseline(
    label="river half-space trees",
    rule="an anomaly score above 0.95 of standardised log loss (10 trees, window 100); losses that are not finite",
    levels=LEVELS,
    published=PUBLISHED,
    names_types=False,
    alarms=by_score(_scores),
)
