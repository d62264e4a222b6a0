"""Many runs: what was varied, what each configuration came to over its seeds, what each run did, what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from barograph.plot.many.scatter import Dot, as_columns, draw_scatter
from barograph.report.choice import choose_metrics
from barograph.report.config import ReportConfig
from barograph.report.curves import plot_curves, plot_grid, plot_loss_vs_time, plot_values
from barograph.report.document import Badge, Column, Document, Item, Picture, Prose, Section, Shown, Table
from barograph.report.metric import Metric
from barograph.report.number import Facts
from barograph.report.query import Query, Statistic
from barograph.report.sweep_params import Variant, find_params, find_variants
from barograph.report.tables import (
    Ask,
    alert_table,
    check_table,
    criteria_table,
    make_table,
    origin_table,
    run_table,
    several,
    skipped_table,
)

MAX_SCATTERS: Final = 6
MAX_CELLS: Final = 12
STATISTICS: Final[Sequence[Statistic]] = ("n", "num_nonfinite", "mean", "low", "high", "std", "median", "min", "max")

STATISTICS_NOTE: Final = (
    "Over the runs that finished; runs of one configuration differ by their seed alone. Where a run's value is not "
    "finite there is no mean, and it counts as the worst in ranks. Intervals hold for the mean, at 95 %."
)


class Sweep:
    """The kind ``sweep``."""

    name = "sweep"
    allow_unended = False

    def build(self, facts: Facts, cfg: ReportConfig) -> Document:
        """Say what the runs came to."""
        metrics = choose_metrics(facts, cfg.metrics)
        variants = find_variants(facts)
        params = find_params(variants)
        groups = {key: variant.label for variant in variants for key in variant.keys}
        drawn = metrics if cfg.figures else []
        values = [plot_values(facts, it, reduce=it.mode, groups=groups) for it in drawn[:1]]
        curves = [plot(facts, it, groups=groups) for it in drawn for plot in (plot_loss_vs_time, plot_curves)]
        if len(variants) <= MAX_CELLS:
            curves += [plot_grid(facts, it, groups=groups) for it in drawn[:1]]
        scatters = [_scatter(facts, name, it) for it in drawn[:1] for name in list(params)[:MAX_SCATTERS]]
        sections = [
            _section("Results", *values, summary_table(facts, variants, metrics)),
            _section("Curves", *curves),
            _section("What the settings did", *scatters),
            _section("Promised and delivered", criteria_table(facts), check_table(facts), alert_table(facts)),
            _section("Runs", run_table(facts, metrics, list(params)), origin_table(facts)),
            _section("Left out", skipped_table(facts)),
        ]
        return Document(
            title=cfg.title or title_of("Sweep", cfg.name),
            lead=lead_lines(facts, list(params)),
            sections=[section for section in sections if section.items],
            metadata={
                "sweep_params": params,
                "metrics": [metric.label for metric in metrics],
                "configurations": [{"label": it.label, "settings": it.settings, "runs": it.keys} for it in variants],
            },
        )


def _section(title: str, *items: Item | None) -> Section:
    return Section(title, [item for item in items if item is not None])


def title_of(kind: str, name: str | None) -> str:
    """``Sweep lr``; a name that says the kind already stands alone.

    >>> title_of("Sweep", "lr"), title_of("Sweep", "sweep"), title_of("Sweep", "lr_sweep"), title_of("Sweep", None)
    ('Sweep lr', 'Sweep', 'lr_sweep', 'Sweep')
    """
    if not name or name.lower() == kind.lower():
        return kind
    return name if kind.lower() in name.lower() else f"{kind} {name}"


def lead_lines(facts: Facts, params: Sequence[str]) -> list[Prose]:
    """How many runs there are, what was varied, what is missing."""

    def ask(name: str) -> Shown:
        return Shown(facts.total(f"lead.{name}", Query(of="run", name=name), facts.keys), "integer")

    varied = f"varied: {', '.join(params)}" if params else "all of one configuration but for their seeds"
    hypotheses = dict.fromkeys(it.identity.hypothesis for it in facts.readers.values() if it.identity.hypothesis)
    lines = [
        *(Prose([f"Hypothesis: {hypothesis}"]) for hypothesis in hypotheses),
        Prose([ask("run"), f" runs, {varied}; ", ask("num_points"), " points of metrics were recorded."]),
    ]
    others = [facts.label(key) for key in facts.keys if not facts.counts(key)]
    if others:
        lines.append(Prose([f"Not finished, so shown but part of no mean: {several(others)}."], "warning"))
    if facts.runs.skipped:
        lines.append(Prose(["Some runs were left out; the last section names each with the reason."], "warning"))
    stated = ask("num_criteria")
    if stated.number.value:
        lines.append(Prose([ask("num_criteria_met"), " of ", stated, " success criteria hold."]))
    return lines


def summary_table(facts: Facts, variants: Sequence[Variant], metrics: Sequence[Metric]) -> Table:
    """What each configuration came to, over its runs that finished; ``training/summary.csv``."""
    names = [("metric", "metric"), ("of_run", "of each run"), ("configuration", "configuration")]
    titles = ("n", "not finite", "mean", "95 % from", "to", "std", "median", "min", "max")
    columns = [Column(name=name, title=title) for name, title in names]
    columns += [Column(name=name, title=title, is_number=True) for name, title in zip(STATISTICS, titles, strict=True)]
    rows = []
    for metric in metrics:
        for reduce in (metric.mode, "last"):
            for variant in variants:
                counted = [key for key in variant.keys if facts.counts(key)]
                rows.append(_summary_row(metric, reduce, variant.label, counted))
    return make_table(facts, "summary", columns, rows, note=Prose([STATISTICS_NOTE]), is_file=True)


def _summary_row(metric: Metric, reduce: str, label: str, keys: list[str]) -> list[Ask | Badge | str]:
    query = metric.query(reduce)
    asked: list[Ask | Badge | str] = []
    for statistic in STATISTICS:
        of_runs = msgspec.structs.replace(query, statistic=statistic, mode=metric.mode)
        asked.append(Ask(of_runs, keys, "integer" if statistic in ("n", "num_nonfinite") else "number"))
    return [metric.label, reduce, label, *asked]


def _scatter(facts: Facts, name: str, metric: Metric) -> Picture | None:
    """The best value of every run over one setting."""
    dots = []
    for key, values in facts.values.items():
        x, y = values.config.get(name), values.value(metric.query(metric.mode))
        if isinstance(y, (int, float)) and x is not None:
            dots.append(Dot(run=facts.label(key), x=_place(x), y=float(y)))
    if not dots:
        return None
    y_name = f"{metric.label}, {metric.mode}"
    return Picture(
        name=f"{metric.label}_vs_{name}",
        title=f"{y_name} over {name}",
        figure=draw_scatter(dots, x_label=name, y_label=y_name),
        data=as_columns(dots, x_name=name, y_name=y_name),
        caption=Prose(["One dot for each run that recorded both."]),
    )


def _place(value: Any) -> float | str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else str(value)


kind = Sweep()
