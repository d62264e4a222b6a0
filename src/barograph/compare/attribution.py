"""How much one change moves a metric while everything else stays, estimated over many runs.

Estimators, tried in this order, each ordinary least squares with a t interval:

``paired``: as ``matched``, with the seed as one more thing to agree in; where every run that could be matched has its
partner of the same seed. With one run a side it is the paired t test.

``matched``: runs that agree in everything else form a stratum; within each stratum that has runs on both sides, the
difference of means; over the strata, weighted by what each knows (n_a * n_b / (n_a + n_b)). This is regression with one
intercept per stratum (Angrist and Pischke, Mostly Harmless Econometrics, 2009, 3.3.1: matching and regression).
``regression``: one coefficient per factor, all runs at once; scales enter linearly (Draper and Smith, Applied
Regression Analysis, 3rd ed., 1998, chapters 2, 14). An effect that the runs cannot tell from others is not estimable
(Searle, Linear Models, 1971, 5.4), and is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from scipy import stats

from barograph.compare.factors import Factor, Floats

MIN_FREEDOM: Final = 3
NOT_ALONE: Final = "in these runs it never changes without other things that vary too"
_TOLERANCE: Final = 1e-8
_ROUNDING: Final = 1e-13

Method = Literal["paired", "matched", "regression"]


class EstimatedEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a change from A's value to B's does to the metric, everything else being equal.

    Attributes:
        estimate: the change of the metric; None when the runs cannot say.
        interval: a 95 % interval (t) of it.
        p: two-sided, against no effect.
        method: how it was estimated.
        n: runs that it rests on.
        freedom: degrees of freedom that are left for the noise.
        reason: why there is no estimate.
    """

    estimate: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    method: Method | None = None
    n: int = 0
    freedom: int = 0
    reason: str = ""


def effect_of(
    factor: Factor,
    others: Sequence[Factor],
    values: Floats,
    *,
    a: int,
    b: int,
    seeds: Sequence[Hashable] | None = None,
) -> EstimatedEffect:
    """The effect of one factor's change from run A's value to run B's.

    Args:
        factor: what changes.
        others: what else varies over the runs, to be held fixed.
        values: the metric of each run, finite.
        a: the place of run A.
        b: the place of run B.
        seeds: each run's seed, None where it has none; None when runs of one seed have nothing in common.
    """
    held = list(zip(*(other.codes for other in others), strict=True)) or [()] * len(values)
    matched = _matched(factor, held, values, a=a, b=b)
    if seeds is not None and None not in seeds:
        cells = [(*cell, seed) for cell, seed in zip(held, seeds, strict=True)]
        paired = _matched(factor, cells, values, a=a, b=b, method="paired")
        if paired.estimate is not None and paired.n == matched.n:
            return paired
    if matched.estimate is not None:
        return matched
    regressed = _regressed(factor, others, values, a=a, b=b)
    return regressed if regressed.estimate is not None else msgspec.structs.replace(regressed, n=len(values))


def _matched(
    factor: Factor,
    held: Sequence[tuple[Hashable, ...]],
    values: Floats,
    *,
    a: int,
    b: int,
    method: Method = "matched",
) -> EstimatedEffect:
    """Within the runs that agree in what is held."""
    strata: dict[tuple[Hashable, ...], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for place, code in enumerate(factor.codes):
        if code in (factor.codes[a], factor.codes[b]):
            side = 0 if code == factor.codes[a] else 1
            strata[held[place]][side].append(float(values[place]))
    kept = [sides for sides in strata.values() if all(sides)]
    n = sum(len(side) for sides in kept for side in sides)
    freedom = n - len(kept) - 1
    if not kept or freedom < MIN_FREEDOM:
        return EstimatedEffect(n=n, freedom=max(freedom, 0))
    columns = np.zeros((n, len(kept) + 1))
    outcome = np.empty(n)
    row = 0
    for number, sides in enumerate(kept):
        for side, found in enumerate(sides):
            outcome[row : row + len(found)] = found
            columns[row : row + len(found), number] = 1.0
            columns[row : row + len(found), -1] = side
            row += len(found)
    return _fitted(columns, outcome, method=method)


def _regressed(factor: Factor, others: Sequence[Factor], values: Floats, *, a: int, b: int) -> EstimatedEffect:
    nuisance = [column for other in others for column in _columns(other, a)]
    columns = np.column_stack([np.ones(len(values)), *nuisance, *_columns(factor, a, last=b)])
    return _fitted(columns, values, method="regression")


def _columns(factor: Factor, reference: int, *, last: int | None = None) -> list[Floats]:
    """A factor as columns that are 0 for the reference run; the last one is 1 for the run ``last``."""
    if factor.numbers is not None:
        numbers = np.asarray(factor.numbers)
        scale = np.ptp(numbers) if last is None else numbers[last] - numbers[reference]
        return [(numbers - numbers[reference]) / scale]
    codes = np.asarray(factor.codes)
    levels = [code for code in dict.fromkeys(factor.codes) if code != factor.codes[reference]]
    if last is not None:
        levels.sort(key=lambda code: code == factor.codes[last])
    return [(codes == code).astype(np.float64) for code in levels]


def _fitted(columns: Floats, outcome: Floats, *, method: Method) -> EstimatedEffect:
    """The coefficient of the last column by least squares."""
    n, width = columns.shape
    left, singular, right = np.linalg.svd(columns, full_matrices=False)
    rank = int((singular > _TOLERANCE * singular[0]).sum())
    freedom = n - rank
    rows = right[:rank]
    contrast = np.zeros(width)
    contrast[-1] = 1.0
    if not np.allclose(rows.T @ (rows @ contrast), contrast, atol=1e-6):
        return EstimatedEffect(
            n=n, freedom=freedom, reason="in these runs it never changes without other things that vary too"
        )
    if freedom < MIN_FREEDOM:
        wanted = rank + MIN_FREEDOM
        return EstimatedEffect(
            n=n, freedom=freedom, reason=f"{n} runs, {rank} things to estimate; {wanted} runs are needed"
        )
    scores = (left[:, :rank].T @ outcome) / singular[:rank]
    estimate = float(contrast @ (rows.T @ scores))
    residual = outcome - left[:, :rank] @ (left[:, :rank].T @ outcome)
    error = float(np.sqrt(residual @ residual / freedom) * np.linalg.norm((rows @ contrast) / singular[:rank]))
    rounding = _ROUNDING * float(np.linalg.norm(outcome))
    if max(abs(estimate), error) <= rounding:  # the same to the last digits, as settings that only change the speed are
        return EstimatedEffect(estimate=0.0, interval=(0.0, 0.0), p=1.0, method=method, n=n, freedom=freedom)
    error = max(error, rounding)
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = 2.0 * float(stats.t.sf(abs(estimate) / error, freedom))
    return EstimatedEffect(
        estimate=estimate, interval=(estimate - half, estimate + half), p=p, method=method, n=n, freedom=freedom
    )
