"""Verifies streams, rows and sealed ones: a readable header of this run, whole rows, no holes, the bits of then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import StreamHeader, read_header
from barograph.facts.rundir import rank_of, unsealed
from barograph.read.columns import Stream, iterate_blocks, open_stream, unreadable
from barograph.read.sealed import read_sealed
from barograph.read.verify.finding import Finding, from_damage, relative, torn_tail

MAX_HOLES = 20


def verify_rows(root: Path, path: Path, *, run_id: str, is_live: bool) -> list[Finding]:
    """Verify one rows file.

    Args:
        root: the run's directory.
        path: the file.
        run_id: the run that it must belong to; "" when the run has no id.
        is_live: the run is being written.
    """
    try:
        header = read_header(path)
        size = path.stat().st_size
    except FormatError as error:
        damage = Damage(path=str(path), offset=0, size_bytes=path.stat().st_size, reason=str(error))
        return [from_damage(root, damage, code="damaged_header")]
    except OSError as error:
        return [from_damage(root, unreadable(path, error), code="unreadable")]
    if header is None:
        return [_unfinished(root, path, size, is_live=is_live)]
    findings = list(_verify_header(relative(root, path), path, header, run_id))
    torn_bytes = (size - header.header_bytes) % header.row_bytes
    if torn_bytes:
        findings.append(torn_tail(root, path, offset=size - torn_bytes, size_bytes=torn_bytes, is_live=is_live))
    return findings + _holes(root, Stream(path=path, header=header))


def verify_sealed(root: Path, path: Path, *, run_id: str) -> list[Finding]:
    """Verify one sealed stream: its numbers are hashed and compared with the hash of the rows that were sealed.

    Args:
        root: the run's directory.
        path: the file.
        run_id: the run that it must belong to; "" when the run has no id.
    """
    from barograph.read.archive.parquet import altered, hash_sealed  # noqa: PLC0415 - pyarrow, for sealed runs only

    file = relative(root, path)
    try:
        sealed = read_sealed(path)
        seen = hash_sealed(sealed)
    except (FormatError, OSError) as error:
        return [Finding(severity="error", code="damaged_seal", file=file, message=str(error), offset=0)]
    findings = list(_verify_header(file, path, sealed.header, run_id))
    if seen != sealed.rows_sha256:
        findings.append(Finding(severity="error", code="damaged_seal", file=file, message=altered(seen, sealed)))
    if unsealed(path).is_file():
        message = "its rows file is still there, and readers take that one; `barograph seal` finishes what was stopped"
        return [*findings, Finding(severity="info", code="unfinished_seal", file=file, message=message)]
    return findings + _holes(root, Stream(path=path, header=sealed.header, sealed=sealed))


def num_rows(path: Path) -> tuple[StreamHeader, int] | None:
    """A stream's header and how many whole rows it has; None when its header cannot be read."""
    try:
        stream = open_stream(path)
    except (FormatError, OSError):
        return None  # verify_rows and verify_sealed have said so
    return None if stream is None else (stream.header, stream.num_rows())


def _unfinished(root: Path, path: Path, size: int, *, is_live: bool) -> Finding:
    message = f"its header is not whole ({size} bytes); it holds no rows: the writer was killed as it made the file"
    if is_live:
        message = f"its header is not whole yet ({size} bytes); the run is being written"
    return Finding(
        severity="info" if is_live else "warning",
        code="unfinished_header",
        file=relative(root, path),
        message=message,
        offset=0,
        size_bytes=size,
    )


def _verify_header(file: str, path: Path, header: StreamHeader, run_id: str) -> Iterator[Finding]:
    if run_id and header.run_id != run_id:
        message = f"its rows are of run {header.run_id!r}, not of {run_id!r}: move it to the run it belongs to"
        yield Finding(severity="error", code="foreign_rows", file=file, message=message)
    if (header.columns[0], header.columns[-1]) != ("step", "t") or len(set(header.columns)) < len(header.columns):
        message = f"its columns {header.columns!r:.120} do not begin with step, end with t and differ from each other"
        yield Finding(severity="error", code="columns", file=file, message=message)
    if header.rank != rank_of(path.name):
        message = f"its name says rank {rank_of(path.name)}, its header rank {header.rank}: give it its name back"
        yield Finding(severity="warning", code="rank", file=file, message=message)


def _holes(root: Path, stream: Stream) -> list[Finding]:
    damage: list[Damage] = []
    for _block in iterate_blocks(stream, damage):
        pass  # reading is the test
    findings = [from_damage(root, item, code="hole") for item in damage[:MAX_HOLES]]
    if len(damage) > MAX_HOLES:
        message = f"and {len(damage) - MAX_HOLES} more rows of zero bytes"
        findings.append(Finding(severity="error", code="hole", file=relative(root, stream.path), message=message))
    return findings
