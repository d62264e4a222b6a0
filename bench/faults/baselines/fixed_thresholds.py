"""The limits that people write into alerts: one number per metric, the same for every run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Score, Seen, by_score, geometric

ABOVE: Final = {
    "loss": (10.0, "divergence"),
    "grad_norm": (100.0, "exploding_gradient"),
    "lr": (0.1, "learning_rate"),
    "dead_fraction": (0.5, "dead_units"),
    "gen_repetition": (0.5, "degenerate_generation"),
}
BELOW: Final = {
    "grad_norm": (1e-6, "vanishing_gradient"),
    "update_ratio": (1e-6, "frozen"),
    "kl": (0.05, "posterior_collapse"),
    "codebook_perplexity": (4.0, "codebook_collapse"),
    "sample_diversity": (0.05, "mode_collapse"),
    "d_loss": (0.05, "gan_imbalance"),
    "entropy": (0.1, "entropy_collapse"),
    "loss_scale": (1.0, "loss_scale"),
}


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    for place, it in enumerate(seen):
        for role, value in it.values.items():
            if value != value:  # noqa: PLR0124 - NaN
                yield place, "non_finite", math.inf
                continue
            if role in ABOVE:
                limit, name = ABOVE[role]
                yield place, name, value / limit
            if role in BELOW:
                limit, name = BELOW[role]
                yield place, name, limit / value if value > 0 else math.inf


BASELINE: Final = Baseline(
    label="fixed thresholds",
    rule="a value that is not finite, or beyond a limit that is the same for every run; all limits by one factor",
    levels=geometric(1.0),
    published=1.0,
    names_types=True,
    alarms=by_score(_scores),
)
