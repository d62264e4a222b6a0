"""Which configuration is best, with its interval, and which others it cannot be told from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from barograph.compare.correction import holm, plan
from barograph.compare.groups import Group
from barograph.compare.table import MetricTable, Row
from barograph.compare.verdict import Comparison, compare

MAX_RIVALS: Final = 50


class Best(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The best configuration.

    Attributes:
        table: the metric it is the best in.
        row: the group; None when no group has finite values in all its runs.
        config: the group's configuration, by dotted name.
        differing: the keys in which the groups differ.
        comparisons: with each other group, the nearest first, corrected for their number.
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

    A group with a run that has no finite value has no mean, so it cannot be the best; it is named. The best is compared
    with the others in the order of their means, corrected for their number (Holm). A mean of few runs that is the best
    of many groups is partly luck, which is why "distinguishable" needs a verdict and not a rank.

    Args:
        table: the groups in one metric.
        groups: the groups, for their configurations.
    """
    excluded = {row.label: row.summary.reason for row in table.rows if row.summary.mean is None}
    ranked = sorted((row for row in table.rows if row.summary.mean is not None), key=lambda row: _rank(row, table))
    if not ranked:
        return Best(table=table, excluded=excluded)
    first, *rivals = ranked
    group = next(group for group in groups if group.label == first.label)
    near = rivals[:MAX_RIVALS]
    judged = holm([compare(first.sample, rival.sample) for rival in near])
    return Best(
        table=table,
        row=first,
        config=group.config,
        differing=group.differing,
        comparisons=[*plan(judged[:1]), *judged[1:]],
        excluded=excluded,
        num_not_compared=len(rivals) - len(near),
    )


def _rank(row: Row, table: MetricTable) -> float:
    mean = row.summary.mean or 0.0
    return mean if table.mode == "min" else -mean
