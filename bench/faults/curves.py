"""What a run has logged, read back from its files for the benchmark's own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from barograph.read.run import open_run

MEASURED: Final = frozenset({"throughput", "step_time_ms", "memory_mb"})
"""Metrics that are measured and therefore differ between two runs of the same training."""
Key = tuple[str, str]


class Curves(msgspec.Struct, frozen=True):
    """The curves of one run, by (split, metric), every record in the order in which it was made.

    Attributes:
        steps: of the values.
        values: as logged.
    """

    steps: dict[Key, list[float]]
    values: dict[Key, list[float]]

    def train(self, name: str) -> list[float]:
        """A metric of the training split; empty when there is none."""
        return self.values.get(("train", name), [])

    def step_times(self) -> list[float]:
        """Seconds or milliseconds per step or example, by whichever measure was logged."""
        return self.train("step_time_ms") or [1 / it for it in self.train("throughput")]


def read_curves(directory: Path) -> Curves:
    """The curves of a run."""
    run = open_run(directory)
    steps: dict[Key, list[float]] = {}
    values: dict[Key, list[float]] = {}
    for it in run.metrics():
        if it.split in {"train", "val"}:
            points = run.curve(it.name, split=it.split)
            steps[it.split, it.name] = [point.step for point in points]
            values[it.split, it.name] = [point.value for point in points]
    return Curves(steps, values)
