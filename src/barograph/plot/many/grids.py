"""The same figure of several runs or metrics, side by side, on axes that can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from barograph.plot.many.curves import RunCurve, draw_on
from barograph.plot.many.style import INK, PALETTE, new_figure, quiet_axes, short

COLUMNS = 3


def draw_grid(cells: Mapping[str, Sequence[RunCurve]], *, x_label: str, y_label: str) -> Figure:
    """Draw one small figure per name, all with the same axes.

    Args:
        cells: by name the curves of one cell; at least one.
        x_label: what stands below.
        y_label: what stands beside.
    """
    num_columns = min(COLUMNS, len(cells))
    num_rows = math.ceil(len(cells) / num_columns)
    figure = new_figure(2.9 * num_columns, 2.3 * num_rows + 0.3)
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    places = [axes for row in grid for axes in row]
    for axes, (name, curves) in zip(places, cells.items(), strict=False):
        quiet_axes(axes)
        axes.set_title(short(name, 34), fontsize=9, color=INK, loc="left")
        draw_on(axes, curves, {curve.group: PALETTE[0] for curve in curves})
    for axes in places[len(cells) :]:
        axes.set_visible(False)
    figure.supxlabel(x_label, color=INK, fontsize=10)
    figure.supylabel(short(y_label), color=INK, fontsize=10)
    return figure
