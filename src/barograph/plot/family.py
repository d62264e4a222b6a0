"""What a family of figures is: it selects numbers, then draws them. One protocol for built-ins and strangers.

``select`` is pure: the same facts give the same numbers, and it never writes. Offer a family under the entry points
``barograph.plots``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from matplotlib.figure import Figure

from barograph import plugins
from barograph.plot.chart import Chart, by_base, chart_of, title_of
from barograph.plot.curves import Scope, find_curves, host_curves
from barograph.plot.draw import draw_chart
from barograph.plot.names import chosen
from barograph.plot.style import new_figure, own_style
from barograph.read.run import RunReader

GROUP: Final = "barograph.plots"
AT_EPOCHS: Final = ("on_epoch_end", "on_train_end")
AT_EVALUATIONS: Final = ("on_epoch_end", "on_validation_end", "on_train_end")


class Family(Protocol):
    """A kind of figure.

    Attributes:
        name: e.g. ``losses``; part of the file's name.
        moments: when it is drawn during training, unless the configuration says otherwise.
    """

    name: str
    moments: tuple[str, ...]

    def select(self, run: RunReader, *, scope: Scope) -> Any | None:
        """The numbers to draw, None when the run logged nothing for it; their ``table()``, if any, is saved as CSV."""

    def draw(self, data: Any, figure: Figure) -> None:
        """Draw the numbers on an empty figure."""


class PlotFamily(ABC):
    """What families have in common; made by subclassing, with ``name``, ``moments``, ``select`` and ``draw``."""

    name: str
    moments: tuple[str, ...] = AT_EPOCHS

    @abstractmethod
    def select(self, run: RunReader, *, scope: Scope) -> Any | None:
        """The numbers to draw; see ``Family``."""

    def draw(self, data: Any, figure: Figure) -> None:
        """Draw a chart."""
        draw_chart(data, figure)

    def handle(self, moment: str, payload: Mapping[str, Any], cfg: Any = None) -> list[Figure]:  # noqa: ARG002 - S3's signature
        """Select and draw, as S3 calls it.

        Args:
            moment: what happened.
            payload: ``run_dir``, or ``run`` (a ``RunReader``); and ``t``, up to when facts count.
            cfg: the ``logging`` group.

        Returns:
            The figure, in a list; none when the run logged nothing for it.
        """
        data = self.select(run_of(payload), scope=scope_of(payload))
        return [] if data is None else [self.figure(data)]

    def figure(self, data: Any) -> Figure:
        """A new figure with the data drawn on it."""
        return draw_new(self, data)


class CurveFamily(PlotFamily):
    """A family that draws the metrics whose names it chooses, one panel per metric, its splits together.

    Args:
        name: the family's name.
        moments: when it is drawn.
        rule: chooses names from all that were logged; those of ``plot.names`` for this family when not given.
    """

    def __init__(
        self,
        name: str,
        *,
        moments: tuple[str, ...] = AT_EPOCHS,
        rule: Callable[[Any], set[str]] | None = None,
    ) -> None:
        self.name = name
        self.moments = moments
        self._rule = rule or (lambda names: chosen(name, names))

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """The metrics' points."""
        panels = by_base(find_curves(run, self._rule, scope=scope))
        return chart_of(title_of(run, self.name), panels)


class Named(CurveFamily):
    """The metrics that somebody asked for by name.

    Args:
        names: as they were logged.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("+".join(names)[:60], rule=lambda logged: set(names).intersection(logged))
        self._names = frozenset(names)

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """The metrics' points; samples of the machine too, where no split is asked for."""
        curves = find_curves(run, self._rule, scope=scope)
        curves += host_curves(run, self._names.__contains__, scope=scope) if scope.splits is None else []
        return chart_of(title_of(run, self.name), by_base(curves))


def draw_new(family: Family, data: Any) -> Figure:
    """A new figure with a family's data drawn on it."""
    with own_style():
        figure = new_figure()
        family.draw(data, figure)
    return figure


def run_of(payload: Mapping[str, Any]) -> RunReader:
    """The run that a payload is about."""
    run = payload.get("run")
    return run if isinstance(run, RunReader) else RunReader(Path(payload["run_dir"]))


def scope_of(payload: Mapping[str, Any]) -> Scope:
    """Everything up to the moment, so that a figure that is drawn late shows what it would have shown in time."""
    t = payload.get("t")
    return Scope(until_t=float(t) if isinstance(t, (int, float)) else math.inf)


def find_families() -> dict[str, Any]:
    """Every family that installed distributions offer, by name.

    Raises:
        ImportError: one of them cannot be loaded.
    """
    return {name: plugins.load(GROUP, name) for name in plugins.names(GROUP)}
