"""Curves of many runs on one pair of axes, one colour per group of runs.

Every shown point is a recorded one. Lines join neighbouring points of one attempt; values that are not finite are
marks at their place on the edge of the axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from barograph.plot.lines import joints
from barograph.plot.many.style import INK, MARKS, PALETTE, new_figure, quiet_axes, short, spans_decades
from barograph.read.arrays import Bools, Floats
from barograph.read.reduce import reduce

MAX_LEGEND: Final = 12
LEGEND_CHARS: Final = 64
FEW_POINTS: Final = 30
"""A curve of so few points shows each of them."""


class RunCurve(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of one run.

    Attributes:
        run: what the run is called.
        group: what it belongs to; runs of one group have one colour.
        x: where the points stand, ascending.
        y: their values.
        starts: whether a piece of line begins at this point.
        nonfinite_x: where values stand that are not finite.
        nonfinite_y: what they are.
        num_points: how many points were recorded.
    """

    run: str
    group: str
    x: Floats
    y: Floats
    starts: Bools
    nonfinite_x: Floats
    nonfinite_y: Floats
    num_points: int

    @property
    def num_shown(self) -> int:
        """How many of the points are shown."""
        return len(self.x) + len(self.nonfinite_x)


def select_curve(run: str, group: str, x: Floats, y: Floats, attempts: Any, *, num_buckets: int) -> RunCurve:
    """What is to be shown of a curve.

    Args:
        run: what the run is called.
        group: what it belongs to.
        x: where each point stands, ascending.
        y: its value.
        attempts: which attempt recorded it.
        num_buckets: at most four times as many points are shown.
    """
    starts = joints(x, y, np.zeros(len(x), dtype=bool))
    if len(x):
        starts[1:] |= np.diff(attempts) != 0
    shown = reduce(x, y, num_buckets=num_buckets)
    piece = np.searchsorted(x[starts], shown.x, "right")
    return RunCurve(
        run=run,
        group=group,
        x=shown.x,
        y=shown.y,
        starts=np.r_[True, piece[1:] != piece[:-1]] if len(piece) else np.empty(0, dtype=bool),
        nonfinite_x=shown.nonfinite_x,
        nonfinite_y=shown.nonfinite_y,
        num_points=shown.num_points,
    )


def as_columns(curves: Iterable[RunCurve], *, x_name: str, y_name: str) -> dict[str, Sequence[Any]]:
    """The shown points as a table of columns: the data of the figure."""
    curves = list(curves)
    x = [np.concatenate([curve.x, curve.nonfinite_x]) for curve in curves]
    y = [np.concatenate([curve.y, curve.nonfinite_y]) for curve in curves]
    order = [np.argsort(place, kind="stable") for place in x]
    return {
        "run": [curve.run for curve in curves for _ in range(curve.num_shown)],
        "group": [curve.group for curve in curves for _ in range(curve.num_shown)],
        x_name: [float(value) for values, places in zip(x, order, strict=True) for value in values[places]],
        y_name: [float(value) for values, places in zip(y, order, strict=True) for value in values[places]],
    }


def draw_curves(curves: Sequence[RunCurve], *, x_label: str, y_label: str) -> Figure:
    """Draw curves.

    Args:
        curves: at least one.
        x_label: what stands below.
        y_label: what stands beside.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    quiet_axes(axes)
    groups = list(dict.fromkeys(curve.group for curve in curves))
    colours = {group: PALETTE[place % len(PALETTE)] for place, group in enumerate(groups)}
    draw_on(axes, curves, colours)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(short(y_label), color=INK)
    _legend(figure, groups, colours, num_runs=len(curves))
    return figure


def draw_on(axes: Any, curves: Sequence[RunCurve], colours: dict[str, str]) -> None:
    """Draw curves and their marks on axes that are there.

    Args:
        axes: of matplotlib.
        curves: at least one.
        colours: by group.
    """
    for curve in curves:
        _draw_one(axes, curve, colours[curve.group], alone=len(curves) == len(colours))
    _scale(axes, curves)
    _draw_marks(axes, curves, colours)


def _draw_one(axes: Any, curve: RunCurve, colour: str, *, alone: bool) -> None:
    breaks = np.flatnonzero(curve.starts)[1:]
    marker = "o" if len(curve.x) <= FEW_POINTS else ""
    axes.plot(
        np.insert(curve.x, breaks, np.nan),
        np.insert(curve.y, breaks, np.nan),
        color=colour,
        linewidth=1.6 if alone else 1.1,
        alpha=1.0 if alone else 0.75,
        marker=marker,
        markersize=3,
    )


def _scale(axes: Any, curves: Sequence[RunCurve]) -> None:
    values = np.concatenate([curve.y for curve in curves])
    if len(values) and spans_decades(float(values.min()), float(values.max())):
        axes.set_yscale("log")


def _draw_marks(axes: Any, curves: Sequence[RunCurve], colours: dict[str, str]) -> None:
    """NaN and infinities, at their x: on the upper edge, -inf on the lower."""
    for curve in curves:
        kinds: dict[str, Any] = {"nan": np.isnan, "inf": np.isposinf, "-inf": np.isneginf}
        for kind, is_kind in kinds.items():
            x = curve.nonfinite_x[is_kind(curve.nonfinite_y)]
            if len(x):
                axes.plot(
                    x,
                    np.full(len(x), 0.0 if kind == "-inf" else 1.0),
                    transform=axes.get_xaxis_transform(),
                    linestyle="",
                    marker=MARKS[kind],
                    color=colours[curve.group],
                    clip_on=False,
                )


def _legend(figure: Figure, groups: list[str], colours: dict[str, str], *, num_runs: int) -> None:
    """Below the axes, so that long labels do not narrow them."""
    if len(groups) == 1 and num_runs == 1:
        return
    shown = groups[:MAX_LEGEND]
    handles = [Line2D([], [], color=colours[group], label=short(group, LEGEND_CHARS)) for group in shown]
    if len(groups) > len(shown):
        handles.append(Line2D([], [], linestyle="", label=f"and {len(groups) - len(shown)} more"))
    num_columns = 1 if max(len(group) for group in shown) > LEGEND_CHARS // 2 else 2
    figure.legend(handles=handles, loc="outside lower left", ncols=num_columns, frameon=False, fontsize=8.5)
