"""Sentences about a comparison: each with its metric, its runs, their number, an interval and links; or no sentence.

A sentence is only made of what the statistics support: a verdict after correction, an interval that excludes chance, a
count of runs. What they do not support is said as "cannot tell". The order is fixed: failures, best, verdicts,
convergence, impact, what more seeds would tell. Each pair is spoken of once, and of very many sentences of a kind the
first are said and the rest counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from barograph.compare.best import Best
from barograph.compare.groups import Group
from barograph.compare.impact import Impact
from barograph.compare.intervals import Interval, proportion_interval
from barograph.compare.table import MetricTable, Row
from barograph.compare.values import EPOCH_SPLIT, SUMMARY_SPLIT
from barograph.compare.verdict import Comparison
from barograph.read.frames import Skipped
from barograph.read.run import RunReader

MAX_LINKS: Final = 3
MAX_VERDICTS: Final = 10
MAX_SEEDS: Final = 5
MAX_CONVERGENCE: Final = 5
MIN_POINTS: Final = 10
LAST_PART: Final = 0.9
FIRST_PART: Final = 0.5


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence and what it rests on.

    Attributes:
        kind: ``failures``, ``best``, ``verdict``, ``convergence``, ``impact`` or ``seeds``.
        text: the sentence, without links.
        metric: which metric, None for sentences about runs as such.
        split: where it was logged.
        n: how many runs it rests on.
        interval: low and high end of what the sentence states, None where it states a count.
        runs: links to the runs, relative to the root.
    """

    kind: str
    text: str
    metric: str | None = None
    split: str | None = None
    n: int
    interval: tuple[float, float] | None = None
    runs: list[str] = []

    def __str__(self) -> str:
        return f"{self.text} ({_links(self.runs)})" if self.runs else self.text


def find_insights(
    *,
    groups: Sequence[Group],
    tables: Sequence[MetricTable],
    best: Best | None,
    impact: Impact | None,
    unfinished: Sequence[Skipped],
    num_runs: int,
    root: str,
) -> list[Insight]:
    """Everything that is worth a sentence, in a fixed order.

    Args:
        groups: the groups.
        tables: each metric, with its verdicts.
        best: the best configuration in the first metric.
        impact: of the parameters on the first metric.
        unfinished: runs that were left out because they did not finish.
        num_runs: all runs, those among them.
        root: the directory that links are relative to.
    """
    found = [
        *_unfinished(unfinished, num_runs),
        *(insight for table in tables for insight in _nonfinite(table)),
        *([] if best is None else _best(best)),
        *(it for table in tables for it in _verdicts(table, _without_pair(table, best))),
        *(it for table in tables[:1] for it in _convergence(table, groups)),
        *([] if impact is None else _impact(impact)),
        *(it for table in tables for it in _seeds(table, _without_pair(table, best))),
        *_single_runs(groups),
    ]
    return [msgspec.structs.replace(it, runs=[_relative(run, root) for run in it.runs]) for it in found]


def _unfinished(unfinished: Sequence[Skipped], num_runs: int) -> Iterator[Insight]:
    if unfinished:
        reasons = sorted({skipped.reason for skipped in unfinished})
        more = f"; and {len(reasons) - MAX_LINKS} more reasons" if len(reasons) > MAX_LINKS else ""
        whys = "; ".join(reasons[:MAX_LINKS]) + more
        verb = "is" if len(unfinished) == 1 else "are"
        yield Insight(
            kind="failures",
            text=f"{len(unfinished)} of {num_runs} runs did not finish and {verb} left out: {whys}",
            n=num_runs,
            runs=[skipped.path for skipped in unfinished],
        )


def _nonfinite(table: MetricTable) -> Iterator[Insight]:
    for row in table.rows:
        found = row.sample.nonfinite
        if found:
            kinds = ", ".join(sorted({it.kind for it in found}))
            steps = [it.step for it in found if it.step is not None]
            where = f", at step {min(steps):g} at the earliest" if steps else ""
            yield Insight(
                kind="failures",
                text=f"{len(found)} of {row.summary.n} runs of {row.label} have no finite {table.title} "
                f"({kinds}{where}); they count as the worst",
                metric=table.metric,
                split=table.split,
                n=row.summary.n,
                runs=[it.run_dir for it in found],
            )


def _best(best: Best) -> Iterator[Insight]:
    row, table = best.row, best.table
    found = best.runner_up
    if row is None or found is None or row.summary.mean is None:
        return
    num = len(best.comparisons) + best.num_not_compared + 1
    yield Insight(
        kind="best",
        text=f"{row.label} has the best {table.title} of {num} groups: mean {row.summary.mean:.4g}"
        f"{_interval(row.summary.mean_interval)}, n = {row.summary.n}; "
        f"against the runner-up {found.b.label}: {found.words()}",
        metric=table.metric,
        split=table.split,
        n=row.summary.n,
        interval=_ends(row.summary.mean_interval),
        runs=list(row.sample.run_dirs),
    )


def _without_pair(table: MetricTable, best: Best | None) -> list[tuple[Row, Comparison]]:
    """The comparisons of a table but the one that the sentence about the best is about."""
    said: set[str] = set()
    if best is not None and best.runner_up is not None and best.table.key == table.key:
        said = {best.runner_up.a.label, best.runner_up.b.label}
    return [
        (row, row.comparison)
        for row in table.rows
        if row.comparison is not None and {row.label, table.baseline} != said
    ]


def _verdicts(table: MetricTable, made: Sequence[tuple[Row, Comparison]]) -> Iterator[Insight]:
    told = [(row, found) for row, found in made if found.verdict in ("better", "worse", "mixed", "no difference")]
    first = sorted(told, key=lambda it: it[1].p)[:MAX_VERDICTS]
    yield from (_of_pair("verdict", table, row, found) for row, found in told if (row, found) in first)
    rest = [(row, found) for row, found in told if (row, found) not in first]
    if rest:
        kinds = Counter(str(found.verdict) for _, found in rest)
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        yield _of_rest("verdict", table, rest, f"{len(rest)} more groups against {table.baseline}: {counted}")


def _of_pair(kind: str, table: MetricTable, row: Row, found: Comparison) -> Insight:
    return Insight(
        kind=kind,
        text=f"{row.label} against {table.baseline} in {table.title}: {found.words()}",
        metric=table.metric,
        split=table.split,
        n=found.n_a + found.n_b,
        interval=_ends(found.interval),
        runs=[*row.sample.run_dirs, *found.b.run_dirs],
    )


def _of_rest(kind: str, table: MetricTable, rest: Sequence[tuple[Row, Comparison]], text: str) -> Insight:
    runs = [run for row, _ in rest for run in row.sample.run_dirs]
    base = list(rest[0][1].b.run_dirs)
    n = len(runs) + len(base)
    return Insight(
        kind=kind,
        text=f"in {table.title} {text}; n = {n} runs",
        metric=table.metric,
        split=table.split,
        n=n,
        runs=[*runs, *base],
    )


def _convergence(table: MetricTable, groups: Sequence[Group]) -> Iterator[Insight]:
    """Where the best value stands: at the end of the run (stopped too early) or in its first half (too long)."""
    found = [] if table.split in (EPOCH_SPLIT, SUMMARY_SPLIT) else list(_places_of_best(table, groups))
    yield from found[:MAX_CONVERGENCE]
    if rest := found[MAX_CONVERGENCE:]:
        yield Insight(
            kind="convergence",
            text=f"the best {table.metric} ({table.split}) stands at such a place in {len(rest)} more groups; "
            f"n = {sum(it.n for it in rest)} runs",
            metric=table.metric,
            split=table.split,
            n=sum(it.n for it in rest),
            runs=[run for it in rest for run in it.runs],
        )


def _places_of_best(table: MetricTable, groups: Sequence[Group]) -> Iterator[Insight]:
    for group in groups:
        places = [place for reader in group.runs for place in _place_of_best(reader, table)]
        late, early = sum(place >= LAST_PART for place in places), sum(place < FIRST_PART for place in places)
        for count, where, so in (
            (late, "in the last tenth of the steps", "training longer may improve it further"),
            (early, "in the first half of the steps", "the steps after it made it worse"),
        ):
            interval = proportion_interval(count, len(places)) if places else None
            if interval is not None and interval.low > FIRST_PART:
                yield Insight(
                    kind="convergence",
                    text=f"the best {table.metric} ({table.split}) stands {where} in {count} of {len(places)} runs of "
                    f"{group.label} ({100 * interval.low:.0f} to {100 * interval.high:.0f} %): {so}",
                    metric=table.metric,
                    split=table.split,
                    n=len(places),
                    interval=_ends(interval),
                    runs=[str(reader.path) for reader in group.runs],
                )


def _place_of_best(reader: RunReader, table: MetricTable) -> list[float]:
    """Where the best value of one run stands between its first step (0) and its last (1); nothing for few points."""
    found = [it.effective() for it in reader.all_series(names=[table.metric], splits=[table.split])]
    if not found or len(found[0]) < MIN_POINTS:
        return []
    steps, values = found[0].steps, found[0].values
    finite = np.isfinite(values)
    if not finite.all() or steps[-1] == steps[0]:
        return []
    place = int(np.argmin(values) if table.mode == "min" else np.argmax(values))
    return [float((steps[place] - steps[0]) / (steps[-1] - steps[0]))]


def _impact(impact: Impact) -> Iterator[Insight]:
    if impact.reason:
        yield Insight(
            kind="impact",
            text=f"which parameters move {impact.metric} ({impact.split}) cannot be told: {impact.reason}; "
            f"n = {impact.n} runs",
            metric=impact.metric,
            split=impact.split,
            n=impact.n,
        )
    for parameter in impact.parameters:
        if parameter.is_shown:
            low, high = parameter.interval
            yield Insight(
                kind="impact",
                text=f"{' + '.join(parameter.keys)} moves {impact.metric} ({impact.split}): "
                f"{100 * parameter.impact:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of the importance beyond chance, "
                f"n = {impact.n} runs of "
                f"{impact.num_configs} configurations",
                metric=impact.metric,
                split=impact.split,
                n=impact.n,
                interval=parameter.interval,
            )


def _seeds(table: MetricTable, made: Sequence[tuple[Row, Comparison]]) -> Iterator[Insight]:
    untold = [(row, found) for row, found in made if found.verdict == "cannot tell"]
    first = sorted(untold, key=lambda it: it[1].p)[:MAX_SEEDS]
    yield from (_of_pair("seeds", table, row, found) for row, found in untold if (row, found) in first)
    rest = [(row, found) for row, found in untold if (row, found) not in first]
    if rest:
        text = f"{len(rest)} more groups cannot be told from {table.baseline} yet"
        yield _of_rest("seeds", table, rest, text)


def _single_runs(groups: Sequence[Group]) -> Iterator[Insight]:
    single = [group for group in groups if len(group) == 1]
    if single and len(groups) > 1:
        yield Insight(
            kind="seeds",
            text=f"{len(single)} of {len(groups)} groups have one run each, so nothing tells their differences from "
            f"those that the seed makes; n = {sum(map(len, groups))} runs",
            n=sum(map(len, groups)),
            runs=[str(group.runs[0].path) for group in single],
        )


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.4g}, {interval.high:.4g}]"


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _relative(run: str, root: str) -> str:
    return os.path.relpath(run, root)


def _links(runs: Sequence[str]) -> str:
    more = f" and {len(runs) - MAX_LINKS} more" if len(runs) > MAX_LINKS else ""
    return ", ".join(runs[:MAX_LINKS]) + more
