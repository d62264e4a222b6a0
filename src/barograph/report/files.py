"""Writes what a report consists of: tables as CSV, figures with their data, summaries as strict JSON."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from barograph.facts.codec import encode, plain
from barograph.facts.descriptor import replace_file
from barograph.plot.many.style import DPI
from barograph.plot.style import own_style
from barograph.report.content import hash_file
from barograph.report.directory import ReportDir
from barograph.report.document import Cell, Document, Picture, Shown, Table
from barograph.report.manifest import Manifest
from barograph.report.values import Value
from barograph.report.words import cell_text


def write_table(path: Path, table: Table) -> None:
    """Write a table as CSV; numbers stand there exactly, nothing where there is none."""
    rows = [[_data(cell) for cell in row] for row in table.rows]
    write_csv(path, [column.name for column in table.columns], rows)


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([data_text(value) for value in row] for row in rows)
    replace_file(path, text.getvalue().encode("utf-8", "backslashreplace"))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of such a file, by column.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no CSV, or not UTF-8.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def data_text(value: Value) -> str:
    """A value as it stands in a file of data: exactly.

    >>> data_text(0.1), data_text(float("nan")), data_text(None), data_text(True), data_text(3)
    ('0.1', 'nan', '', 'true', '3')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _data(cell: Cell) -> Value:
    return cell.number.value if isinstance(cell, Shown) else cell_text(cell)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write strict JSON for programs and people; non-finite numbers are null, named in ``nonfinite``."""
    replace_file(path, msgspec.json.format(encode(plain(record)), indent=2) + b"\n")


def save_picture(directory: ReportDir, picture: Picture, *, part: str) -> tuple[str, bytes]:
    """Save a figure as PNG with its data as CSV beside it.

    Returns:
        The PNG's path relative to the report, and its bytes.
    """
    path = directory.figure(picture.name, part=part)
    for number in itertools.count(2):  # val/loss and val_loss are one name for a file
        if not path.exists():
            break
        path = directory.figure(f"{picture.name}-{number}", part=part)
    buffer = io.BytesIO()
    with own_style():
        picture.figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())
    if picture.data:
        rows = zip(*picture.data.values(), strict=True)
        write_csv(path.with_suffix(".csv"), list(picture.data), rows)
    return path.relative_to(directory.path).as_posix(), buffer.getvalue()


def write_summary(directory: ReportDir, manifest: Manifest, document: Document) -> None:
    """Write ``training/summary.json``: what the report was made of, what was varied, and every number by its id."""
    write_json(
        directory.summary_json(),
        {
            "report_id": manifest.report_id,
            "name": manifest.name,
            "kind": manifest.kind,
            "title": document.title,
            "created": manifest.created,
            "inputs": manifest.cfg["inputs"],
            **document.metadata,
            "runs": {
                key: {"run_id": run.run_id, "name": run.name, "dir": run.dir} for key, run in manifest.runs.items()
            },
            "skipped": [{"dir": skipped.dir, "reason": skipped.reason} for skipped in manifest.skipped],
            "numbers": {number.id: number.value for number in manifest.numbers if number.query.of != "inference"},
        },
    )


def hash_files(directory: ReportDir) -> dict[str, str]:
    """The SHA-256 of every file of a report but its manifest, by path relative to it."""
    found = [Path(parent) / name for parent, _, names in os.walk(directory.path) for name in names]
    kept = sorted(path for path in found if path != directory.manifest)
    return {path.relative_to(directory.path).as_posix(): hash_file(path) for path in kept}
