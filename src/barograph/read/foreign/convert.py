"""Makes native runs of foreign ones: built in a hidden directory, then put in place whole, never half.

A run that was imported before is found by its identity. It is made anew when its source says something else by now,
and left alone when the source is the same, or is an older copy that says less.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from barograph.errors import FormatError
from barograph.facts.blobs import hash_file
from barograph.facts.codec import decode, encode, plain
from barograph.facts.descriptor import replace_file, temporary_path
from barograph.facts.kinds import SCHEMA_VERSION
from barograph.facts.rundir import MAX_NAME_BYTES, RunDir, create_run_dir, make_dir
from barograph.read.catalog import discover_runs
from barograph.read.edits import delete
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.native import (
    MetricsWriter,
    Span,
    keep_files,
    write_config,
    write_end,
    write_events,
)
from barograph.read.foreign.protocol import ForeignRun, whereabouts
from barograph.read.foreign.values import in_seconds

Outcome = Literal["new", "replaced", "unchanged", "older"]

ORIGIN: Final = "imported_from"
"""The key of a run's provenance that tells which source it was made of."""
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARACTERS: Final = 12
_NAME_CHARACTERS: Final = 80


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one foreign run.

    Attributes:
        path: the native run's directory.
        run_id: its identifier here.
        name: what people call it.
        tool: the importer's name.
        source: the file or directory that was read.
        outcome: ``new``; ``replaced``: its source says something else than before; ``unchanged``: it was here already;
            ``older``: the source holds fewer numbers than the run that was made of it before, which was left alone.
        status: what the source tells about its end.
        fidelity: what was kept and what could not be.
    """

    path: Path
    run_id: str
    name: str
    tool: str
    source: Path
    outcome: Outcome
    status: str
    fidelity: Fidelity


def write_native(foreign: ForeignRun, root: Path, *, copy_files: bool = False) -> Path:
    """Make a native run; see ``import_run``, which also tells what became of it.

    Returns:
        The run's directory.
    """
    return import_run(foreign, root, copy_files=copy_files).path


def import_run(
    foreign: ForeignRun,
    root: Path,
    *,
    known: dict[str, Path] | None = None,
    copy_files: bool = False,
    durable: bool = True,
    may_shrink: bool = False,
    clock: Callable[[], float] = time.time,
) -> Imported:
    """Make a native run of a foreign one.

    Args:
        foreign: the run; its metrics are read once, which completes its account of fidelity.
        root: directory of runs; made when absent.
        known: runs that were imported into ``root``, by identifier (``imported_runs``); the new one is added. Looked
            for, when not given.
        copy_files: store copies of the run's files; else their paths are noted.
        durable: ask the operating system to put the files on the device before the run appears.
        may_shrink: replace a run that was made of more numbers, too; else it is left alone, for the source may be an
            older copy.
        clock: unix seconds, for the note when it was imported.

    Raises:
        MisuseError: ``root`` is a file.
        OSError: the run could not be written; nothing of it is left behind.
    """
    make_dir(root)
    known = imported_runs(root) if known is None else known
    run_id = native_id(foreign)
    building = temporary_path(root / f"import-{run_id}")
    shutil.rmtree(building, ignore_errors=True)  # of a process that had our number and was killed
    building.mkdir()
    try:
        built = _build(foreign, RunDir(building), run_id=run_id, copy_files=copy_files, clock=clock)
        if durable:
            _sync(building)
        path, outcome = _place(building, built, root, known.get(run_id), may_shrink=may_shrink)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    if foreign.is_deleted and outcome == "new":
        delete(path)
    known[run_id] = path
    return Imported(
        path=path,
        run_id=run_id,
        name=foreign.name,
        tool=foreign.tool,
        source=foreign.source,
        outcome=outcome,
        status=foreign.status,
        fidelity=built.fidelity,
    )


def imported_runs(root: Path) -> dict[str, Path]:
    """The runs below a directory that were made of foreign ones, by identifier."""
    found = {}
    for path in discover_runs(root, deleted=None) if root.is_dir() else []:
        origin = _origin(path)
        if origin is not None:
            found[origin["native_id"]] = path
    return found


def native_id(foreign: ForeignRun) -> str:
    """The identifier that a foreign run has here: the same at each import, also from a copy when the tool gave it one.

    Twelve characters, 60 bits, of a hash of the tool, its identifier and the key; of the source's path when the tool
    gave it none.
    """
    where = foreign.run_id or os.path.realpath(foreign.source)
    digest = hashlib.sha256(f"{foreign.tool}\0{where}\0{foreign.key}".encode("utf-8", "surrogatepass")).digest()
    number = int.from_bytes(digest, "big")
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in range(_ID_CHARACTERS))


class _Built(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put in place."""

    name: str
    start_t: float
    sha256: str
    fidelity: Fidelity


def _build(
    foreign: ForeignRun, directory: RunDir, *, run_id: str, copy_files: bool, clock: Callable[[], float]
) -> _Built:
    directory.ensure_facts()
    own = Fidelity()
    fallback_t = in_seconds(foreign.created_t) or _changed_t(foreign.source) or clock()
    writer = MetricsWriter(directory, run_id=run_id, fallback_t=fallback_t, fidelity=own)
    try:
        for block in foreign.metrics:
            writer.add(block)
    finally:
        writer.close()
    span = _span(foreign, writer, run_id, fallback_t)
    files = keep_files(directory, foreign, own, copy=copy_files)
    write_config(directory, foreign, own)
    if foreign.console:
        directory.console_log.write_text(foreign.console, encoding="utf-8", errors="backslashreplace", newline="")
    write_events(directory, foreign, own, span=span, files=files)
    write_end(directory, foreign, span)
    built = _Built(
        name=_file_name(foreign.name),
        start_t=span.start_t,
        sha256=_digest(directory.path),
        fidelity=foreign.fidelity.joined(own),
    )
    _write_identity(directory, foreign, built, run_id=run_id, imported_t=clock())
    # the newest change of its events is how a reader tells whether a run without a process lives
    os.utime(directory.events(), (span.end_t, span.end_t))
    return built


def _span(foreign: ForeignRun, writer: MetricsWriter, run_id: str, fallback_t: float) -> Span:
    begun = [t for t in writer.first_t.values() if math.isfinite(t)]
    start_t = in_seconds(foreign.created_t) or min(begun, default=fallback_t)
    told = [t for each, _, _ in foreign.events if (t := in_seconds(each)) is not None]
    end_t = in_seconds(foreign.ended_t) or max(writer.last_t or start_t, start_t, *told)
    return Span(run_id=run_id, start_t=start_t, end_t=end_t, attempts=writer.first_t)


def _write_identity(directory: RunDir, foreign: ForeignRun, built: _Built, *, run_id: str, imported_t: float) -> None:
    origin = {
        "tool": foreign.tool,
        "source": str(whereabouts(foreign.source)),
        "key": foreign.key,
        "run_id": foreign.run_id,
        "status": foreign.status,
        "native_id": run_id,
        "sha256": built.sha256,
        "imported_t": imported_t,
    }
    record: Mapping[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created_t": built.start_t,
        "run_id": run_id,
        "name": foreign.name,
        "project": foreign.project,
        "group": foreign.group,
        "tags": foreign.tags,
        "notes": foreign.notes,
        "seed": foreign.seed,
        "provenance": {**foreign.provenance, ORIGIN: origin, "fidelity": built.fidelity.as_dict()},
    }
    replace_file(directory.identity, encode(plain(record)) + b"\n")


def _place(building: Path, built: _Built, root: Path, old: Path | None, *, may_shrink: bool) -> tuple[Path, Outcome]:
    """Put a run where it belongs."""
    origin = None if old is None else _origin(old)
    if old is None or origin is None:
        path = create_run_dir(root, built.name, when=dt.datetime.fromtimestamp(built.start_t, dt.UTC))
        building.replace(path)  # an empty directory that is ours since it was made
        return path, "new"
    if origin["sha256"] == built.sha256:
        return old, "unchanged"
    if not may_shrink and built.fidelity.kept.get("numbers", 0) < _num_numbers(old):
        return old, "older"
    for file in old.iterdir():  # edits, notes of reports: what people and other verbs left beside the facts
        if file.is_file() and not (building / file.name).exists():
            shutil.copy2(file, building / file.name)
    aside = temporary_path(old)
    old.replace(aside)
    building.replace(old)
    shutil.rmtree(aside, ignore_errors=True)
    return old, "replaced"


def _origin(path: Path) -> dict[str, Any] | None:
    """What ``run.json`` says about the source of a run; None when it was not imported."""
    record = _record(path)
    origin = record.get("provenance", {}).get(ORIGIN) if isinstance(record.get("provenance"), dict) else None
    return origin if isinstance(origin, dict) and {"native_id", "sha256"} <= origin.keys() else None


def _record(path: Path) -> dict[str, Any]:
    try:
        return decode(RunDir(path).identity.read_bytes())
    except (FormatError, OSError):
        return {}  # a run of another kind, or one that somebody else must repair


def _num_numbers(path: Path) -> int:
    fidelity = _record(path)["provenance"].get("fidelity", {})
    return int(fidelity.get("kept", {}).get("numbers", 0))


def _file_name(name: str) -> str:
    """A run's name as its directory can carry it."""
    safe = "".join(character if character.isprintable() and character not in "/\\" else "-" for character in name)
    cut = safe.strip()[:_NAME_CHARACTERS].encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return cut if cut.strip(". ") else "run"


def _digest(path: Path) -> str:
    """SHA-256 over names and contents of everything in a directory."""
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path)}\0{hash_file(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _changed_t(source: Path) -> float:
    try:
        return source.stat().st_mtime
    except OSError:
        return 0.0


def _sync(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
