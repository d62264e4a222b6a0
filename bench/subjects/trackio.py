"""Trackio on the local disk; a row of its table is one step, the metrics as JSON text."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from bench.work import METRICS, Row, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(
    label="trackio",
    kind="peer",
    distribution="trackio",
    requirement=("trackio",),
    environment={"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
)


class Recorder:
    """A local project with default settings."""

    def open(self, home: Path) -> None:
        """Begin a local run."""
        os.environ["TRACKIO_DIR"] = str(home)
        import trackio

        self._trackio: Any = trackio
        trackio.init(project="bench", name="run")

    def log(self, step: int, values: Values) -> None:
        """Log one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._trackio.log(
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
        """Finish the run."""
        self._trackio.finish()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Read the project's database."""
        for path in sorted(home.glob("*.db")):
            with sqlite3.connect(path) as database:
                for step, text in database.execute("SELECT step, metrics FROM metrics ORDER BY id"):
                    metrics = json.loads(text)
                    if all(name in metrics for name in METRICS):
                        yield step, tuple(metrics[name] for name in METRICS)
