"""``reports.jsonl``: in the directory of each run, a line for each report that it is in.

Recorded facts stay as they are, and nothing that reads them looks here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from barograph.facts.codec import encode
from barograph.facts.descriptor import AppendFile
from barograph.facts.log import Damage
from barograph.read.columns import iterate_records

FILE_NAME: Final = "reports.jsonl"
SCHEMA_VERSION: Final = 1


def read_backlinks(run_dir: Path) -> list[dict[str, Any]]:
    """The reports that a run is in, oldest first; lines that cannot be read are passed over."""
    damage: list[Damage] = []
    return list(iterate_records(run_dir / FILE_NAME, damage))


def add_backlink(run_dir: Path, *, report_dir: Path, report_id: str, name: str, kind: str, t: float) -> bool:
    """Note in a run that a report is about it.

    Args:
        run_dir: the run.
        report_dir: the report.
        report_id: its id; a report is noted once.
        name: its name.
        kind: its kind.
        t: unix seconds at which it was made.

    Returns:
        Whether a line was added.

    Raises:
        OSError: the run's directory cannot be written to.
    """
    if any(link.get("report_id") == report_id for link in read_backlinks(run_dir)):
        return False
    line = encode(
        {
            "schema_version": SCHEMA_VERSION,
            "t": t,
            "report_id": report_id,
            "name": name,
            "kind": kind,
            "path": os.path.relpath(report_dir.absolute(), run_dir.absolute()),
            "absolute_path": str(report_dir.absolute()),
        }
    )
    file = AppendFile(run_dir / FILE_NAME)
    try:
        file.write((b"" if _ends_a_line(run_dir / FILE_NAME) else b"\n") + line + b"\n")
    finally:
        file.close()
    return True


def _ends_a_line(path: Path) -> bool:
    """Whether what is there ends in a newline: a torn line must not swallow the next one."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return True
        file.seek(size - 1)
        return file.read() == b"\n"
