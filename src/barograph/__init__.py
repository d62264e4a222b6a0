"""Barograph records model training: facts on disk once, everything else reads them.

    import barograph

    with barograph.init(project="digits", config={"lr": 1e-3}) as run:
        run.log({"loss": 0.5}, step=0)

Names are loaded when they are first used, so that ``import barograph`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from barograph import errors
    from barograph.read.run import open_run
    from barograph.record.cadence import Cadence
    from barograph.record.run import Run
    from barograph.record.seed import set_all_seeds
    from barograph.session import init
    from barograph.session.training_logger import EnhancedTrainingLogger, TrainingLogger

__all__ = [
    "Cadence",
    "EnhancedTrainingLogger",
    "Run",
    "TrainingLogger",
    "__version__",
    "errors",
    "init",
    "open_run",
    "set_all_seeds",
]
__version__ = "0.1.0"

_HOMES = {
    "Cadence": "barograph.record.cadence",
    "EnhancedTrainingLogger": "barograph.session.training_logger",
    "Run": "barograph.record.run",
    "TrainingLogger": "barograph.session.training_logger",
    "init": "barograph.session",
    "open_run": "barograph.read.run",
    "set_all_seeds": "barograph.record.seed",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - in a function, so that it is no public name

    if name == "errors":
        return import_module("barograph.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'barograph' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
