"""Memory: of the process, the machine and its cards as the host sampler saw it, and what the script logged of it."""

from __future__ import annotations

from barograph.plot.chart import Chart, by_base, chart_of, panels_of, title_of
from barograph.plot.curves import Scope, find_curves, host_curves
from barograph.plot.family import PlotFamily
from barograph.plot.names import chosen, is_memory, words_of
from barograph.read.run import RunReader


class Memory(PlotFamily):
    """Sizes in decimal GB over time; logged ones in their own unit."""

    name = "memory"

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """Sampled and logged sizes."""
        sampled = host_curves(run, is_memory, scope=scope)
        groups = {
            "memory of the process, GB": [curve for curve in sampled if "rss" in words_of(curve.name)],
            "memory of cards, GB": [curve for curve in sampled if curve.name.startswith("gpu")],
            "memory of the machine, GB": [curve for curve in sampled if curve.name.startswith("memory")],
        }
        panels = [panel for title, curves in groups.items() if curves for panel in panels_of(title, curves)]
        panels += by_base(find_curves(run, lambda names: chosen(self.name, names), scope=scope))
        return chart_of(title_of(run, self.name), panels)


family = Memory()
