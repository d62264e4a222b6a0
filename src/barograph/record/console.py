"""Copies what a program prints into the run's ``console.log``, at the level of ``sys.stdout`` and ``sys.stderr``.

Printing stays what it was: the text goes to the original stream first, and nothing that fails here reaches the
program that prints. Output that bypasses Python's streams (C libraries, child processes) is not seen.
"""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, cast

from barograph.errors import FormatError
from barograph.facts.descriptor import AppendFile

MAX_LINE_CHARACTERS: Final = 64 * 1024
MAX_PART_CHARACTERS: Final = 4096
MAX_PARTS: Final = 64
CONTINUES: Final = " [continues]"
CONTINUED: Final = "[continued] "
_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links
    r"|[ -/]+[0-~]|[0-~])"  # character sets and the rest
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

ErrorCallback = Callable[[Exception], None]


class ConsoleCapture:
    r"""Puts a ``Tee`` in place of ``sys.stdout`` and ``sys.stderr`` and appends whole lines to a file.

    A line reads ``YYYY-MM-DD HH:MM:SS | stdout | text``, in local time as in ``train.log``, stamped when it is
    complete. The whole lines of one ``write`` go out in one ``O_APPEND`` write. Of what ``\r`` overwrites only the
    last state is kept, so that a progress bar is one line; colours and other escape codes are taken out, other
    control characters are shown as ``\xNN``. A line longer than ``MAX_LINE_CHARACTERS`` comes in pieces that
    end with ``CONTINUES`` and begin with ``CONTINUED``. Threads do not cut each other's lines.

    In a forked child, printing goes on and the file stays the parent's. When the file cannot be written, the
    capture ends and printing goes on.

    Args:
        path: file to append to; its directory exists.
        clock: unix seconds.
        on_error: told once when the file fails and once per route that fails. What it raises is kept in
            ``failures``, never passed on to the program that prints.

    Attributes:
        failures: what went wrong, oldest first.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_error: ErrorCallback | None = None,
    ) -> None:
        self.path = path
        self.failures: list[str] = []
        self._clock = clock
        self._on_error = on_error
        self._lock = threading.RLock()
        self._parts: dict[tuple[str, int], list[str]] = {}
        self._waiting: deque[tuple[str, int]] = deque()
        self._broken: deque[Exception] = deque()
        self._draining = self._ending = False
        self._lines: dict[tuple[str, int], _Line] = {}
        self._file: AppendFile | None = None
        self._tees: dict[str, Tee] = {}
        self._pid = os.getpid()

    @property
    def tees(self) -> tuple[Tee, ...]:
        """The streams in place, stdout's first; none before ``start`` and after ``stop``."""
        return tuple(self._tees.values())

    def start(self) -> None:
        """Begin to capture; once begun it changes nothing. A file that cannot be opened goes to ``on_error``."""
        if self._tees:
            return
        self._pid = os.getpid()
        self._parts, self._lines = {}, {}
        self._waiting.clear()
        try:
            self._file = AppendFile(self.path)
            if _ends_in_a_torn_line(self.path):
                self._file.write(b"\n")
        except OSError as error:
            self._close_file()
            self.report(error)
        for name in ("stdout", "stderr"):
            tee = Tee(getattr(sys, name), name=name, capture=self)
            self._tees[name] = tee
            setattr(sys, name, cast("TextIO", tee))

    def stop(self) -> None:
        """Write unfinished lines and put the original streams back, where nobody has put others since."""
        for name, tee in self._tees.items():
            tee.route = None
            tee.capture = None
            if getattr(sys, name) is tee:
                setattr(sys, name, _without_dead_tees(tee.original))
            else:
                _unlink(tee, getattr(sys, name))
        self._tees = {}
        if os.getpid() != self._pid:
            return  # the parent's descriptor and the parent's lines
        with self._lock:
            self._ending = True
            self._drain()
        self._report_broken()

    def collect(self, name: str, text: str) -> None:
        """Take a piece of output; whole lines are in the file when it returns. It never raises."""
        if self._file is None or os.getpid() != self._pid:
            return
        key = name, threading.get_ident()
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts.setdefault(key, [])
        parts.append(text)
        if not ("\n" in text or "\r" in text or len(text) > MAX_PART_CHARACTERS or len(parts) > MAX_PARTS):
            return  # `print` writes a line in many parts, and only the last one is worth a lock
        self._waiting.append(key)
        with self._lock:
            self._drain()
        if self._broken:
            self._report_broken()

    def report(self, error: Exception) -> None:
        """Keep a failure and tell ``on_error``."""
        self.failures.append(f"{type(error).__name__}: {error}")
        if self._on_error is None:
            return
        try:
            self._on_error(error)
        except Exception as second:  # noqa: BLE001 - whoever prints must not be hit by what the callback raises
            self.failures.append(f"the error callback raised {type(second).__name__}: {second}")

    def _report_broken(self) -> None:
        """Tell of a file that failed, without the lock: the callback may wait for a thread that prints."""
        while not self._draining:  # whoever drains reports afterwards
            try:
                error = self._broken.popleft()
            except IndexError:
                return
            self.report(error)

    def _drain(self) -> None:
        """Take what waits, unless this very thread is at it already: a signal handler that prints waits its turn."""
        if self._draining:
            return
        self._draining = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
            if self._ending:
                self._end()
        finally:
            self._draining = False

    def _end(self) -> None:
        """Write what is unfinished and close the file."""
        for key in list(self._parts):
            self._take(key)
        unfinished, self._lines = self._lines, {}
        for (name, _thread), line in unfinished.items():
            self._write(name, line.flush())
        self._close_file()
        self._ending = False

    def _take(self, key: tuple[str, int]) -> None:
        parts = self._parts.get(key, [])
        taken = parts[:]
        del parts[: len(taken)]  # an interruption may have added more meanwhile
        line = self._lines.setdefault(key, _Line())
        whole = line.feed("".join(taken))
        if line.is_empty:
            del self._lines[key]
        self._write(key[0], whole)

    def _write(self, name: str, lines: list[str]) -> None:
        file = self._file
        if file is None or not lines:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._clock()))
        data = "".join(f"{stamp} | {name} | {_plain(line)}\n" for line in lines)
        try:
            file.write(data.encode("utf-8", "backslashreplace"))
        except (OSError, FormatError) as error:
            self._close_file()
            self._broken.append(error)

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Tee:
    """A text stream that passes everything on to another one and shows a capture what is written.

    Whatever is not defined here is the original's: ``isatty``, ``fileno``, ``encoding``, ``errors``, ``buffer``, ...

    Args:
        original: the stream to pass on to; None when the process has none, and then text only goes to the capture.
        name: ``stdout`` or ``stderr``.
        capture: who collects the lines.

    Attributes:
        route: when set, text goes there instead of to the original, e.g. above a live progress bar. A route
            that raises is dropped, and the text goes to the original.
    """

    def __init__(self, original: TextIO | None, *, name: str, capture: ConsoleCapture | None) -> None:
        self.original: TextIO = original if original is not None else cast("TextIO", _Nowhere())
        self.capture = capture
        self.route: TextIO | None = None
        self._name = name
        self._pid = os.getpid()
        self._in_route = threading.local()

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "original":  # not set yet: a copy or an unpickled stream asks before __init__
            raise AttributeError(attribute)
        return getattr(self.original, attribute)

    def __enter__(self) -> Self:
        self.original.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.original.__exit__(kind, error, traceback)

    def write(self, text: Any) -> int:
        """Write as the original does, and raise what it raises; what is collected is whole either way."""
        is_ours = isinstance(text, str) and (self.route is None or not getattr(self._in_route, "active", False))
        if not is_ours:
            return self.original.write(text)  # it refuses other types; what a route prints was collected before
        try:
            return self.original.write(text) if self.route is None else self._write_routed(text)
        finally:
            capture = self.capture
            if capture is not None:
                capture.collect(self._name, text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the route and the original."""
        route = self._open_route()
        if route is not None:
            self._guard(route.flush, route)
        self.original.flush()

    def _open_route(self) -> TextIO | None:
        """The route, except in a forked child, where a lock of it may be held for ever."""
        return self.route if self._pid == os.getpid() else None

    def _write_routed(self, text: str) -> int:
        route = self._open_route()
        if route is not None and self._guard(lambda: route.write(text), route):
            return len(text)
        return self.original.write(text)

    def _guard(self, call: Callable[[], object], route: TextIO) -> bool:
        """Call something of the route; when it raises, drop the route, report it and return False."""
        self._in_route.active = True
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a view may raise anything; printing must go on
            failure = error
        else:
            return True
        finally:
            self._in_route.active = False
        if self.route is route:
            self.route = None
        if self.capture is not None:
            self.capture.report(failure)
        return False


class _Nowhere(io.TextIOBase):
    """Stands for a stream that the process does not have."""

    def write(self, text: str, /) -> int:
        return len(text)


class _Line:
    r"""One line in the making: what is on it now, and the last state that a ``\r`` was about to overwrite."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._overwritten = ""
        self._continued = ""

    @property
    def is_empty(self) -> bool:
        return not (self._length or self._overwritten or self._continued)

    def feed(self, text: str) -> list[str]:
        """Take text and return the lines, or pieces of a long one, that it completes."""
        *complete, rest = text.split("\n")
        found: list[str] = []
        for part in complete:
            self._add(part, found)
            found.append(self._finish())
        self._add(rest, found)
        return found

    def flush(self) -> list[str]:
        """What is there of an unfinished line."""
        return [] if self.is_empty else [self._finish()]

    def _add(self, part: str, found: list[str]) -> None:
        before, *states = part.split("\r")
        self._append(before, found)
        for state in states:
            overwritten = "".join(self._pieces)
            if overwritten.strip():  # blanks erase a bar, and say nothing
                self._overwritten = overwritten
            self._pieces, self._length = [], 0
            self._append(state, found)

    def _append(self, text: str, found: list[str]) -> None:
        if not text:
            return
        self._pieces.append(text)
        self._length += len(text)
        if self._length <= MAX_LINE_CHARACTERS:
            return
        long = "".join(self._pieces)
        last = (len(long) - 1) // MAX_LINE_CHARACTERS * MAX_LINE_CHARACTERS
        for start in range(0, last, MAX_LINE_CHARACTERS):
            found.append(f"{self._continued}{long[start : start + MAX_LINE_CHARACTERS]}{CONTINUES}")
            self._continued = CONTINUED
        self._pieces, self._length, self._overwritten = [long[last:]], len(long) - last, ""

    def _finish(self) -> str:
        line = self._continued + ("".join(self._pieces) or self._overwritten)
        self._pieces, self._length, self._overwritten, self._continued = [], 0, "", ""
        return line


def _plain(line: str) -> str:
    """A line as the file shows it: escape codes gone, other control characters visible."""
    if line.isprintable():
        return line
    return _CONTROLS.sub(lambda found: f"\\x{ord(found.group()):02x}", _ESCAPES.sub("", line))


def _ends_in_a_torn_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _unlink(tee: Tee, stream: Any) -> None:
    """Take a tee out from under the tees of captures that began later, so that ended ones do not add up."""
    while isinstance(stream, Tee):
        below: Any = stream.original
        if below is tee:
            stream.original = tee.original
            return
        stream = below


def _without_dead_tees(stream: TextIO) -> TextIO | None:
    """The stream below tees of captures that were stopped while another one's tee stood above them."""
    below: Any = stream
    while isinstance(below, Tee) and below.capture is None:
        below = below.original
    return None if isinstance(below, _Nowhere) else below
