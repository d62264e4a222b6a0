"""What epochs ended with, as series over the number of the epoch: one form for everything that a report draws."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import msgspec
import numpy as np

from barograph.facts.kinds import OnEpochEnd, parse
from barograph.read.arrays import Series, as_float
from barograph.read.run import RunReader

SPLIT: Final = ""
"""Epochs have no split of their own."""


def epoch_series(reader: RunReader) -> dict[str, Series]:
    """By name the values with which the epochs of a run ended; ``steps`` are the epochs' numbers."""
    points: dict[str, list[tuple[float, float, float, int]]] = defaultdict(list)
    for event in reader.events("on_epoch_end"):
        try:
            epoch = parse(event, OnEpochEnd)
        except msgspec.ValidationError:
            continue  # whoever reads the events for what happened reports it
        losses = {"train_loss": epoch.train_loss, "val_loss": epoch.val_loss, "epoch_time_s": epoch.epoch_time_s}
        for name, value in {**losses, **epoch.metrics}.items():
            if value is not None and epoch.rank == 0:
                points[name].append((float(epoch.epoch), as_float(value), event.t, epoch.attempt))
    return {name: _series(name, found) for name, found in sorted(points.items())}


def _series(name: str, points: list[tuple[float, float, float, int]]) -> Series:
    numbers = np.array(sorted(points, key=lambda point: point[3]), dtype=np.float64)
    steps, attempts = numbers[:, 0], numbers[:, 3]
    latest = {step: attempts[steps == step].max() for step in np.unique(steps)}
    return Series(
        name=name,
        split=SPLIT,
        rank=0,
        steps=steps,
        values=numbers[:, 1],
        t=numbers[:, 2],
        attempts=attempts.astype(np.int32),
        superseded=np.array([attempt < latest[step] for step, attempt in zip(steps, attempts, strict=True)]),
    )
