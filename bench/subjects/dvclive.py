"""DVCLive: five `log_metric` calls and a `next_step`, which is its documented loop."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from bench.work import METRICS, Row, Spec, rows_from_points

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(
    label="dvclive",
    kind="peer",
    distribution="dvclive",
    requirement=("dvclive",),
    environment={"DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "1"},
)


class Recorder:
    """A `Live` with its defaults: it makes the project a DVC repository and saves an experiment at the end."""

    def open(self, home: Path) -> None:
        """Make the logger."""
        from dvclive import Live

        self._live: Any = Live(dir=str(home / "dvclive"))

    def log(self, step: int, values: Values) -> None:
        """Log five metrics and go to the next step."""
        loss, accuracy, lr, grad_norm, throughput = values
        live = self._live
        live.step = step
        live.log_metric("loss", loss)
        live.log_metric("accuracy", accuracy)
        live.log_metric("lr", lr)
        live.log_metric("grad_norm", grad_norm)
        live.log_metric("throughput", throughput)
        live.next_step()

    def close(self) -> None:
        """End the run."""
        self._live.end()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Read the tables of the metrics."""
        return rows_from_points(_points(home / "dvclive" / "plots" / "metrics"))


def _points(folder: Path) -> Iterator[tuple[int, str, float]]:
    for name in METRICS:
        text = (folder / f"{name}.tsv").read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        for line in csv.DictReader(whole.splitlines(), delimiter="\t"):
            yield int(line["step"]), name, float(line[name])
