"""Puts a detail record's files on disk: laid out for ``grep``, whole or not at all, never over another file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

LAYOUT_DEPTH: Final = 3


def lay_out(line: bytes, *, depth: int = LAYOUT_DEPTH) -> bytes:
    """Break one line of JSON into one line per key, and per item of a list of objects, ``depth`` levels down.

    So ``grep`` finds the line of one sequence, and a big tensor does not become a line per number. A text with a
    lone surrogate, which JSON parsers refuse, leaves its part on one line.

    >>> print(lay_out(b'{"core":{"loss":0.5},"ids":[1,2]}').decode())
    {
    "core": {
    "loss": 0.5
    },
    "ids": [1,2]
    }
    """
    try:
        if depth and line.startswith(b'{"'):
            fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            pairs = (msgspec.json.encode(k) + b": " + lay_out(bytes(v), depth=depth - 1) for k, v in fields.items())
            return b"{\n" + b",\n".join(pairs) + b"\n}"
        if depth and line.startswith((b"[{", b"[[")):
            return b"[\n" + b",\n".join(map(bytes, msgspec.json.decode(line, type=list[msgspec.Raw]))) + b"\n]"
    except msgspec.DecodeError:
        return line
    return line


def publish(
    folder: Path, stem: str, writers: Mapping[str, Callable[[Path], None]], *, taken_too: tuple[str, ...] = ()
) -> str:
    """Write several files ``STEM + suffix`` that belong together.

    Args:
        folder: an existing directory.
        stem: what their names share; ``-2``, ``-3``, ... is put after it when any of the names is taken.
        writers: a function for each suffix; it writes the path that it is given, atomically.
        taken_too: further suffixes that make a stem taken.

    Returns:
        The stem that was used.

    Raises:
        OSError: a file could not be written; none of them is there.
    """
    stem = _reserve(folder, stem, (*writers, *taken_too))
    paths = {suffix: folder / f"{stem}{suffix}" for suffix in writers}
    try:
        for suffix, write in writers.items():
            write(paths[suffix])
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    finally:
        _reservation(folder, stem).unlink(missing_ok=True)
    return stem


def _reserve(folder: Path, stem: str, suffixes: tuple[str, ...]) -> str:
    """Find a stem of which no name is taken, and keep other processes off it until the files stand."""
    candidate, number = stem, 1
    while True:
        try:
            _reservation(folder, candidate).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            if not any((folder / f"{candidate}{suffix}").exists() for suffix in suffixes):
                return candidate
            _reservation(folder, candidate).unlink()
        number += 1
        candidate = f"{stem}-{number}"


def _reservation(folder: Path, stem: str) -> Path:
    return folder / f".{stem}.reserved"
