"""Two players that train against each other: their losses on one pair of axes, the verdicts on another."""

from __future__ import annotations

from barograph.plot.chart import Chart, by_base, chart_of, panels_of, title_of
from barograph.plot.curves import Curve, Scope, find_curves
from barograph.plot.family import PlotFamily
from barograph.plot.names import chosen, is_loss, words_of
from barograph.read.run import RunReader

_VERDICTS = frozenset({"real", "fake", "acc", "accuracy"})


class Adversarial(PlotFamily):
    """What the players do to each other is seen only where they share the axes."""

    name = "adversarial"

    def select(self, run: RunReader, *, scope: Scope) -> Chart | None:
        """Losses, verdicts, and whatever else is said of a player."""
        groups: dict[str, list[Curve]] = {"losses of the players": [], "verdicts of the discriminator": []}
        rest: list[Curve] = []
        for curve in find_curves(run, lambda names: chosen(self.name, names), scope=scope):
            if curve.axis != scope.x:
                rest.append(curve)
            elif is_loss(curve.name):
                groups["losses of the players"].append(curve)
            elif _VERDICTS.intersection(words_of(curve.name)):
                groups["verdicts of the discriminator"].append(curve)
            else:
                rest.append(curve)
        panels = [panel for title, curves in groups.items() if curves for panel in panels_of(title, curves)]
        return chart_of(title_of(run, self.name), panels + by_base(rest))


family = Adversarial()
