"""How long things take: epochs, logged durations, and each phase that was timed."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np

from barograph.facts.kinds import OnPhaseEnd, parse
from barograph.plot.chart import Chart, by_base, chart_of, panels_of, title_of
from barograph.plot.curves import Curve, Scope, find_curves
from barograph.plot.family import PlotFamily
from barograph.plot.names import chosen
from barograph.read.run import RunReader


class Latency(PlotFamily):
    """Durations: metrics as lines, phases as one dot each time that they ended."""

    name = "latency"

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """Logged durations and timed phases."""
        panels = by_base(find_curves(run, lambda names: chosen(self.name, names), scope=scope))
        phases = phase_curves(run, scope=scope)
        panels += panels_of("phases, seconds each", phases, joined=False) if phases else []
        return chart_of(title_of(run, self.name), panels)


def phase_curves(run: RunReader, *, scope: Scope) -> list[Curve]:
    """The duration of each phase, in seconds, over seconds since the run began at which it ended."""
    found: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for event in run.events("on_phase_end"):
        if event.t > scope.until_t:
            continue
        try:
            phase = parse(event, OnPhaseEnd)
        except msgspec.ValidationError:
            continue  # `barograph check` tells of events that are not as their moment asks
        if phase.rank == scope.rank:
            found[phase.path or phase.name].append((event.t, phase.duration_s, phase.attempt))
    start_t = run.identity.created_t
    if start_t is None:
        start_t = min((t for points in found.values() for t, _, _ in points), default=0.0)
    return [_curve(name, points, start_t) for name, points in sorted(found.items())]


def _curve(name: str, points: list[tuple[float, float, int]], start_t: float) -> Curve:
    t, durations_s, attempts = (np.array(column) for column in zip(*points, strict=True))
    order = np.lexsort((t, attempts))
    return Curve(
        name=name,
        split="phase",
        axis="time",
        x=t[order].astype(np.float64) - start_t,
        values=durations_s[order].astype(np.float64),
        attempts=attempts[order].astype(np.int32),
        superseded=np.zeros(len(points), dtype=bool),
    )


family = Latency()
