"""The modules of FaultBench, for the tests of its records."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def faults(monkeypatch):
    """The modules of the benchmark, which is run from the repository and never installed."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.faults import (
        curves,
        generate,
        healthy,
        labels,
        noise,
        plan,
        recipe,
        recipes,
        schedules,
        shapes,
        shown,
        training,
    )
    from bench.faults.injected import catalogue

    return SimpleNamespace(
        catalogue=catalogue,
        curves=curves,
        generate=generate,
        healthy=healthy,
        labels=labels,
        noise=noise,
        plan=plan,
        recipe=recipe,
        recipes=recipes,
        schedules=schedules,
        shapes=shapes,
        shown=shown,
        training=training,
    )
