"""Trackio's own storage class: its logs of a run are dictionaries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bench.reading.work import METRICS, NUM_BUCKETS, Amount, Answer, Spec, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = Spec(
    label="trackio",
    kind="peer",
    environment="trackio",
    distribution="trackio",
    variables=(("HF_HUB_OFFLINE", "1"), ("HF_HUB_DISABLE_TELEMETRY", "1")),
    most_numbers=1_000_000,
)
PROJECT = "bench"


def make() -> Trackio:
    """A fresh subject."""
    return Trackio()


class Trackio:
    """A project of local runs."""

    def write(self, home: Path, amount: Amount) -> None:
        """Log one dictionary per step."""
        os.environ["TRACKIO_DIR"] = str(home)
        import trackio

        for run in range(amount.runs):
            trackio.init(project=PROJECT, name=f"run{run:06d}")
            for step in range(amount.steps):
                trackio.log(dict(zip(METRICS, values(run, step, amount), strict=True)), step=step)
            trackio.finish()

    def _runs(self, home: Path) -> Iterator[list[dict[str, Any]]]:
        os.environ["TRACKIO_DIR"] = str(home)
        from trackio.sqlite_storage import SQLiteStorage

        for run in SQLiteStorage.get_runs(PROJECT):
            yield SQLiteStorage.get_logs(PROJECT, run)

    def load_all(self, home: Path) -> Answer:
        """An array per run."""
        import numpy as np

        tables = [np.array([[log[name] for name in METRICS] for log in logs]) for logs in self._runs(home)]
        return Answer(sum(table.size for table in tables), float(sum(table.sum() for table in tables)))

    def one_metric(self, home: Path) -> Answer:
        """One key of every log."""
        loss = [log["loss"] for logs in self._runs(home) for log in logs]
        return Answer(len(loss), sum(loss))

    def last_values(self, home: Path) -> Answer:
        """The last log of each run."""
        last = [logs[-1]["loss"] for logs in self._runs(home)]
        return Answer(len(last), sum(last))

    def reduced(self, home: Path) -> Answer:
        """Read whole, then minimum and maximum of 500 buckets."""
        import numpy as np

        highest = [bucketed(np.array([log["loss"] for log in logs])) for logs in self._runs(home)]
        return Answer(len(highest), sum(highest))


def bucketed(loss: Any) -> float:
    """Reduce a curve to minima and maxima of 500 buckets; return the largest."""
    import numpy as np

    starts = np.unique(np.linspace(0, len(loss), NUM_BUCKETS, endpoint=False).astype(int))
    np.minimum.reduceat(loss, starts)
    return float(np.maximum.reduceat(loss, starts).max())
