"""The view of a terminal: everything is printed above a bar that is redrawn twice a second.

rich is loaded when the first bar is drawn, not before, so that starting a run stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from barograph.view.terminal.region import LiveRegion
from barograph.view.terminal.state import RunState

if TYPE_CHECKING:
    from barograph.view.terminal.progress import Bar

REDRAW_S: Final = 0.5


class LiveScreen:
    """Lines above, a bar below.

    Args:
        stream: the terminal.
        ascii_only: escape everything that is not ASCII.
        clock: seconds that never go back; paces the redrawing.
        now: unix seconds, to count the time left from.
    """

    def __init__(
        self, stream: TextIO, *, ascii_only: bool, clock: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self.above = LiveRegion(stream)
        self._stream = stream
        self._ascii_only = ascii_only
        self._clock = clock
        self._now = now
        self._next_s = clock()
        self._bar: Bar | None = None

    def show(self, text: str) -> None:
        """Print whole lines above the bar."""
        self.above.insert(text)

    def tick(self, state: RunState) -> None:
        """Redraw the bar when it is time to; take it away when the run is over."""
        if state.ended:
            self.above.draw([])
            return
        if self._clock() < self._next_s or (state.step is None and not state.name):
            return
        self._next_s = self._clock() + REDRAW_S
        if self._bar is None:
            from barograph.view.terminal.progress import Bar  # noqa: PLC0415 - rich is slow to load

            self._bar = Bar(self._stream, ascii_only=self._ascii_only, now=self._now)
        lines, width = self._bar.render(state)
        self.above.draw(lines, width=width)

    def close(self) -> None:
        """Take the bar away."""
        self.above.close()
