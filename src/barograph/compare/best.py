"""Which configuration is best, with its interval, and which others it cannot be told from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from barograph.compare.correction import holm, plan
from barograph.compare.groups import Group
from barograph.compare.table import MetricTable, Row, correct
from barograph.compare.verdict import Comparison, compare, decide

MAX_RIVALS: Final = 50


class Best(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The best configuration.

    Attributes:
        table: the metric it is the best in.
        row: the group; None when no group has finite values in all its runs.
        config: the group's configuration, by dotted name.
        differing: the keys in which the groups differ.
        comparisons: with each other group, the nearest first, corrected: see ``find_best``.
        excluded: groups that cannot be the best, and why.
        num_not_compared: groups beyond the ``MAX_RIVALS`` nearest.
    """

    table: MetricTable
    row: Row | None = None
    config: dict[str, Any] = {}
    differing: tuple[str, ...] = ()
    comparisons: list[Comparison] = []
    excluded: dict[str, str] = {}
    num_not_compared: int = 0

    @property
    def runner_up(self) -> Comparison | None:
        """The comparison with the next best group."""
        return self.comparisons[0] if self.comparisons else None

    @property
    def not_told_from(self) -> list[str]:
        """Labels of the groups that it is not shown to be better than, the nearest first."""
        return [found.b.label for found in self.comparisons if found.verdict != "better"]

    @property
    def is_distinguishable(self) -> bool | None:
        """Whether it is shown to be better than the runner-up; None when there is none."""
        return None if self.runner_up is None else self.runner_up.verdict == "better"

    @property
    def reason(self) -> str:
        """Why there is no best group, or why it may be luck; "" when it is shown to be better than the runner-up."""
        if self.row is None:
            return "no group has a finite value in each of its runs"
        if self.runner_up is None:
            return "there is no other group to compare it with"
        return "" if self.is_distinguishable else self.runner_up.words()

    def as_dict(self) -> dict[str, Any]:
        """Plain data: ``config, label, value, interval, n, runs, seeds, distinguishable, runner_up`` and more."""
        row, table = self.row, self.table
        head = {"metric": table.metric, "split": table.split, "reduce": table.reduce, "mode": table.mode}
        found = self.runner_up
        return {
            **head,
            "label": None if row is None else row.label,
            "config": self.config,
            "differing": {key: self.config.get(key) for key in self.differing},
            "value": None if row is None else row.summary.mean,
            "interval": None if row is None else msgspec.to_builtins(row.summary.mean_interval),
            "n": 0 if row is None else row.summary.n,
            "seeds": [] if row is None else list(row.sample.seeds),
            "runs": [] if row is None else list(row.sample.run_dirs),
            "best_run": None if row is None else msgspec.to_builtins(row.best),
            "distinguishable": self.is_distinguishable,
            "runner_up": None if found is None else {"label": found.b.label, "words": found.words()},
            "not_told_from": self.not_told_from,
            "excluded": self.excluded,
            "num_not_compared": self.num_not_compared,
            "reason": self.reason,
        }


def find_best(table: MetricTable, groups: Sequence[Group]) -> Best:
    """The group with the best mean, and how it compares with every other.

    A group with a run that has no finite value has no mean, so it cannot be the best; it is named. A mean of few runs
    that is the best of many groups is partly luck, which is why "distinguishable" needs a verdict and not a rank. The
    comparison with the baseline was planned, so its verdict is the table's. Every other one was chosen after looking at
    all means, so it is corrected for all pairs of groups without the baseline, as if each had been compared (Holm; with
    a correction for the rivals alone, the best of 20 equal groups is called better than some in 12 % of studies).

    Args:
        table: the groups in one metric; as ``table.correct`` returned it, else it is corrected by itself.
        groups: the groups, for their configurations.
    """
    if any(row.comparison is not None and row.comparison.verdict is None for row in table.rows):
        (table,) = correct([table])
    excluded = {row.label: row.summary.reason for row in table.rows if row.summary.mean is None}
    ranked = sorted((row for row in table.rows if row.summary.mean is not None), key=lambda row: _rank(row, table))
    if not ranked:
        return Best(table=table, excluded=excluded)
    first, *rivals = ranked
    group = next(group for group in groups if group.label == first.label)
    near = rivals[:MAX_RIVALS]
    judged = _judged(first, near, table)
    return Best(
        table=table,
        row=first,
        config=group.config,
        differing=group.differing,
        comparisons=[*plan(judged[:1]), *judged[1:]],
        excluded=excluded,
        num_not_compared=len(rivals) - len(near),
    )


def _judged(first: Row, rivals: Sequence[Row], table: MetricTable) -> list[Comparison]:
    """The best against each rival: as planned with the baseline, corrected for every pair with any other."""
    planned = {rival.label: found for rival in rivals if (found := _planned(first, rival, table)) is not None}
    others = [rival for rival in rivals if rival.label not in planned]
    num_free = sum(row.summary.mean is not None and row.label != table.baseline for row in table.rows)
    num_pairs = max(num_free * (num_free - 1) // 2, len(others))
    chosen = iter(holm([compare(first.sample, rival.sample) for rival in others], num_comparisons=num_pairs))
    return [planned.get(rival.label) or next(chosen) for rival in rivals]


def _planned(first: Row, rival: Row, table: MetricTable) -> Comparison | None:
    """What the table says of the two, seen from the best, when one of them is the baseline."""
    found = first.comparison if rival.label == table.baseline else rival.comparison
    if table.baseline not in (first.label, rival.label) or found is None or found.p_corrected is None:
        return None
    if rival.label == table.baseline:
        return found
    turned = msgspec.structs.replace(compare(first.sample, rival.sample), p=found.p)
    return decide(turned, p_corrected=found.p_corrected, num_comparisons=found.num_comparisons)


def _rank(row: Row, table: MetricTable) -> float:
    mean = row.summary.mean or 0.0
    return mean if table.mode == "min" else -mean
