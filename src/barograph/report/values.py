"""Answers queries about one run, from its facts: the only place where a report gets a number of a run from.

Each file of a run is read once, whatever is asked; what is kept is a few numbers per metric.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np

from barograph.errors import InvalidCriterionError, ReportError
from barograph.read.arrays import Floats, Series
from barograph.read.digest import Digest
from barograph.read.identity import flatten
from barograph.read.metrics import MetricKey
from barograph.read.reduce import reduce
from barograph.read.run import RunReader
from barograph.record.criteria import CriteriaJudge
from barograph.report.epochs import epoch_series
from barograph.report.query import Query

Value = float | int | str | bool | None

CURVE_BUCKETS: Final = 250
"""Buckets of a curve in a figure: at most four times as many points are shown of it."""


class RunValues:
    """The numbers of one run.

    Args:
        reader: the run.
    """

    def __init__(self, reader: RunReader) -> None:
        self.reader = reader
        self._sources: dict[str, Callable[[Query], Any]] = {
            "metric": self._metric,
            "epoch": self._epoch,
            "summary": lambda query: self.digest.summary.get(query.name),
            "config": lambda query: self.config.get(query.name),
            "run": lambda query: self.properties.get(query.name),
            "ledger": lambda query: self.ledger.get(query.name),
            "criterion": self._criterion,
            "check": self._check,
        }

    def value(self, query: Query) -> Value:
        """What the facts answer; None when they hold nothing of it.

        Raises:
            ReportError: the query is not about a single run.
        """
        if query.of not in self._sources:
            raise ReportError(
                f"{query.of!r} is no quantity of one run: {query.text()}; ask one of {sorted(self._sources)}"
            )
        found = self._sources[query.of](query)
        return found if found is None or isinstance(found, (bool, int, float, str)) else str(found)

    @cached_property
    def digest(self) -> Digest:
        """What the events come to."""
        return self.reader.digest()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration by dotted names."""
        return flatten(self.reader.config)

    @cached_property
    def ledger(self) -> dict[str, Any]:
        """What recording cost, as the run wrote it at its end; empty when it did not come to that."""
        ended = self.reader.exit_record()
        if ended is not None:
            return ended.ledger
        return {} if self.digest.end is None else self.digest.end.ledger

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """The success criteria, judged now, from the facts.

        Raises:
            ReportError: a criterion cannot be read.
        """
        try:
            judge = CriteriaJudge(self.reader.identity.success)
        except InvalidCriterionError as error:
            raise ReportError(f"{self.reader.path}: {error}; correct `success` in its run.json") from error
        if judge.criteria:
            for facts in self.reader.facts(rank=0):
                judge.feed(facts)
        return judge.verdicts()

    @cached_property
    def metrics(self) -> dict[MetricKey, dict[str, Value]]:
        """By name, split and rank what the curve of a metric comes to."""
        found = self.reader.all_series(rank=None)
        values = {series.key: _of_curve(series) for series in found}
        if any(series.num_inexact for series in found):  # integers beyond float64: their summary has them exactly
            for exact in self.reader.metrics():
                mine = values.get(MetricKey(exact.name, exact.split, exact.rank))
                if mine is not None:
                    mine |= {"last": exact.last, "min": exact.min, "max": exact.max}
        return values

    @cached_property
    def epochs(self) -> dict[str, dict[str, Value]]:
        """By name what the values of the epochs come to."""
        return {name: _of_curve(series) for name, series in self.epoch_series.items()}

    @cached_property
    def epoch_series(self) -> dict[str, Series]:
        """By name the values of the epochs."""
        return epoch_series(self.reader)

    def curve(self, query: Query) -> Series | None:
        """The effective curve that a query of ``metric`` or ``epoch`` is about; None when nothing was recorded."""
        if query.of == "epoch":
            found = self.epoch_series.get(query.name)
            return None if found is None else _placed(found.effective())
        series = self.reader.all_series(names=[query.name], splits=[query.split], rank=query.rank)
        return _placed(series[0].effective()) if series else None

    @cached_property
    def properties(self) -> dict[str, Value]:
        """Seed, times and counts."""
        reader, digest = self.reader, self.digest
        ended = reader.exit_record()
        total = ended.total_time_s if ended is not None else None if digest.end is None else digest.end.total_time_s
        return {
            "run": 1,
            "seed": reader.identity.seed,
            "started_t": reader.identity.created_t,
            "total_time_s": total,
            "num_attempts": max(1, len(digest.attempts)),
            "num_epochs": digest.moments["on_epoch_end"],
            "num_events": digest.moments.total(),
            "num_checks": len(digest.checks),
            "num_checks_failed": sum(not check.passed for check in digest.checks),
            "num_alerts": reader.num_alerts(),
            "num_failures": len(digest.failures),
            "num_criteria": len(self.verdicts),
            "num_criteria_met": sum(verdict["passed"] is True for verdict in self.verdicts),
            "num_points": sum(int(found["count"] or 0) for found in self.metrics.values()),
            "num_nonfinite": sum(int(found["num_nonfinite"] or 0) for found in self.metrics.values()),
            **{f"attempt{info.number}_time_s": info.total_time_s for info in digest.attempts.values()},
        }

    def _metric(self, query: Query) -> Value:
        return self.metrics.get(MetricKey(query.name, query.split, query.rank), {}).get(query.reduce)

    def _epoch(self, query: Query) -> Value:
        return self.epochs.get(query.name, {}).get(query.reduce)

    def _criterion(self, query: Query) -> Value:
        for verdict in self.verdicts:
            if verdict["text"] == query.name:
                found: Value = verdict["evidence"].get(query.reduce)
                return found
        return None

    def _check(self, query: Query) -> Any:
        found = [check for check in self.digest.checks if check.name == query.name]
        return getattr(found[query.at], query.reduce, None) if query.at < len(found) else None


def _placed(series: Series) -> Series:
    """The points that stand somewhere: a damaged row may have no step."""
    placed = np.isfinite(series.steps) & np.isfinite(series.t)
    return series if placed.all() else series.where(placed)


def _of_curve(series: Series) -> dict[str, Value]:
    kept = _placed(series.effective())
    if not len(kept):
        return {"count": 0, "num_nonfinite": 0}
    by_time = np.argsort(kept.t, kind="stable")
    shown = reduce(kept.t[by_time], kept.values[by_time], num_buckets=CURVE_BUCKETS).num_shown
    return {
        **_of_points(kept.steps, kept.values),
        "num_shown_by_time": shown,
        "num_superseded": int(series.superseded.sum()),
    }


def _of_points(x: Floats, y: Floats) -> dict[str, Value]:
    """What a curve comes to; minimum, maximum and mean are of its finite values, at the first place they stand."""
    finite = np.isfinite(y)
    found: dict[str, Value] = {
        "count": len(y),
        "num_nonfinite": int((~finite).sum()),
        "first": float(y[0]),
        "last": float(y[-1]),
        "last_step": float(x[-1]),
        "num_shown": reduce(x, y, num_buckets=CURVE_BUCKETS).num_shown,
    }
    if finite.any():
        x, y = x[finite], y[finite]
        low, high = int(np.argmin(y)), int(np.argmax(y))
        found |= {"min": float(y[low]), "min_step": float(x[low]), "max": float(y[high]), "max_step": float(x[high])}
        found["mean"] = float(np.mean(y))
    return found
