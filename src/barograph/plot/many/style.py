"""What figures of many runs have in common: colours that colour-blind people can tell apart, and quiet axes."""

from __future__ import annotations

from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""Okabe and Ito's colours, the yellow (too light on white) replaced; after the last one they begin again."""
INK: Final = "#24292f"
QUIET: Final = "#8b949e"
MARKS: Final = {"nan": "x", "inf": "^", "-inf": "v"}
DPI: Final = 200
LOG_DECADES: Final = 3.0


def new_figure(width_in: float = 5.6, height_in: float = 3.4) -> Figure:
    """An empty figure, drawn without a display and without any state outside itself.

    Args:
        width_in: inches.
        height_in: inches.
    """
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def quiet_axes(axes: Any) -> None:
    """Leave of the frame what is needed to read it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(visible=True, color="#d0d7de", linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)


def spans_decades(low: float, high: float) -> bool:
    """Whether positive values are so far apart that only a logarithmic axis shows them."""
    return low > 0 and high / low > 10**LOG_DECADES


def short(text: str, limit: int = 40) -> str:
    r"""A label that fits, and that matplotlib does not read as a formula.

    >>> short("a$b", 10), short("abcdefghij", 5)
    ('a\\$b', 'ab...')
    """
    text = " ".join(text.split())
    cut = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return cut.replace("$", r"\$")


def plain_log_ticks(axes: Any) -> None:
    """Numbers as people write them on a logarithmic x axis: no markup, which names with dollars rule out."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
