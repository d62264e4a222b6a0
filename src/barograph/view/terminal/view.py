"""The terminal as a consumer of facts: blocks, checks and alerts as they come, and where the run stands.

It reads facts and writes to one stream. What it cannot write it raises to whoever feeds it; it never touches the
run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TextIO, get_args

from barograph.errors import MisuseError
from barograph.facts.kinds import Event
from barograph.read.follow import Fact
from barograph.view.terminal.alerts import told_lines
from barograph.view.terminal.blocks import can_show_symbols
from barograph.view.terminal.lines import Narrator, read_payload
from barograph.view.terminal.live import LiveScreen
from barograph.view.terminal.plain import INTERVAL_S, PlainScreen
from barograph.view.terminal.standing import progress_line
from barograph.view.terminal.state import RunState
from barograph.watch.incident import Told

Mode = Literal["auto", "rich", "plain", "off"]
MODES: Final = get_args(Mode)


class Above(Protocol):
    """Where to print while a view is showing."""

    def write(self, text: str, /) -> int:
        """Print text."""

    def flush(self) -> None:
        """Send what is buffered."""


class TerminalView:
    """Shows a run on a stream.

    A broken pipe, a closed stream and a full disk raise from ``feed`` and ``close``; whoever feeds decides whether
    to go on without the view. Facts may be missing, unknown or not as expected: what is there is shown.

    Args:
        stream: where to, and never a replacement that captures what it is given: the original ``sys.stdout`` or
            ``sys.stderr``, a file, a ``StringIO``. None (a process without a console) turns the view off.
        mode: ``"rich"`` draws a progress bar, ``"plain"`` writes whole lines only, ``"off"`` shows nothing;
            ``"auto"`` is rich on a terminal that can move its cursor, else plain.
        clock: seconds that never go back; paces bar and progress lines.
        now: unix seconds, to count the time left from.
        environ: ``TERM`` tells what the terminal can do.
        interval_s: in plain mode, at most one progress line in so many seconds.

    Raises:
        MisuseError: ``mode`` is none of the four.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        mode: Mode = "auto",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
        interval_s: float = INTERVAL_S,
    ) -> None:
        if mode not in MODES:
            raise MisuseError(f"terminal mode {mode!r} is unknown; choose one of {', '.join(MODES)}")
        self._stream = stream
        self._now = now
        self._state = RunState()
        ascii_only = stream is None or not can_show_symbols(stream, environ=environ)
        self._narrator = Narrator(ascii_only=ascii_only)
        self._screen: LiveScreen | PlainScreen | None = None
        if stream is None or mode == "off":
            return
        if mode == "rich" or (mode == "auto" and _moves_cursor(stream, environ)):
            self._screen = LiveScreen(stream, ascii_only=ascii_only, clock=clock, now=now)
        else:
            self._screen = PlainScreen(stream, ascii_only=ascii_only, clock=clock, now=now, interval_s=interval_s)

    @property
    def mode(self) -> Literal["rich", "plain", "off"]:
        """What ``"auto"`` became."""
        match self._screen:
            case LiveScreen():
                return "rich"
            case PlainScreen():
                return "plain"
            case None:
                return "off"

    @property
    def above(self) -> Above | None:
        """A stream for what others print meanwhile: above the bar, and never into the middle of a line.

        It may be used from any thread, from a forked child, and after ``close``. With the view off it is the
        stream itself, None where there is none.
        """
        return self._stream if self._screen is None else self._screen.above

    def print_above(self, text: str) -> None:
        """Print ``text`` and a newline above the bar."""
        above = self.above
        if above is not None:
            above.write(text + "\n")
            above.flush()

    def feed(self, facts: Sequence[Fact]) -> None:
        """Show new facts. Call it with none from time to time, so that the bar's time left goes on.

        Raises:
            OSError: the stream takes nothing any more.
            ValueError: the stream is closed.
        """
        if self._screen is None:
            return
        self._state.feed(facts)
        lines: list[str] = []
        for fact in facts:
            if isinstance(fact, Event):
                lines += self._event(fact)
        if lines:
            self._screen.show("\n".join(lines) + "\n")
        self._screen.tick(self._state)

    def _event(self, event: Event) -> list[str]:
        payload = read_payload(event)
        was_over = self._state.ended
        self._state.take_event(event, payload)
        lines = self._narrator.lines(event, payload)
        if self._state.ended and not was_over:
            lines.insert(0, self._narrator.plain(progress_line(self._state, now=self._now())))
        return lines

    def tell(self, told: Sequence[Told]) -> None:
        """Show what a watcher found.

        Raises:
            OSError: the stream takes nothing any more.
            ValueError: the stream is closed.
        """
        if self._screen is not None and told:
            lines = [self._narrator.plain(line) for it in told for line in told_lines(it, self._narrator.symbols)]
            self._screen.show("\n".join(lines) + "\n")

    def close(self) -> None:
        """Take the bar away and flush; the stream stays open, since it belongs to the caller."""
        if self._screen is not None:
            self._screen.close()


def _moves_cursor(stream: Any, environ: Mapping[str, str]) -> bool:
    return bool(stream.isatty()) and environ.get("TERM", "dumb") not in {"dumb", "unknown"}
