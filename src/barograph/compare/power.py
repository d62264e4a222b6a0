"""How many seeds it takes to see a difference: simulated with the spread that the runs at hand show.

The answer is an estimate from few runs, so it comes with its interval, and says "more than 200" rather than a number
that nobody should believe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from scipy import special

from barograph.compare.intervals import LEVEL
from barograph.compare.resample import (
    Floats,
    check_level,
    make_generator,
    num_signs,
    num_splits,
    runs_to_reach,
    scale_of,
    sign_matrix,
    split_matrix,
)
from barograph.compare.values import Sample, match_seeds

POWER: Final = 0.8
MAX_RUNS: Final = 200
NUM_SIMULATIONS: Final = 1_000
_FEW: Final = 1_000
"""Up to this many arrangements the simulation permutes; beyond, it uses the t test that the permutation comes near
(Pitman, Supplement to the Journal of the Royal Statistical Society 4:119-130, 1937)."""


class SeedsNeeded(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs per group (or pairs) a difference takes to be seen.

    Attributes:
        n: runs per group in all; None when more than ``max_runs``, or not known.
        low: the lower end of its interval (95 %), which is that of the spread that few runs show; None as for ``n``.
        high: the upper end; None when more than ``max_runs``.
        more: how many more than the smaller group has; 0 when the runs at hand should have shown the difference.
        difference: of means, in units of the metric; NaN when a run has no finite value.
        power: how often the difference is then seen.
        alpha: at which level.
        paired: whether runs that share a seed are compared.
        max_runs: where the search ended.
        reason: why there is no number; "" when there is one.
    """

    n: int | None
    low: int | None
    high: int | None
    more: int | None
    difference: float
    power: float = POWER
    alpha: float = 0.05
    paired: bool = False
    max_runs: int = MAX_RUNS
    reason: str = ""

    def words(self) -> str:
        """E.g. ``about 4 more seeds each (0 to 31) to see a difference of 0.12``."""
        what = f"to see a difference of {self.difference:.3g}"
        if self.reason:
            asked = "would tell" if math.isnan(self.difference) or self.difference == 0 else f"it takes {what}"
            return f"how many more seeds {asked} is not known: {self.reason}"
        if self.n is None or self.more is None:
            return f"more than {self.max_runs} seeds each {what}"
        have = self.n - self.more
        low = max(0, (self.low or have) - have)
        high = f"more than {self.max_runs - have}" if self.high is None else f"{max(0, self.high - have)}"
        if self.more == 0:
            return f"as many seeds as there are, or up to {high} more, {what}"
        noun = "seed" if self.more == 1 else "seeds"
        return f"about {self.more} more {noun} each ({low} to {high}) {what}"


def seeds_needed(
    a: Sample,
    b: Sample,
    *,
    difference: float | None = None,
    paired: bool | None = None,
    power: float = POWER,
    alpha: float = 0.05,
    max_runs: int = MAX_RUNS,
) -> SeedsNeeded:
    """How many seeds it takes to see a difference.

    Residuals of the runs at hand are drawn anew, the difference is added, and the experiment is tested as
    ``verdict.compare`` would, ``NUM_SIMULATIONS`` times for each number of runs tried (a simulated power analysis:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 25.6). The interval repeats this with the spread at
    both ends of its own 95 % interval (chi-squared, for normal runs), for the difference as it is given.

    Args:
        a: one group; curves count with their mean over the steps.
        b: the other.
        difference: of means, in units of the metric; the observed one when not given.
        paired: whether runs that share a seed are compared; when their seeds match, if not given.
        power: how often the difference is to be seen.
        alpha: at which level; for one of m comparisons ``0.05 / m``.
        max_runs: where to give up.

    Raises:
        MisuseError: ``power`` or ``alpha`` is no probability.
    """
    check_level(power, name="power")
    check_level(alpha, name="alpha")
    partner = match_seeds(a, b) if paired is not False else None
    second = b if partner is None else partner
    x, y = _per_run(a), _per_run(second)
    is_paired = partner is not None
    scale = scale_of(x, y)
    x, y = x / scale, y / scale
    observed = float(x.mean() - y.mean()) if np.isfinite(x).all() and np.isfinite(y).all() else math.nan
    size = abs(observed if difference is None else difference / scale)
    base = SeedsNeeded(
        n=None, low=None, high=None, more=None,
        difference=size * scale, power=power, alpha=alpha, paired=is_paired, max_runs=max_runs,
    )  # fmt: skip
    reason = _why_not(x, y, size)
    if reason:
        return msgspec.structs.replace(base, reason=reason)
    pool = _residuals(x, y, paired=is_paired)
    generator = make_generator(x, y, [size, power, alpha, max_runs], purpose="power")
    draws = [generator.integers(len(one), size=(NUM_SIMULATIONS, max_runs)) for one in pool]

    def find(scale: float) -> int | None:
        drawn = [scale * one[places] for one, places in zip(pool, draws, strict=True)]
        return _smallest(lambda n: _power_at(drawn, size, n, alpha), power, alpha, max_runs, paired=is_paired)

    df = sum(len(one) - 1 for one in pool)
    tail = (1 - LEVEL) / 2
    narrow, wide = (math.sqrt(df / float(special.chdtri(df, p))) for p in (tail, 1 - tail))
    n = find(1.0)
    more = None if n is None else max(0, n - min(len(x), len(y)))
    return msgspec.structs.replace(base, n=n, low=find(narrow), high=find(wide), more=more)


def predicted_power(
    a: Sample, b: Sample, *, n: int, difference: float, paired: bool | None = None, alpha: float = 0.05
) -> float:
    """How often a difference is seen with ``n`` runs per group, simulated from the residuals of the runs at hand.

    Args:
        a: one group.
        b: the other.
        n: runs per group, or pairs.
        difference: of means, in units of the metric.
        paired: as in ``seeds_needed``.
        alpha: at which level.
    """
    partner = match_seeds(a, b) if paired is not False else None
    x, y = _per_run(a), _per_run(b if partner is None else partner)
    pool = _residuals(x, y, paired=partner is not None)
    generator = make_generator(x, y, [n, difference, alpha], purpose="predicted power")
    drawn = [one[generator.integers(len(one), size=(NUM_SIMULATIONS, n))] for one in pool]
    return _power_at(drawn, abs(difference), n, alpha)


def _per_run(sample: Sample) -> Floats:
    return sample.values if sample.values.ndim == 1 else sample.values.mean(axis=1)


def _why_not(x: Floats, y: Floats, difference: float) -> str:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "a run has no finite value"
    if min(len(x), len(y)) < 2:  # noqa: PLR2004 - a spread needs two
        return f"{len(x)} and {len(y)} runs show no spread; record at least two of each"
    return "" if difference > 0 else "the groups do not differ at all"


def _residuals(x: Floats, y: Floats, *, paired: bool) -> list[Floats]:
    """Deviations from the mean, stretched to the unbiased variance; one array for pairs, else one per group."""
    groups = [x - y] if paired else [x, y]
    return [(one - one.mean()) * math.sqrt(len(one) / (len(one) - 1)) for one in groups]


def _smallest(
    power_at: Callable[[int], float], power: float, alpha: float, max_runs: int, *, paired: bool
) -> int | None:
    """The fewest runs with that power, by bisection: power grows with the number of runs."""
    low = runs_to_reach(alpha, paired=paired)
    if low is None or low > max_runs or power_at(max_runs) < power:
        return None
    high = max_runs
    while low < high:
        middle = (low + high) // 2
        if power_at(middle) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def _power_at(drawn: list[Floats], difference: float, n: int, alpha: float) -> float:
    """The share of simulated experiments in which the difference is seen, on its side."""
    first = drawn[0][:, :n] + difference
    if len(drawn) == 1:
        return float((_p_paired(first) <= alpha).mean())
    return float((_p_unpaired(first, drawn[1][:, :n]) <= alpha).mean())


def _p_paired(differences: Floats) -> Floats:
    """Each row's p; 1 where the mean lies on the wrong side."""
    n = differences.shape[1]
    mean = differences.mean(axis=1)
    if num_signs(n) <= _FEW:
        signs = sign_matrix(n, draw=_never)
        reached = np.abs(differences @ signs.T) >= n * np.abs(mean)[:, None] * (1 - 1e-9)
        p = reached.mean(axis=1)
    else:
        error = differences.std(axis=1, ddof=1) / math.sqrt(n)
        p = _p_of_t(mean, error, n - 1)
    return np.where(mean > 0, p, 1.0)


def _p_unpaired(a: Floats, b: Floats) -> Floats:
    """Each row's p; 1 where the difference lies on the wrong side. Groups have one size."""
    n = a.shape[1]
    difference = a.mean(axis=1) - b.mean(axis=1)
    variance_a, variance_b = a.var(axis=1, ddof=1) / n, b.var(axis=1, ddof=1) / n
    total = variance_a + variance_b
    df = (n - 1) * total**2 / np.where(total > 0, variance_a**2 + variance_b**2, 1.0)
    p = _p_of_t(difference, np.sqrt(total), np.where(total > 0, df, 1.0))
    if num_splits(n, n) <= _FEW:
        both = np.hstack([a, b])
        centred = both - both.mean(axis=1, keepdims=True)
        sums = centred @ split_matrix(n, n, draw=_never).T
        p = np.maximum(p, (np.abs(sums) >= np.abs(sums[:, :1]) * (1 - 1e-9)).mean(axis=1))
    return np.where(difference > 0, p, 1.0)


def _never() -> np.random.Generator:
    raise AssertionError("so few arrangements are all tried")


def _p_of_t(difference: Floats, error: Floats, df: Floats | int) -> Floats:
    t = np.full(difference.shape, np.inf)
    np.divide(np.abs(difference), error, out=t, where=error > 0)
    p: Floats = 2 * special.stdtr(df, -t)
    return p
