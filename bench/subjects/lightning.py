"""Lightning's CSVLogger, the one that needs no trainer; it writes every hundredth call."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from bench.work import METRICS, Row, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(
    label="Lightning CSVLogger",
    kind="peer",
    distribution="lightning",
    requirement=("lightning", "torch==2.13.0"),
)


class Recorder:
    """A `CSVLogger` with its defaults."""

    def open(self, home: Path) -> None:
        """Make the logger."""
        from lightning.fabric.loggers import CSVLogger

        self._logger: Any = CSVLogger(root_dir=str(home))

    def log(self, step: int, values: Values) -> None:
        """Log one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._logger.log_metrics(
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
        """Write what is left."""
        self._logger.finalize("success")

    def read_back(self, home: Path) -> Iterator[Row]:
        """Read the tables."""
        for path in sorted(home.rglob("metrics.csv")):
            text = path.read_text(encoding="utf-8")
            for line in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
                yield int(line["step"]), tuple(float(line[name]) for name in METRICS)
