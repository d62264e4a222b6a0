"""Many runs as tables: what comparisons and reports start from.

A table is a mapping of column names to lists of one length, with None where a run has nothing to say. DataFrame
constructors (pandas, polars) take it as it is; nothing here needs one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from barograph.read.catalog import discover_runs
from barograph.read.identity import flatten
from barograph.read.metrics import is_finite
from barograph.read.run import RunReader

Table = dict[str, list[Any]]


class LoadedRuns(NamedTuple):
    """What ``load_runs`` gives.

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


def load_runs(root: str | os.PathLike[str]) -> LoadedRuns:
    """Load every run at or below a directory: ``(runs, per_epoch, order)``.

    Args:
        root: where to look.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    readers = [RunReader(path) for path in discover_runs(root)]
    epochs = {str(reader.path): _epochs(reader) for reader in readers}
    rows = [_row(reader, epochs[str(reader.path)]) for reader in readers]
    return LoadedRuns(runs=as_table(rows), per_epoch=epochs, order=[str(reader.path) for reader in readers])


def as_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Columns of rows that may lack keys.

    >>> as_table([{"a": 1}, {"a": 2, "b": 3}])
    {'a': [1, 2], 'b': [None, 3]}
    """
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def _epochs(reader: RunReader) -> Table:
    known = ("epoch", "attempt", "train_loss", "val_loss", "epoch_time_s")
    return as_table(
        [{**{name: getattr(epoch, name) for name in known}, **epoch.metrics} for epoch in reader.epochs()]
    ) or {name: [] for name in known}


def _row(reader: RunReader, epochs: Table) -> dict[str, Any]:
    identity, status, digest = reader.identity, reader.status(), reader.digest()
    named = {name: getattr(identity, name) for name in ("run_id", "name", "project", "group", "tier", "seed")}
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
