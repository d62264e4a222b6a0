"""Everything that is measured, in the order of the tables: floors, ourselves, peers by name.

A subject's file holds all that is known about it; it imports its library only inside `open` and `read_back`,
so that the driver can read its `SPEC` without having the library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.work import Spec, Subject

ORDER: Final = (
    "noop",
    "pack",
    "os_write",
    "pydll_write",
    "barograph",
    "barograph_facts",
    "barograph_watch",
    "barograph_batch",
    "aim",
    "dvclive",
    "lightning",
    "mlflow",
    "tensorboardx",
    "trackio",
    "wandb",
)


def spec_of(name: str) -> Spec:
    """Return what the driver must know of a subject."""
    return importlib.import_module(f"bench.subjects.{name}").SPEC


def make(name: str) -> Subject:
    """Return a fresh subject, nothing of its library imported yet."""
    return importlib.import_module(f"bench.subjects.{name}").Recorder()
