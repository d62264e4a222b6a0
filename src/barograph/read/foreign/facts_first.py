"""Run directories of facts-first studies that hold ``facts/scalars.csv`` and no events.

Those with ``facts/events.jsonl`` are read in place as runs of ours, of the older schema too. Each row of the table is
one epoch; it becomes the ``on_epoch_end`` event from which such a table is derived.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from barograph.facts.rundir import RunDir
from barograph.read.foreign.csv_rows import csv_columns, csv_rows, number_of
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, whereabouts
from barograph.read.identity import directory_name, directory_time, read_config

EPOCH: Final = "epoch"
LOSSES: Final = ("train_loss", "val_loss", "epoch_time_s")
TIMES: Final = ("t", "timestamp", "time")
MOMENT: Final = "on_epoch_end"
OVERRIDES: Final = Path(".hydra", "overrides.yaml")


class FactsFirstImporter:
    """Reads one run directory."""

    name = "facts_first"

    def recognises(self, path: Path) -> bool:
        """Whether a directory has ``facts/scalars.csv`` with a column ``epoch``, and no events that we read."""
        directory = RunDir(path)
        return not directory.is_run() and EPOCH in csv_columns(directory.scalars_csv)

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The directory's run.

        Raises:
            OSError: the table cannot be read.
        """
        path = whereabouts(path)
        directory = RunDir(path)
        created = directory_time(path)
        run = ForeignRun(tool=self.name, source=path, key="", name=directory_name(path), created_t=created)
        run.config = read_config(directory, run.fidelity.damage)
        run.seed = _seed(run.config)
        _add_epochs(run, directory.scalars_csv)
        run.fidelity.keep("settings", len(run.config))
        run.fidelity.note("the directory tells nothing of how the run ended")
        run.provenance = _overrides(path / OVERRIDES)
        run.files = [
            ForeignFile(name=str(file.relative_to(path)), path=file, size_bytes=file.stat().st_size)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file != directory.scalars_csv
        ]
        yield run


importer: Final = FactsFirstImporter()


def _seed(config: dict[str, Any]) -> int | None:
    """The seed where such studies have it."""
    phase = config.get("phase1")
    trainer = phase.get("trainer") if isinstance(phase, dict) else None
    for place in (config, trainer):
        if isinstance(place, dict) and type(place.get("seed")) is int:
            return int(place["seed"])
    return None


def _overrides(path: Path) -> dict[str, Any]:
    try:
        return {"hydra_overrides": path.read_text(encoding="utf-8", errors="replace")}
    except OSError:  # there is none
        return {}


def _add_epochs(run: ForeignRun, path: Path) -> None:
    for row in csv_rows(path, run.fidelity.damage):
        epoch = number_of(row.cells.pop(EPOCH))
        if epoch is None:
            run.fidelity.damage.append(row.damage("a row without an epoch"))
        else:
            _add_epoch(run, {name: cell for name, cell in row.cells.items() if cell}, epoch, path)


def _add_epoch(run: ForeignRun, cells: dict[str, str], epoch: float, path: Path) -> None:
    fidelity = run.fidelity
    numbers: dict[str, float] = {}
    for name, cell in cells.items():
        value = number_of(cell)
        if value is None:
            fidelity.lose("texts", "an epoch's values are numbers")
        else:
            numbers[name] = value
    told = next((numbers.pop(name) for name in TIMES if name in numbers), math.nan)
    if math.isnan(told):
        told = path.stat().st_mtime if run.created_t is None else run.created_t
        fidelity.change("times", "the table has none: the directory's")
    payload: dict[str, Any] = {EPOCH: epoch, **{name: numbers.pop(name) for name in LOSSES if name in numbers}}
    if numbers:
        payload["metrics"] = numbers
    run.events.append((told, MOMENT, payload))
    fidelity.keep("epochs")
    fidelity.keep("numbers", len(payload) - 1 - bool(numbers) + len(numbers))
