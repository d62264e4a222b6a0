"""Lightning's ``CSVLogger``: ``version_N/metrics.csv`` and ``hparams.yaml``.

An empty cell means that the metric was not in that call; ``nan`` and ``inf`` are values. The file holds no times and
no status (``lightning_fabric/loggers/csv_logs.py``). Cells are Python's own words for numbers, so they read back to
the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.columns import unreadable
from barograph.read.foreign.csv_rows import csv_columns, csv_rows, number_of
from barograph.read.foreign.documents import load_yaml
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignText, whereabouts
from barograph.read.foreign.records import Gathered, count_truths

METRICS: Final = "metrics.csv"
HPARAMS: Final = "hparams.yaml"
STEP: Final = "step"
TRUTHS: Final = {"True": 1, "False": 0}
_VERSION: Final = re.compile(r"version_\d+")


class LightningCsvImporter:
    """Reads one version directory."""

    name = "lightning_csv"

    def recognises(self, path: Path) -> bool:
        """Whether a directory has a ``metrics.csv`` with a column ``step``."""
        return STEP in csv_columns(path / METRICS)

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The version's run.

        Raises:
            OSError: the file cannot be read.
        """
        directory = whereabouts(path)
        experiment = directory.parent.name
        is_version = _VERSION.fullmatch(directory.name) is not None
        run = ForeignRun(
            tool=self.name,
            source=path,
            key="",
            name=f"{experiment}-{directory.name}" if is_version else directory.name,
            group=experiment if is_version else None,
        )
        run.config = _hparams(path / HPARAMS, run.fidelity.damage)
        run.seed = run.config["seed"] if type(run.config.get("seed")) is int else None
        _add_rows(run, path / METRICS)
        run.fidelity.keep("hyperparameters", len(run.config))
        run.fidelity.note("the file holds no times and no status of the run")
        run.files = [
            ForeignFile(name=str(file.relative_to(path)), path=file, size_bytes=file.stat().st_size)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name not in (METRICS, HPARAMS)
        ]
        yield run


importer: Final = LightningCsvImporter()


def _hparams(path: Path, damage: list[Damage]) -> dict[str, Any]:
    try:
        found = load_yaml(path)
    except FileNotFoundError:
        return {}
    except (FormatError, OSError) as error:
        damage.append(unreadable(path, error))
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _add_rows(run: ForeignRun, path: Path) -> None:
    gathered = Gathered(run.fidelity)
    for row in csv_rows(path, run.fidelity.damage):
        step = number_of(row.cells.pop(STEP, ""))
        if step is None:
            run.fidelity.damage.append(row.damage("a row without a step"))
            continue
        numbers: dict[str, float] = {}
        for name, cell in row.cells.items():
            value = TRUTHS.get(cell, number_of(cell))
            if value is not None:
                numbers[name] = value
                count_truths(run.fidelity, cell in TRUTHS)
            elif cell:
                run.texts.append(ForeignText(name=name, text=cell, step=step))
        gathered.add(numbers, step=step)
    run.metrics = gathered.metrics()
    run.fidelity.keep("texts", len(run.texts))
