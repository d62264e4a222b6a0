"""What detectors say about records that a test makes up: for tests of detectors of models that generate or act."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.alert import Alert
from barograph.watch.detector import Detector
from barograph.watch.monitor import Monitor

Curve = Callable[[int], float]


def alerts(
    detector: Detector,
    curves: Mapping[str, Curve],
    num_records: int,
    *,
    config: Mapping[str, Any] | None = None,
    total_steps: int | None = None,
    checkpoint_step: int | None = None,
    every: int = 1,
) -> list[Alert]:
    """What is told about metrics that follow curves, by step; a checkpoint is called ``last.pt``."""
    monitor = Monitor([detector], config=config)
    if total_steps is not None:
        monitor.take(Event(moment="on_start", seq=0, t=0.0, payload={"total_steps": total_steps}))
    header = StreamHeader(run_id="r", columns=["step", *curves, "t"])
    found = []
    for place in range(num_records):
        step = place * every
        row = (float(step), *(curve(step) for curve in curves.values()), 1e9 + step)
        found += [told.alert for told in monitor.take((header, [row])) if told.stage != "ended"]
        if step == checkpoint_step:
            monitor.take(Event(moment="on_checkpoint", seq=1, t=0.0, payload={"step": step, "path": "last.pt"}))
    return found


def noisy(curve: Curve, *, sigma: float = 0.1, seed: int = 0) -> Curve:
    """A curve with lognormal noise; the same for the same seed, however often it is asked."""
    return lambda step: curve(step) * math.exp(sigma * random.Random(f"{seed}-{step}").gauss(0.0, 1.0))


def then(before: Curve, onset: int, after: Curve) -> Curve:
    """One curve before a step, another from it on; the second counts steps from there."""
    return lambda step: before(step) if step < onset else after(step - onset)


def at(value: float) -> Curve:
    """A level."""
    return lambda _: value


def types_of(found: Sequence[Alert]) -> list[str]:
    """The types of alerts."""
    return [alert.type for alert in found]
