"""The view of a stream that is not a terminal: whole lines, no control codes, a progress line now and then.

Made for pipes, files and batch systems; every line stands for itself and can be searched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TextIO

from barograph.view.terminal.standing import progress_line
from barograph.view.terminal.state import RunState
from barograph.view.terminal.wording import to_ascii

INTERVAL_S: Final = 10.0


class LineStart:
    """Passes text on to a stream and remembers whether the next character begins a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.at_start = True

    def write(self, text: str) -> int:
        """Write text of others."""
        if text:
            self.at_start = text.endswith("\n")
        return self._stream.write(text)

    def write_lines(self, lines: str) -> None:
        """Write whole lines, on lines of their own."""
        self.write(lines if self.at_start else "\n" + lines)
        self._stream.flush()

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


class PlainScreen:
    """Writes lines to a stream.

    Args:
        stream: where to.
        ascii_only: escape everything that is not ASCII.
        clock: seconds that never go back; paces the progress line.
        now: unix seconds, to count the time left from.
        interval_s: at most one progress line in so many seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        ascii_only: bool,
        clock: Callable[[], float],
        now: Callable[[], float],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.above = LineStart(stream)
        self._ascii_only = ascii_only
        self._clock = clock
        self._now = now
        self._interval_s = interval_s
        self._next_s = clock() + interval_s
        self._shown: tuple[float | None, int] = (None, 0)

    def show(self, text: str) -> None:
        """Write whole lines."""
        self.above.write_lines(text)

    def tick(self, state: RunState) -> None:
        """Write a progress line when it is time for one and the run advanced."""
        shown = (state.step, state.num_epochs)
        if state.ended or self._clock() < self._next_s or shown == self._shown:
            return
        self._shown = shown
        self._next_s = self._clock() + self._interval_s
        line = progress_line(state, now=self._now())
        self.show((to_ascii(line) if self._ascii_only else line) + "\n")

    def close(self) -> None:
        """Flush the stream, which stays open: it belongs to the caller."""
        self.above.flush()
