"""Configurations against each other: verdicts that refuse to guess, with the test, the interval and n of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from barograph.errors import ReportError
from barograph.report.choice import choose_metrics
from barograph.report.comparing import Compared, Plan
from barograph.report.config import ReportConfig
from barograph.report.curves import plot_curves, plot_loss_vs_time
from barograph.report.document import Badge, Column, Document, Item, Prose, Section, Table, Tone
from barograph.report.kinds.sweep import STATISTICS_NOTE, lead_lines, summary_table
from barograph.report.metric import Metric
from barograph.report.number import Facts
from barograph.report.query import Query
from barograph.report.sweep_params import Variant, find_params, find_variants
from barograph.report.tables import Ask, make_table, origin_table, run_table, skipped_table

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
SETTINGS: Final = ("reduce", "baseline", "alpha", "margin")


class Comparison:
    """The kind ``comparison``; its ``options`` are those of a ``Plan``: ``reduce, baseline, alpha, margin``."""

    name = "comparison"
    allow_unended = False

    def build(self, facts: Facts, cfg: ReportConfig) -> Document:
        """Say which configurations are better, which cannot be told apart, and how many seeds would tell.

        Raises:
            ReportError: an option is not known, or there are fewer than two configurations.
        """
        metrics = choose_metrics(facts, cfg.metrics)[: len(cfg.metrics) or 1]
        variants = find_variants(facts)
        if len(variants) < 2:  # noqa: PLR2004 - a comparison takes two
            raise ReportError(
                f"all {len(facts.keys)} runs are of one configuration but for their seeds, so there is nothing to "
                f"compare; add runs of another, or make a report of the kind sweep"
            )
        settings = _plan(cfg.options, metrics).text()
        groups = {key: variant.label for variant in variants for key in variant.keys}
        curves = [plot(facts, it, groups=groups) for it in metrics for plot in (plot_curves, plot_loss_vs_time)]
        items: dict[str, list[Item | None]] = {
            "Verdicts": [verdict_table(facts, settings)],
            "Configurations": [summary_table(facts, variants, metrics)],
            "Curves": [*curves],
            "Runs": [run_table(facts, metrics, list(find_params(variants))), origin_table(facts)],
            "Left out": [skipped_table(facts)],
        }
        sections = [Section(title, [it for it in found if it is not None]) for title, found in items.items()]
        return Document(
            title=cfg.title or f"Comparison {cfg.name or ''}".strip(),
            lead=[*lead_lines(facts, list(find_params(variants))), *_lead(facts.compared(settings))],
            sections=[section for section in sections if section.items],
            metadata=_metadata(variants, facts.compared(settings)),
        )


def _plan(options: Mapping[str, Any], metrics: list[Metric]) -> Plan:
    unknown = [name for name in options if name not in SETTINGS]
    if unknown:
        raise ReportError(f"a comparison has no options.{unknown[0]}; there are {', '.join(SETTINGS)}")
    try:
        return msgspec.convert({"metrics": msgspec.to_builtins(metrics), **options}, Plan)
    except msgspec.ValidationError as error:
        raise ReportError(f"options of the comparison cannot be used: {error}; correct that value") from error


def _lead(compared: list[Compared]) -> list[Prose]:
    """The verdicts in words; that nothing can be told is one."""
    told = [it for it in compared if it.result.verdict in ("better", "worse", "mixed")]
    if not told:
        return [
            Prose(["None of the configurations can be told apart yet; the table says what it would take."], "warning")
        ]
    lines = [f"{it.name}: {it.result.verdict}" for it in told]
    return [Prose([f"Told apart, corrected for all comparisons made: {'; '.join(lines)}."], "good")]


def verdict_table(facts: Facts, settings: str) -> Table:
    """Every comparison; ``training/comparisons.csv``."""
    columns = [
        Column(name="metric", title="metric"),
        Column(name="a", title="configuration"),
        Column(name="b", title="against"),
        Column(name="verdict", title="verdict"),
        *(Column(name=name, title=title, is_number=True) for name, title in NUMBERS),
        Column(name="test", title="test"),
        Column(name="reason", title="why there is no clearer verdict"),
    ]
    rows: list[list[Ask | Badge | str]] = []
    for it in facts.compared(settings):
        result = it.result
        verdict = result.verdict or "not judged"
        row: list[Ask | Badge | str] = [it.metric, result.a.label, result.b.label]
        row.append(Badge(verdict, TONES.get(verdict, "warning")))
        row += [_ask(facts, it, name, settings) for name, _ in NUMBERS]
        rows.append([*row, result.test + (", paired by seed" if result.paired else ""), _reason(it)])
    return make_table(facts, "comparisons", columns, rows, note=Prose([STATISTICS_NOTE]), is_file=True)


def _ask(facts: Facts, compared: Compared, name: str, settings: str) -> Ask:
    query = Query(of="comparison", name=f"{compared.name}: {name}", settings=settings)
    return Ask(query, facts.keys)


def _reason(compared: Compared) -> str:
    result = compared.result
    needed = "" if result.seeds_needed is None else result.seeds_needed.words()
    return "; ".join(text for text in (result.reason, needed, *result.notes) if text)


def _metadata(variants: list[Variant], compared: list[Compared]) -> dict[str, Any]:
    return {
        "sweep_params": find_params(variants),
        "configurations": [{"label": it.label, "settings": it.settings, "runs": it.keys} for it in variants],
        "verdicts": {it.name: it.result.verdict for it in compared},
    }


kind = Comparison()
