"""One number of each run over another: what a hyperparameter did, or how two results go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure

from barograph.plot.many.style import INK, PALETTE, new_figure, plain_log_ticks, quiet_axes, short, spans_decades

WIDE: Final = 30.0
"""Hyperparameters that are so many times as large as each other are tried on a logarithmic scale."""


class Dot(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        run: what it is called.
        x: a number, or the name of a category.
        y: a number; one that is not finite is a mark on the upper edge.
    """

    run: str
    x: float | str
    y: float


def as_columns(dots: Sequence[Dot], *, x_name: str, y_name: str) -> dict[str, Sequence[Any]]:
    """The dots as a table of columns: the data of the figure."""
    return {"run": [dot.run for dot in dots], x_name: [dot.x for dot in dots], y_name: [dot.y for dot in dots]}


def draw_scatter(dots: Sequence[Dot], *, x_label: str, y_label: str) -> Figure:
    """Draw one dot per run; values that are no numbers become categories, in the order of their names.

    Args:
        dots: at least one.
        x_label: what stands below.
        y_label: what stands beside.
    """
    figure = new_figure(5.2, 3.8)
    axes = figure.add_subplot()
    quiet_axes(axes)
    x = _places(axes, [dot.x for dot in dots])
    y = np.array([dot.y for dot in dots], dtype=np.float64)
    finite = np.isfinite(y)
    axes.scatter(x[finite], y[finite], s=26, color=PALETTE[0], alpha=0.75, linewidths=0)
    if finite.any() and spans_decades(float(y[finite].min()), float(y[finite].max())):
        axes.set_yscale("log")
    if not finite.all():
        at_edge = np.ones(int((~finite).sum()))
        axes.scatter(
            x[~finite],
            at_edge,
            transform=axes.get_xaxis_transform(),
            marker="x",
            color=PALETTE[1],
            clip_on=False,
            label=f"not finite ({len(at_edge)})",
        )
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel(short(x_label), color=INK)
    axes.set_ylabel(short(y_label), color=INK)
    return figure


def _places(axes: Any, values: Sequence[float | str]) -> Any:
    """Where the dots stand from left to right; the axis is made to fit."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, dtype=np.float64)
        finite = numbers[np.isfinite(numbers)]
        if len(finite) and finite.min() > 0 and finite.max() / finite.min() >= WIDE:
            axes.set_xscale("log")
            plain_log_ticks(axes)
        return numbers
    names = sorted({str(value) for value in values})
    axes.set_xticks(range(len(names)), [short(name, 18) for name in names])
    axes.set_xlim(-0.5, len(names) - 0.5)
    return np.array([names.index(str(value)) for value in values], dtype=np.float64)
