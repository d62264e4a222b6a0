"""How figures look: colours that colour-blind people tell apart, sizes, and text that is shown as it is.

Nothing of a person's own matplotlib settings comes in, so that the same facts make the same bytes anywhere.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#7a5195")
"""Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, without the yellow that white paper swallows."""
SPLIT_COLOURS: Final = {"train": PALETTE[0], "val": PALETTE[1], "eval": PALETTE[1], "test": PALETTE[2]}
INK: Final = "#222222"
QUIET: Final = "#666666"
RULE: Final = "#dddddd"
DPI: Final = 110
_STYLE: Final[Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.borderaxespad": 0.0,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "path.simplify": False,  # what is drawn was reduced with care already
    "savefig.dpi": DPI,
    "svg.fonttype": "path",
    "svg.hashsalt": "barograph",
    "text.color": INK,
    "text.parse_math": False,  # a name with dollars is a name
    "text.usetex": False,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
_turn = threading.RLock()


@contextmanager
def own_style() -> Iterator[None]:
    """Draw and save in here: matplotlib's settings are global, so one thread does at a time, and they are put back."""
    with _turn, mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # shown as a box; the name is in the data
        yield


def new_figure() -> Figure:
    """An empty figure that lays itself out; it belongs to no window and no global state."""
    return Figure(layout="constrained", dpi=DPI)


def shown(text: object, *, limit: int = 60) -> str:
    """A name as text of a figure: on one line, no longer than it may be, without what no font has.

    >>> shown("_a" + chr(10) + "b")
    ' _a b'
    """
    line = " ".join(str(text).encode("utf-8", "backslashreplace").decode("utf-8").split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    line = line if len(line) <= limit else f"{line[: limit - 3]}..."
    return f" {line}" if line.startswith("_") else line  # matplotlib leaves names like that out of legends
