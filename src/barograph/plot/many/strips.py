"""One value of each run, in a row per group: what a mean is of, and how far runs of one group are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure

from barograph.plot.many.style import INK, PALETTE, new_figure, plain_log_ticks, quiet_axes, short, spans_decades

LABEL_CHARS = 44
ROW_IN = 0.34


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one group.

    Attributes:
        group: its label.
        runs: what they are called.
        values: of each; one that is not finite is a mark on the right edge.
        mean: of them; None where there is none.
        low: lower end of the interval of the mean; None where there is none.
        high: upper end.
    """

    group: str
    runs: list[str]
    values: list[float]
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def as_columns(strips: Sequence[Strip], *, y_name: str) -> dict[str, Sequence[Any]]:
    """What is drawn as a table of columns: each run's value, then mean and interval of its group."""
    rows: list[tuple[str, str, str, float]] = []
    for strip in strips:
        rows += [("run", strip.group, run, value) for run, value in zip(strip.runs, strip.values, strict=True)]
        summary = {"mean": strip.mean, "low": strip.low, "high": strip.high}
        rows += [(what, strip.group, "", value) for what, value in summary.items() if value is not None]
    what, group, run, values = (list(column) for column in zip(*rows, strict=True))
    return {"what": what, "group": group, "run": run, y_name: values}


def draw_strips(strips: Sequence[Strip], *, x_label: str) -> Figure:
    """Draw one row per group, the first on top.

    Args:
        strips: at least one.
        x_label: what the values are.
    """
    figure = new_figure(5.6, 0.9 + ROW_IN * len(strips))
    axes = figure.add_subplot()
    quiet_axes(axes)
    for row, strip in enumerate(strips):
        _draw_one(axes, strip, row)
    every = np.array([value for strip in strips for value in strip.values], dtype=np.float64)
    finite = every[np.isfinite(every)]
    if len(finite) and spans_decades(float(finite.min()), float(finite.max())):
        axes.set_xscale("log")
        plain_log_ticks(axes)
    axes.set_yticks(range(len(strips)), [short(strip.group, LABEL_CHARS) for strip in strips])
    axes.set_ylim(len(strips) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(short(x_label), color=INK)
    return figure


def _draw_one(axes: Any, strip: Strip, row: int) -> None:
    values = np.array(strip.values, dtype=np.float64)
    finite = np.isfinite(values)
    height = np.full(len(values), row - 0.12)
    axes.scatter(values[finite], height[finite], s=16, color=PALETTE[0], alpha=0.6, linewidths=0)
    if strip.mean is not None and np.isfinite(strip.mean):
        axes.plot([strip.mean], [row + 0.18], marker="|", markersize=9, color=INK, markeredgewidth=1.8)
    if strip.low is not None and strip.high is not None:
        axes.plot([strip.low, strip.high], [row + 0.18] * 2, color=INK, linewidth=1.2)
    at_edge = axes.get_yaxis_transform()
    marks = {"linestyle": "", "marker": "x", "color": PALETTE[1], "clip_on": False}
    axes.plot(np.ones(len(values))[~finite], height[~finite], transform=at_edge, **marks)
