"""Configurations against each other: verdicts that refuse to guess, the best one, what moved the metric, insights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.errors import ReportError
from barograph.report.choice import choose_metrics, usual_metric
from barograph.report.comparing import Compared, Plan, find_baseline, split_of
from barograph.report.config import ReportConfig
from barograph.report.curves import plot_curves, plot_loss_vs_time, plot_values
from barograph.report.document import Badge, Cell, Column, Document, Item, Prose, Section, Shown, Style, Table, Tone
from barograph.report.kinds.sweep import STATISTICS_NOTE, lead_lines, summary_table, title_of
from barograph.report.metric import Metric
from barograph.report.number import Facts
from barograph.report.query import Query
from barograph.report.sweep_params import Variant, find_params, to_variants
from barograph.report.tables import (
    Ask,
    config_cell,
    left_out_table,
    make_table,
    origin_table,
    pair_table,
    run_table,
    several,
    skipped_table,
)

TONES: Final[Mapping[str, Tone]] = {"better": "good", "worse": "bad", "mixed": "warning", "no difference": "quiet"}
NUMBERS: Final = (
    ("n_a", "n"),
    ("n_b", "n, other"),
    ("difference", "difference"),
    ("difference_low", "95 % from"),
    ("difference_high", "to"),
    ("p", "p"),
    ("p_corrected", "p, corrected"),
    ("effect", "effect"),
    ("probability_of_improvement", "P(better)"),
    ("probability_low", "from"),
    ("probability_high", "to"),
)
SETTINGS: Final = ("reduce", "mode", "baseline", "group_by", "ignore", "impact")
IMPACT_NOTE: Final = (
    "The share of the importance beyond that of a shuffled copy of the parameter: 1 when it decides everything, about "
    "0 when it does nothing. Intervals are of the middle 95 % of bootstrap samples of configurations."
)


class Comparison:
    """The kind ``comparison``; its ``options`` are ``reduce, mode, baseline, group_by, ignore, impact``."""

    name = "comparison"
    allow_unended = False

    def build(self, facts: Facts, cfg: ReportConfig) -> Document:
        """Say which configurations are better, which cannot be told apart, and how many seeds would tell.

        Raises:
            ReportError: an option is not known, or there are fewer than two configurations.
        """
        chosen = choose_metrics(facts, cfg.metrics) if cfg.metrics else usual_metric(facts)
        plan = _plan(cfg.options, chosen, facts)
        metrics = [msgspec.structs.replace(metric, better=plan.mode) for metric in chosen]
        settings = plan.text()
        found = facts.compared(settings)
        variants = to_variants(found.report.groups, facts)
        if len(variants) < 2:  # noqa: PLR2004 - a comparison takes two
            raise ReportError(
                f"all {len(facts.keys)} runs are of one configuration but for their seeds, or did not finish, so there "
                f"is nothing to compare; add runs of another, or make a report of the kind sweep"
            )
        params = list(find_params(variants))
        groups = {key: variant.label for variant in variants for key in variant.keys}
        drawn = metrics if cfg.figures else []
        sections: dict[str, Sequence[Item | None]] = {
            "What can be said": insight_items(facts, found, settings),
            "Verdicts": [verdict_table(facts, found, settings), *_values(facts, drawn, plan, groups)],
            "Configurations": [summary_table(facts, variants, metrics)],
            "Best configuration": best_items(facts, found, settings),
            "What moved it": impact_items(facts, found, settings),
            "Curves": [plot(facts, it, groups=groups) for it in drawn for plot in (plot_curves, plot_loss_vs_time)],
            "Runs": [run_table(facts, metrics, params), origin_table(facts)],
            "Left out": [skipped_table(facts), left_out_table(facts, found.report)],
        }
        kept = [Section(title, [it for it in items if it is not None]) for title, items in sections.items()]
        return Document(
            title=cfg.title or title_of("Comparison", cfg.name),
            lead=[*lead_lines(facts, params), _lead(found)],
            sections=[section for section in kept if section.items],
            metadata=_metadata(variants, found),
        )


def _plan(options: Mapping[str, Any], metrics: list[Metric], facts: Facts) -> Plan:
    unknown = [name for name in options if name not in SETTINGS]
    if unknown:
        raise ReportError(f"a comparison has no options.{unknown[0]}; there are {', '.join(SETTINGS)}")
    split = split_of(metrics)
    try:
        plan = msgspec.convert({"metrics": [it.name for it in metrics], "split": split, **options}, Plan)
    except msgspec.ValidationError as error:
        raise ReportError(f"options of the comparison cannot be used: {error}; correct that value") from error
    if plan.baseline is None:
        return plan
    finished = {key: reader for key, reader in facts.readers.items() if facts.counts(key)}
    return msgspec.structs.replace(plan, baseline=find_baseline(finished, plan, plan.baseline))


def _lead(found: Compared) -> Prose:
    """The verdicts in words; that nothing can be told is one."""
    told = [(title, it) for title, it in found.verdicts if it.verdict in ("better", "worse", "mixed")]
    if not told:
        text = f"None can be told from {found.report.baseline} yet; the verdicts say what it would take."
        return Prose([text], "warning")
    lines = [f"{it.a.label} is {it.verdict} than {it.b.label} in {title}" for title, it in told]
    return Prose([f"Corrected for all comparisons made: {'; '.join(lines)}."], "good")


def insight_items(facts: Facts, found: Compared, settings: str) -> list[Item | None]:
    """Every sentence with its address; ``training/insights.csv``."""
    columns = [
        Column(name="kind", title="about"),
        Column(name="text", title="what the runs support"),
        Column(name="n", title="n", is_number=True),
        Column(name="low", title="from", is_number=True),
        Column(name="high", title="to", is_number=True),
        Column(name="runs", title="runs"),
    ]
    by_path = {reader.path.resolve(): key for key, reader in facts.readers.items()}
    rows: list[list[Ask | Badge | str]] = []
    for place, it in enumerate(found.insights):
        ask = _asker("insight", place, settings, facts)
        keys = [by_path[path] for run in it.runs if (path := (found.root / run).resolve()) in by_path]
        rows.append(
            [
                it.kind,
                ask("text", "text"),
                ask("n", "integer"),
                ask("low"),
                ask("high"),
                several([facts.label(key) for key in keys]),
            ]
        )
    return [make_table(facts, "insights", columns, rows, is_file=True)] if rows else []


def _asker(part: str, place: int, settings: str, facts: Facts) -> Any:
    def ask(name: str, style: Style = "number") -> Ask:
        return Ask(Query(of="comparison", name=name, reduce=part, at=place, settings=settings), facts.keys, style)

    return ask


def verdict_table(facts: Facts, found: Compared, settings: str) -> Table:
    """Every comparison with the baseline; ``training/comparisons.csv``."""
    columns = [
        Column(name="metric", title="metric"),
        Column(name="a", title="configuration"),
        Column(name="b", title="against"),
        Column(name="verdict", title="verdict"),
        *(Column(name=name, title=title, is_number=True) for name, title in NUMBERS),
        Column(name="test", title="test"),
        Column(name="words", title="in words"),
    ]
    rows: list[list[Ask | Badge | str]] = []
    for place, (title, it) in enumerate(found.verdicts):
        ask = _asker("verdict", place, settings, facts)
        verdict = it.verdict or "not judged"
        row: list[Ask | Badge | str] = [title, it.a.label, it.b.label, Badge(verdict, TONES.get(verdict, "warning"))]
        row += [ask(name, "integer" if name.startswith("n_") else "number") for name, _ in NUMBERS]
        rows.append([*row, it.test + (", paired by seed" if it.paired else ""), ask("words", "text")])
    return make_table(facts, "comparisons", columns, rows, note=Prose([STATISTICS_NOTE]), is_file=True)


def _values(facts: Facts, metrics: Sequence[Metric], plan: Plan, groups: Mapping[str, str]) -> list[Item | None]:
    how = {metric: metric.mode if plan.reduce == "best" else "last" for metric in metrics}
    return [plot_values(facts, metric, reduce=reduce, groups=groups) for metric, reduce in how.items()]


def best_items(facts: Facts, found: Compared, settings: str) -> list[Item | None]:
    """The best configuration, what it is set to, and from which others it cannot be told."""
    best = found.report.best
    if best.row is None:
        return [Prose([f"There is none: {best.reason}."], "warning")]

    def ask(name: str, style: Style = "number") -> Shown:
        query = Query(of="comparison", name=name, reduce="best", settings=settings)
        return Shown(facts.number(f"best.{name}", query, facts.keys), style)

    said: list[Cell] = [f"{best.row.label} has the best mean of {best.table.title}: ", ask("mean")]
    said += [" (95 % interval ", ask("low"), " to ", ask("high"), "), n = ", ask("n", "integer"), "."]
    items: list[Item | None] = [Prose(said, "good" if best.is_distinguishable else "warning")]
    if best.runner_up is not None:
        against: list[Cell] = [f"Against the next one, {best.runner_up.b.label}: ", ask("against_runner_up", "text")]
        items.append(Prose(against))
    if best.not_told_from:
        items.append(Prose([f"It cannot be told from: {', '.join(best.not_told_from)}."]))
    for place, label in enumerate(best.excluded):
        query = Query(of="comparison", name="reason", reduce="excluded", at=place, settings=settings)
        why = Shown(facts.number(f"best.excluded{place}", query, facts.keys), "text")
        items.append(Prose([f"{label} cannot be the best: ", why]))
    first = next(group.runs[0] for group in found.report.groups if group.label == best.row.label)
    key = next(key for key, reader in facts.readers.items() if reader is first)
    items.append(pair_table(facts, "best_config", "", {name: config_cell(facts, key, name) for name in best.config}))
    return items


def impact_items(facts: Facts, found: Compared, settings: str) -> list[Item | None]:
    """Which parameters move the first metric; or why that cannot be told. ``training/impact.csv``."""
    impact = found.report.impact
    if impact is None or impact.reason:
        return []  # the reason is among the insights
    columns = [
        Column(name="parameter", title="parameter"),
        Column(name="share", title="impact", is_number=True),
        Column(name="low", title="from", is_number=True),
        Column(name="high", title="to", is_number=True),
        Column(name="num_values", title="values", is_number=True),
        Column(name="verdict", title="shown"),
    ]
    rows: list[list[Ask | Badge | str]] = []
    for place, it in enumerate(impact.parameters):
        ask = _asker("impact", place, settings, facts)
        shown = Badge("yes", "good") if it.is_shown else Badge("not told from chance")
        row: list[Ask | Badge | str] = [" + ".join(it.keys), ask("share"), ask("low"), ask("high")]
        rows.append([*row, ask("num_values", "integer"), shown])
    return [make_table(facts, "impact", columns, rows, note=Prose([IMPACT_NOTE]), is_file=True)]


def _metadata(variants: list[Variant], found: Compared) -> dict[str, Any]:
    return {
        "sweep_params": find_params(variants),
        "configurations": [{"label": it.label, "settings": it.settings, "runs": it.keys} for it in variants],
        "baseline": found.report.baseline,
        "best_configuration": found.report.best.config,
        "verdicts": [
            {"metric": title, "a": it.a.label, "b": it.b.label, "verdict": it.verdict} for title, it in found.verdicts
        ],
        "hints": found.report.hints,
    }


kind = Comparison()
