"""Tables that several kinds of report have: of runs, criteria, checks, alerts, attempts, and of what was left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from barograph.compare.groups import IDENTITY_KEYS
from barograph.report.document import Badge, Cell, Column, Prose, Shown, Style, Table, Tone
from barograph.report.metric import Metric
from barograph.report.number import Facts
from barograph.report.query import Query

if TYPE_CHECKING:
    from barograph.compare.comparator import ComparisonReport

COMMIT_CHARS: Final = 12
MAX_LABELS: Final = 6
_CHANGES: Final[Mapping[Any, str]] = {True: "yes", False: "no"}
TONES: Final[Mapping[str, Tone]] = {
    "finished": "good",
    "running": "quiet",
    "stalled": "warning",
    "lost": "warning",
    "failed": "bad",
    "killed": "bad",
}


class Ask(msgspec.Struct, frozen=True):
    """A cell that is a number, before it was asked for.

    Attributes:
        query: what to ask.
        runs: of which runs.
        style: how to show it.
    """

    query: Query
    runs: str | Sequence[str]
    style: Style = "number"


def make_table(
    facts: Facts,
    name: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Ask | Badge | str]],
    *,
    title: str = "",
    note: Prose | None = None,
    is_file: bool = False,
) -> Table:
    """A table whose numbers are asked of the facts, each under ``NAME.ROW.COLUMN``."""
    cells: list[list[Cell]] = []
    for place, row in enumerate(rows):
        cells.append([])
        for column, cell in zip(columns, row, strict=True):
            if isinstance(cell, Ask):
                number = facts.number(f"{name}.{place}.{column.name}", cell.query, cell.runs)
                cells[-1].append(Shown(number, cell.style))
            else:
                cells[-1].append(cell)
    return Table(name=name, columns=columns, rows=cells, title=title, note=note, is_file=is_file)


def status_badge(facts: Facts, key: str) -> Badge:
    """What a run is doing, by the truth about its life and death."""
    state = facts.states[key].state
    return Badge(state, TONES[state])


def config_cell(facts: Facts, key: str, name: str) -> Ask | str:
    """A value of the configuration: a number with its address, or a text."""
    value = facts.values[key].config.get(name)
    if value is None and name in IDENTITY_KEYS:  # these set runs apart as configuration does
        value = getattr(facts.readers[key].identity, name)
    if isinstance(value, (int, float)):
        return Ask(Query(of="config", name=name), key)
    return "-" if value is None else str(value)


def run_table(facts: Facts, metrics: Sequence[Metric], settings: Sequence[str]) -> Table:
    """Every run: how it is, what it was set to, what it came to."""
    columns = [Column(name="run", title="run"), Column(name="status", title="status")]
    columns += [Column(name=f"config.{name}", title=name, is_number=True) for name in settings]
    for metric in metrics:
        columns += [
            Column(name=f"{metric.label}.last", title=f"{metric.label}, last", is_number=True),
            Column(name=f"{metric.label}.{metric.mode}", title=f"{metric.label}, {metric.mode}", is_number=True),
        ]
    counts = ("num_attempts", "num_alerts", "num_checks_failed", "num_criteria_met", "num_criteria", "num_nonfinite")
    titles = ("attempts", "alerts", "checks failed", "criteria met", "criteria", "not finite")
    columns += [Column(name="total_time_s", title="time", is_number=True)]
    columns += [Column(name=name, title=title, is_number=True) for name, title in zip(counts, titles, strict=True)]
    columns += [Column(name="run_id", title="run id"), Column(name="run_dir", title="directory")]
    rows = []
    for key, reader in facts.readers.items():
        row: list[Ask | Badge | str] = [facts.label(key), status_badge(facts, key)]
        row += [config_cell(facts, key, name) for name in settings]
        row += [Ask(metric.query(how), key) for metric in metrics for how in ("last", metric.mode)]
        row.append(Ask(Query(of="run", name="total_time_s"), key, "seconds"))
        row += [Ask(Query(of="run", name=name), key, "integer") for name in counts]
        rows.append([*row, reader.identity.run_id or "-", os.fspath(reader.path)])
    return make_table(facts, "runs", columns, rows, is_file=True)


def criteria_table(facts: Facts) -> Table | None:
    """What was promised when a run started, judged now from its facts, with the evidence; None when nothing was."""
    columns = [
        Column(name="run", title="run"),
        Column(name="verdict", title="verdict"),
        Column(name="criterion", title="criterion"),
        Column(name="value", title="evidence", is_number=True),
        Column(name="step", title="at step", is_number=True),
        Column(name="reason", title="reason"),
    ]
    rows: list[list[Ask | Badge | str]] = []
    for key, values in facts.values.items():
        for verdict in values.verdicts:
            text = verdict["text"]
            evidence = [
                Ask(Query(of="criterion", name=text, reduce=what), key) if what in verdict["evidence"] else ""
                for what in ("value", "step")
            ]
            rows.append([facts.label(key), _verdict(verdict["passed"]), text, *evidence, verdict["reason"] or ""])
    return make_table(facts, "criteria", columns, rows) if rows else None


def _verdict(passed: bool | None) -> Badge:
    if passed is None:
        return Badge("open", "warning")
    return Badge("pass", "good") if passed else Badge("fail", "bad")


def check_table(facts: Facts) -> Table | None:
    """Every check that ran; None when none did."""
    columns = [
        Column(name="run", title="run"),
        Column(name="verdict", title="verdict"),
        Column(name="check", title="check"),
        Column(name="expected", title="expected", is_number=True),
        Column(name="got", title="got", is_number=True),
    ]
    rows: list[list[Ask | Badge | str]] = []
    for key, values in facts.values.items():
        seen: dict[str, int] = {}
        for check in values.digest.checks:
            at = seen[check.name] = seen.get(check.name, -1) + 1
            query = Query(of="check", name=check.name, at=at)
            found = [Ask(msgspec.structs.replace(query, reduce=what), key) for what in ("expected", "got")]
            rows.append([facts.label(key), _verdict(check.passed), check.name, *found])
    return make_table(facts, "checks", columns, rows) if rows else None


def alert_table(facts: Facts) -> Table | None:
    """Every alert, of scripts and of whoever watched; None when there was none."""
    columns = [
        Column(name="run", title="run"),
        Column(name="level", title="level"),
        Column(name="title", title="alert"),
        Column(name="text", title="what was said"),
    ]
    rows: list[list[Ask | Badge | str]] = [
        [
            facts.label(key),
            Badge(str(alert.get("level", alert.get("severity", "info"))), "warning"),
            str(alert.get("title", alert.get("type", "alert"))),
            str(alert.get("text", alert.get("message", ""))),
        ]
        for key, reader in facts.readers.items()
        for alert in reader.alerts()
    ]
    return make_table(facts, "alerts", columns, rows) if rows else None


def origin_table(facts: Facts) -> Table | None:
    """Which code on which machine made which runs; None when none of them says."""
    columns = [Column(name=name, title=name) for name in ("commit", "uncommitted", "python", "host", "runs")]
    found: dict[tuple[str, ...], list[str]] = {}
    for key, reader in facts.readers.items():
        git, python, host = (_section(reader.provenance, name) for name in ("git", "python", "host"))
        told = (str(git.get("commit") or "")[:COMMIT_CHARS], _CHANGES.get(git.get("dirty", "")))
        texts = tuple(str(text or "-") for text in (*told, python.get("version"), host.get("name")))
        found.setdefault(texts, []).append(facts.label(key))
    if all(set(texts) == {"-"} for texts in found):
        return None
    rows = [[*texts, several(labels)] for texts, labels in found.items()]
    return make_table(facts, "origins", columns, rows, title="Code and machine")


def _section(provenance: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = provenance.get(name)
    return found if isinstance(found, Mapping) else {}


def several(labels: Sequence[str]) -> str:
    """Names of runs as text, the first few of them."""
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    return f"{', '.join(labels[:MAX_LABELS])}{more}"


def skipped_table(facts: Facts) -> Table | None:
    """The runs that the report leaves out, each with the reason; None when it leaves out none."""
    columns = [Column(name="run_dir", title="run"), Column(name="reason", title="why it is not in the report")]
    rows = [[item.path, item.reason] for item in facts.runs.skipped]
    return make_table(facts, "skipped", columns, rows, is_file=True) if rows else None


def left_out_table(facts: Facts, found: ComparisonReport) -> Table | None:
    """The runs that are in the report but in no comparison; None when all are. ``training/not_compared.csv``."""
    keys = {str(reader.path): key for key, reader in facts.readers.items()}
    told = dict.fromkeys((it.path, it.reason) for it in found.skipped)
    told |= dict.fromkeys((it.path, it.reason) for table in found.tables for it in table.skipped)
    rows = [[facts.label(keys[path]), reason] for path, reason in told if path in keys]
    columns = [Column(name="run", title="run"), Column(name="reason", title="why it is not compared")]
    return make_table(facts, "not_compared", columns, rows, is_file=True) if rows else None


def pair_table(facts: Facts, name: str, title: str, pairs: Mapping[str, Any]) -> Table | None:
    """Names and values, for what is best read as a list; those without a value are left out."""
    columns = [Column(name="name", title="what"), Column(name="value", title="value")]
    shown = {key: value for key, value in pairs.items() if value not in (None, "", [], {})}
    cells = {key: value if isinstance(value, (Ask, Badge)) else str(value) for key, value in shown.items()}
    return make_table(facts, name, columns, cells.items(), title=title) if cells else None
