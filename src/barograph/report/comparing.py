"""The comparison of a report's runs, made by ``compare.comparator``, as numbers that can be asked for one by one.

No statistic is computed here. A number is found by its place in the comparison (``verdict 0``, ``p``), not by labels: a
run that was renamed since has the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from barograph.compare.comparator import ComparisonReport, ExperimentComparator
from barograph.compare.groups import find_groups
from barograph.compare.insight import Insight
from barograph.compare.intervals import Interval
from barograph.compare.table import choose_baseline
from barograph.compare.values import EPOCH_SPLIT, Mode
from barograph.compare.verdict import Comparison
from barograph.errors import MisuseError, ReportError
from barograph.read.frames import Runs
from barograph.read.run import RunReader
from barograph.report.metric import Metric
from barograph.report.query import Query
from barograph.report.values import Value

FAILURES: Final = "failures"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a comparison is made; as text, the settings of its queries.

    Attributes:
        metrics: names of the quantities.
        split: where they were logged; ``epoch`` for what epochs ended with.
        reduce: ``final`` or ``best`` value of each run.
        mode: whether low or high is better; None for what each metric's name tells.
        baseline: the key of a run of the group that the others are compared with; None for the largest group.
        group_by: group by these configuration keys only.
        ignore: configuration keys that do not set runs apart.
        impact: whether the impact of parameters is estimated, which takes seconds.
    """

    metrics: list[str]
    split: str
    reduce: Literal["best", "final"] = "final"
    mode: Mode | None = None
    baseline: str | None = None
    group_by: list[str] | None = None
    ignore: list[str] = []
    impact: bool = True

    def text(self) -> str:
        """As one line of JSON."""
        return msgspec.json.encode(self).decode("utf-8")


class Compared:
    """A comparison, and its numbers by their places.

    Args:
        report: what ``compare`` found.

    Attributes:
        report: the same.
        verdicts: every comparison of a group with the baseline, metric by metric.
        insights: the sentences about results; those about runs that did not finish are the report's own affair.
    """

    def __init__(self, report: ComparisonReport) -> None:
        self.report = report
        self.verdicts: list[tuple[str, Comparison]] = [
            (table.title, row.comparison) for table in report.tables for row in table.rows if row.comparison is not None
        ]
        self.insights = [it for it in report.insights if it.kind != FAILURES or it.metric is not None]
        self._numbers: dict[tuple[str, int], dict[str, tuple[Value, int]]] = {
            ("best", 0): self._best(),
            **{("verdict", place): _of_verdict(it) for place, (_, it) in enumerate(self.verdicts)},
            **{("insight", place): _of_insight(it) for place, it in enumerate(self.insights)},
            **{("excluded", place): {"reason": (why, 0)} for place, why in enumerate(report.best.excluded.values())},
            **self._impact(),
        }

    @property
    def root(self) -> Path:
        """The directory that the runs of the insights are relative to."""
        return Path(self.report.root)

    def look_up(self, query: Query) -> tuple[Value, int]:
        """A number, and of how many runs it is.

        Raises:
            ReportError: the comparison has no such number.
        """
        found = self._numbers.get((query.reduce, query.at), {})
        if query.name not in found:
            raise ReportError(
                f"the comparison has no {query.words()!r}; the runs or their configurations are others now: make the "
                f"report again"
            )
        return found[query.name]

    def _best(self) -> dict[str, tuple[Value, int]]:
        best = self.report.best
        if best.row is None:
            return {}
        summary = best.row.summary
        low, high = _ends(summary.mean_interval)
        found: dict[str, Value] = {"mean": summary.mean, "low": low, "high": high, "n": summary.n}
        if best.runner_up is not None:
            found["against_runner_up"] = best.runner_up.words()
        return {name: (value, summary.n) for name, value in found.items()}

    def _impact(self) -> dict[tuple[str, int], dict[str, tuple[Value, int]]]:
        impact = self.report.impact
        if impact is None:
            return {}
        found: dict[tuple[str, int], dict[str, tuple[Value, int]]] = {}
        for place, it in enumerate(impact.parameters):
            numbers: dict[str, Value] = {"share": it.impact, "low": it.interval[0], "high": it.interval[1]}
            numbers["num_values"] = it.num_values
            found["impact", place] = {name: (value, impact.n) for name, value in numbers.items()}
        return found


def _of_verdict(it: Comparison) -> dict[str, tuple[Value, int]]:
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
        "words": it.words(),
    }
    return {name: (value, len(it.a) + len(it.b)) for name, value in found.items()}


def _of_insight(it: Insight) -> dict[str, tuple[Value, int]]:
    low, high = it.interval or (None, None)
    found: dict[str, Value] = {"text": it.text, "n": it.n, "low": low, "high": high}
    return {name: (value, it.n) for name, value in found.items()}


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


def split_of(metrics: list[Metric]) -> str:
    """Where the metrics of one comparison were logged.

    Raises:
        ReportError: there are none, or they were logged on several splits.
    """
    splits = {EPOCH_SPLIT if metric.of == "epoch" else metric.split for metric in metrics}
    if len(splits) == 1:
        return splits.pop()
    if not splits:
        raise ReportError("no run recorded a loss to compare by; name a metric, e.g. metrics=[val/accuracy]")
    labels = ", ".join(metric.label for metric in metrics)
    raise ReportError(f"{labels} are of several splits, and one comparison is of one; make a report for each split")


def find_baseline(readers: Mapping[str, RunReader], plan: Plan, wanted: str) -> str:
    """The key of the first run of the group that is meant by a label, or by a run's id, name or directory.

    Raises:
        ReportError: no group is meant, or several.
    """
    groups = find_groups(readers.values(), by=plan.group_by, ignore=plan.ignore)
    try:
        found = choose_baseline(groups, wanted)
    except MisuseError as error:
        raise ReportError(f"options.baseline cannot be used: {error}") from error
    return next(key for key, reader in readers.items() if reader is found.runs[0])


def compare_all(readers: Mapping[str, RunReader], settings: str) -> Compared:
    """Make the comparison of a plan, over the runs that finished.

    Args:
        readers: all runs of the report by key.
        settings: a ``Plan`` as text.

    Raises:
        RunNotFoundError: none of them finished.
        MisuseError: whether low or high is better cannot be told.
    """
    plan = msgspec.json.decode(settings, type=Plan)
    comparator = ExperimentComparator(Runs(list(readers.values())), group_by=plan.group_by, ignore=plan.ignore)
    baseline = None if plan.baseline is None else str(readers[plan.baseline].path)
    report = comparator.compare(
        plan.metrics, split=plan.split, reduce=plan.reduce, mode=plan.mode, baseline=baseline, impact=plan.impact
    )
    return Compared(report)
