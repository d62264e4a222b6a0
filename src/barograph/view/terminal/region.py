"""The last lines of a terminal, redrawn in place while everything else is printed above them.

It owns cursor movement and nothing else. Printing above costs a few string operations and one write, because the
training thread does it: what is drawn was rendered before, by another thread.
"""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from typing import Final, TextIO

from barograph.view.terminal.wording import visible

CLEAR_LINE: Final = "\r\x1b[2K"
CLEAR_LINE_ABOVE: Final = "\x1b[1A\x1b[2K"
MAX_PENDING_CHARS: Final = 1 << 16
DEFAULT_WIDTH: Final = 79
_STYLE: Final = re.compile(r"\x1b\[[0-9;:]*m")
# Sequences that move the cursor or clear; colours ("m") may pass.
_MOVES: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-ln-~]")


class LiveRegion:
    r"""Keeps some lines at the bottom of a terminal.

    Text that does not end in a newline yet (a prompt, a foreign progress bar that uses ``\r``) is shown as the
    first line of the region until it is complete. Cursor movements in foreign text are dropped, since they would
    aim at lines that are elsewhere by now.

    A forked child must not wait for a lock that its parent held: there, text goes straight to the stream.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._lines: list[str] = []
        self._pending = ""
        self._num_drawn = 0
        self._width = DEFAULT_WIDTH
        self._open = True

    def write(self, text: str) -> int:
        """Print text above the region.

        Raises:
            OSError: the terminal is gone.
            ValueError: the stream is closed.
        """
        if not self._open or os.getpid() != self._pid:
            return self._stream.write(text)
        with self._lock:
            done, newline, rest = (self._pending + text).rpartition("\n")
            if len(rest) > MAX_PENDING_CHARS:
                done, newline, rest = done + newline + rest, "\n", ""
            self._pending = _last_state(rest)
            self._redraw(_MOVES.sub("", done + newline))
        return len(text)

    def insert(self, lines: str) -> None:
        """Print whole lines above the region, and above what others have not completed yet."""
        if not self._open or os.getpid() != self._pid:
            self._stream.write(lines)
            self._stream.flush()
            return
        with self._lock:
            self._redraw(lines)

    def draw(self, lines: list[str], *, width: int = DEFAULT_WIDTH) -> None:
        """Replace the region's lines, each of which must fit into ``width`` columns."""
        if not self._open or os.getpid() != self._pid or (lines, width) == (self._lines, self._width):
            return
        with self._lock:
            self._lines, self._width = lines, width
            self._redraw("")

    def close(self) -> None:
        """Take the region away; what was pending stays, and text goes straight to the stream from now on."""
        if not self._open or os.getpid() != self._pid:
            return
        with self._lock:
            self._open = False
            pending, self._pending, self._lines = self._pending, "", []
            self._redraw(pending)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def _redraw(self, above: str) -> None:
        lines = self._lines
        if self._pending:
            text = visible(_STYLE.sub("", _MOVES.sub("", self._pending)).expandtabs())
            lines = [_crop(text, self._width), *lines]
        clear = CLEAR_LINE + CLEAR_LINE_ABOVE * (self._num_drawn - 1) if self._num_drawn else ""
        self._num_drawn = len(lines)
        self._stream.write(clear + above + "\n".join(lines))
        self._stream.flush()


def _crop(text: str, width: int) -> str:
    r"""The start of ``text`` that fits into ``width`` columns.

    >>> _crop("abc", 2), _crop("\u65e5\u672c", 3)
    ('ab', '\u65e5')
    """
    if text.isascii():
        return text[:width]
    columns = 0
    for index, character in enumerate(text):
        wide = unicodedata.east_asian_width(character) in "WF"
        columns += 0 if unicodedata.combining(character) else 1 + wide
        if columns > width:
            return text[:index]
    return text


def _last_state(text: str) -> str:
    r"""What a line shows after its carriage returns.

    >>> _last_state("10%\r20%"), _last_state("20%\r")
    ('20%', '20%')
    """
    return text.rstrip("\r").rpartition("\r")[2]
