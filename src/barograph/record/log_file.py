"""A text log's file: whole lines, begun anew and compressed at a size.

It stands in for loguru's own file sink, which prints a traceback for every line that a full disk refuses. It knows
bytes and names; what a line looks like is ``record.text_log``.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from barograph.errors import FormatError
from barograph.facts.descriptor import AppendFile
from barograph.facts.log import repair_text

OnError = Callable[[Exception], None]


class LogFile:
    """A sink for loguru: ``write(message)`` appends one line with one write, or tells ``on_error`` why not.

    Args:
        path: continued when it exists; a torn last line is cut and kept beside it.
        rotation_bytes: a line that would make the file larger begins it anew; the old one becomes
            ``NAME.TIME.SUFFIX.gz`` beside it.
        on_error: is told of what fails; the line is then not in the file, and the next one is tried again.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, rotation_bytes: int, on_error: OnError) -> None:
        repair_text(path)
        self._path = path
        self._rotation_bytes = rotation_bytes
        self._on_error = on_error
        self._file = AppendFile(path)

    def write(self, message: str) -> None:
        """Append a line that ends in its newline; characters that UTF-8 does not have are written as escapes."""
        data = message.encode("utf-8", "backslashreplace")
        file = self._file
        try:
            file.size_bytes = os.fstat(file.fd).st_size  # the child of a fork writes to the same file
            if file.size_bytes and file.size_bytes + len(data) > self._rotation_bytes:
                self._rotate()
        except OSError as error:
            self._on_error(error)
        try:
            self._file.write(data)
        except (OSError, FormatError) as error:
            self._on_error(error)

    def _rotate(self) -> None:
        now = dt.datetime.now().astimezone()
        full = self._path.with_name(f"{self._path.stem}.{now:%Y-%m-%d_%H-%M-%S_%f}{self._path.suffix}")
        self._path.rename(full)
        old, self._file = self._file, AppendFile(self._path)
        old.close()
        _compress(full)

    def stop(self) -> None:
        """Close the file; loguru calls it when the sink is removed."""
        self._file.close()


def _compress(path: Path) -> None:
    import gzip  # noqa: PLC0415 - needed once per rotation

    packed = path.with_name(f"{path.name}.gz")
    try:
        with path.open("rb") as reading, gzip.open(packed, "wb") as writing:
            shutil.copyfileobj(reading, writing)
    except OSError:
        packed.unlink(missing_ok=True)  # the file itself stays, uncompressed
        raise
    path.unlink()
