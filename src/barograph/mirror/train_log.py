"""The text log's ``metric {json}`` lines: every record whose step is a fast log's or full evaluation's. Derived.

The line is ``YYYY-MM-DD HH:MM:SS | INFO | metric {json}`` with the time of the record, so ``grep "metric "`` and
``json.loads`` rebuild the curves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT
from barograph.read.follow import Fact, Record, Rows

Emit = Callable[[str, float], None]
Due = Callable[[float], bool]


class MetricLines:
    """A consumer of facts that writes metric lines.

    Args:
        emit: writes one message with its unix time.
        due: whether a step's records belong in the text log.
        run_id: goes into each line, so that lines of several runs can be told apart.
    """

    def __init__(self, emit: Emit, *, due: Due, run_id: str) -> None:
        self._emit = emit
        self._due = due
        self._run_id = run_id

    def feed(self, facts: Sequence[Fact]) -> None:
        """Write the lines that are due among the facts."""
        for fact in facts:
            if isinstance(fact, Rows):
                self._rows(fact)
            elif isinstance(fact, Record):
                self._record(fact)
            elif fact.moment == "on_epoch_end":
                self._epoch(fact)

    def close(self) -> None:
        """Nothing is held open."""

    def _rows(self, fact: Rows) -> None:
        if fact.header.split == HOST_SPLIT:
            return
        names = fact.header.columns[1:-1]
        for row in fact.rows:
            if self._due(row[0]):
                self._line(row[0], dict(zip(names, row[1:-1], strict=True)), fact.header.split, row[-1])

    def _record(self, fact: Record) -> None:
        if self._due(fact.step):
            self._line(fact.step, fact.metrics, fact.split, fact.t)

    def _epoch(self, event: Event) -> None:
        payload = event.payload
        numbers = {key: payload[key] for key in ("train_loss", "val_loss") if payload.get(key) is not None}
        record = {"epoch": payload.get("epoch"), **numbers, **payload.get("metrics", {}), "run_id": self._run_id}
        self._emit("metric " + _dumps(record), event.t)

    def _line(self, step: float, metrics: dict[str, Any], split: str, t: float) -> None:
        epoch = {"epoch": _integer(metrics["epoch"])} if "epoch" in metrics else {}
        rest = {name: value for name, value in metrics.items() if name != "epoch"}
        record = {**epoch, "step": _integer(step), **rest, "split": split, "run_id": self._run_id}
        self._emit("metric " + _dumps(record), t)


def _integer(number: float) -> float:
    return int(number) if number % 1 == 0 else number


def _dumps(record: dict[str, Any]) -> str:
    """Strict JSON as ``json.dumps`` writes it; non-finite numbers as null, named in ``nonfinite``."""
    marks = {
        key: ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
        for key, value in record.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    clean = {key: None if key in marks else value for key, value in record.items()}
    return json.dumps({**clean, "nonfinite": marks} if marks else clean, allow_nan=False)
