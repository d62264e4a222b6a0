"""The groups of a comparison in one metric, as plain data: what a terminal, a report and a dashboard show.

It collects each run's value, summarises each group, and compares every group with the baseline. Verdicts are given by
``correct``, once it is known how many comparisons were made in all metrics together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from barograph.compare.correction import holm, plan
from barograph.compare.groups import Group
from barograph.compare.repeats import without_copies
from barograph.compare.resample import Floats
from barograph.compare.stats import Summary, summarise
from barograph.compare.values import Mode, NonFinite, Reduce, Sample, collect
from barograph.compare.verdict import Comparison, compare
from barograph.errors import MisuseError
from barograph.read.frames import Skipped
from barograph.read.run import RunReader

APART: Final = "no step was recorded by all its runs and by those of the groups before it, so nothing compares"


class BestRun(msgspec.Struct, frozen=True, kw_only=True):
    """The best run of a group.

    Attributes:
        run_dir: its directory.
        value: its value.
    """

    run_dir: str
    value: float


class Row(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One group in one metric.

    Attributes:
        label: what sets the group apart.
        sample: the values of its runs; of curves, the curves.
        summary: what they come to; of curves, each run's mean over the steps that all groups recorded.
        best: its best run; None when no run has a finite value.
        comparison: with the baseline; None for the baseline itself, and where one of the two has no run.
    """

    label: str
    sample: Sample
    summary: Summary
    best: BestRun | None = None
    comparison: Comparison | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = self.comparison
        return {
            "label": self.label,
            "n": self.summary.n,
            "seeds": list(self.sample.seeds),
            "runs": list(self.sample.run_dirs),
            "values": self.sample.values.tolist() if self.sample.values.ndim == 1 else None,
            **msgspec.to_builtins(self.summary),
            "best": None if self.best is None else msgspec.to_builtins(self.best),
            "nonfinite": msgspec.to_builtins(list(self.sample.nonfinite)),
            "verdict": None if found is None else found.verdict,
            "words": "" if found is None else found.words(),
        }


class MetricTable(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All groups in one metric.

    Attributes:
        metric: its name.
        split: where it was logged.
        reduce: what each run was reduced to.
        mode: whether low or high is better.
        baseline: the label of the group that the others are compared with.
        rows: one per group, in the order of the groups.
        skipped: runs without the metric, and why.
    """

    metric: str
    split: str
    reduce: Reduce
    mode: Mode
    baseline: str
    rows: list[Row]
    skipped: list[Skipped] = []

    @property
    def title(self) -> str:
        """The metric in words, e.g. ``final loss (val)``.

        >>> MetricTable(metric="loss", split="val", reduce="final", mode="min", baseline="", rows=[]).title
        'final loss (val)'
        """
        return f"{self.reduce} {self.metric}" + (f" ({self.split})" if self.split else "")

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from other tables of the same groups."""
        return self.metric, self.split, self.reduce

    @property
    def nonfinite(self) -> list[NonFinite]:
        """Runs of any group without a finite value."""
        return [found for row in self.rows for found in row.sample.nonfinite]

    def row(self, label: str) -> Row:
        """The row of a group."""
        return next(row for row in self.rows if row.label == label)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        head = {name: getattr(self, name) for name in ("metric", "split", "reduce", "mode", "baseline")}
        return {**head, "rows": [row.as_dict() for row in self.rows], "skipped": msgspec.to_builtins(self.skipped)}


def choose_baseline(groups: Sequence[Group], wanted: str | None = None) -> Group:
    """The group that the others are compared with: the one named; else the one with most runs, the first of several.

    Args:
        groups: all of them.
        wanted: a group's label; or the id, name or directory of one of its runs.

    Raises:
        MisuseError: no group is meant, or several; the message lists them.
    """
    if wanted is None:
        return max(groups, key=len)
    found = [group for group in groups if group.label == wanted] or [
        group for group in groups if any(wanted in _names(reader) for reader in group.runs)
    ]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(repr(group.label) for group in groups)
    what = "no group or run" if not found else f"{len(found)} groups"
    raise MisuseError(f"the baseline {wanted!r} means {what}; give the label of a group: {labels}, or a run's id")


def make_table(
    groups: Sequence[Group],
    metric: str,
    *,
    baseline: Group,
    split: str | None = None,
    reduce: Reduce = "final",
    mode: Mode | None = None,
) -> MetricTable:
    """Collect, summarise and compare the groups in one metric; the verdicts are still to be given by ``correct``.

    Args:
        groups: the groups.
        metric: its name.
        baseline: one of the groups.
        split: where the metric was logged; the same for all groups, see ``values.collect``.
        reduce: what each run is reduced to.
        mode: whether low or high is better; told by the name when not given.

    Raises:
        MetricNotFoundError: no run has the metric.
        MisuseError: the mode or the split cannot be told.
    """
    everyone = [reader for group in groups for reader in group.runs]
    whole = collect(everyone, metric, split=split, reduce="final" if reduce == "curve" else reduce, mode=mode)
    samples = [_sample(group, whole, reduce) for group in groups]
    place = next(number for number, group in enumerate(groups) if group is baseline)
    summaries = _summaries(samples, place)
    rows = [
        Row(
            label=group.label,
            sample=sample,
            summary=summary,
            best=best,
            comparison=None
            if group is baseline or not len(sample) or not len(samples[place]) or summary.reason == APART
            else compare(sample, samples[place]),
        )
        for group, sample, (summary, best) in zip(groups, samples, summaries, strict=True)
    ]
    return MetricTable(
        metric=metric,
        split=whole.split,
        reduce=reduce,
        mode=whole.mode,
        baseline=baseline.label,
        rows=rows,
        skipped=[found for sample in samples for found in sample.skipped],
    )


def _summaries(samples: Sequence[Sample], baseline: int) -> list[tuple[Summary, BestRun | None]]:
    """What each group comes to; of curves over the same steps for all, as means of different steps do not compare."""
    if all(sample.values.ndim == 1 for sample in samples):
        return [(summarise(sample), _best(sample)) for sample in samples]
    common = samples[baseline].steps
    apart = set()
    for place, sample in enumerate(samples):
        both = np.intersect1d(common, sample.steps)
        if len(both):
            common = both
        elif len(sample):
            apart.add(place)
    found: list[tuple[Summary, BestRun | None]] = []
    for place, sample in enumerate(samples):
        if place in apart:
            found.append((Summary(n=len(sample), reason=APART), None))
        else:
            means = _per_run(_at(sample, common) if len(sample) else sample)
            found.append((summarise(means), _best(means)))
    return found


def _at(sample: Sample, steps: Floats) -> Sample:
    values = sample.values[:, np.isin(sample.steps, steps)]
    return msgspec.structs.replace(sample, values=values, steps=steps, nonfinite=())


def correct(tables: Sequence[MetricTable]) -> list[MetricTable]:
    """The tables with a verdict for every comparison, corrected for all comparisons in all of them (Holm).

    Args:
        tables: every table that was looked at.
    """
    made = [row.comparison for table in tables for row in table.rows if row.comparison is not None]
    judged = iter(plan(holm(made)))
    return [
        msgspec.structs.replace(
            table,
            rows=[
                row if row.comparison is None else msgspec.structs.replace(row, comparison=next(judged))
                for row in table.rows
            ],
        )
        for table in tables
    ]


def _names(reader: RunReader) -> tuple[str, ...]:
    return reader.identity.run_id, reader.identity.name, str(reader.path), reader.path.name


def _sample(group: Group, whole: Sample, reduce: Reduce) -> Sample:
    """The group's part of what was collected over all runs; of curves, at the steps that this group's runs recorded."""
    mine = {str(reader.path) for reader in group.runs}
    places = [place for place, run_dir in enumerate(whole.run_dirs) if run_dir in mine]
    part = whole.taken(places)
    skipped = [found for found in whole.skipped if found.path in mine]
    if reduce == "curve" and places:
        part = collect(group, whole.metric, split=whole.split, reduce="curve", mode=whole.mode)
        if not len(part.steps):
            why = f"no step of {whole.metric!r} was recorded by all runs of {group.label}"
            skipped += [Skipped(path=run_dir, reason=why) for run_dir in part.run_dirs]
            part = whole.taken([])
    return without_copies(msgspec.structs.replace(part, label=group.label, skipped=skipped, reduce=reduce))


def _per_run(sample: Sample) -> Sample:
    """One value per run: of a curve its mean."""
    if sample.values.ndim == 1:
        return sample
    return msgspec.structs.replace(sample, values=sample.values.mean(axis=1), steps=np.empty(0), nonfinite=())


def _best(sample: Sample) -> BestRun | None:
    finite = [place for place, value in enumerate(sample.values) if np.isfinite(value)]
    if not finite:
        return None
    choose = min if sample.mode == "min" else max
    place = choose(finite, key=lambda place: float(sample.values[place]))
    return BestRun(run_dir=sample.run_dirs[place], value=float(sample.values[place]))
