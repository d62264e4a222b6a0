"""What most figures are: panels of lines over one x each, as numbers; and those numbers as a table.

This is the pure half: it is tested with numbers, and ``plot.draw`` makes a picture of it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from barograph.plot.curves import TIMED, Axis, Curve
from barograph.plot.lines import Line, to_lines
from barograph.plot.names import base_of
from barograph.read.run import RunReader

MAX_PANELS: Final = 12
MAX_LINES: Final = 8
COLUMNS: Final = ("panel", "name", "split", "attempt", "superseded", "axis", "x", "value")


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of axes.

    Attributes:
        title: what stands above it.
        axis: what x is.
        lines: what is drawn.
        resumes: where each later attempt begins, by its number.
        joined: False shows points alone: what has no order, such as durations of phases, is not a line.
    """

    title: str
    axis: Axis
    lines: tuple[Line, ...]
    resumes: dict[int, float] = {}
    joined: bool = True


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of panels.

    Attributes:
        title: the run, and what is shown of it.
        panels: from top to bottom.
        left_out: metrics that would be panels too, for which there was no room.
    """

    title: str
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...] = ()

    def table(self) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        """The shown points, each a recorded one: names of the columns, and the rows."""
        return COLUMNS, self._rows()

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for panel in self.panels:
            for line in panel.lines:
                head = (panel.title, line.name, line.split)
                for strand in line.strands:
                    about = (*head, strand.attempt, int(strand.superseded), panel.axis)
                    for x, y in zip(strand.x.tolist(), strand.y.tolist(), strict=True):
                        yield (*about, x, y)
                for kind, places in line.marks.items():
                    for x in places.tolist():
                        yield (*head, "", "", panel.axis, x, float(kind))


def title_of(run: RunReader, subject: str) -> str:
    """``NAME (ID): SUBJECT``."""
    return f"{run.identity.name} ({run.identity.run_id}): {subject}"


def by_base(curves: Sequence[Curve]) -> list[Panel]:
    """One panel per metric and kind of x: its splits share the axes, and so do names that differ in a number alone.

    ``layer0/grad_norm`` and ``layer1/grad_norm`` are together in ``layer*/grad_norm``.
    """
    groups: dict[tuple[str, Axis], list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[re.sub(r"\d+", "*", base_of(curve.name, curve.split)[0]), curve.axis].append(curve)
    num_axes = Counter(name for name, _ in groups)
    panels: list[Panel] = []
    for (name, axis), mine in groups.items():
        bases = {base_of(curve.name, curve.split)[0] for curve in mine}
        title = name if len(bases) > 1 else bases.pop()
        panels += panels_of(title if num_axes[name] == 1 else f"{title} by {axis}", mine)
    return panels


def panels_of(title: str, curves: Sequence[Curve], *, joined: bool = True) -> list[Panel]:
    """One panel of all curves, or several when there are more than can be told apart."""
    portions = [curves[start : start + MAX_LINES] for start in range(0, len(curves), MAX_LINES)]
    return [
        Panel(
            title=title if len(portions) == 1 else f"{title} ({number} of {len(portions)})",
            axis=portion[0].axis,
            lines=to_lines(portion),
            resumes=_resumes(portion),
            joined=joined,
        )
        for number, portion in enumerate(portions, start=1)
    ]


def chart_of(title: str, panels: Sequence[Panel]) -> Chart | None:
    """A chart of the first panels, as many as there is room for; None of none."""
    if not panels:
        return None
    left_out = tuple(panel.title for panel in panels[MAX_PANELS:])
    return Chart(title=title, panels=tuple(panels[:MAX_PANELS]), left_out=left_out)


def _resumes(curves: Sequence[Curve]) -> dict[int, float]:
    """Where each attempt but the oldest one begins; over time too, though nothing there was recorded twice."""
    found: dict[int, float] = {}
    for curve in curves:
        for attempt in {int(number) for number in curve.attempts if number > 0}:
            first = float(curve.x[curve.attempts == attempt].min())
            found[attempt] = min(first, found.get(attempt, first))
    return dict(sorted(found.items()))


def axis_label(axis: Axis) -> str:
    """What stands below x."""
    return "seconds since the run began" if axis == TIMED else axis
