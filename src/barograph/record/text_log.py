"""``train.log`` and the console through loguru, in the documented formats. The only door to loguru.

    file     {time:YYYY-MM-DD HH:mm:ss} | {level} | {message}     rotated and gzip-compressed
    console  {time:HH:mm:ss} | {message}                          on stderr

loguru's default sink is removed while a run is open (its lines would appear twice) and put back afterwards; sinks
that the script added itself are left alone. What the script logs with loguru goes to the run's text log too.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from barograph.errors import MisuseError
from barograph.record.log_file import LogFile, OnError

if TYPE_CHECKING:
    from loguru import Logger, Record

FILE_FORMAT: Final = "{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}"
CONSOLE_FORMAT: Final = "{time:HH:mm:ss} | {message}"
ROTATION_BYTES: Final = 20_000_000
_RUN_KEY: Final = "barograph_run"
_QUIET_KEY: Final = "barograph_file_only"


def _raise(error: Exception) -> None:
    raise error


class TextLog:
    """The sinks of one run.

    Args:
        path: the log file, e.g. ``RUN/train.log``; continued when it exists.
        run_id: lines that name another run do not go into this file.
        console: also show lines on stderr.
        rotation_bytes: at this size the file is compressed to ``.gz`` beside it and begun anew.
        level: lines below this severity are left out.
        on_error: is told of lines that the file does not take, which are left out; raises, when not given.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        console: bool = True,
        rotation_bytes: int = ROTATION_BYTES,
        level: str = "INFO",
        on_error: OnError = _raise,
    ) -> None:
        from loguru import logger  # noqa: PLC0415 - loaded when a run has a text log

        self.path = path
        self._run_id = run_id
        self._logger: Logger = logger.bind(**{_RUN_KEY: run_id})
        self._sinks: list[int] = []
        try:
            logger.level(level)
        except ValueError:
            raise MisuseError(f"log level {level!r} is unknown to loguru; use DEBUG, INFO, WARNING or ERROR") from None
        common: dict[str, Any] = {"level": level, "colorize": False, "backtrace": False, "diagnose": False}
        self._sinks.append(
            logger.add(
                LogFile(path, rotation_bytes=rotation_bytes, on_error=on_error),
                format=FILE_FORMAT,
                filter=self._is_mine,
                catch=False,
                **common,
            )
        )
        _DEFAULT.take_out(logger)
        if console:
            self._sinks.append(logger.add(_to_stderr, format=CONSOLE_FORMAT, filter=self._is_shown, **common))
            _SHOWN.append(self)

    def _is_mine(self, record: Record) -> bool:
        return bool(record["extra"].get(_RUN_KEY, self._run_id) == self._run_id)

    def _is_shown(self, record: Record) -> bool:
        """Lines of this run; lines of the script itself are shown once, however many runs are open."""
        extra = record["extra"]
        if extra.get(_QUIET_KEY):
            return False
        return bool(extra[_RUN_KEY] == self._run_id) if _RUN_KEY in extra else _SHOWN[:1] == [self]

    def emit(self, message: str, t: float, *, shown: bool = True, level: str = "INFO") -> None:
        """Write a line with the time ``t`` (unix seconds), shown on the console or in the file alone."""
        when = dt.datetime.fromtimestamp(t, tz=dt.UTC).astimezone()

        def stamp(record: Record) -> None:
            record["time"] = record["time"].replace(
                year=when.year,
                month=when.month,
                day=when.day,
                hour=when.hour,
                minute=when.minute,
                second=when.second,
                microsecond=when.microsecond,
            )

        self._logger.bind(**{_QUIET_KEY: not shown}).patch(stamp).log(level, "{}", message)

    def close(self) -> None:
        """Remove the run's sinks and put loguru's default one back when it was removed."""
        from loguru import logger  # noqa: PLC0415 - loaded already

        if self._sinks:
            for sink in self._sinks:
                with contextlib.suppress(ValueError):  # the script called logger.remove() for all sinks
                    logger.remove(sink)
            self._sinks.clear()
            if self in _SHOWN:
                _SHOWN.remove(self)
            _DEFAULT.put_back(logger)


class _DefaultSink:
    """loguru's default sink: out while any run has a text log, back when the last one closes."""

    def __init__(self) -> None:
        self._sink: int | None = 0
        self._num_open = 0

    def take_out(self, logger: Logger) -> None:
        self._num_open += 1
        if self._sink is not None:
            # The script may have removed it, as the logging guide asks; then there is nothing to put back.
            with contextlib.suppress(ValueError):
                logger.remove(self._sink)
                self._removed = True
            self._sink = None

    def put_back(self, logger: Logger) -> None:
        self._num_open -= 1
        if self._num_open == 0 and self._removed and sys.stderr is not None:
            self._sink = logger.add(sys.stderr)
            self._removed = False

    _removed = False


_DEFAULT: Final = _DefaultSink()
_SHOWN: Final[list[TextLog]] = []
"""Open text logs that have a console, oldest first."""


def _to_stderr(message: str) -> None:
    """Write to what ``sys.stderr`` is now: the console capture may stand in for it."""
    if sys.stderr is not None:
        sys.stderr.write(message)
