"""What the families of figures (``barograph.plots``) find in a run, as pictures of a report.

A family that fails costs its own figure and is warned about; the report is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from barograph.errors import BarographWarning
from barograph.plot.curves import Scope
from barograph.plot.family import draw_new
from barograph.plot.orchestrator import Snapshot, find_families
from barograph.report.document import Cell, Picture, Prose, Shown
from barograph.report.number import Facts
from barograph.report.query import Query

FIRST = ("losses", "metrics")


def plot_families(facts: Facts, key: str) -> list[Picture]:
    """One picture for each family that finds something in a run, losses first.

    Args:
        facts: the runs.
        key: of the run.

    Warns:
        BarographWarning: a family cannot be loaded, or failed.
    """
    families, failures = find_families()
    for failure in failures:
        _warn(failure.family, failure.failure)
    run = Snapshot(facts.readers[key].path)
    names = sorted(families, key=lambda name: (name not in FIRST, name))
    found = [_picture(facts, key, name, families[name], run) for name in names if hasattr(families[name], "select")]
    return [picture for picture in found if picture is not None]


def _picture(facts: Facts, key: str, name: str, family: Any, run: Snapshot) -> Picture | None:
    try:
        data = family.select(run, scope=Scope())
        if data is None:
            return None
        figure = draw_new(family, data)
        columns = _columns(data)
    except Exception as error:  # noqa: BLE001 - a stranger's family may raise anything; it is told, and the others stand
        _warn(name, f"{type(error).__name__}: {error}")
        return None
    points = facts.number(f"figure-{name}.points", Query(of="run", name="num_points"), key)
    caption: list[Cell] = ["The run recorded ", Shown(points, "integer"), " points of metrics."]
    return Picture(name=name, title=name.replace("_", " "), figure=figure, data=columns, caption=Prose(caption))


def _columns(data: Any) -> dict[str, Sequence[Any]]:
    """The table of what is drawn, by columns; empty where a family has none."""
    if not hasattr(data, "table"):
        return {}
    names, rows = data.table()
    listed = list(rows)
    columns = zip(*listed, strict=True) if listed else ((),) * len(names)
    return dict(zip(names, columns, strict=True))


def _warn(family: str, reason: str | None) -> None:
    warnings.warn(
        f"the figure {family!r} is not in the report: {reason}; the report has everything else",
        BarographWarning,
        stacklevel=4,
    )
