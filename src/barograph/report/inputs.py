"""Which runs a report is about, and which it leaves out: each of these is named with its reason, never dropped."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from barograph.errors import ReportError, RunNotFoundError
from barograph.facts.log import Damage
from barograph.facts.rundir import default_root
from barograph.read.catalog import discover_runs, find_run
from barograph.read.foreign.adopt import native_root
from barograph.read.frames import Runs, Skipped
from barograph.read.run import RunReader
from barograph.read.status import LIVING
from barograph.report.config import Inputs

MAX_LISTED: Final = 5


def gather(inputs: Inputs, *, allow_unended: bool, root: str | os.PathLike[str] | None = None) -> Runs:
    """The runs that a report is about; those it leaves out are in ``skipped``.

    Left out are runs without a recorded end (``on_train_end``): living ones, killed ones, lost ones; runs with
    places in their files that hold no fact; and what ``inputs.select`` does not choose. Runs of a tool that does not
    tell how they ended count as ended.

    Args:
        inputs: which runs.
        allow_unended: also those without a recorded end, unless ``inputs`` says otherwise.
        root: where ids and names of runs are looked up; ``BAROGRAPH_ROOT``, else ``./runs``, when not given.

    Raises:
        RunNotFoundError: a directory or a run does not exist.
        QueryError: the condition of ``inputs.select`` cannot be read.
        ReportError: no run is left; the message says why.
    """
    unended = allow_unended if inputs.allow_unended is None else inputs.allow_unended
    paths = _paths(inputs, default_root() if root is None else root)
    if not paths:
        raise ReportError(f"there are no runs at or below {inputs.sweep_dir!r}; name a directory that holds some")
    kept, skipped = [], []
    for path in paths:
        reader = RunReader(path)
        reason = _reason(reader, allow_unended=unended, allow_damaged=inputs.allow_damaged)
        if reason:
            skipped.append(Skipped(path=str(path), reason=reason))
        else:
            kept.append(reader)
    runs = Runs(kept, skipped=skipped)
    if inputs.select is not None:
        runs = runs.select(inputs.select)
    if not len(runs):
        raise ReportError(
            f"none of the {len(paths)} runs can be reported:\n{listed(runs.skipped)}\n"
            f"set inputs.allow_unended=true or inputs.allow_damaged=true for runs without an end or with damage"
        )
    return runs


def listed(skipped: Iterable[Skipped]) -> str:
    """Lines that name runs which were left out, the first few of them."""
    items = list(skipped)
    lines = [f"  {item.path}: {item.reason}" for item in items[:MAX_LISTED]]
    more = [f"  and {len(items) - MAX_LISTED} more"] if len(items) > MAX_LISTED else []
    return "\n".join(lines + more)


def _paths(inputs: Inputs, root: str | os.PathLike[str]) -> list[Path]:
    if inputs.sweep_dir is not None:
        return discover_runs(native_root(inputs.sweep_dir))
    found = dict.fromkeys(path.absolute() for name in inputs.runs for path in _named(name, root))
    if not found:
        raise RunNotFoundError("inputs.runs is empty; name one run at least")
    return list(found)


def _named(name: str, root: str | os.PathLike[str]) -> list[Path]:
    """The run that is meant; of what another tool wrote, every run in it."""
    place = native_root(name)
    return [find_run(name, root)] if place == Path(name) else discover_runs(place)


def _reason(reader: RunReader, *, allow_unended: bool, allow_damaged: bool) -> str:
    """Why a run is left out; nothing when it is not."""
    if not allow_unended:
        status = reader.status()
        if status.state in LIVING:
            return f"still {status.state}: {status.reason}"
        if reader.exit_record() is None and not reader.is_imported and not any(reader.events("on_train_end")):
            return f"no on_train_end: {status.state}; {status.reason}"
    if not allow_damaged:
        damage = _damage(reader)
        if damage:
            places = "1 place holds" if len(damage) == 1 else f"{len(damage)} places hold"
            name = os.path.relpath(damage[0].path, reader.path)
            return f"damaged: {places} no fact, e.g. {name} at byte {damage[0].offset} ({damage[0].reason})"
    return ""


def _damage(reader: RunReader) -> list[Damage]:
    """Places that hold no fact in what a report reads."""
    _ = reader.identity, reader.config, reader.exit_record()
    reader.digest()
    reader.watched_alerts()
    reader.all_series(rank=None)
    return reader.damage
