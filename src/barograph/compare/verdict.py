"""One group of runs against another: the test, the sizes, and the verdict in words.

The test is chosen by what the runs are (paired or not, finite or not), never by what it says. A verdict is given only
after correction for all comparisons made (``correction.holm``); "cannot tell yet" is a verdict.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import numpy as np
from scipy import special

from barograph.compare.effect import Effect, Improvement, measure_effect, probability_of_improvement
from barograph.compare.intervals import Interval, difference_interval, welch
from barograph.compare.power import SeedsNeeded
from barograph.compare.repeats import shared_seeds
from barograph.compare.resample import Floats, check_level, runs_to_reach, scale_of
from barograph.compare.significance import (
    Significance,
    curves_differ,
    curves_differ_guarded,
    means_differ_guarded,
    ranks_differ,
)
from barograph.compare.values import Mode, NonFinite, Sample, match_seeds, worst_as_infinite
from barograph.errors import MisuseError

Verdict = Literal["better", "worse", "mixed", "no difference", "cannot tell"]


class CurveDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Where two groups of curves differ.

    Attributes:
        num_steps: how many steps all runs of both groups recorded.
        num_steps_recorded: how many different steps there are over all runs.
        steps: the steps compared.
        p: at each step, corrected for all of them.
        differences: of means at each step; None where a run has no finite value.
        better: steps at which ``a`` is better, by its p after all corrections.
        worse: steps at which it is worse.
    """

    num_steps: int
    num_steps_recorded: int
    steps: list[float]
    p: list[float]
    differences: list[float | None]
    better: list[float] = []
    worse: list[float] = []


class Comparison(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Group ``a`` against group ``b``, in one metric.

    Attributes:
        a: the group in question.
        b: what it is compared with, e.g. the baseline. When they are paired, in the order of ``a``'s seeds.
        mode: whether low or high is better.
        paired: whether runs that share a seed are compared.
        test: which test it is.
        p: two-sided, of this comparison alone.
        p_rank: of the rank test, for information: the verdict rests on ``p``.
        smallest_p: the smallest p that so many runs can give.
        exact: whether every arrangement was looked at.
        n_a: runs of ``a``.
        n_b: runs of ``b``.
        difference: mean of ``a`` minus mean of ``b``; of curves, of their means over the steps. None when a run has no
            finite value.
        interval: where the true difference is; not corrected for other comparisons.
        effect: its size in standard deviations, and Cliff's delta.
        probability_of_improvement: that a run of ``a`` is better than one of ``b``, with its interval.
        alpha: the level of the verdict.
        margin: a difference that does not matter, when one was named.
        p_equivalence: that the difference is as large as the margin nevertheless (two one-sided tests).
        curve: where curves differ.
        direction: 1 when ``a`` is better, -1 when it is worse, 0 when neither; not yet a verdict.
        num_comparisons: how many were made in all.
        p_corrected: corrected for them.
        p_equivalence_corrected: the same of ``p_equivalence``.
        verdict: None before the correction.
        reason: why there is no clearer verdict.
        seeds_needed: how many seeds would make it clearer; for "cannot tell", see ``correction.plan``.
        notes: what a reader should know about the numbers.
    """

    a: Sample
    b: Sample
    mode: Mode
    paired: bool
    test: str
    p: float
    p_rank: float
    smallest_p: float
    exact: bool
    n_a: int
    n_b: int
    difference: float | None
    interval: Interval | None
    effect: Effect
    probability_of_improvement: Improvement
    alpha: float = 0.05
    margin: float | None = None
    p_equivalence: float | None = None
    curve: CurveDifference | None = None
    direction: int = 0
    num_comparisons: int = 1
    p_corrected: float | None = None
    p_equivalence_corrected: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    seeds_needed: SeedsNeeded | None = None
    notes: tuple[str, ...] = ()

    @property
    def nonfinite(self) -> list[NonFinite]:
        """Runs of both groups without a finite value."""
        return [*self.a.nonfinite, *self.b.nonfinite]

    def words(self) -> str:
        """The verdict as a sentence with its numbers."""
        return describe(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, the groups by label, runs and values."""
        own = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("a", "b")}
        plain: dict[str, Any] = {**msgspec.to_builtins(own), "notes": list(self.notes)}
        for side, sample in (("a", self.a), ("b", self.b)):
            values = sample.values.tolist() if sample.values.ndim == 1 else None
            runs = {"runs": list(sample.run_dirs), "seeds": list(sample.seeds), "values": values}
            plain[side] = {"label": sample.label, **runs, "nonfinite": msgspec.to_builtins(list(sample.nonfinite))}
        head = {"metric": self.a.metric, "split": self.a.split, "reduce": self.a.reduce}
        return {**head, **plain, "words": self.words()}


def compare(
    a: Sample,
    b: Sample,
    *,
    mode: Mode | None = None,
    alpha: float = 0.05,
    margin: float | None = None,
    paired: bool | None = None,
) -> Comparison:
    """Compare two groups of runs in one metric; hand the comparisons to ``correction.holm`` for their verdicts.

    The test: arrangements of runs within pairs when the seeds of the groups match (every seed once on each side), else
    between the groups; of means (``significance.means_differ_guarded``), or of ranks when a run has no finite value (it
    counts as the worst); of the largest statistic over the steps that all runs recorded, for curves. Sources stand at
    each procedure.

    Args:
        a: the group in question.
        b: what it is compared with.
        mode: whether low or high is better; as the samples say, when not given.
        alpha: the level at which differences are called.
        margin: the largest difference that would not matter, in units of the metric; with it the verdict may be
            "no difference" (two one-sided tests: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics
            15:657-680, 1987).
        paired: False for runs whose equal seeds mean nothing; True to insist on pairs.

    Raises:
        MisuseError: the samples are not of one metric, one is empty, no step is common, or pairs were insisted on and
            the seeds do not match.
    """
    check_level(alpha, name="alpha")
    _check(a, b, margin=margin)
    mode = mode or a.mode
    a, b, notes = _on_common_steps(a, b)
    partner = match_seeds(a, b) if paired is not False else None
    if paired and partner is None:
        raise MisuseError(f"seeds {list(a.seeds)} and {list(b.seeds)} do not match one to one; leave paired out")
    if partner is None and paired is None:
        notes += _common_seeds(a, b)
    b = b if partner is None else partner
    x, y = worst_as_infinite(a.values, mode=mode), worst_as_infinite(b.values, mode=mode)
    is_finite = bool(np.isfinite(x).all() and np.isfinite(y).all())
    means = (x, y) if x.ndim == 1 else (x.mean(axis=1), y.mean(axis=1))
    found, rank, curve = _test(x, y, a, is_paired=partner is not None, is_finite=is_finite)
    sign = -1 if mode == "min" else 1
    return Comparison(
        a=a,
        b=b,
        mode=mode,
        paired=partner is not None,
        test=found.test,
        p=found.p,
        p_rank=rank.p,
        smallest_p=found.smallest_p,
        exact=found.exact,
        n_a=len(a),
        n_b=len(b),
        difference=_difference(*means) if is_finite else None,
        interval=difference_interval(*means, paired=partner is not None) if is_finite else None,
        effect=measure_effect(*means, paired=partner is not None),
        probability_of_improvement=probability_of_improvement(*means, mode=mode, paired=partner is not None),
        alpha=alpha,
        margin=margin,
        p_equivalence=_p_equivalence(x, y, margin, paired=partner is not None) if is_finite else None,
        curve=curve,
        direction=sign * found.direction,
        notes=(*notes, *filter(None, map(shared_seeds, (a, b))), *_nonfinite_notes(a, b)),
    )


def decide(
    comparison: Comparison, *, p_corrected: float, num_comparisons: int, p_equivalence: float | None = None
) -> Comparison:
    """The comparison with its verdict, now that it is known how many were made.

    Args:
        comparison: as ``compare`` returned it.
        p_corrected: its p, corrected.
        num_comparisons: how many were made.
        p_equivalence: its p of equivalence, corrected.
    """
    curve, verdict, reason = comparison.curve, "cannot tell", ""
    differs = p_corrected <= comparison.alpha and comparison.direction != 0
    if curve is not None:
        curve = _signs_of_steps(comparison, curve, p_corrected / comparison.p)
    if differs and curve is not None and curve.better and curve.worse:
        verdict = "mixed"
    elif differs:
        verdict = "better" if comparison.direction > 0 else "worse"
    elif p_equivalence is not None and p_equivalence <= comparison.alpha:
        verdict = "no difference"
    else:
        reason = _why_not(comparison, num_comparisons)
    return msgspec.structs.replace(
        comparison,
        curve=curve,
        num_comparisons=num_comparisons,
        p_corrected=p_corrected,
        p_equivalence_corrected=p_equivalence,
        verdict=verdict,
        reason=reason,
    )


def describe(comparison: Comparison) -> str:
    """A comparison in one sentence, e.g. ``better: -0.12 [-0.15, -0.09], n = 5 and 5, p = 0.008``."""
    it = comparison
    numbers = "by ranks alone" if it.difference is None else f"{it.difference:+.3g}"
    if it.interval is not None:
        numbers += f" [{it.interval.low:+.3g}, {it.interval.high:+.3g}]"
    p = it.p if it.p_corrected is None else it.p_corrected
    corrected = f" corrected over {it.num_comparisons} comparisons" if it.num_comparisons > 1 else ""
    n = f"n = {it.n_a} pairs" if it.paired else f"n = {it.n_a} and {it.n_b}"
    facts = f"{numbers}, {n}, p = {p:.2g}{corrected}"
    match it.verdict:
        case "no difference":
            p_margin = it.p_equivalence_corrected
            return f"no difference larger than {it.margin:.3g}: {numbers}, {n}, p = {p_margin:.2g}{corrected}"
        case "mixed" if it.curve is not None:
            return f"better at {len(it.curve.better)} steps, worse at {len(it.curve.worse)}: {facts}"
        case "cannot tell":
            why = f"; {it.reason}" if it.reason else ""
            is_said = it.seeds_needed is None or (it.reason and it.seeds_needed.reason)
            more = "" if it.seeds_needed is None or is_said else f"; {it.seeds_needed.words()}"
            return f"cannot tell yet: {facts}{why}{more}"
        case None:
            return f"not judged yet: {facts}"
        case _:
            return f"{it.verdict}: {facts}"


def _difference(x: Floats, y: Floats) -> float:
    scale = scale_of(x, y)
    return float((x / scale).mean() - (y / scale).mean()) * scale


def _check(a: Sample, b: Sample, *, margin: float | None) -> None:
    for name in ("metric", "reduce", "mode"):
        if getattr(a, name) != getattr(b, name):
            raise MisuseError(
                f"the groups differ in {name}: {getattr(a, name)!r} and {getattr(b, name)!r}; collect both alike"
            )
    if a.split != b.split:
        raise MisuseError(f"{a.metric!r} is of the splits {a.split!r} and {b.split!r}; collect both with one split=")
    if not len(a) or not len(b):
        raise MisuseError(f"{len(a)} runs cannot be compared with {len(b)}; give at least one of each")
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise MisuseError(f"the margin is {margin!r}; give the largest difference that would not matter, above 0")


def _on_common_steps(a: Sample, b: Sample) -> tuple[Sample, Sample, tuple[str, ...]]:
    """Curves at the steps that all runs of both groups recorded."""
    if a.values.ndim == 1 and b.values.ndim == 1:
        return a, b, ()
    if a.values.ndim != b.values.ndim or min(len(a.steps), len(b.steps)) == 0:
        raise MisuseError(f"curves of {a.metric!r} have no steps that all runs recorded; compare final values instead")
    common, in_a, in_b = np.intersect1d(a.steps, b.steps, return_indices=True)
    if not len(common):
        raise MisuseError(f"the groups recorded {a.metric!r} at no common step; compare final values instead")
    recorded = max(a.num_steps_recorded, b.num_steps_recorded, len(np.union1d(a.steps, b.steps)))
    cut = [
        msgspec.structs.replace(
            sample, values=sample.values[:, places], steps=common, num_steps_recorded=recorded, nonfinite=()
        )
        for sample, places in ((a, in_a), (b, in_b))
    ]
    note = f"compared at the {len(common)} steps that every run recorded, of at least {recorded}"
    return cut[0], cut[1], (note,) if len(common) < recorded else ()


def _common_seeds(a: Sample, b: Sample) -> tuple[str, ...]:
    shared = ({seed for seed in a.seeds if seed is not None}) & set(b.seeds)
    if not shared:
        return ()
    return (f"{len(shared)} seeds are on both sides, but the seeds do not match one to one, so runs were not paired",)


def _nonfinite_notes(a: Sample, b: Sample) -> tuple[str, ...]:
    num = len(a.nonfinite) + len(b.nonfinite)
    if not num:
        return ()
    who = "1 run has no finite value and counts" if num == 1 else f"{num} runs have no finite value and count"
    return (f"{who} as the worst; ranks were compared",)


def _test(
    x: Floats, y: Floats, a: Sample, *, is_paired: bool, is_finite: bool
) -> tuple[Significance, Significance, CurveDifference | None]:
    """The test of the verdict, the rank test, and the steps of curves."""
    if x.ndim == 1:
        rank = ranks_differ(x, y, paired=is_paired)
        return (means_differ_guarded(x, y, paired=is_paired) if is_finite else rank), rank, None
    ranked = curves_differ(x, y, paired=is_paired, ranks=True)
    found = curves_differ_guarded(x, y, paired=is_paired) if is_finite else ranked
    differences = (x.mean(axis=0) - y.mean(axis=0)).tolist() if is_finite else [None] * x.shape[1]
    curve = CurveDifference(
        num_steps=x.shape[1],
        num_steps_recorded=a.num_steps_recorded,
        steps=a.steps.tolist(),
        p=found.p.tolist(),
        differences=differences,
    )
    signs = np.sign(found.statistics)
    return found.overall, ranked.overall, _with_signs(curve, signs)


def _with_signs(curve: CurveDifference, signs: Floats) -> CurveDifference:
    """Remember on which side each step lies until the correction is known."""
    above = [step for step, sign in zip(curve.steps, signs, strict=True) if sign > 0]
    below = [step for step, sign in zip(curve.steps, signs, strict=True) if sign < 0]
    return msgspec.structs.replace(curve, better=above, worse=below)


def _signs_of_steps(comparison: Comparison, curve: CurveDifference, factor: float) -> CurveDifference:
    """The steps that differ after all corrections, by which side is better."""
    p_of = dict(zip(curve.steps, curve.p, strict=True))
    above, below = (
        [step for step in steps if p_of[step] * factor <= comparison.alpha] for steps in (curve.better, curve.worse)
    )
    better, worse = (below, above) if comparison.mode == "min" else (above, below)
    return msgspec.structs.replace(curve, better=better, worse=worse)


def _p_equivalence(x: Floats, y: Floats, margin: float | None, *, paired: bool) -> float | None:
    """The larger p of two one-sided t tests; the largest over the steps of curves, as all of them must be equal."""
    if margin is None or min(len(x), len(y)) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    largest = 0.0
    for one, other in zip(np.atleast_2d(x.T), np.atleast_2d(y.T), strict=True):
        if paired:
            gap = one - other
            difference, error, df = float(gap.mean()), float(gap.std(ddof=1)) / math.sqrt(len(gap)), float(len(gap) - 1)
        else:
            difference, error, df = welch(one, other)
        if error == 0:
            return None
        largest = max(largest, float(special.stdtr(df, (abs(difference) - margin) / error)))
    return largest


def _why_not(comparison: Comparison, num_comparisons: int) -> str:
    """Why so few runs can give no verdict, when that is so; else nothing needs to be said."""
    level = comparison.alpha / num_comparisons
    if min(comparison.n_a, comparison.n_b) == 1:
        return "one run shows nothing of its spread; record at least two of each"
    if comparison.smallest_p <= level:
        return ""
    needed = runs_to_reach(level, paired=comparison.paired)
    what = f"{comparison.n_a} pairs" if comparison.paired else f"{comparison.n_a} and {comparison.n_b} runs"
    family = f" over {num_comparisons} comparisons" if num_comparisons > 1 else ""
    enough = (
        "no number of runs is enough"
        if needed is None
        else (f"that takes {needed} pairs" if comparison.paired else f"that takes {needed} and {needed}")
    )
    return f"{what} cannot give a p below {comparison.smallest_p:.2g}, and {level:.2g} is asked for{family}: {enough}"
