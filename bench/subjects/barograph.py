"""Barograph as a user gets it: companion, host sampler and heartbeats included."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from bench.work import METRICS, Row, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.work import Values

SPEC = Spec(label="barograph", kind="ours", distribution="barograph", requirement=(".",))


class Recorder:
    """A run with default settings.

    Args:
        settings: what is not left to its default.
    """

    def __init__(self, **settings: str | bool | None) -> None:
        self._settings = settings

    def open(self, home: Path) -> None:
        """Begin a run."""
        import barograph

        self._run: Any = barograph.init(project="bench", name="run", root=home, config={"lr": 1e-3}, **self._settings)

    def log(self, step: int, values: Values) -> None:
        """Log one dictionary."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._run.log(
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
        self._run.finish()

    def read_back(self, home: Path) -> Iterator[Row]:
        """Read the rows by the format's own description, not by our code: it must not vouch for itself."""
        for path in sorted(home.glob("*/facts/metrics.*.rows")):
            with path.open("rb") as file:
                header = json.loads(file.readline())
                columns = header["columns"]
                file.seek(header["header_bytes"])
                data = file.read()
            if not set(METRICS) <= set(columns):
                continue
            row = struct.Struct(f"<{len(columns)}d")
            for numbers in row.iter_unpack(data[: len(data) // row.size * row.size]):
                found = dict(zip(columns, numbers, strict=True))
                yield int(found["step"]), tuple(found[name] for name in METRICS)
