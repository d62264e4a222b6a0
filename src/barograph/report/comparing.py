"""All configurations of a report compared with each other, so that each number of it can be asked for again.

The statistics are those of ``barograph.compare``; here is only which groups are compared, and what their numbers are
called.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from barograph.compare.correction import holm, plan
from barograph.compare.groups import Group, find_groups
from barograph.compare.intervals import Interval
from barograph.compare.values import collect
from barograph.compare.verdict import Comparison, compare
from barograph.errors import MetricNotFoundError, ReportError
from barograph.read.frames import Runs
from barograph.report.metric import Metric
from barograph.report.values import Value

MAX_PAIRS: Final = 45
"""Ten groups with each other. Each further comparison makes the correction for their number stricter."""
EPOCH_SPLIT: Final = "epoch"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Which comparisons are made.

    Attributes:
        metrics: in which quantities.
        reduce: ``best`` or ``final`` value of each run.
        baseline: the label of the group that all others are compared with; all with each other when None.
        alpha: the level of the verdicts.
        margin: the largest difference that would not matter.
    """

    metrics: list[Metric]
    reduce: Literal["best", "final"] = "best"
    baseline: str | None = None
    alpha: float = 0.05
    margin: float | None = None

    def text(self) -> str:
        """As one line of JSON: the settings of a query."""
        return msgspec.json.encode(self).decode("utf-8")


class Compared(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Two configurations in one metric.

    Attributes:
        metric: its label.
        name: ``METRIC: A against B``.
        result: what came of it, corrected for all comparisons of the plan.
    """

    metric: str
    name: str
    result: Comparison

    def numbers(self) -> dict[str, tuple[Value, int]]:
        """The numbers of the comparison by name, each with how many runs it is of."""
        it, n = self.result, len(self.result.a) + len(self.result.b)
        low, high = _ends(it.interval)
        effect_low, effect_high = _ends(it.effect.interval)
        probability_low, probability_high = _ends(it.probability_of_improvement.interval)
        found: dict[str, Value] = {
            "n_a": it.n_a,
            "n_b": it.n_b,
            "difference": it.difference,
            "difference_low": low,
            "difference_high": high,
            "p": it.p,
            "p_corrected": it.p_corrected,
            "effect": it.effect.value,
            "effect_low": effect_low,
            "effect_high": effect_high,
            "cliffs_delta": it.effect.cliffs_delta,
            "probability_of_improvement": it.probability_of_improvement.probability,
            "probability_low": probability_low,
            "probability_high": probability_high,
            "more_seeds": None if it.seeds_needed is None else it.seeds_needed.more,
        }
        return {name: (value, n) for name, value in found.items()}


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


def compare_all(runs: Runs, settings: str) -> list[Compared]:
    """Make every comparison of a plan, over the runs that finished.

    Args:
        runs: all runs of the report.
        settings: a ``Plan`` as text.

    Raises:
        ReportError: the baseline is no group, or there are too many pairs.
    """
    wanted = msgspec.json.decode(settings, type=Plan)
    finished = [reader for reader in runs.readers if reader.status().state == "finished"]
    groups = find_groups(finished)
    pairs = _pairs(groups, wanted)
    found: list[tuple[Metric, Comparison]] = []
    for metric in wanted.metrics:
        for a, b in pairs:
            comparison = _compare(metric, a, b, wanted)
            if comparison is not None:
                found.append((metric, comparison))
    results = plan(holm([comparison for _, comparison in found])) if found else []
    return [
        Compared(metric=metric.label, name=f"{metric.label}: {result.a.label} against {result.b.label}", result=result)
        for (metric, _), result in zip(found, results, strict=True)
    ]


def look_up(found: Sequence[Compared], name: str) -> tuple[Value, int]:
    """A number by the name ``METRIC: A against B: NUMBER``, and of how many runs it is.

    Raises:
        ReportError: no comparison has that name.
    """
    comparison, _, number = name.rpartition(": ")
    for compared in found:
        if compared.name == comparison and number in compared.numbers():
            return compared.numbers()[number]
    raise ReportError(f"{name!r} is no number of these comparisons; the runs or their configurations are others now")


def _pairs(groups: Sequence[Group], wanted: Plan) -> list[tuple[Group, Group]]:
    if wanted.baseline is None:
        pairs = list(itertools.combinations(groups, 2))
        if len(pairs) > MAX_PAIRS:
            raise ReportError(
                f"{len(groups)} configurations make {len(pairs)} pairs, more than {MAX_PAIRS}; name the one that all "
                f"others are compared with: options.baseline=LABEL, e.g. {groups[0].label!r}; or choose runs with "
                f"inputs.select"
            )
        return pairs
    for group in groups:
        if group.label == wanted.baseline:
            return [(other, group) for other in groups if other is not group]
    labels = ", ".join(repr(group.label) for group in groups)
    raise ReportError(f"options.baseline={wanted.baseline!r} is no configuration; there are {labels}")


def _compare(metric: Metric, a: Group, b: Group, wanted: Plan) -> Comparison | None:
    """None when one of the two has no run with the metric."""
    split = EPOCH_SPLIT if metric.of == "epoch" else metric.split
    samples = []
    for group in (a, b):
        try:
            samples.append(collect(group, metric.name, split=split, reduce=wanted.reduce, mode=metric.mode))
        except MetricNotFoundError:
            return None
    return compare(*samples, alpha=wanted.alpha, margin=wanted.margin)
