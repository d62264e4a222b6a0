"""Figures during training: moments are handed to one process of their own, which reads the run's files and draws.

Neither the training thread nor its interpreter lock is touched: here a line is written into a pipe, without waiting.
This module and ``plot.settings`` are all that the training process imports; numpy and matplotlib are not among it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from barograph.errors import BarographError
from barograph.facts.kinds import Event
from barograph.plot.notice import warn
from barograph.plot.settings import Settings, read_settings
from barograph.read.follow import Fact

CLOSE_S: Final = 5.0
LOOK_S: Final = 0.02
MAX_WORDS: Final = 2000
_KEPT: Final = ("epoch", "step")


def live_figures(run_dir: str | os.PathLike[str], figures: bool | Mapping[str, Any]) -> LiveFigures | None:
    """What draws during training, as a run asks for it.

    Args:
        run_dir: the run.
        figures: False for none, True for every family at its own moments, or S3's ``logging`` group; see
            ``plot.settings.read_settings``.

    Returns:
        A consumer of facts; None when nothing is to be drawn.

    Raises:
        MisuseError: the group holds something that cannot be read.
    """
    if figures is False or figures is None:
        return None
    settings = Settings() if figures is True else read_settings(figures)
    return LiveFigures(run_dir, settings) if settings.is_enabled else None


class LiveFigures:
    """A consumer of facts that hands moments to the process that draws.

    The process starts with the first moment that wants figures, at a low priority and in a session of its own, so
    that ^C does not reach it. When moments come faster than it draws, the newest of each family wins. It may outlive
    the run by as long as its last figures take.

    Args:
        run_dir: the run.
        settings: what to draw, and when.
        close_s: how long ``close`` waits for the last figures; they are finished later if it takes longer.
        command: what to start, for tests.

    Attributes:
        paths: the figures that were written, as far as is known here.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        settings: Settings,
        *,
        close_s: float = CLOSE_S,
        command: Sequence[str] = (sys.executable or "python", "-P", "-m", "barograph.plot.worker"),
    ) -> None:
        self.paths: list[Path] = []
        self._run_dir = Path(run_dir).absolute()
        self._settings = settings
        self._close_s = close_s
        self._command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: dict[str, bytes] = {}
        self._heard = b""
        self._words: list[str] = []
        self._told: set[str] = set()

    def feed(self, facts: Sequence[Fact]) -> None:
        """Hand on the moments among the facts that want figures.

        Raises:
            BarographError: the process that draws could not start, or ended by itself; with its last words.
        """
        for fact in facts:
            if isinstance(fact, Event) and self._settings.may_draw_at(fact.moment) and not fact.payload.get("rank"):
                about: dict[str, Any] = {key: fact.payload[key] for key in _KEPT if key in fact.payload}
                payload = {"run_dir": str(self._run_dir), "t": fact.t, **about}
                self._waiting[fact.moment] = _line({"moment": fact.moment, "payload": payload})
        if self._waiting and self._child is None:
            self._start()
        if self._child is not None:
            self._send()
            self._listen()
            if self._child.poll() is not None:
                self._listen()
                raise BarographError(
                    f"the process that draws figures ended with code {self._child.returncode}: "
                    f"{' '.join(self._words)[-MAX_WORDS:] or 'it said nothing'}; "
                    f"after that is mended, `barograph plot {self._run_dir} --all` draws what is missing"
                )

    def close(self) -> None:
        """Let the process draw what it was handed; after ``close_s`` it goes on by itself."""
        child = self._child
        if child is None or child.stdin is None:
            return
        self._waiting["end"] = _line({"end": True})
        deadline_s = time.monotonic() + self._close_s
        while child.poll() is None and time.monotonic() < deadline_s:
            self._send()
            self._listen()
            time.sleep(LOOK_S)
        self._listen()
        child.stdin.close()
        if child.stdout is not None:
            child.stdout.close()
        if child.returncode is None:
            threading.Thread(target=child.wait, name="barograph-figures", daemon=True).start()  # leaves no zombie

    def _start(self) -> None:
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
            [*self._command, str(self._run_dir), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._waiting = {"": _line({"logging": self._settings.as_group()}), **self._waiting}

    def _send(self) -> None:
        """Write what waits, as far as the pipe takes it: a line is so short that it is taken whole or not at all."""
        pipe = self._child.stdin if self._child is not None else None
        while self._waiting and pipe is not None:
            moment = next(iter(self._waiting))
            try:
                if os.write(pipe.fileno(), self._waiting[moment]):
                    del self._waiting[moment]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._waiting.clear()  # it has ended; feed tells why

    def _listen(self) -> None:
        """Take in what the process says."""
        pipe = self._child.stdout if self._child is not None else None
        while pipe is not None:
            try:
                said = os.read(pipe.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not said:
                return
            *lines, self._heard = (self._heard + said).split(b"\n")
            for line in lines:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            report = json.loads(line)
            self.paths += map(Path, report["paths"])
            failure, family = report["failure"], report["family"]
        except (ValueError, KeyError, TypeError):  # what Python or a library printed: the last words of one that dies
            self._words = [*self._words, line.decode("utf-8", "replace")][-20:]
            return
        if failure is not None and family not in self._told:
            self._told.add(family)
            warn(failure)


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
