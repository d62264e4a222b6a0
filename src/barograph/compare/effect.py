"""How large a difference is: in standard deviations, and as the probability that one run beats another.

A p says whether there is a difference, an effect how much it matters. Nothing here decides anything.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.optimize import brentq

from barograph.compare.intervals import LEVEL, Interval, proportion_interval, superiority_interval
from barograph.compare.resample import Floats, scale_of

_MIN_SPREAD: Final = 1e-12
_LARGE_T: Final = 25.0


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a difference of two groups, ``a`` against ``b``.

    Attributes:
        name: ``Hedges g``, or ``d_z`` for pairs.
        value: how many standard deviations ``a`` is higher; None when a value is not finite or there is no spread.
        interval: where the true one is.
        cliffs_delta: how much more often a run of ``a`` is higher than lower: -1 to 1 (Cliff, Psychological Bulletin
            114:494-509, 1993); within pairs when they are paired.
        cliffs_delta_interval: where the true one is.
    """

    name: str
    value: float | None
    interval: Interval | None
    cliffs_delta: float
    cliffs_delta_interval: Interval


class Improvement(msgspec.Struct, frozen=True, kw_only=True):
    """The probability that a run of ``a`` is better than one of ``b``.

    Attributes:
        probability: 0 to 1; ties count one half.
        interval: where the true one is.
    """

    probability: float
    interval: Interval


def hedges_g(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, Interval] | None:
    """The difference of means in pooled standard deviations, corrected for few runs, with its interval.

    Hedges (Journal of Educational Statistics 6:107-128, 1981), with the exact correction. The interval is exact for
    normal runs of equal spread: from the noncentral t (Steiger and Fouladi, in What If There Were No Significance
    Tests?, 1997).

    Args:
        a: one finite number per run.
        b: the same.

    Returns:
        None when there are fewer than three runs, or the runs have no spread.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n_a, n_b = len(first), len(second)
    df = n_a + n_b - 2
    if min(n_a, n_b) < 1 or df < 1:
        return None
    scale = scale_of(first, second)
    first, second = first / scale, second / scale
    squares = float(((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum())
    return _standardised(float(first.mean() - second.mean()), math.sqrt(squares / df), df, math.sqrt(1 / n_a + 1 / n_b))


def paired_dz(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, Interval] | None:
    """The mean of the differences in their standard deviations, corrected for few pairs, with its interval.

    Cohen (Statistical Power Analysis, 1988, 2.3.5), called d_z; correction and interval as in ``hedges_g`` (Goulet-
    Pelletier and Cousineau, The Quantitative Methods for Psychology 14:242-265, 2018).

    Args:
        a: one finite number per run.
        b: the same, in the same order.

    Returns:
        None when there are fewer than two pairs, or the differences have no spread.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    scale = scale_of(first, second)
    differences = first / scale - second / scale
    n = len(differences)
    if n < 2:  # noqa: PLR2004 - a spread needs two
        return None
    return _standardised(float(differences.mean()), float(differences.std(ddof=1)), n - 1, math.sqrt(1 / n))


def superiority(a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool) -> tuple[float, Interval]:
    """How often a run of ``a`` is higher than one of ``b``, ties counted one half, with its interval.

    Over all pairs of runs it is Mann and Whitney's U divided by its largest value; within pairs that share a seed, the
    share of pairs, with Wilson's interval.

    Args:
        a: one number per run; infinities may be given, NaN not.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if paired:
        wins = float((first > second).sum() + 0.5 * (first == second).sum())
        return wins / len(first), proportion_interval(wins, len(first))
    above = (first[:, None] > second).mean() + 0.5 * (first[:, None] == second).mean()
    return float(above), superiority_interval(float(above), len(first), len(second))


def measure_effect(a: Floats, b: Floats, *, paired: bool) -> Effect:
    """The effect of ``a`` against ``b``.

    Args:
        a: one number per run; values that are not finite as infinities.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
    """
    found = None
    if np.isfinite(a).all() and np.isfinite(b).all():
        found = paired_dz(a, b) if paired else hedges_g(a, b)
    share, interval = superiority(a, b, paired=paired)
    return Effect(
        name="d_z" if paired else "Hedges g",
        value=None if found is None else found[0],
        interval=None if found is None else found[1],
        cliffs_delta=2 * share - 1,
        cliffs_delta_interval=msgspec.structs.replace(interval, low=2 * interval.low - 1, high=2 * interval.high - 1),
    )


def probability_of_improvement(a: Floats, b: Floats, *, mode: str, paired: bool) -> Improvement:
    """The probability that a run of ``a`` is better than one of ``b`` (Agarwal et al., NeurIPS 2021, section 4.3).

    rliable's interval is a bootstrap's, which is empty when the groups do not overlap; here it is Newcombe's, or
    Wilson's within pairs.

    Args:
        a: one number per run; values that are not finite as infinities on the worse side.
        b: the same; for pairs, in the same order.
        mode: ``min`` when low is better, ``max`` when high is.
        paired: whether the runs are pairs.
    """
    share, interval = superiority(-a, -b, paired=paired) if mode == "min" else superiority(a, b, paired=paired)
    return Improvement(probability=share, interval=interval)


def _standardised(difference: float, spread: float, df: int, root: float) -> tuple[float, Interval] | None:
    """Effect and interval; ``root * noncentrality`` is the effect."""
    if spread <= _MIN_SPREAD * abs(difference) or spread == 0:
        return None
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) * math.sqrt(2 / df) if df > 1 else 0.0
    t = difference / spread / root
    tail = (1 - LEVEL) / 2
    low, high = (_noncentrality(t, df, probability) * root for probability in (1 - tail, tail))
    interval = Interval(low=low, high=high, level=LEVEL, method="noncentral t")
    return (correction or 1.0) * difference / spread, interval


def _noncentrality(t: float, df: int, probability: float) -> float:
    """The noncentrality at which a t up to the observed one has this probability."""
    if t < 0:
        return -_noncentrality(-t, df, 1 - probability)
    if t > _LARGE_T:  # beyond scipy's noncentral t: the spread's part by its chi distribution, the mean's by the normal
        spread = t * math.sqrt(float(special.chdtri(df, probability)) / df) - t
        return t + math.copysign(math.hypot(spread, float(special.ndtri(probability))), spread)
    reach = math.sqrt(float(special.chdtri(df, 0.0125)) / df)

    def excess(noncentrality: float) -> float:
        return float(special.nctdtr(df, noncentrality, t)) - probability

    return float(brentq(excess, -2.0, t * reach + 2.5, xtol=1e-6))
