"""Many runs as tables: what comparisons and reports start from.

A table is a mapping of column names to lists of one length, with None where a run has nothing to say. DataFrame
constructors (pandas, polars) take it as it is; nothing here needs one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.identity import flatten
from barograph.read.metrics import is_finite
from barograph.read.run import RunReader

Table = dict[str, list[Any]]
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
    rows = [{**{name: getattr(epoch, name) for name in EPOCH_COLUMNS}, **epoch.metrics} for epoch in reader.epochs()]
    rows = rows or _scalars(reader)
    return as_table([dict.fromkeys(EPOCH_COLUMNS) | row for row in rows]) or {name: [] for name in EPOCH_COLUMNS}


def _scalars(reader: RunReader) -> list[dict[str, Any]]:
    """The rows of ``scalars.csv`` that have an epoch, up to its last whole line; others are noted as damage."""
    path = reader.directory.scalars_csv
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        reader.note([unreadable(path, error)])
        return []
    lines = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")
    rows: list[dict[str, Any]] = []
    for place, cells in enumerate(csv.DictReader(line + "\n" for line in lines if line.strip("\0"))):
        try:
            values = {name: _number(text) for name, text in cells.items() if name and text}
            rows.append(values | {"epoch": int(cells["epoch"]), "attempt": int(values.get("attempt") or 0)})
        except (KeyError, TypeError, ValueError) as error:
            reason = f"row {place + 1} is no epoch: {error}"
            reader.note([Damage(path=str(path), offset=place, size_bytes=0, reason=reason)])
    return rows


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
