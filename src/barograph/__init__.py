"""Barograph records model training: facts on disk once, everything else reads them.

    import barograph

    with barograph.init(project="digits", config={"lr": 1e-3}) as run:
        run.log({"loss": 0.5}, step=0)

Names are loaded when they are first used, so that ``import barograph`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from barograph.version import VERSION

if TYPE_CHECKING:
    from barograph import errors
    from barograph.compare.comparator import ExperimentComparator
    from barograph.read.catalog import discover_runs
    from barograph.read.frames import Runs, load_runs
    from barograph.read.run import open_run
    from barograph.record.cadence import Cadence
    from barograph.record.run import Run
    from barograph.record.seed import set_all_seeds
    from barograph.report.run import run_report
    from barograph.session import init
    from barograph.session.training_logger import EnhancedTrainingLogger, TrainingLogger

__all__ = [
    "Cadence",
    "EnhancedTrainingLogger",
    "ExperimentComparator",
    "Run",
    "Runs",
    "TrainingLogger",
    "__version__",
    "discover_runs",
    "errors",
    "init",
    "load_runs",
    "open_run",
    "run_report",
    "set_all_seeds",
]

__version__ = VERSION

_HOMES = {
    "Cadence": "barograph.record.cadence",
    "EnhancedTrainingLogger": "barograph.session.training_logger",
    "ExperimentComparator": "barograph.compare.comparator",
    "Run": "barograph.record.run",
    "Runs": "barograph.read.frames",
    "TrainingLogger": "barograph.session.training_logger",
    "discover_runs": "barograph.read.catalog",
    "init": "barograph.session",
    "load_runs": "barograph.read.frames",
    "open_run": "barograph.read.run",
    "run_report": "barograph.report.run",
    "set_all_seeds": "barograph.record.seed",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - in a function, so that it is no public name

    if name == "errors":
        return import_module("barograph.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'barograph' has no attribute {name!r}; it has {', '.join(__all__)}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from barograph.plugins import explain_missing  # noqa: PLC0415 - nothing is missing, most often

        raise explain_missing(error) or error from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
