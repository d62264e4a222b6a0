"""Writers for loops that emit facts by themselves: append an event, append an epoch to ``scalars.csv``.

Inside a process that has the run open, ``append_jsonl_event`` goes through the open log: one writer per file.
"""

from __future__ import annotations

import csv
import io
import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from barograph.errors import InvalidMetricError
from barograph.facts.descriptor import AppendFile, replace_file
from barograph.facts.events import EventLog, open_log
from barograph.facts.kinds import Event
from barograph.facts.log import repair_text
from barograph.facts.rundir import RunDir

_HEAD: Final = ("schema_version", "seq", "t", "moment")
_csv_lock = threading.Lock()


def ensure_facts_dir(run_dir: str | os.PathLike[str]) -> Path:
    """Make ``RUN_DIR/facts`` and return it."""
    return RunDir(Path(run_dir)).ensure_facts()


def append_jsonl_event(run_dir: str | os.PathLike[str], payload: Mapping[str, Any]) -> Event:
    """Append an event (from ``build_event_payload``) to ``facts/events.jsonl``; it is on disk on return.

    Raises:
        KeyError: the payload has no ``moment``.
        TypeError: the payload has no JSON form; nothing was written.
    """
    ensure_facts_dir(run_dir)
    path = RunDir(Path(run_dir)).events()
    body = {key: value for key, value in payload.items() if key not in _HEAD}
    log = open_log(path)
    if log is not None:
        return log.append(payload["moment"], body, t=payload.get("t"))
    log = EventLog(path)
    try:
        return log.append(payload["moment"], body, t=payload.get("t"))
    finally:
        log.close()


def append_scalars_csv(
    run_dir: str | os.PathLike[str],
    *,
    epoch: int,
    train_loss: float | None = None,
    val_loss: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    **scalars: Any,
) -> Path:
    """Append one epoch to ``facts/scalars.csv``, for reading as a DataFrame.

    A name that the file does not have yet becomes a new last column: the file is written anew beside the old
    one and put in its place atomically, older rows with an empty field there. An epoch that is there already with
    the same numbers is completed, not repeated: a loop's own call and the table that an open run keeps of its
    ``on_epoch_end`` events give one row. With another number it is another row.

    Args:
        run_dir: the run's directory.
        epoch: number of the epoch; the first column.
        train_loss: second column, when given.
        val_loss: third column, when given.
        metrics: further columns.
        scalars: further columns.

    Returns:
        Path of the file.

    Raises:
        InvalidMetricError: a value is no number.
    """
    named = {"train_loss": train_loss, "val_loss": val_loss, **(metrics or {}), **scalars}
    row = {"epoch": str(epoch)} | {key: _cell(key, value) for key, value in named.items() if value is not None}
    ensure_facts_dir(run_dir)
    path = RunDir(Path(run_dir)).scalars_csv
    with _csv_lock:
        _append_row(path, row)
    return path


def _append_row(path: Path, row: dict[str, str]) -> None:
    repair_text(path)
    columns, rows = _read_table(path)
    wider = [*columns, *(key for key in row if key not in columns)]
    cells = [row.get(column, "") for column in wider]
    twin = _find_twin(rows, cells, wider.index("epoch"))
    if twin is None and wider == columns:
        file = AppendFile(path)
        try:
            file.write(_csv_line(cells))
        finally:
            file.close()
        return
    if twin is None:
        rows.append(cells)
    else:
        old = rows[twin] + [""] * (len(wider) - len(rows[twin]))
        rows[twin] = [new or cell for new, cell in zip(cells, old, strict=True)]
        if wider == columns and rows[twin] == old:
            return
    padded = (cells + [""] * (len(wider) - len(cells)) for cells in rows)
    replace_file(path, b"".join(map(_csv_line, [wider, *padded])))


def _find_twin(rows: list[list[str]], cells: list[str], epoch: int) -> int | None:
    """The row of the same epoch in which no number is another one, if there is one."""
    for index in reversed(range(len(rows))):
        row = rows[index]
        same_epoch = len(cells) >= len(row) > epoch and row[epoch] == cells[epoch]
        if same_epoch and all(not new or not old or new == old for new, old in zip(cells, row, strict=False)):
            return index
    return None


def _renew_lock() -> None:
    """Another thread may have held the lock at the fork; in the child nobody would ever release it."""
    global _csv_lock  # noqa: PLW0603 - one lock per process
    _csv_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _cell(name: str, value: Any) -> str:
    """A number as text that reads back to the same bits; non-finite ones as ``nan``, ``inf``, ``-inf``."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, (int, float)):
        raise InvalidMetricError(
            f"scalar {name!r} is a {type(value).__name__} ({value!r}), not a number; convert it with float()"
        )
    if isinstance(number, bool):
        number = int(number)
    return repr(number) if isinstance(number, int) or math.isfinite(number) else str(float(number))


def _csv_line(cells: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the rows; nothing when there is no file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        return [], []
    return columns, rows
