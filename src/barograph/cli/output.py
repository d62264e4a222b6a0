"""How verbs print: tables, sections, strict JSON. Colour only on a terminal that wants it."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from barograph.facts.codec import encode
from barograph.read.status import Status
from barograph.view.terminal.blocks import ASCII, UNICODE, Symbols, can_show_symbols
from barograph.view.terminal.wording import number, one_line

GAP: Final = "  "
NAME_CHARS: Final = 32
_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_COLOURS: Final = {
    "running": "\x1b[36m",
    "finished": "\x1b[32m",
    "stalled": "\x1b[33m",
    "lost": "\x1b[33m",
    "failed": "\x1b[31m",
    "killed": "\x1b[31m",
    "ok": "\x1b[32m",
    "error": "\x1b[31m",
    "unmet": "\x1b[31m",
    "warning": "\x1b[33m",
    "critical": "\x1b[31m",
    "fatal": "\x1b[31m",
    "info": "\x1b[36m",
}


class Style:
    """What a stream can show.

    Args:
        stream: where to print.
        environ: ``NO_COLOR`` and ``TERM`` are looked at.
    """

    def __init__(self, stream: TextIO, *, environ: Mapping[str, str] = os.environ) -> None:
        self.is_terminal = stream.isatty()
        self.has_colour = self.is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
        self.symbols: Symbols = UNICODE if can_show_symbols(stream, environ=environ) else ASCII

    def word(self, word: str) -> str:
        """A word that has a colour of its own, such as a status."""
        return self._painted(word, _COLOURS.get(word.lower(), ""))

    def heading(self, text: str) -> str:
        """A heading."""
        return self._painted(text, _BOLD)

    def quiet(self, text: str) -> str:
        """Something of less weight."""
        return self._painted(text, _DIM)

    def _painted(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self.has_colour and code else text


def print_json(document: Mapping[str, Any]) -> None:
    """Print one line of strict JSON; non-finite numbers are ``null``, named in the ``nonfinite`` map."""
    write_utf8(encode(document) + b"\n")


def write_utf8(data: bytes) -> None:
    """Print text for programs: UTF-8, whatever a person's terminal understands."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # somebody put a stream of text in place of the standard output
        sys.stdout.write(data.decode("utf-8"))
    else:
        buffer.write(data)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], style: Style, *, right: Iterable[str] = (), indent: str = ""
) -> list[str]:
    """Lines of an aligned table.

    Args:
        head: names of the columns.
        rows: cells; those of a column called ``status`` or ``severity`` are coloured.
        style: of the stream.
        right: columns that are aligned to the right.
        indent: before each line.
    """
    cells = [list(row) for row in rows]
    widths = [max(len(row[place]) for row in [head, *cells]) for place in range(len(head))]
    to_right = [name in set(right) for name in head]

    def line(row: Sequence[str], *, is_head: bool = False) -> str:
        parts = [
            _padded(cell, width, to_right=aligned, shown=style.word(cell) if name == "status" and not is_head else cell)
            for cell, width, aligned, name in zip(row, widths, to_right, head, strict=True)
        ]
        return (indent + GAP.join(parts)).rstrip()

    return [style.quiet(line(head, is_head=True)), *(line(row) for row in cells)]


def _padded(cell: str, width: int, *, to_right: bool, shown: str) -> str:
    blank = " " * (width - len(cell))
    return blank + shown if to_right else shown + blank


def pairs(items: Mapping[str, str], *, indent: str = GAP) -> list[str]:
    """Lines of names and values, the values below each other; empty values are left out."""
    shown = {name: value for name, value in items.items() if value}
    width = max(map(len, shown), default=0)
    return [f"{indent}{name:<{width}}{GAP}{value}" for name, value in shown.items()]


def when(t: float | None) -> str:
    """A time on this machine's clock; ``-`` when it is not known."""
    if t is None:
        return "-"
    try:
        return f"{dt.datetime.fromtimestamp(t, tz=dt.UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return number(t)


def maybe(value: float | None) -> str:
    """A number for a person; ``-`` when there is none."""
    return "-" if value is None else number(value)


def nonfinite_words(counts: Mapping[str, int]) -> str:
    """How many numbers are not finite, e.g. ``3 nan, 1 -inf``."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def status_words(status: Status) -> str:
    """Why a status is what it is, on one line; nothing for a run that just goes on or came to its end."""
    return "" if status.state in ("running", "finished") else one_line(status.reason)


def plural(count: int, word: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
