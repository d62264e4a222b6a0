"""Verifies who a run is, how it ended, and that what its ledger counted is there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from barograph.errors import FormatError
from barograph.facts.codec import decode
from barograph.facts.kinds import SCHEMA_VERSION
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, ProcessRecord, read_exit, read_process
from barograph.read.columns import iterate_records
from barograph.read.run import RunReader
from barograph.read.status import LIVING, Status, read_ranks
from barograph.read.verify.finding import Finding, relative
from barograph.read.verify.rows import num_rows


def verify_identity(reader: RunReader) -> Iterator[Finding]:
    """Verify ``run.json`` and ``config.yaml``."""
    path = reader.directory.identity
    file = path.name
    if not path.is_file():
        message = "there is no run.json, as in runs of other programs: the run has no id and no provenance"
        yield Finding(severity="info", code="no_identity", file=file, message=message)
    elif reader.record:
        version = reader.record.get("schema_version", 0)
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            message = f"schema_version is {version!r}, newer than {SCHEMA_VERSION}; update Barograph to read it"
            yield Finding(severity="warning", code="schema_version", file=file, message=message)
        if not reader.record.get("run_id"):
            message = "it names no run_id; restore the file from a copy"
            yield Finding(severity="error", code="identity", file=file, message=message)
    _ = reader.identity, reader.config  # what cannot be read of them is noted as damage
    for damage in reader.damage:
        message = f"{damage.reason}; restore the file from a copy"
        yield Finding(
            severity="error", code="unreadable", file=relative(reader.path, damage.path), message=message, offset=0
        )


def verify_ends(directory: RunDir, status: Status) -> Iterator[Finding]:
    """Verify the process and exit records of every rank."""
    for rank, state in {0: status, **read_ranks(directory.path)}.items():
        yield from _verify_end(directory, rank, state)


def _verify_end(directory: RunDir, rank: int, status: Status) -> Iterator[Finding]:
    process, damaged_process = _try(read_process, directory.process(rank))
    ended, damaged_exit = _try(read_exit, directory.exit(rank))
    for path, damaged in ((directory.process(rank), damaged_process), (directory.exit(rank), damaged_exit)):
        if damaged:
            file, message = relative(directory.path, path), f"it cannot be read ({damaged}); restore it from a copy"
            yield Finding(severity="error", code="unreadable", file=file, message=message)
    file = relative(directory.path, directory.exit(rank))
    if ended is None or (process is not None and ended.attempt < process.attempt):
        if status.state in LIVING:
            yield Finding(severity="info", code="alive", file="", message=f"{status.state}: {status.reason}")
        elif process is not None or status.state == "lost":  # other programs' runs end with their last event
            message = f"attempt {process.attempt if process else 0} left none: {status.state}; {status.reason}"
            yield Finding(severity="warning", code="no_exit_record", file=file, message=message)
        return
    yield from _verify_ledger(directory, rank, ended, process)


def _verify_ledger(directory: RunDir, rank: int, ended: ExitRecord, process: ProcessRecord | None) -> Iterator[Finding]:
    file = relative(directory.path, directory.exit(rank))
    lost, failures = ended.ledger.get("lost"), ended.ledger.get("failures")
    if isinstance(lost, int) and lost > 0:
        message = f"the ledger counts {lost} facts that could not be written; `failures` in it says why"
        yield Finding(severity="error", code="lost", file=file, message=message)
    failures = failures if isinstance(failures, dict) else {}
    for part, error in failures.items():
        message = f"the recorder's part {part!r} failed and was left out: {error}"
        yield Finding(severity="warning", code="recorder", file=file, message=message)
    written = ended.ledger.get("written")
    if isinstance(written, int) and process is not None and not failures:
        found = _num_written(directory, rank, process)
        if found < written:
            message = f"{written} facts of attempt {ended.attempt} were written, {found} are there: files were removed "
            message += "or cut after the run; restore them from a copy"
            yield Finding(severity="error", code="missing_facts", file=file, message=message)


def _num_written(directory: RunDir, rank: int, process: ProcessRecord) -> int:
    """How many facts of the latest attempt are in the files of its process (not of forked children)."""
    number = 0
    for stream in filter(None, map(num_rows, directory.stream_files())):
        header, rows = stream
        if (header.attempt, header.rank) == (process.attempt, rank) and header.pid in (0, process.pid):
            number += rows
    overflow = iterate_records(directory.overflow(rank), [])
    number += sum(1 for record in overflow if record.get("attempt", 0) == process.attempt)
    return number + _num_events(directory.events(rank), process.attempt)


def _num_events(path: Path, attempt: int) -> int:
    """How many events there are from the beginning of that attempt on; lines that are damaged are not."""
    later = itertools.dropwhile(
        lambda record: attempt != record.get("attempt", 0) and attempt > 0, iterate_records(path, [])
    )
    return sum(1 for _ in later)


def _try(reader: Any, path: Path) -> tuple[Any, str]:
    try:
        return reader(path), ""
    except (FormatError, OSError) as error:
        return None, str(error)


def verify_json(root: Path, path: Path) -> Iterator[Finding]:
    """Verify a file that holds one JSON object."""
    try:
        decode(path.read_bytes())
    except (FormatError, OSError) as error:
        file, message = relative(root, path), f"it is not JSON ({error}); restore it from a copy"
        yield Finding(severity="error", code="damaged_json", file=file, message=message)
