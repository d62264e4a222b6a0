"""The comparison of everything below a directory: groups, tables, verdicts, best, impact, insights, as plain data.

comparator = ExperimentComparator("runs")
report = comparator.compare_experiments()
for insight in report["insights"]:
print(insight)
comparator.find_best_configuration()["config"]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from barograph.compare.best import Best, find_best
from barograph.compare.choice import Choice, choose_metrics
from barograph.compare.endings import find_unfinished
from barograph.compare.factors import find_factors, read_columns
from barograph.compare.groups import Group, find_groups, is_ignored, new_in_every_run
from barograph.compare.impact import Impact, impact_of
from barograph.compare.insight import Insight, find_insights
from barograph.compare.table import MetricTable, choose_baseline, correct, make_table
from barograph.compare.values import Mode, Reduce, collect
from barograph.errors import RunNotFoundError
from barograph.plugins import explain_missing
from barograph.read.frames import Paths, Runs, Skipped, load_runs
from barograph.read.run import RunReader


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a comparison found.

    Attributes:
        root: the directory that links are relative to.
        groups: the groups.
        baseline: the label of the group that the others are compared with.
        tables: one per metric.
        best: the best configuration in the first metric.
        impact: of the parameters on the first metric; None when it was not asked for.
        insights: sentences with what they rest on.
        skipped: runs that were left out, and why.
        hints: what a reader should know about the grouping.
    """

    root: str
    groups: list[Group]
    baseline: str
    tables: list[MetricTable]
    best: Best
    impact: Impact | None
    insights: list[Insight]
    skipped: list[Skipped]
    hints: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; ``insights`` are sentences, ``evidence`` what each of them rests on."""
        return {
            "root": self.root,
            "groups": [
                {
                    "label": group.label,
                    "n": len(group),
                    "seeds": group.seeds,
                    "runs": [str(reader.path) for reader in group.runs],
                    "config": group.config,
                    "differing": {key: group.config.get(key) for key in group.differing},
                }
                for group in self.groups
            ],
            "baseline": self.baseline,
            "table": [table.as_dict() for table in self.tables],
            "comparisons": [
                row.comparison.as_dict() for table in self.tables for row in table.rows if row.comparison is not None
            ],
            "best": self.best.as_dict(),
            "impact": None if self.impact is None else msgspec.to_builtins(self.impact),
            "insights": [str(insight) for insight in self.insights],
            "evidence": msgspec.to_builtins(self.insights),
            "skipped": msgspec.to_builtins(self.skipped),
            "hints": self.hints,
        }


class ExperimentComparator:
    """Compares the runs below a directory, or several runs.

    Only runs that finished are compared; those that still run, failed or were killed are left out and named, unless
    ``unfinished`` is set: an early end flatters some metrics and spoils others. Runs that were imported from a tool
    that does not tell how a run ended are compared.

    Args:
        runs: a directory, or several runs; see ``load_runs``.
        select: only runs that this condition or mapping chooses; see ``load_runs``.
        group_by: group by these configuration keys only; see ``groups.find_groups``.
        ignore: configuration keys that do not set runs apart.
        unfinished: whether runs that did not finish are compared too, by what they recorded.

    Raises:
        RunNotFoundError: there is no such directory.
    """

    def __init__(
        self,
        runs: Paths | Runs,
        *,
        select: str | Mapping[str, Any] | None = None,
        group_by: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        unfinished: bool = False,
    ) -> None:
        self.runs = runs if isinstance(runs, Runs) else load_runs(runs, select=select)
        self.root = _root_of(runs, self.runs)
        self._group_by = group_by
        self._ignore = ignore
        self._unfinished = unfinished

    @cached_property
    def _left_out(self) -> list[Skipped]:
        """Runs that did not finish, and what they are instead."""
        return [] if self._unfinished else find_unfinished(self.runs.readers)

    @cached_property
    def readers(self) -> list[RunReader]:
        """The runs that are compared."""
        left_out = {skipped.path for skipped in self._left_out}
        return [reader for reader in self.runs.readers if str(reader.path) not in left_out]

    @cached_property
    def groups(self) -> list[Group]:
        """Runs that are the same except for the seed."""
        return find_groups(self.readers, by=self._group_by, ignore=self._ignore)

    def compare(
        self,
        metrics: Iterable[str] | None = None,
        *,
        split: str | None = None,
        reduce: Reduce = "final",
        mode: Mode | None = None,
        baseline: str | None = None,
        impact: bool = True,
    ) -> ComparisonReport:
        """Compare the groups; ``compare_experiments`` is the same as plain data.

        Args:
            metrics: these; those of held-out data when not given, see ``choice.choose_metrics``.
            split: where they were logged.
            reduce: ``final`` or ``best`` value of each run, or the whole ``curve``.
            mode: whether low or high is better; told by each metric's name when not given.
            baseline: what the others are compared with; see ``table.choose_baseline``.
            impact: whether to estimate which parameters move the first metric, which takes seconds.

        Raises:
            RunNotFoundError: there is no run that finished.
            MetricNotFoundError: no run has a metric.
            MisuseError: the mode of a metric or the baseline cannot be told.
        """
        self._check()
        base = choose_baseline(self.groups, baseline)
        choices = self._choices(metrics, split)
        tables = correct(
            [
                make_table(self.groups, it.metric, baseline=base, split=it.split, reduce=reduce, mode=mode)
                for it in choices
            ]
        )
        best = find_best(tables[0], self.groups)
        moved = self._impact(tables[0]) if impact else None
        insights = find_insights(
            groups=self.groups,
            tables=tables,
            best=best,
            impact=moved,
            unfinished=self._left_out,
            num_runs=len(self.runs.readers),
            root=self.root,
        )
        return ComparisonReport(
            root=self.root,
            groups=self.groups,
            baseline=base.label,
            tables=tables,
            best=best,
            impact=moved,
            insights=insights,
            skipped=[*self.runs.skipped, *self._left_out],
            hints=self._hints(),
        )

    def compare_experiments(self, metrics: Iterable[str] | None = None, **options: Any) -> dict[str, Any]:
        """Compare the groups: ``groups, baseline, table, comparisons, best, impact, insights, evidence, skipped``.

        Args:
            metrics: these; those of held-out data when not given.
            **options: as for ``compare``.
        """
        return self.compare(metrics, **options).as_dict()

    def find_best_configuration(
        self,
        metric: str | None = None,
        *,
        split: str | None = None,
        reduce: Reduce = "final",
        mode: Mode | None = None,
    ) -> dict[str, Any]:
        """The best configuration: ``config, label, value, interval, n, runs, distinguishable, runner_up`` and more.

        Args:
            metric: in this metric; in the first that ``compare`` would choose, when not given.
            split: where it was logged.
            reduce: as for ``compare``.
            mode: as for ``compare``.

        Raises:
            RunNotFoundError: there is no run that finished.
            MetricNotFoundError: no run has the metric.
        """
        self._check()
        choice = self._choices(None if metric is None else [metric], split)[0]
        base = choose_baseline(self.groups)
        table = make_table(self.groups, choice.metric, baseline=base, split=choice.split, reduce=reduce, mode=mode)
        return find_best(correct([table])[0], self.groups).as_dict()

    def _check(self) -> None:
        if not self.readers:
            left_out = f"; {len(self._left_out)} did not finish" if self._left_out else ""
            raise RunNotFoundError(
                f"{self.root!r} holds no run to compare{left_out}; record some, or compare those too (--unfinished)"
            )

    def _choices(self, metrics: Iterable[str] | None, split: str | None) -> list[Choice]:
        names = [metrics] if isinstance(metrics, str) else list(metrics or ())
        return [Choice(metric=name, split=split) for name in names] or choose_metrics(self.readers, split=split)

    def _impact(self, table: MetricTable) -> Impact:
        """Of the keys that vary over the runs on the metric; where a library is missing, which one."""
        reduce: Reduce = "final" if table.reduce == "curve" else table.reduce
        sample = collect(self.readers, table.metric, split=table.split, reduce=reduce, mode=table.mode)
        known = {str(reader.path): reader for reader in self.readers}
        used = [known[run_dir] for run_dir in sample.run_dirs]
        factors = find_factors(read_columns(used, ["config"], is_ignored=is_ignored))
        try:
            return impact_of(factors, sample.values, metric=table.metric, split=table.split, mode=table.mode)
        except ModuleNotFoundError as error:
            missing = explain_missing(error)
            if missing is None:
                raise
            return Impact(metric=table.metric, split=table.split, n=len(used), reason=str(missing))

    def _hints(self) -> list[str]:
        keys = new_in_every_run(self.groups)
        if not keys:
            return []
        return [
            f"{', '.join(keys)}: new in every run, so no two runs are the same; what only names a run can be ignored"
        ]


def _root_of(given: Paths | Runs, runs: Runs) -> str:
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    places = [str(Path(reader.path).absolute().parent) for reader in runs.readers]
    return os.path.commonpath(places) if places else "."
