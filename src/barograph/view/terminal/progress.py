"""The progress bar of a terminal. The one module that imports rich, loaded when a bar is drawn.

rich renders; ``LiveRegion`` writes. rich therefore never owns ``sys.stdout``, hides no cursor and starts no thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from barograph.view.terminal.standing import position, tiers
from barograph.view.terminal.state import RunState
from barograph.view.terminal.wording import fields, one_line, time_left, to_ascii

NAME_CHARS: Final = 24
MIN_BAR_COLUMNS: Final = 4
MAX_BAR_COLUMNS: Final = 40
FALLBACK_COLUMNS: Final = 80


class Bar:
    """Renders where a run stands as one or two lines.

    First line: name, bar, share done, steps or epochs, time left. Second line: the last metrics, the last tier
    shown and the next full evaluation.

    Args:
        stream: the terminal; its width is asked anew for each rendering.
        ascii_only: escape everything that is not ASCII.
        now: unix seconds.
    """

    def __init__(self, stream: TextIO, *, ascii_only: bool, now: Callable[[], float]) -> None:
        self._stream = stream
        self._ascii_only = ascii_only
        self._now = now
        self._console = Console(file=stream, force_terminal=True, highlight=False, emoji=False, markup=False)

    def render(self, state: RunState) -> tuple[list[str], int]:
        """The lines to draw, and the number of columns that they fit into."""
        width = _columns(self._stream) - 1  # a full last column would wrap
        lines = [self._first_line(state, width)]
        second = self._text("  |  ".join(filter(None, (fields(state.shown_metrics()), tiers(state)))), style="dim")
        if second:
            second.truncate(width, overflow="crop" if self._ascii_only else "ellipsis")
            lines.append(self._draw(second, width))
        return lines, width

    def _first_line(self, state: RunState, width: int) -> str:
        fraction = state.fraction
        cells: list[RenderableType] = [self._text(one_line(state.name, limit=NAME_CHARS), style="bold")]
        grid = Table.grid(padding=(0, 2, 0, 0))
        if fraction is not None:
            bar_columns = max(MIN_BAR_COLUMNS, min(MAX_BAR_COLUMNS, width // 3))
            cells += [
                ProgressBar(total=1.0, completed=fraction, width=bar_columns),
                Text(f"{int(100 * fraction)}%"),
            ]
        cells.append(self._text(position(state)))
        left = state.remaining(self._now())
        if left is not None:
            cells.append(Text(f"eta {time_left(left)}", style="cyan"))
        for _ in cells:
            grid.add_column(no_wrap=True, overflow="crop")
        grid.add_row(*cells)
        return self._draw(grid, width)

    def _text(self, text: str, *, style: str = "") -> Text:
        return Text(to_ascii(text) if self._ascii_only else text, style=style)

    def _draw(self, renderable: Table | Text, width: int) -> str:
        with self._console.capture() as capture:
            self._console.print(renderable, width=width, end="")
        return capture.get().rstrip("\n")


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_COLUMNS
    except OSError:  # not a terminal after all: a bar was asked for by name
        return FALLBACK_COLUMNS
