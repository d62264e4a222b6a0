"""One run: who it was, what it promised and what came, every metric, what it cost. Also of a run that did not end."""

from __future__ import annotations

from collections.abc import Callable

from barograph.errors import ReportError
from barograph.report.choice import choose_metrics
from barograph.report.config import ReportConfig
from barograph.report.curves import plot_curves, plot_loss_vs_time
from barograph.report.document import Badge, Column, Document, Item, Prose, Section, Shown, Style, Table, Tone
from barograph.report.families import plot_families
from barograph.report.number import Facts
from barograph.report.query import Query
from barograph.report.tables import (
    TONES,
    Ask,
    alert_table,
    check_table,
    config_cell,
    criteria_table,
    make_table,
    origin_table,
    pair_table,
    skipped_table,
)


class SingleRun:
    """The kind ``single_run``."""

    name = "single_run"
    allow_unended = True

    def build(self, facts: Facts, cfg: ReportConfig) -> Document:
        """Say what the run came to.

        Raises:
            ReportError: there are several runs.
        """
        if len(facts.keys) != 1:
            raise ReportError(
                f"a report of the kind single_run is about one run, not {len(facts.keys)}; name it with "
                f"inputs.runs=[RUN], or make a report of the kind sweep"
            )
        identity = facts.readers["r0"].identity
        sections = [
            _section("Promised and delivered", criteria_table(facts), check_table(facts), alert_table(facts)),
            _section("Curves", *(_curves(facts, cfg) if cfg.figures else [])),
            _section("Figures", *(plot_families(facts, "r0") if cfg.figures else [])),
            _section("Metrics", metric_table(facts)),
            _section("Attempts", _attempts(facts)),
            _section("Configuration", _configuration(facts)),
            _section("Provenance and cost", _provenance(facts), origin_table(facts), _ledger(facts)),
            _section("Left out", skipped_table(facts)),
        ]
        return Document(
            title=cfg.title or f"Run {identity.name}",
            lead=_lead(facts),
            sections=[section for section in sections if section.items],
            metadata={"sweep_params": {}},
        )


def _section(title: str, *items: Item | None) -> Section:
    return Section(title, [item for item in items if item is not None])


def _lead(facts: Facts) -> list[Prose]:
    reader, state = facts.readers["r0"], facts.states["r0"]
    ask = _asker(facts)
    reason = f" ({' '.join(state.reason.split())})" if state.reason else ""
    lines = [
        Prose(
            [
                "The run ",
                Badge(state.state, TONES[state.state]),
                f"{reason}. It took ",
                ask("total_time_s", "seconds"),
                " and recorded ",
                ask("num_points", "integer"),
                " points of metrics, ",
                ask("num_nonfinite", "integer"),
                " of them not finite.",
            ]
        )
    ]
    if reader.identity.hypothesis:
        lines.insert(0, Prose([f"Hypothesis: {reader.identity.hypothesis}"]))
    if facts.values["r0"].verdicts:
        met, stated = ask("num_criteria_met", "integer"), ask("num_criteria", "integer")
        tone: Tone = "good" if met.number.value == stated.number.value else "bad"
        lines.append(Prose([met, " of ", stated, " success criteria hold."], tone))
    return lines


def _asker(facts: Facts) -> Callable[[str, Style], Shown]:
    def ask(name: str, style: Style) -> Shown:
        return Shown(facts.number(f"lead.{name}", Query(of="run", name=name), "r0"), style)

    return ask


def metric_table(facts: Facts) -> Table | None:
    """Every metric of the run; ``training/summary.csv``."""
    columns = [Column(name="metric", title="metric"), Column(name="split", title="split")]
    columns += [Column(name="rank", title="rank", is_number=True)]
    names = ("count", "last", "last_step", "min", "min_step", "max", "max_step", "num_nonfinite", "num_superseded")
    titles = ("points", "last", "at step", "min", "at step", "max", "at step", "not finite", "superseded")
    columns += [Column(name=name, title=title, is_number=True) for name, title in zip(names, titles, strict=True)]
    rows: list[list[Ask | Badge | str]] = []
    for name, split, rank in facts.values["r0"].metrics:
        asked: list[Ask | Badge | str] = [
            Ask(Query(of="metric", name=name, split=split, rank=rank, reduce=it), "r0", _style(it)) for it in names
        ]
        rows.append([name, split, str(rank), *asked])
    for name in facts.values["r0"].epochs:
        asked = [Ask(Query(of="epoch", name=name, reduce=it), "r0", _style(it)) for it in names]
        rows.append([name, "(epochs)", "0", *asked])
    note = Prose(["Minimum, maximum and last are of the effective curve: the latest attempt at each step."])
    return make_table(facts, "summary", columns, rows, note=note, is_file=True)


def _style(reduce: str) -> Style:
    return "integer" if reduce.startswith(("count", "num")) or reduce.endswith("step") else "number"


def _curves(facts: Facts, cfg: ReportConfig) -> list[Item]:
    found: list[Item | None] = []
    for metric in choose_metrics(facts, cfg.metrics):
        found += [plot_curves(facts, metric), plot_loss_vs_time(facts, metric)]
    return [item for item in found if item is not None]


def _attempts(facts: Facts) -> Table | None:
    attempts = facts.readers["r0"].attempts()
    columns = [
        Column(name="attempt", title="attempt", is_number=True),
        Column(name="status", title="status"),
        Column(name="reason", title="reason"),
        Column(name="total_time_s", title="time", is_number=True),
    ]
    rows: list[list[Ask | Badge | str]] = [
        [
            str(info.number),
            Badge(info.status or "no end recorded", TONES.get(info.status or "", "warning")),
            info.reason or "",
            Ask(Query(of="run", name=f"attempt{info.number}_time_s"), "r0", "seconds"),
        ]
        for info in attempts
    ]
    return make_table(facts, "attempts", columns, rows) if rows else None


def _configuration(facts: Facts) -> Table | None:
    names = facts.values["r0"].config
    return pair_table(facts, "config", "", {name: config_cell(facts, "r0", name) for name in names})


def _provenance(facts: Facts) -> Table | None:
    reader = facts.readers["r0"]
    provenance, identity = reader.provenance, reader.identity
    argv = provenance.get("argv")
    return pair_table(
        facts,
        "provenance",
        "Where it came from",
        {
            "directory": reader.path,
            "run id": identity.run_id,
            "project": identity.project,
            "group": identity.group,
            "tags": ", ".join(identity.tags),
            "notes": identity.notes,
            "seed": Ask(Query(of="run", name="seed"), "r0") if identity.seed is not None else None,
            "started": Ask(Query(of="run", name="started_t"), "r0", "time"),
            "command": " ".join(map(str, argv)) if isinstance(argv, list) else None,
        },
    )


def _ledger(facts: Facts) -> Table | None:
    numbers = {name: it for name, it in facts.values["r0"].ledger.items() if isinstance(it, (int, float))}
    cells = {name: Ask(Query(of="ledger", name=name), "r0", _ledger_style(name)) for name in numbers}
    return pair_table(facts, "ledger", "What recording cost", cells)


def _ledger_style(name: str) -> Style:
    if name == "bytes":
        return "bytes"
    if name.endswith("_s"):
        return "seconds"
    return "percent" if name == "share_of_wall" else "number"


kind = SingleRun()
