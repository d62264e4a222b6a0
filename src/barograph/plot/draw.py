"""Draws charts: lines, faint where a later attempt took over, marks on the edge where a value is not finite.

It decides how numbers look and never which; see ``plot.chart`` and ``plot.lines``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from barograph.plot.chart import Chart, Panel, axis_label
from barograph.plot.lines import NUM_BUCKETS, Line, Strand
from barograph.plot.names import base_of
from barograph.plot.style import PALETTE, QUIET, SPLIT_COLOURS, shown
from barograph.read.arrays import Floats

LOG_DECADES: Final = 3
LARGEST: Final = 1e250
"""Beyond it, or its inverse, the margins of the axes overflow; such values are drawn as signed powers of ten."""
FEW: Final = 60
"""So few points each get a dot."""
SPARSE: Final = 100
WIDTHS: Final = (2.1, 1.3)
"""Of lines that others may lie upon exactly, so that both are seen; and of the last one, and of dense ones."""
ONE_COLUMN: Final = 3
MARKERS: Final = {"nan": ("x", 0.0, "NaN"), "inf": ("^", 1.0, "+Inf"), "-inf": ("v", 0.0, "-Inf")}
WIDTH_INCHES: Final = 8.2
PANEL_INCHES: Final = 2.5


def draw_chart(chart: Chart, figure: Figure | SubFigure) -> None:
    """Draw a chart's panels.

    Args:
        chart: the numbers.
        figure: an empty figure, which gets the size that the panels need; or a part of one.
    """
    num_columns = 1 if len(chart.panels) <= ONE_COLUMN else 2
    num_rows = math.ceil(len(chart.panels) / num_columns)
    if isinstance(figure, Figure):
        figure.set_size_inches(*size_inches(chart))
    figure.suptitle(shown(chart.title, limit=90), x=0.01, ha="left", fontsize=11, fontweight="bold")
    places = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, panel in zip(places, chart.panels, strict=False):
        draw_panel(panel, axes)
    for axes in places[len(chart.panels) :]:
        axes.remove()
    if chart.left_out:
        names = ", ".join(chart.left_out)
        text = f"{len(chart.left_out)} more metrics are not drawn: {names}"
        figure.supxlabel(shown(text, limit=60 * (num_columns + 1)), fontsize=8, color=QUIET, x=0.01, ha="left")


def size_inches(chart: Chart) -> tuple[float, float]:
    """Width and height that the panels need."""
    num_columns = 1 if len(chart.panels) <= ONE_COLUMN else 2
    num_rows = math.ceil(len(chart.panels) / num_columns)
    alone = 1.3 if len(chart.panels) == 1 else 0.0
    return WIDTH_INCHES * (1 if num_columns == 1 else 1.7), PANEL_INCHES * num_rows + 0.5 + alone


def draw_panel(panel: Panel, axes: Axes) -> None:
    """Draw one panel and its legend."""
    handles: list[Line2D] = []
    to_height = _scale(panel.lines, axes)
    for place, (line, colour) in enumerate(zip(panel.lines, _colours(panel.lines), strict=True)):
        width = WIDTHS[0] if place < len(panel.lines) - 1 and line.num_shown <= SPARSE else WIDTHS[1]
        for strand in line.strands:
            look = {"color": colour, "linewidth": width, "zorder": 3}
            _draw_strand(strand, to_height(strand.y), axes, look=look, joined=panel.joined)
        handles += _draw_marks(line, axes, colour=colour, joined=panel.joined)
    for attempt, x in panel.resumes.items():
        axes.axvline(x, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        where = axes.get_xaxis_transform()
        axes.text(x, 1.0, f" attempt {attempt}", transform=where, fontsize=7, color=QUIET, va="bottom")
    axes.set_title(shown(panel.title, limit=70), pad=14 if panel.resumes else 6)
    axes.set_xlabel(axis_label(panel.axis))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=_is_whole(panel), min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    if any(strand.superseded for line in panel.lines for strand in line.strands):
        faint = Line2D([], [], color=QUIET, linewidth=0.9, alpha=0.45)
        faint.set_label("faint: recorded again\nby a later attempt")
        handles.append(faint)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), labelspacing=0.7)


def _is_whole(panel: Panel) -> bool:
    """Whether every x is a whole number, as steps and epochs are as a rule."""
    places = [x for line in panel.lines for x in (*(strand.x for strand in line.strands), *line.marks.values())]
    return panel.axis != "time" and all(bool(np.all(x % 1 == 0)) for x in places)


def _colours(lines: Sequence[Line]) -> list[str]:
    """Colours by split where the lines are one metric's splits, else one after another."""
    bases = [base_of(line.name, line.split) for line in lines]
    by_split = [SPLIT_COLOURS.get(split, "") for _, split in bases]
    is_one_metric = len({base for base, _ in bases}) == 1
    if is_one_metric and all(by_split) and len(set(by_split)) == len(lines):
        return by_split
    return [PALETTE[place % len(PALETTE)] for place in range(len(lines))]


def _draw_marks(line: Line, axes: Axes, *, colour: str, joined: bool) -> list[Line2D]:
    """Draw the marks of values that are not finite; returns what the legend shows of the whole line."""
    is_said = base_of(line.name, line.split)[0] != line.name
    label = shown(line.name, limit=28) + ("" if is_said else f" ({shown(line.split, limit=12)})")
    points = line.words or (f"{line.num_points:,} points" if line.num_points > 1 else "1 point")
    told = f"{label}\n{points}"
    handles = [Line2D([], [], color=colour, linestyle="-" if joined else "", marker="" if joined else ".", label=told)]
    for kind, places in line.marks.items():
        marker, height, word = MARKERS[kind]
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "",
            "markersize": 6,
            "markeredgewidth": 1.3,
        }
        at = _apart(places)
        axes.plot(at, [height] * len(at), transform=axes.get_xaxis_transform(), clip_on=False, zorder=4, **look)
        handles.append(Line2D([], [], label=f"{word}: {len(places):,}", **look))
    return handles


def _draw_strand(strand: Strand, heights: Floats, axes: Axes, *, look: dict[str, Any], joined: bool) -> None:
    if strand.superseded:
        look = look | {"alpha": 0.45, "linewidth": 0.9, "zorder": 2}
    if joined:
        pens_up = np.flatnonzero(strand.starts)[1:]  # where matplotlib meets NaN, it lifts the pen
        axes.plot(np.insert(strand.x, pens_up, np.nan), np.insert(heights, pens_up, np.nan), **look)
    is_alone = strand.starts & np.r_[strand.starts[1:], True]
    dots = np.ones(len(strand.x), dtype=bool) if len(strand.x) <= FEW or not joined else is_alone
    axes.plot(strand.x[dots], heights[dots], linestyle="", marker=".", markersize=4.5, **look)


def _apart(places: Floats) -> Floats:
    """One x for marks that would lie on top of each other; the legend counts them all."""
    if len(places) <= NUM_BUCKETS:
        return places
    width = (places[-1] - places[0]) / NUM_BUCKETS or 1.0
    _, first = np.unique((places - places[0]) // width, return_index=True)
    apart: Floats = places[first]
    return apart


def _scale(lines: Sequence[Line], axes: Axes) -> Callable[[Floats], Floats]:
    """Logarithmic where positive values span more than three decades; returns what makes heights of values."""
    ends = [limits for line in lines if (limits := line.limits()) is not None]
    if not ends:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", va="center", color=QUIET)
        return _as_they_are
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if max(abs(low), abs(high)) > LARGEST:
        axes.yaxis.set_major_formatter(FuncFormatter(_power))
        return _signed_log
    if low > 1 / LARGEST and math.log10(high) - math.log10(low) > LOG_DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        axes.yaxis.set_minor_formatter(NullFormatter())
    return _as_they_are


def _as_they_are(values: Floats) -> Floats:
    return values


def _signed_log(values: Floats) -> Floats:
    """Powers of ten with the value's sign; between -1 and 1, where there is no such power, 0."""
    powers: Floats = np.sign(values) * np.log10(np.maximum(np.abs(values), 1.0))
    return powers


def _power(height: float, _: int | None = None) -> str:
    return f"{'-' if height < 0 else ''}1e{abs(height):g}" if height else "0"


def _tick(value: float, _: int | None = None) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:g}"  # noqa: PLR2004 - as it reads
