"""New keys for old runs: each run that lacks a key is stamped with a default, told apart from what was recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from barograph.errors import MisuseError
from barograph.facts.codec import plain
from barograph.read.catalog import discover_runs
from barograph.read.edits import filled_in, refuse_unless_native, set_keys
from barograph.read.run import RunReader


class Stamping(msgspec.Struct, frozen=True, kw_only=True):
    """What one run would get.

    Attributes:
        run: its directory.
        name: what people call it.
        missing: keys that it lacks, with the default for each.
        present: keys that it has, recorded or stamped before; they stay as they are.
    """

    run: str
    name: str
    missing: dict[str, Any]
    present: list[str]


def plan_backfill(root: str | os.PathLike[str], defaults: Mapping[str, Any]) -> Iterator[Stamping]:
    """Which runs at or below a directory lack which keys, oldest first; nothing is changed.

    Args:
        root: the directory of runs.
        defaults: by dotted name of the key.

    Raises:
        MisuseError: a key is empty, there is none, or a default has no JSON form.
        RunNotFoundError: there is no such directory.
    """
    if not defaults or not all(part for key in defaults for part in key.split(".")):
        raise MisuseError(f"{list(defaults)} names no key, or an empty one; give e.g. optim.beta=0.9")
    try:
        values = plain(dict(defaults), "defaults")
    except TypeError as error:
        raise MisuseError(str(error)) from None
    for path in discover_runs(root):
        refuse_unless_native(path)
        reader = RunReader(path)
        _, missing = filled_in(reader.config, values)
        present = [key for key in values if key not in missing]
        yield Stamping(run=str(path), name=reader.identity.name, missing=missing, present=present)


def carry_out(stamping: Stamping) -> None:
    """Stamp a run with the keys that it lacks; one edit, which can be taken back.

    Raises:
        OSError: the run's directory cannot be written.
    """
    if stamping.missing:
        set_keys(Path(stamping.run), stamping.missing)
