"""llm-foundry's KillLossSpike: five losses in a row of twice the mean of the last hundred, or half of them high."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from bench.faults.baselines.base import Baseline, Rolling, Score, Seen, by_score, geometric, series

WINDOW: Final = 100
IN_A_ROW: Final = 5
HIGHEST_CAP: Final = 10.0
MULTIPLIER: Final = 2.0


def _scores(seen: Sequence[Seen]) -> Iterator[Score]:
    window, ratios = Rolling(WINDOW), deque([0.0] * IN_A_ROW, maxlen=IN_A_ROW)
    cap = HIGHEST_CAP
    for count, (place, loss) in enumerate(series(seen, "loss")):
        if not math.isfinite(loss):  # no comparison with NaN holds
            ratios.append(0.0)
            continue
        if count == WINDOW:
            cap = min(max(window.values), HIGHEST_CAP)
        if len(window) == WINDOW:
            mean = window.mean()
            ratios.append(loss / mean if mean > 0 else 0.0)
            half = sorted(window.values)[WINDOW // 2] / cap if count >= 2 * WINDOW and cap > 0 else 0.0
            yield place, None, max(min(ratios), MULTIPLIER * half)
        window.add(loss)


BASELINE: Final = Baseline(
    label="llm-foundry KillLossSpike",
    rule="5 losses in a row above twice the mean of the last 100; or half of them above the highest of the first 100",
    levels=geometric(MULTIPLIER),
    published=MULTIPLIER,
    names_types=False,
    alarms=by_score(_scores),
)
