"""A detector of symptoms that speaks when a test wants it to: for tests of detectors that name causes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.watch.shown import Curve

from barograph.facts.rows import StreamHeader
from barograph.watch.alert import Alert
from barograph.watch.detector import Detector
from barograph.watch.monitor import Monitor


def told_first(
    cause: Detector,
    curves: Mapping[str, Curve],
    *,
    symptom: str,
    at_step: int,
    since: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> Alert:
    """What opens the incident when an alert of a type is given at a step; the cause itself says nothing before."""

    class Symptom(Detector):
        name: ClassVar[str] = symptom
        reads: ClassVar[tuple[str, ...]] = ("*",)

        def update(self, sample: Any) -> Alert | None:
            if sample.step != at_step:
                return None
            return self.alert(sample, "a symptom", severity="warning", since=float(at_step if since is None else since))

    rows = [(float(step), *(curve(step) for curve in curves.values()), 1e9 + step) for step in range(at_step + 1)]
    header = StreamHeader(run_id="r", columns=["step", *curves, "t"])
    (told,) = Monitor([Symptom(), cause], config=config).take((header, rows))
    assert (told.stage, told.step) == ("opened", at_step)
    return told.alert


def scattered(curve: Curve, *others: Curve, sigma: float, seed: int) -> list[Curve]:
    """Curves that are thrown about by the same lognormal noise, as a gradient and its loss are by the batch."""

    def noise(step: int) -> float:
        return math.exp(sigma * random.Random(f"{seed}-{step}").gauss(0.0, 1.0))

    return [lambda step, it=it: it(step) * noise(step) for it in (curve, *others)]
