"""What a group of runs comes to: mean, median and interquartile mean, each with its interval and the number of runs.

A number without its n is never returned. Runs whose value is not finite are never dropped in silence.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.compare.intervals import Interval, iqm, iqm_interval, mean_interval, median_interval
from barograph.compare.resample import Floats, scale_of
from barograph.compare.values import Sample, worst_as_infinite
from barograph.errors import MisuseError


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over the runs of a group.

    What a run without a finite value makes unknown is None: mean, IQM and standard deviation always, the median and
    the worse end of the range when it falls on such a run.

    Attributes:
        n: how many runs have the metric, those without a finite value among them.
        num_nonfinite: how many of them have no finite value.
        mean: arithmetic mean.
        mean_interval: where the true mean is; see ``intervals.mean_interval``.
        median: the middle run; runs without a finite value count as the worst.
        median_interval: where the true median is; see ``intervals.median_interval``.
        iqm: interquartile mean; see ``intervals.iqm``.
        iqm_interval: where the true one is; see ``intervals.iqm_interval``.
        min: the lowest run.
        max: the highest run.
        std: standard deviation of a run (n - 1).
        reason: why numbers are missing; "" when none is.
    """

    n: int
    num_nonfinite: int = 0
    mean: float | None = None
    mean_interval: Interval | None = None
    median: float | None = None
    median_interval: Interval | None = None
    iqm: float | None = None
    iqm_interval: Interval | None = None
    min: float | None = None
    max: float | None = None
    std: float | None = None
    reason: str = ""


class CurveSummary(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One metric over the runs of a group, at each step that all of them recorded.

    Attributes:
        n: how many runs.
        steps: the steps.
        num_steps_recorded: how many different steps there are over all runs.
        points: the summary of each step. Intervals hold step by step, not for the whole curve at once.
    """

    n: int
    steps: Floats
    num_steps_recorded: int
    points: list[Summary]


def summarise(sample: Sample) -> Summary:
    """Summarise a metric over runs.

    Args:
        sample: one value per run (``reduce="final"`` or ``"best"``).

    Raises:
        MisuseError: it holds curves.

    >>> summarise(Sample(values=[1.0, 2.0, 3.0, 4.0, 5.0], mode="min")).mean_interval.low
    1.03675...
    """
    if sample.values.ndim != 1:
        raise MisuseError(f"{sample.metric!r} holds curves; use summarise_curve, or collect it with reduce='final'")
    return _summary(sample.values, mode=sample.mode)


def summarise_curve(sample: Sample) -> CurveSummary:
    """Summarise a metric over runs, step by step.

    Args:
        sample: one curve per run (``reduce="curve"``).

    Raises:
        MisuseError: it holds single values.
    """
    if sample.values.ndim == 1:
        raise MisuseError(
            f"{sample.metric!r} holds one value per run; use summarise, or collect it with reduce='curve'"
        )
    return CurveSummary(
        n=len(sample.values),
        steps=sample.steps,
        num_steps_recorded=sample.num_steps_recorded,
        points=[_summary(column, mode=sample.mode) for column in sample.values.T],
    )


def _summary(values: npt.NDArray[np.float64], *, mode: str) -> Summary:
    n = len(values)
    if n == 0:
        return Summary(n=0, reason="no run has the metric")
    num_nonfinite = int((~np.isfinite(values)).sum())
    if num_nonfinite:
        return _summary_of_ranks(worst_as_infinite(values, mode=mode), num_nonfinite)
    scale = scale_of(values)
    scaled = values / scale
    return Summary(
        n=n,
        mean=float(scaled.mean()) * scale,
        mean_interval=mean_interval(values),
        median=float(np.median(scaled)) * scale,
        median_interval=median_interval(values),
        iqm=iqm(scaled) * scale,
        iqm_interval=iqm_interval(values),
        min=float(values.min()),
        max=float(values.max()),
        std=float(scaled.std(ddof=1)) * scale if n > 1 else None,
        reason="" if n > 1 else "one run says nothing about its spread",
    )


def _summary_of_ranks(values: Floats, num_nonfinite: int) -> Summary:
    """What the order of the runs still tells when some are infinitely bad."""
    ordered = np.sort(values)
    n = len(ordered)
    middle = {float(number) for number in ordered[[(n - 1) // 2, n // 2]]}
    interval = median_interval(values) if all(map(math.isfinite, middle)) else None
    return Summary(
        n=n,
        num_nonfinite=num_nonfinite,
        median=sum(middle) / len(middle) if all(map(math.isfinite, middle)) else None,
        median_interval=None if interval is None or math.isnan(interval.low + interval.high) else interval,
        min=_finite(ordered[0]),
        max=_finite(ordered[-1]),
        reason=f"{num_nonfinite} of {n} runs have no finite value, so there is no mean; they count as the worst",
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
