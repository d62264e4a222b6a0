"""How fast training goes and how busy the processors are: logged rates, and the host's samples of utilisation."""

from __future__ import annotations

from barograph.plot.chart import Chart, by_base, chart_of, panels_of, title_of
from barograph.plot.curves import Scope, find_curves, host_curves
from barograph.plot.family import PlotFamily
from barograph.plot.names import chosen, is_utilisation
from barograph.read.run import RunReader


class Throughput(PlotFamily):
    """Rates over steps; shares of processors over time, 100 being one processor in full."""

    name = "throughput"

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """Logged rates and sampled utilisation."""
        panels = by_base(find_curves(run, lambda names: chosen(self.name, names), scope=scope))
        busy = host_curves(run, is_utilisation, scope=scope)
        panels += panels_of("utilisation of the machine, percent", busy) if busy else []
        return chart_of(title_of(run, self.name), panels)


family = Throughput()
