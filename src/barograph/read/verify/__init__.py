"""Verifies a run's files: is everything that was recorded there, whole, and what it says it is? Changes nothing.

Each module verifies one kind of file and returns findings; an empty list means that nothing is wrong.
"""

from __future__ import annotations

import os
from pathlib import Path

from barograph.read.retention import removed_digests
from barograph.read.run import RunReader
from barograph.read.status import LIVING
from barograph.read.verify.contents import (
    References,
    verify_blobs,
    verify_checkpoints,
    verify_compressed,
    verify_leftovers,
    verify_scalars_csv,
)
from barograph.read.verify.finding import SEVERITIES, Finding, Severity
from barograph.read.verify.lines import verify_events, verify_lines
from barograph.read.verify.rows import verify_rows, verify_sealed
from barograph.read.verify.state import verify_ends, verify_identity, verify_json

__all__ = ["SEVERITIES", "Finding", "Severity", "verify"]


def verify(path: str | os.PathLike[str]) -> list[Finding]:
    """Verify a run's files.

    Looked for are files of another format, torn and damaged places, gaps and repeats in ``seq``, blobs with another
    content than their name says, and facts that the ledger counts and the files lack. Every file is read whole. A
    run that is being written may be verified; what it has not completed is no error.

    Args:
        path: the run's directory.

    Returns:
        What was found: errors first, then warnings, then what is worth knowing.
    """
    reader = RunReader(Path(path))
    directory, root = reader.directory, reader.path
    status = reader.status()
    is_live = status.state in LIVING
    findings = [*verify_identity(reader), *verify_ends(directory, status)]
    for file in directory.events_files():
        findings += verify_events(root, file, is_live=is_live)
    for file in (*directory.overflow_files(), *filter(Path.is_file, [directory.alerts])):
        findings += verify_lines(root, file, is_live=is_live)
    for file in directory.rows_files():
        findings += verify_rows(root, file, run_id=reader.identity.run_id, is_live=is_live)
    for file in directory.sealed_files():
        findings += verify_sealed(root, file, run_id=reader.identity.run_id)
    references = References(reader.events(), reader.record)
    references.forget(removed_digests(reader.edits))
    findings += verify_blobs(directory, references)
    findings += verify_checkpoints(directory, references)
    findings += verify_compressed(directory)
    findings += verify_scalars_csv(directory, references, is_live=is_live)
    findings += verify_leftovers(directory)
    for file in sorted((*directory.facts.glob("provenance.*.json"), *directory.details.rglob("*_summary.json"))):
        findings += verify_json(root, file)
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
