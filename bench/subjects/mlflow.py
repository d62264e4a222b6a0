"""MLflow on its default store, a SQLite file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from bench.work import Row, Spec, rows_from_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(
    label="mlflow (sqlite)",
    kind="peer",
    distribution="mlflow",
    requirement=("mlflow",),
    environment={"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
)
DATABASE = "mlflow.db"


class Recorder:
    """A synchronous run in a SQLite store."""

    def open(self, home: Path) -> None:
        """Make the store and begin a run."""
        import mlflow

        self._mlflow: Any = mlflow
        mlflow.set_tracking_uri(f"sqlite:///{home / DATABASE}")
        mlflow.set_experiment("bench")
        mlflow.start_run()

    def log(self, step: int, values: Values) -> None:
        """Log one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._mlflow.log_metrics(
            {
                "loss": loss,
                "accuracy": accuracy,
                "lr": lr,
                "grad_norm": grad_norm,
                "throughput": throughput,
            },
            step=step,
        )

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Read the metrics table."""
        with sqlite3.connect(home / DATABASE) as database:
            return rows_from_points(database.execute("SELECT step, key, value FROM metrics").fetchall())
