"""Many runs as tables: what comparisons and reports start from.

A table is a mapping of column names to lists of one length, with None where a run has nothing to say. DataFrame
constructors (pandas, polars) take it as it is; nothing here needs one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from barograph.facts.kinds import OnEpochEnd
from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.identity import flatten
from barograph.read.metrics import is_finite
from barograph.read.run import RunReader

Table = dict[str, list[Any]]
MAX_REASON: Final = 200
EPOCH_COLUMNS: Final = ("epoch", "attempt", "train_loss", "val_loss", "epoch_time_s")


class Tables(NamedTuple):
    """What is known of many runs.

    Attributes:
        runs: one row per run: its directory (``run_dir``), identity, status, times, final and best losses, summary
            (``summary.NAME``) and configuration (``config.DOTTED.NAME``).
        per_epoch: by ``run_dir``, one row per epoch: ``epoch``, ``attempt``, ``train_loss``, ``val_loss``,
            ``epoch_time_s`` and whatever else the loop measured.
        order: every ``run_dir``, oldest run first.
    """

    runs: Table
    per_epoch: dict[str, Table]
    order: list[str]


def load_tables(readers: Sequence[RunReader]) -> Tables:
    """The tables of runs; ``barograph.load_runs`` makes frames of them."""
    epochs = {str(reader.path): _epochs(reader) for reader in readers}
    rows = [_row(reader, epochs[str(reader.path)]) for reader in readers]
    return Tables(runs=as_table(rows), per_epoch=epochs, order=[str(reader.path) for reader in readers])


def as_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Columns of rows that may lack keys.

    >>> as_table([{"a": 1}, {"a": 2, "b": 3}])
    {'a': [1, 2], 'b': [None, 3]}
    """
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def _epochs(reader: RunReader) -> Table:
    """Epochs from the events; from ``scalars.csv`` for loops that wrote that file alone."""
    rows = [_epoch(epoch) for epoch in reader.epochs()]
    rows = rows or _scalars(reader)
    return as_table([dict.fromkeys(EPOCH_COLUMNS) | row for row in rows]) or {name: [] for name in EPOCH_COLUMNS}


def _epoch(epoch: OnEpochEnd) -> dict[str, Any]:
    """What an epoch says of itself comes before a measured quantity of that name."""
    own = {name: getattr(epoch, name) for name in EPOCH_COLUMNS}
    return own | epoch.metrics | {name: value for name, value in own.items() if value is not None}


def _scalars(reader: RunReader) -> list[dict[str, Any]]:
    """The rows of ``scalars.csv`` that have an epoch, up to its last whole line; others are noted as damage.

    A row is a line: one that is damaged in a quoted cell does not take those behind it along.
    """
    path = reader.directory.scalars_csv
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        reader.note([unreadable(path, error)])
        return []
    columns: list[str] | None = None
    rows: list[dict[str, Any]] = []
    offset = 0
    for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            cells = _cells(line)
            if columns is None:
                columns = cells
            elif cells:
                rows.append(_scalar_row(dict(zip(columns, cells, strict=False))))
        except (KeyError, ValueError, OverflowError, csv.Error) as error:
            reason = f"the line is no epoch: {error}"[:MAX_REASON]
            reader.note([Damage(path=str(path), offset=offset, size_bytes=len(line), reason=reason)])
        offset += len(line)
    return rows


def _cells(line: bytes) -> list[str]:
    text = line.decode("utf-8", "replace").strip("\0\r\n")
    return next(csv.reader([text], strict=True)) if text else []


def _scalar_row(cells: Mapping[str, str]) -> dict[str, Any]:
    values = {name: _number(text) for name, text in cells.items() if name and text}
    return values | {"epoch": _whole(values["epoch"]), "attempt": _whole(values.get("attempt", 0))}


def _whole(number: float) -> int:
    """A number of an epoch or an attempt, also where another program wrote it as ``1.0``."""
    if number != int(number):
        raise ValueError(f"{number!r} counts nothing")
    return int(number)


def _number(text: str) -> float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _row(reader: RunReader, epochs: Table) -> dict[str, Any]:
    identity, status, digest = reader.identity, reader.status(), reader.digest()
    named = {name: getattr(identity, name) for name in ("run_id", "name", "project", "group", "tags", "tier", "seed")}
    losses = {name: [loss for loss in epochs[name] if loss is not None] for name in ("train_loss", "val_loss")}
    finite = [loss for loss in losses["val_loss"] if is_finite(loss)]
    return {
        "run_dir": str(reader.path),
        **named,
        "status": status.state,
        "started_t": identity.created_t,
        "total_time_s": None if digest.end is None else digest.end.total_time_s,
        "num_epochs": len(epochs["epoch"]),
        "final_train_loss": losses["train_loss"][-1] if losses["train_loss"] else None,
        "final_val_loss": losses["val_loss"][-1] if losses["val_loss"] else None,
        "best_val_loss": min(finite, default=None),
        **{f"summary.{name}": value for name, value in digest.summary.items()},
        **{f"config.{name}": value for name, value in flatten(reader.config).items()},
    }
