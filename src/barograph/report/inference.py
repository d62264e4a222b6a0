"""Runs the models of a report's runs again, when that was asked for, by a callable that the configuration names.

What a model is and how it is loaded is the callable's affair: no framework is known here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph import plugins
from barograph.errors import ReportError
from barograph.read.run import RunReader
from barograph.report.config import Inference
from barograph.report.content import hash_file
from barograph.report.document import Column, Item, Picture, Prose, Section, Shown, Table
from barograph.report.number import Facts
from barograph.report.query import Query

GROUP: Final = "barograph.inference"


class InferenceRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose model is to be run again.

    Attributes:
        key: by which the report names the run.
        reader: its facts and its configuration.
        checkpoint: the file that holds its model.
        data_config: the section ``data`` of the first run's configuration, so that all models see the same data.
    """

    key: str
    reader: RunReader
    checkpoint: Path
    data_config: Mapping[str, Any]


class InferenceResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        numbers: by the run's key, numbers by name, e.g. ``{"r0": {"auroc": 0.91}}``.
        pictures: figures over all runs, each with the data that it shows.
    """

    numbers: Mapping[str, Mapping[str, float]]
    pictures: Sequence[Picture] = ()


Infer = Callable[[Sequence[InferenceRun], Mapping[str, Any]], InferenceResult]
"""``infer(runs, options)``."""


class Inferred(msgspec.Struct, frozen=True, kw_only=True):
    """What a report has from inference.

    Attributes:
        section: of the document.
        checkpoints: by the run's key, the file that was run, relative to the run, and its hash.
    """

    section: Section
    checkpoints: dict[str, tuple[str, str]]


def infer(facts: Facts, config: Inference) -> Inferred | None:
    """Run the models; None when ``inference.enabled`` is false.

    Raises:
        ReportError: a run has no checkpoint, or the callable cannot be found or returns something else.
    """
    if not config.enabled or config.function is None:
        return None
    data = next(iter(facts.readers.values())).config.get("data")
    data_config = data if isinstance(data, Mapping) else {}
    runs = [
        InferenceRun(
            key=key, reader=reader, checkpoint=find_checkpoint(reader, config.checkpoint), data_config=data_config
        )
        for key, reader in facts.readers.items()
    ]
    hashes = {
        run.key: (run.checkpoint.relative_to(run.reader.path).as_posix(), hash_file(run.checkpoint)) for run in runs
    }
    result = load_function(config.function)(runs, config.options)
    if not isinstance(result, InferenceResult):
        raise ReportError(
            f"{config.function} returned a {type(result).__name__}; return a barograph.report.inference.InferenceResult"
        )
    note = Prose([f"Computed by {config.function} from the models of the runs, not from facts."])
    items: list[Item] = [note, _table(facts, result), *result.pictures]
    return Inferred(section=Section("Inference", items, "inference"), checkpoints=hashes)


def _relative(run: InferenceRun) -> str:
    return run.checkpoint.relative_to(run.reader.path).as_posix()


def find_checkpoint(reader: RunReader, name: str | None) -> Path:
    """The file that holds a run's model.

    Args:
        reader: the run.
        name: relative to the run; the first there is of ``model.pt``, ``best_val.pt`` and ``last.pt`` when None.

    Raises:
        ReportError: there is none.
    """
    layout = reader.directory
    candidates = [layout.model, layout.best, layout.last] if name is None else [layout.path / name]
    for path in candidates:
        if path.is_file():
            return path
    names = ", ".join(path.name for path in candidates)
    raise ReportError(
        f"{reader.path} has no {names}, so its model cannot be run; set inference.checkpoint, leave the run out with "
        f"inputs.select, or set inference.enabled=false"
    )


def load_function(name: str) -> Infer:
    """What runs the models: ``module:callable``, or a name in the entry point group ``barograph.inference``.

    Raises:
        ReportError: there is no such module or callable.
        PluginNotFoundError: no installed distribution offers the name.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        loaded: Infer = plugins.load(GROUP, name)
        return loaded
    try:
        found: Infer = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ReportError(
            f"inference.function={name} cannot be loaded: {error}; check the name and PYTHONPATH"
        ) from error
    return found


def _table(facts: Facts, result: InferenceResult) -> Table:
    names = list(dict.fromkeys(name for numbers in result.numbers.values() for name in numbers))
    columns = [Column(name="run", title="run"), *(Column(name=name, title=name, is_number=True) for name in names)]
    rows: list[list[Shown | str]] = []
    for place, (key, numbers) in enumerate(result.numbers.items()):
        if key not in facts.readers:
            raise ReportError(f"inference returned numbers of {key!r}, which is no run of the report; use run.key")
        row: list[Shown | str] = [facts.label(key)]
        for name in names:
            value, query = numbers.get(name), Query(of="inference", name=name)
            number = facts.keep(f"inference.{place}.{name}", value, query=query, runs=[key], n=int(value is not None))
            row.append(Shown(number))
        rows.append(row)
    return Table(name="inference", columns=columns, rows=rows)
