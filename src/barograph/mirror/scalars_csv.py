"""``facts/scalars.csv``: one line per ``on_epoch_end``, for reading as a DataFrame. Derived from the events."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.facts.writers import append_scalars_csv
from barograph.read.follow import Fact


class ScalarsCsv:
    """A consumer of facts that appends epochs to ``scalars.csv``.

    Args:
        directory: the run.
    """

    def __init__(self, directory: RunDir) -> None:
        self._directory = directory

    def feed(self, facts: Sequence[Fact]) -> None:
        """Append the epochs among the facts."""
        for fact in facts:
            if isinstance(fact, Event) and fact.moment == "on_epoch_end" and "epoch" in fact.payload:
                self._append(fact)

    def catch_up(self, facts: Sequence[Fact]) -> None:
        """Append those epochs among older facts that a kill kept from the file."""
        present = self._epochs()
        self.feed([fact for fact in facts if isinstance(fact, Event) and fact.payload.get("epoch") not in present])

    def _epochs(self) -> set[int]:
        try:
            with self._directory.scalars_csv.open(encoding="utf-8", newline="") as file:
                return {int(row["epoch"]) for row in csv.DictReader(file) if row["epoch"].isdecimal()}
        except FileNotFoundError:
            return set()

    def _append(self, event: Event) -> None:
        payload = event.payload
        numbers = {key: payload.get(key) for key in ("train_loss", "val_loss", "epoch_time_s", "attempt")}
        measured = payload.get("metrics")
        pairs = measured.items() if isinstance(measured, dict) else ()
        metrics = {key: value for key, value in pairs if isinstance(value, (int, float))}
        append_scalars_csv(self._directory.path, epoch=payload["epoch"], metrics=metrics, **numbers)

    def close(self) -> None:
        """Nothing is held open."""
