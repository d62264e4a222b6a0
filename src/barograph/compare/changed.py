"""What changed between two runs, ranked by how well each change explains the gap of a metric, over all runs of a root.

Each difference between A and B gets the effect that it has among all runs while everything else stays (see
``attribution``), and the share of the gap that this effect makes up. What the runs cannot tell is said, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from barograph.compare.attribution import EstimatedEffect, effect_of
from barograph.compare.correction import holm_adjust
from barograph.compare.endings import find_unfinished
from barograph.compare.factors import Factor, Floats, find_factors, read_columns
from barograph.compare.groups import is_ignored
from barograph.compare.values import Sample, collect
from barograph.errors import MisuseError
from barograph.read.frames import Runs
from barograph.read.run import RunReader

SECTIONS: Final = ("config", "code", "packages", "data", "host", "environment")
ALPHA: Final = 0.05
ALWAYS_NEW: Final = "it is new whenever anything else changes, so nothing tells it from the rest"
Verdict = Literal["explains", "works against", "cannot tell", "not enough runs"]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One change between A and B, and how much of the gap it explains.

    Attributes:
        keys: what changed; several keys when no run tells them apart.
        a: what A has under the first key.
        b: what B has.
        effect: what the change does to the metric, over all runs, the rest being equal.
        share: effect / gap; None when there is no effect or no gap.
        share_interval: a 95 % interval of it.
        p_corrected: of the effect, corrected for all changes that were judged (Holm).
        verdict: ``explains``: it moves the metric towards B's value; ``works against``: away from it, so that other
            changes do more than the gap; ``cannot tell``: its effect may be none; ``not enough runs``.
    """

    keys: list[str]
    a: Any
    b: Any
    effect: EstimatedEffect
    share: float | None = None
    share_interval: tuple[float, float] | None = None
    p_corrected: float | None = None
    verdict: Verdict = "not enough runs"


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between two runs and what it did.

    Attributes:
        a: the directory of the run that counts as before.
        b: that of the run that counts as after.
        metric: which metric.
        split: on which split.
        reduce: ``final`` or ``best`` value of each run.
        value_a: A's.
        value_b: B's.
        gap: B's minus A's.
        n: runs with a finite value, over which effects were estimated.
        scatter: standard deviation between runs that agree in everything but the seed; None when there are none.
        num_repeats: how many runs it rests on.
        explanations: the changes, those that explain most first.
        not_held: what varies, but is new whenever something else is, and so could not be held fixed.
        left_out: runs that were left out, and why.
    """

    a: str
    b: str
    metric: str
    split: str | None
    reduce: str
    value_a: float
    value_b: float
    gap: float
    n: int
    scatter: float | None = None
    num_repeats: int = 0
    explanations: list[Explanation] = []
    not_held: list[str] = []
    left_out: dict[str, str] = {}

    @property
    def unexplained(self) -> float | None:
        """The share of the gap that the changes with an established effect leave."""
        if self.gap == 0:
            return None
        told = [it.share for it in self.explanations if it.verdict in ("explains", "works against")]
        return 1.0 - sum(share for share in told if share is not None)


def explain_gap(
    values: Floats, factors: Sequence[Factor], *, a: int, b: int, seeds: Sequence[Hashable] | None = None
) -> tuple[list[Explanation], list[str]]:
    """Each factor in which two runs differ, with its effect over all runs.

    Args:
        values: the metric of each run, finite.
        factors: what varies over the runs.
        a: the place of run A.
        b: the place of run B.
        seeds: each run's seed, None where it has none.

    Returns:
        The explanations, those that explain most first, and the factors that could not be held fixed.
    """
    names = [it for it in factors if it.names_what_differs([other for other in factors if other is not it])]
    causes = [it for it in factors if it not in names]
    differing = [it for it in factors if it.codes[a] != it.codes[b]]
    effects = [
        EstimatedEffect(
            n=len(values), reason="it is new whenever anything else changes, so nothing tells it from the rest"
        )
        if it in names
        else effect_of(it, [other for other in causes if other is not it], values, a=a, b=b, seeds=seeds)
        for it in differing
    ]
    judged = [place for place, effect in enumerate(effects) if effect.p is not None]
    corrected = dict(zip(judged, holm_adjust([effects[place].p or 0.0 for place in judged]).tolist(), strict=True))
    gap = float(values[b] - values[a])
    found = [
        _explanation(factor, effect, gap=gap, p_corrected=corrected.get(place), a=a, b=b)
        for place, (factor, effect) in enumerate(zip(differing, effects, strict=True))
    ]
    return sorted(found, key=_rank), [it.label for it in names]


def _explanation(
    factor: Factor, effect: EstimatedEffect, *, gap: float, p_corrected: float | None, a: int, b: int
) -> Explanation:
    known = Explanation(keys=list(factor.keys), a=factor.values[a], b=factor.values[b], effect=effect)
    if effect.estimate is None or effect.interval is None or p_corrected is None:
        return known
    share = effect.estimate / gap + 0.0 if gap else None  # + 0.0: no negative zero
    ends = sorted(end / gap for end in effect.interval) if gap else None
    verdict: Verdict = "cannot tell"
    if p_corrected < ALPHA and gap:
        verdict = "explains" if effect.estimate * gap > 0 else "works against"
    return msgspec.structs.replace(
        known,
        share=share,
        share_interval=None if ends is None else (ends[0], ends[1]),
        p_corrected=p_corrected,
        verdict=verdict,
    )


def _rank(found: Explanation) -> tuple[int, float, list[str]]:
    order: list[Verdict] = ["explains", "works against", "cannot tell", "not enough runs"]
    return order.index(found.verdict), -abs(found.share or 0.0), found.keys


def changed(
    a: RunReader,
    b: RunReader,
    runs: Runs,
    *,
    metric: str,
    split: str | None = None,
    reduce: Literal["final", "best"] = "final",
    mode: Literal["min", "max"] | None = None,
) -> Changed:
    """What changed between two runs, and how much of the metric's gap each change explains.

    Args:
        a: the run that counts as before.
        b: the run that counts as after.
        runs: over which effects are estimated, of those that finished; A and B are taken along in any case.
        metric: which metric.
        split: on which split; see ``values.collect``.
        reduce: of each run its ``final`` or its ``best`` value.
        mode: whether less (``min``) or more is better, for ``best``.

    Raises:
        MetricNotFoundError: no run has the metric.
        MisuseError: A or B has no finite value of it, so there is no gap.
    """
    known = {reader.path.resolve() for reader in runs.readers}
    added = [reader for reader in (a, b) if reader.path.resolve() not in known]
    pair = {reader.path.resolve() for reader in (a, b)}
    unfinished = find_unfinished(reader for reader in runs.readers if reader.path.resolve() not in pair)
    gone = {found.path for found in unfinished}
    everyone = Runs([*(it for it in runs.readers if str(it.path) not in gone), *added], skipped=runs.skipped)
    sample = collect(everyone, metric, split=split, reduce=reduce, mode=mode or (None if reduce == "best" else "min"))
    finite = [place for place in range(len(sample)) if math.isfinite(sample.values[place])]
    values = sample.values[finite]
    readers = {str(reader.path): reader for reader in everyone.readers}
    used = [readers[sample.run_dirs[place]] for place in finite]
    places = [_place(reader, used, sample) for reader in (a, b)]
    factors = find_factors(read_columns(used, SECTIONS, is_ignored=is_ignored))
    explanations, not_held = explain_gap(
        values, factors, a=places[0], b=places[1], seeds=[sample.seeds[place] for place in finite]
    )
    scatter, num_repeats = _scatter(values, [factor for factor in factors if factor.label not in not_held])
    value_a, value_b = (float(values[place]) for place in places)
    return Changed(
        a=str(a.path),
        b=str(b.path),
        metric=metric,
        split=sample.split,
        reduce=reduce,
        value_a=value_a,
        value_b=value_b,
        gap=value_b - value_a,
        n=len(finite),
        scatter=scatter,
        num_repeats=num_repeats,
        explanations=explanations,
        not_held=not_held,
        left_out={
            **{found.path: found.reason for found in unfinished},
            **{skipped.path: skipped.reason for skipped in sample.skipped},
            **{found.run_dir: f"its {metric!r} is {found.kind}" for found in sample.nonfinite},
        },
    )


def _place(reader: RunReader, used: Sequence[RunReader], sample: Sample) -> int:
    """Where one of the two runs stands among those with a finite value."""
    for place, other in enumerate(used):
        if other.path.resolve() == reader.path.resolve():
            return place
    told = {it.run_dir: it.kind for it in sample.nonfinite} | {it.path: it.reason for it in sample.skipped}
    why = told.get(str(reader.path), "not there")
    raise MisuseError(
        f"{str(reader.path)!r} has no finite {sample.metric!r} ({why}), so there is no gap to explain; "
        f"name another metric, or see what differs with `barograph diff`"
    )


def _scatter(values: Floats, factors: Sequence[Factor]) -> tuple[float | None, int]:
    """The standard deviation within runs that agree in everything, and how many such runs there are."""
    cells: dict[tuple[int, ...], list[float]] = {}
    for place, value in enumerate(values):
        cells.setdefault(tuple(factor.codes[place] for factor in factors), []).append(float(value))
    repeated = [np.asarray(cell) for cell in cells.values() if len(cell) > 1]
    freedom = sum(len(cell) - 1 for cell in repeated)
    if not freedom:
        return None, 0
    squares = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in repeated)
    return math.sqrt(squares / freedom), sum(map(len, repeated))
