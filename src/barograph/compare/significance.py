"""Tests of whether two groups of runs differ, by rearrangement: exact for few runs, random arrangements for many.

Runs are exchanged between the groups (or within pairs that share a seed), and p is the share of arrangements that
differ at least as much as the one observed. No distribution is assumed. A metric recorded over steps is tested by its
largest statistic, so that looking at many steps costs nothing in false alarms.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special, stats

from barograph.compare.intervals import welch
from barograph.compare.resample import (
    MAX_EXACT,
    NUM_RANDOM,
    Floats,
    make_generator,
    num_signs,
    num_splits,
    scale_of,
    sign_matrix,
    smallest_p,
    split_matrix,
)
from barograph.errors import MisuseError

_TIE: Final = 1e-9
"""Statistics this close are equal, relative to those above one: the same sum in another order rounds differently."""
_CHUNK_NUMBERS: Final = 4_000_000

Bools = npt.NDArray[np.bool_]


class Significance(msgspec.Struct, frozen=True, kw_only=True):
    """What a test says.

    Attributes:
        test: its name.
        p: two-sided; the smallest over the steps, corrected for having looked at all of them, for curves.
        smallest_p: the smallest p that so many runs can give.
        num_arrangements: how many arrangements were looked at, the observed one among them.
        exact: whether these were all there are.
        direction: 1 when the first group is higher, -1 when it is lower, 0 when neither; of the largest statistic.
    """

    test: str
    p: float
    smallest_p: float
    num_arrangements: int
    exact: bool
    direction: int


class CurveSignificance(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a test of curves says, step by step.

    Attributes:
        overall: whether the curves differ anywhere.
        statistics: the signed statistic at each step, positive where the first group is higher.
        p: at each step, corrected for all steps.
    """

    overall: Significance
    statistics: Floats
    p: Floats


def means_differ(a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, num_random: int = NUM_RANDOM) -> Significance:
    """Test whether the means differ, by rearranging the runs.

    Unpaired, the statistic is Welch's t (Janssen, Statistics and Probability Letters 36:9-21, 1997; Chung and Romano,
    Annals of Statistics 41:484-507, 2013): exact when the groups differ in nothing, and right for many runs when they
    differ in spread only. For groups of one size it orders the arrangements as the difference of means does (Fisher
    1935; Pitman 1937). Paired, signs of the differences are flipped (Fisher, The Design of Experiments, 1935, 21).

    Args:
        a: one finite number per run.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    Raises:
        MisuseError: a number is not finite, a group is empty, or pairs do not match.
    """
    return curves_differ(_column(a), _column(b), paired=paired, num_random=num_random).overall


def means_differ_guarded(
    a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, num_random: int = NUM_RANDOM
) -> Significance:
    """The test of means that verdicts rest on: as ``means_differ``, and unpaired not below Welch's p.

    Runs of unequal spread may not be exchanged, and a small group of wide spread is then called different too often: 3
    runs against 10, with five times the spread, in 14 % instead of 5 %. Welch's t (Biometrika 34:28-35, 1947) does not
    ask for equal spreads, permutation does not ask for normal runs; the larger p of the two holds in either case.

    Args:
        a: one finite number per run.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    Raises:
        MisuseError: as ``means_differ``.
    """
    found = means_differ(a, b, paired=paired, num_random=num_random)
    if paired:
        return found
    p = 1.0 if min(np.size(a), np.size(b)) == 1 else _welch_p(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return msgspec.structs.replace(found, p=max(found.p, p), test=f"{found.test}, not below Welch's t")


def _welch_p(a: Floats, b: Floats, *, df: float | None = None) -> float:
    """Welch's p, with other degrees of freedom where they are given."""
    difference, error, own_df = welch(a, b)
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * special.stdtr(df or own_df, -abs(difference) / error))


def curves_differ_guarded(
    a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, num_random: int = NUM_RANDOM
) -> CurveSignificance:
    """The test of curves that verdicts rest on: as ``curves_differ``, and unpaired not below Welch's p at any step.

    Welch's p is corrected for the number of steps (Bonferroni); for groups of unequal size with the degrees of freedom
    of the smaller one, which is safe however far out in the tail (Mickey and Brown, Annals of Mathematical Statistics
    37:639-642, 1966). The largest statistic over many steps is moved by
    unequal spreads more than a single one: 5 runs against 5 with three times the spread differ somewhere in 20 steps in
    23 % instead of 5 %, 3 against 10 with five times the spread in two thirds. Pairs need no guard: the signs of their
    differences may be flipped whatever the spreads are.

    Args:
        a: one row per run, one column per step.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    Raises:
        MisuseError: as ``curves_differ``.
    """
    found = curves_differ(a, b, paired=paired, num_random=num_random)
    if paired:
        return found
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    num_steps = first.shape[1]
    if min(len(first), len(second)) == 1:
        welchs = np.ones(num_steps)
    else:
        df = None if len(first) == len(second) else float(min(len(first), len(second)) - 1)
        welchs = np.array([_welch_p(one, other, df=df) for one, other in zip(first.T, second.T, strict=True)])
    p = np.maximum(found.p, np.minimum(1.0, num_steps * welchs))
    step = int(np.lexsort((-np.abs(found.statistics), p))[0])
    statistic = found.statistics[step]
    overall = msgspec.structs.replace(
        found.overall,
        p=float(p[step]),
        direction=int(np.sign(statistic)) if abs(statistic) > _TIE else 0,
        test=f"{found.overall.test}, not below Welch's t",
    )
    return msgspec.structs.replace(found, overall=overall, p=p)


def ranks_differ(a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, num_random: int = NUM_RANDOM) -> Significance:
    """Test whether one group tends to be higher, by ranks alone.

    Unpaired: Wilcoxon's rank sum, which is Mann and Whitney's U (Annals of Mathematical Statistics 18:50-60, 1947).
    Paired: Wilcoxon's signed ranks (Biometrics Bulletin 1:80-83, 1945), pairs without a difference left out. Both by
    arrangements of the ranks that were observed, so that they are exact with ties too. Infinities may be given.

    Args:
        a: one number per run, none of them NaN.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    Raises:
        MisuseError: a number is NaN, a group is empty, or pairs do not match.
    """
    return curves_differ(_column(a), _column(b), paired=paired, ranks=True, num_random=num_random).overall


def curves_differ(
    a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, ranks: bool = False, num_random: int = NUM_RANDOM
) -> CurveSignificance:
    """Test whether curves differ at any step, and at which, by rearranging whole runs.

    The statistic of an arrangement is its largest over the steps, so each step's p is corrected for all of them,
    however they depend on each other (single-step maxT: Westfall and Young, Resampling-Based Multiple Testing, 1993,
    2.3; Nichols and Holmes, Human Brain Mapping 15:1-25, 2002).

    Args:
        a: one row per run, one column per step.
        b: the same; for pairs, in the same order.
        paired: whether the runs are pairs.
        ranks: whether ranks within each step stand for the numbers; infinities may be given then.
        num_random: how many arrangements are drawn where there are more than ``MAX_EXACT``.

    Raises:
        MisuseError: a number is not finite (NaN, for ranks), a group is empty, or pairs or steps do not match.
    """
    first, second = _check(a, b, paired=paired, ranks=ranks)
    n_a, n_b = len(first), len(second)
    if not ranks and (scale := scale_of(first, second)) != 1.0:
        first, second = first / scale, second / scale

    def draw() -> np.random.Generator:
        return make_generator(first, second, purpose="arrangements")

    if paired:
        numbers = _signed_ranks(first, second) if ranks else first - second
        matrix = sign_matrix(n_a, draw=draw, num_random=num_random)
        exact = num_signs(n_a) <= MAX_EXACT
    else:
        numbers = _ranks(np.vstack([first, second])) if ranks else np.vstack([first, second])
        matrix = split_matrix(n_a, n_b, draw=draw, num_random=num_random)
        exact = num_splits(n_a, n_b) <= MAX_EXACT
    observed, p = _share(_scaled(numbers, paired=paired), matrix, n_a=n_a, paired=paired, studentised=not ranks)
    step = int(np.argmax(np.abs(observed)))
    return CurveSignificance(
        overall=Significance(
            test=_name(paired=paired, ranks=ranks, is_curve=numbers.shape[1] > 1),
            p=float(p.min()),
            smallest_p=smallest_p(n_a, n_b, paired=paired, num_random=num_random),
            num_arrangements=len(matrix),
            exact=exact,
            direction=int(np.sign(observed[step])) if abs(observed[step]) > _TIE else 0,
        ),
        statistics=observed,
        p=p,
    )


def _name(*, paired: bool, ranks: bool, is_curve: bool) -> str:
    if ranks:
        name = "Wilcoxon signed-rank test" if paired else "Mann-Whitney test"
    else:
        name = "paired permutation test of means" if paired else "permutation test of means"
    return f"{name}, largest statistic over the steps" if is_curve else name


def _column(numbers: npt.ArrayLike) -> Floats:
    return np.asarray(numbers, dtype=np.float64).reshape(-1, 1)


def _check(a: npt.ArrayLike, b: npt.ArrayLike, *, paired: bool, ranks: bool) -> tuple[Floats, Floats]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or first.shape[1] == 0:  # noqa: PLR2004 - runs, steps
        raise MisuseError(
            f"curves have the shapes {first.shape} and {second.shape}; give (runs, steps) of the same steps"
        )
    if min(len(first), len(second)) == 0:
        raise MisuseError(f"there are {len(first)} runs against {len(second)}; give at least one on each side")
    if paired and len(first) != len(second):
        raise MisuseError(f"{len(first)} runs cannot be paired with {len(second)}; give as many, or paired=False")
    both = np.vstack([first, second])
    if np.isnan(both).any() or not (ranks or np.isfinite(both).all()):
        what = "NaN" if ranks else "not finite"
        raise MisuseError(f"a number is {what}; replace it by what it is worth, or leave the run out and say so")
    return first, second


def _ranks(numbers: Floats) -> Floats:
    ranks: Floats = stats.rankdata(numbers, axis=0)
    return ranks


def _signed_ranks(a: Floats, b: Floats) -> Floats:
    """Ranks of the differences' sizes with the differences' signs; equal infinities do not differ."""
    equal = a == b
    difference = np.where(equal, 0.0, np.subtract(a, b, where=~equal, out=np.zeros_like(a)))
    sizes = np.where(equal, -1.0, np.abs(difference))
    num_equal = equal.sum(axis=0)
    signed: Floats = np.where(equal, 0.0, np.sign(difference) * (stats.rankdata(sizes, axis=0) - num_equal))
    return signed


def _scaled(numbers: Floats, *, paired: bool) -> Floats:
    """The same question in numbers near one, so that sums of squares keep their digits."""
    centred = numbers if paired else numbers - numbers.mean(axis=0)
    largest = np.abs(centred).max(axis=0)
    scaled: Floats = centred / np.where(largest > 0, largest, 1.0)
    return scaled


def _share(numbers: Floats, matrix: Floats, *, n_a: int, paired: bool, studentised: bool) -> tuple[Floats, Floats]:
    """The observed statistic of each step, and the share of arrangements whose largest statistic reaches it."""
    observed = _statistics(numbers, matrix[:1], n_a=n_a, paired=paired, studentised=studentised)[0]
    size = np.abs(observed)
    threshold = size - _TIE * np.clip(size, 1.0, 1e300)
    num_rows = max(1, _CHUNK_NUMBERS // numbers.shape[1])
    reached = np.zeros(len(size), dtype=np.int64)
    for start in range(0, len(matrix), num_rows):
        some = matrix[start : start + num_rows]
        largest = np.abs(_statistics(numbers, some, n_a=n_a, paired=paired, studentised=studentised)).max(axis=1)
        ordered = np.sort(largest)
        reached += len(ordered) - np.searchsorted(ordered, threshold, side="left")
    return observed, reached / len(matrix)


def _statistics(numbers: Floats, matrix: Floats, *, n_a: int, paired: bool, studentised: bool) -> Floats:
    """One row per arrangement, one column per step."""
    sums = matrix @ numbers
    if paired:
        n = len(numbers)
        squares = (numbers**2).sum(axis=0)
        if not studentised:
            return _ratio(sums, np.broadcast_to(squares, sums.shape), squares)
        spread = (squares - sums**2 / n) / max(n - 1, 1) * n
        return _ratio(sums, spread, squares)
    if not studentised:
        return sums
    n_b = len(numbers) - n_a
    squares = matrix @ numbers**2
    rest, rest_squares = numbers.sum(axis=0) - sums, (numbers**2).sum(axis=0) - squares
    variance_a = (squares - sums**2 / n_a) / max(n_a - 1, 1)
    variance_b = (rest_squares - rest**2 / n_b) / max(n_b - 1, 1)
    if min(n_a, n_b) == 1:  # one run shows no spread of its own: the other group's stands for both
        variance_a = variance_b = (squares - sums**2 / n_a + rest_squares - rest**2 / n_b) / max(n_a + n_b - 2, 1)
    return _ratio(sums / n_a - rest / n_b, variance_a / n_a + variance_b / n_b, (numbers**2).mean(axis=0))


def _ratio(difference: Floats, variance: Floats, scale: Floats) -> Floats:
    """``difference / sqrt(variance)``; where there is no spread, infinite, or 0 where nothing differs either."""
    has_spread = variance > 1e-13 * scale
    differs = np.abs(difference) > 1e-13 * np.sqrt(scale)
    ratio = np.where(differs, np.copysign(np.inf, difference), 0.0)
    np.divide(difference, np.sqrt(np.where(has_spread, variance, 1.0)), out=ratio, where=has_spread)
    return ratio
