"""From which step on the logged numbers show a fault: by comparison with the run's twin, by stated rules.

A fault that its numbers never show cannot be found by whoever reads numbers; it is left out, and listed.
"""

from __future__ import annotations

import math
import statistics
from typing import Final

from bench.faults.curves import MEASURED, Curves
from bench.faults.injected.fault import FaultKind
from bench.faults.noise import apart
from bench.faults.shapes import SHAPES

NUM_HELD: Final = 5
"""Records over whose median a step time is held."""
SLOW_HELD, SLOW_AT_ONCE = 1.5, 8.0
GROWN_MB: Final = 8.0
NUM_SAME: Final = 3
OVERFIT: Final = 1.08


class TwinError(ValueError):
    """A faulty run differs from its twin before the fault begins."""


def check_twins(faulty: Curves, twin: Curves, onset: int) -> None:
    """Hold that two runs logged the same numbers before a step.

    Raises:
        TwinError: they did not; the message names the metric and the step.
    """
    for key in faulty.values.keys() & twin.values.keys():
        if key[1] in MEASURED:
            continue
        a, b = (
            [pair for pair in zip(it.steps[key], it.values[key], strict=True) if pair[0] < onset]
            for it in (faulty, twin)
        )
        for one, other in zip(a, b, strict=False):
            if one != other and not (math.isnan(one[1]) and math.isnan(other[1])):
                raise TwinError(f"{key} at step {one[0]:g}: {one[1]!r}, but the twin has {other[1]!r}; who drew more?")
        if len(a) != len(b):
            raise TwinError(f"{key}: {len(a)} records before step {onset}, the twin has {len(b)}; who logged less?")


def shown_step(  # noqa: PLR0911 - one rule per case
    kind: FaultKind, faulty: Curves, twin: Curves, onset: int
) -> float | None:
    """The first step whose numbers show the fault; None when none does."""
    match kind.shows:
        case "slow":
            return _slow(faulty, onset)
        case "memory":
            return _grown(faulty, onset)
        case "same":
            return _same(faulty, kind.metrics[0], onset)
        case "missing":
            return _missing(faulty, twin, kind.metrics[0], onset)
        case "overfit":
            return _overfit(faulty, onset)
        case "twin":
            return _parts(kind, faulty, twin, onset)
        case "stuck" | "swings" | "spike" as shape:
            return SHAPES[shape](faulty, twin, onset)


def _parts(kind: FaultKind, faulty: Curves, twin: Curves, onset: int) -> float | None:
    """The first step at which any metric that counts leaves the twin's."""
    keys = [
        key
        for key in faulty.values.keys() & twin.values.keys()
        if key[1] not in MEASURED and (not kind.metrics or key[1] in kind.metrics)
    ]
    return min((step for key in keys if (step := apart(faulty, twin, key, onset)) is not None), default=None)


def _train_steps(curves: Curves) -> list[float]:
    name = "step_time_ms" if ("train", "step_time_ms") in curves.steps else "throughput"
    return curves.steps["train", name]


def _slow(faulty: Curves, onset: int) -> float | None:
    steps, times = _train_steps(faulty), faulty.step_times()
    usual = statistics.median(time for step, time in zip(steps, times, strict=True) if step < onset)
    for place, (step, time) in enumerate(zip(steps, times, strict=True)):
        held = statistics.median(times[place : place + NUM_HELD])
        if step >= onset and (time > SLOW_AT_ONCE * usual or (held > SLOW_HELD * usual and time > SLOW_HELD * usual)):
            return step
    return None


def _grown(faulty: Curves, onset: int) -> float | None:
    pairs = list(zip(faulty.steps["train", "memory_mb"], faulty.train("memory_mb"), strict=True))
    before = max(value for step, value in pairs if step < onset)
    return next((step for step, value in pairs if step >= onset and value > before + GROWN_MB), None)


def _same(faulty: Curves, name: str, onset: int) -> float | None:
    key = next(key for key in faulty.values if key[1] == name)
    steps = [step for step in faulty.steps[key] if step >= onset]
    values = faulty.values[key][-len(steps) :] if steps else []
    for place in range(NUM_SAME - 1, len(values)):
        if len(set(values[place - NUM_SAME + 1 : place + 1])) == 1:
            return steps[place]
    return None


def _missing(faulty: Curves, twin: Curves, name: str, onset: int) -> float | None:
    there = set(faulty.steps.get(("val", name), []))
    return next((step for step in twin.steps["val", name] if step >= onset and step not in there), None)


def _overfit(faulty: Curves, onset: int) -> float | None:
    best, num_above = math.inf, 0
    for step, value in zip(faulty.steps["val", "val_loss"], faulty.values["val", "val_loss"], strict=True):
        best = min(best, value)
        num_above = num_above + 1 if value > OVERFIT * best else 0
        if step >= onset and num_above == 2:
            return step
    return None
