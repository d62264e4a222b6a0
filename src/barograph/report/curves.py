"""Curves of the runs of a report as figures, each point of them a recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from barograph.plot.many.curves import RunCurve, as_columns, draw_curves, select_curve
from barograph.plot.many.grids import draw_grid
from barograph.plot.many.strips import Strip, draw_strips
from barograph.plot.many.strips import as_columns as strips_as_columns
from barograph.read.arrays import as_float
from barograph.report.document import Cell, Picture, Prose, Shown
from barograph.report.metric import Metric
from barograph.report.number import Facts
from barograph.report.query import Query, Statistic
from barograph.report.values import CURVE_BUCKETS

Axis = Literal["time", "step"]
NO_GROUP: Final = "in no comparison"


def plot_loss_vs_time(facts: Facts, metric: Metric, *, groups: Mapping[str, str] | None = None) -> Picture | None:
    """A loss, or any other metric, over the seconds since each run began: ``figure-val_loss_vs_time.png``.

    Args:
        facts: the runs.
        metric: what is drawn.
        groups: what each run belongs to, by key; each run by itself when not given.

    Returns:
        None when no run recorded it.
    """
    return plot_curves(facts, metric, x="time", groups=groups)


def plot_curves(
    facts: Facts, metric: Metric, *, x: Axis = "step", groups: Mapping[str, str] | None = None
) -> Picture | None:
    """A metric of every run over steps (or epochs) or time.

    Args:
        facts: the runs.
        metric: what is drawn.
        x: over what; time is in seconds since the run began, pauses between attempts among them.
        groups: what each run belongs to, by key; each run by itself when not given.

    Returns:
        None when no run recorded more than one point of it.
    """
    found = {key: curve for key in facts.keys if (curve := _select(facts, key, metric, x=x, groups=groups))}
    if all(len(curve.x) + len(curve.nonfinite_x) < 2 for curve in found.values()):  # noqa: PLR2004 - one point is no curve
        return None
    name = f"{metric.label}_vs_{x if x == 'time' else metric.x_name}"
    x_name = "time_s" if x == "time" else metric.x_name
    curves = list(found.values())
    return Picture(
        name=name,
        title=f"{metric.label} over {'time' if x == 'time' else metric.x_name}",
        figure=draw_curves(
            curves, x_label="seconds since the run began" if x == "time" else metric.x_name, y_label=metric.label
        ),
        data=as_columns(curves, x_name=x_name, y_name=metric.label),
        caption=_caption(facts, name, metric, list(found), x=x),
    )


def plot_grid(facts: Facts, metric: Metric, *, groups: Mapping[str, str]) -> Picture | None:
    """A metric over steps (or epochs), one small figure per group of runs, all on the same axes.

    Args:
        facts: the runs.
        metric: what is drawn.
        groups: what each run belongs to, by key.

    Returns:
        None when runs of fewer than two groups recorded it.
    """
    found = {key: curve for key in facts.keys if (curve := _select(facts, key, metric, x="step", groups=groups))}
    names = dict.fromkeys(curve.group for curve in found.values())
    if len(names) < 2:  # noqa: PLR2004 - one group alone is the figure of all runs
        return None
    name = f"{metric.label}_grid"
    curves = list(found.values())
    cells = {group: [curve for curve in curves if curve.group == group] for group in names}
    return Picture(
        name=name,
        title=f"{metric.label} of each configuration",
        figure=draw_grid(cells, x_label=metric.x_name, y_label=metric.label),
        data=as_columns(curves, x_name=metric.x_name, y_name=metric.label),
        caption=_caption(facts, name, metric, list(found), x="step"),
    )


def plot_values(facts: Facts, metric: Metric, *, reduce: str, groups: Mapping[str, str]) -> Picture | None:
    """One value of each run by its configuration, with the mean of those that count and where it is.

    Args:
        facts: the runs.
        metric: what is drawn.
        reduce: what of each run, e.g. ``last``.
        groups: what each run belongs to, by key; others are not drawn.

    Returns:
        None when no run recorded it.
    """
    found = {key: facts.values[key].value(metric.query(reduce)) for key in groups if facts.counts(key)}
    values = {key: as_float(value) for key, value in found.items() if isinstance(value, (int, float))}
    if not values:
        return None
    name, title = f"{metric.label}_values", f"{reduce} {metric.label} of each run"
    members: dict[str, list[str]] = {}
    for key in values:
        members.setdefault(groups[key], []).append(key)
    strips = [_strip(facts, _over_runs(metric, reduce, "mean"), group, values, keys) for group, keys in members.items()]
    runs = Shown(facts.number(f"figure-{name}.runs", _over_runs(metric, reduce, "n"), list(values)), "integer")
    said: list[Cell] = [runs, " runs, a dot for each; bars are means with their 95 % intervals, as in the table."]
    return Picture(
        name=name,
        title=title,
        figure=draw_strips(strips, x_label=title),
        data=strips_as_columns(strips, y_name=f"{reduce} {metric.label}"),
        caption=Prose(said),
    )


def _over_runs(metric: Metric, reduce: str, statistic: Statistic) -> Query:
    return msgspec.structs.replace(metric.query(reduce), statistic=statistic, mode=metric.mode)


def _strip(facts: Facts, query: Query, group: str, values: Mapping[str, float], keys: Sequence[str]) -> Strip:
    ends: list[Statistic] = ["mean", "low", "high"]
    found = [facts.evaluate(msgspec.structs.replace(query, statistic=end), keys)[0] for end in ends]
    mean, low, high = (end if isinstance(end, float) else None for end in found)
    runs = [facts.label(key) for key in keys]
    return Strip(group=group, runs=runs, values=[values[key] for key in keys], mean=mean, low=low, high=high)


def _select(facts: Facts, key: str, metric: Metric, *, x: Axis, groups: Mapping[str, str] | None) -> RunCurve | None:
    series = facts.values[key].curve(metric.query(""))
    if series is None or not len(series):
        return None
    reader = facts.readers[key]
    if x == "time":
        series = series.where(np.argsort(series.t, kind="stable"))
        start_t = reader.identity.created_t
        places = series.t - (series.t[0] if start_t is None else start_t)
    else:
        places = series.steps
    group = facts.label(key) if groups is None else groups.get(key, NO_GROUP)
    return select_curve(facts.label(key), group, places, series.values, series.attempts, num_buckets=CURVE_BUCKETS)


def _caption(facts: Facts, name: str, metric: Metric, keys: list[str], *, x: Axis) -> Prose:
    """How many of the recorded points are shown, of how many runs, and what is not finite."""

    def ask(count: str, query: Query) -> Shown:
        return Shown(facts.total(f"figure-{name}.{count}", query, keys), "integer")

    shown = ask("shown", metric.query("num_shown_by_time" if x == "time" else "num_shown"))
    recorded, nonfinite = ask("points", metric.query("count")), ask("nonfinite", metric.query("num_nonfinite"))
    runs = ask("runs", Query(of="run", name="run"))
    parts: list[Cell] = [shown, " of ", recorded, " points of ", runs, " run" if len(keys) == 1 else " runs"]
    return Prose([*parts, ", ", nonfinite, " not finite (marks on the edge)."])
