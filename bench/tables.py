"""Results as markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import subjects
from bench.budgets import FLOOR, judge
from bench.marks import put, table
from bench.results import LATENCIES, fastest_lossless_peer

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Figures, Outcome

NOTHING = "-"
FEWEST_FOR_P99 = 100


def write(outcome: Outcome, *, document: Path) -> None:
    """Put the tables between the marks of a document.

    Raises:
        ValueError: the document is there and lacks the marks.
    """
    put(render(outcome), document=document)


def render(outcome: Outcome) -> str:
    """Return everything between the marks."""
    summaries = outcome.summaries()
    parts = [
        _conditions(outcome),
        "### Budgets",
        table(("what", "budget", "measured", "met"), judge(summaries, imports=outcome.imports, soaks=outcome.soaks)),
        "### One call, in us",
        _latency_table(outcome, summaries),
        "### What it costs and what it keeps",
        _cost_table(outcome, summaries),
    ]
    return "\n\n".join(parts) + "\n"


def number(value: float) -> str:
    """Return three significant digits, thousands apart.

    >>> [number(0.0612), number(1.5), number(12345.6), number(0)]
    ['0.061', '1.50', '12,346', '0']
    """
    if value == 0:
        return "0"
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def _conditions(outcome: Outcome) -> str:
    plan = outcome.plan
    facts = [f"- {name}: {value}" for name, value in outcome.machine.items()]
    amount = (
        f"- work: {plan.steps:,} steps back to back or {plan.steps_limit_s:g} s; {plan.paced_calls:,} calls at one "
        f"per ms or {plan.paced_limit_s:g} s; {plan.spin_calls:,} beside a computing thread or "
        f"{plan.spin_limit_s:g} s; `kill -9` after {plan.kill_after_s:g} s of one call per ms; "
        f"rounds: {plan.repetitions}"
    )
    return "\n".join([*facts, amount])


def _latency_table(outcome: Outcome, summaries: dict[str, Figures]) -> str:
    head = ["subject", "version"]
    for where in ("back to back", "1 per ms", "beside a thread"):
        head += [f"{where} p50", "p99", "max"]
    head += ["p50 / floor", "fastest lossless peer / p50"]
    best = fastest_lossless_peer(summaries)
    rows = [_latency_row(name, summaries, best=best) for name in outcome.names if name in summaries]
    return table(head, rows + _failed(outcome, width=len(head))) + _footnote(best)


def _latency_row(name: str, summaries: dict[str, Figures], *, best: str | None) -> list[str]:
    found = summaries[name]
    row = [_label(name, mark=name == best), found["version"] or NOTHING]
    for where in LATENCIES:
        enough = found[f"{where}_calls"] >= FEWEST_FOR_P99
        row.append(number(found[f"{where}_p50_us"]))
        row.append(number(found[f"{where}_p99_us"]) if enough else NOTHING)
        row.append(number(found[f"{where}_max_us"]))
    mine = found["latency_p50_us"]
    is_floor = subjects.spec_of(name).kind == "floor"
    row.append(_ratio(mine, summaries.get(FLOOR, {}).get("latency_p50_us")))
    row.append(_ratio(None if best is None or is_floor else summaries[best]["latency_p50_us"], mine))
    return row


def _cost_table(outcome: Outcome, summaries: dict[str, Figures]) -> str:
    head = (
        *("subject", "steps", "CPU us/step", "bytes/step", "empty run kB", "peak RSS MB", "helpers MB"),
        *("import + open s", "close s", "calls before `kill -9`", "of them lost, worst round"),
    )
    rows = [_cost_row(name, summaries[name]) for name in outcome.names if name in summaries]
    return table(head, rows + _failed(outcome, width=len(head)))


def _cost_row(name: str, found: Figures) -> list[str]:
    return [
        _label(name),
        f"{found['steps']:,.0f}",
        number(found["cpu_us_per_step"]),
        number(found["bytes_per_step"]),
        number(found["opened_bytes"] / 1e3),
        number(found["peak_rss_bytes"] / 1e6),
        number(found["helper_rss_bytes"] / 1e6),
        number(found["open_s"]),
        number(found["close_s"]),
        f"{found['returned']:,}" if "returned" in found else NOTHING,
        f"{found['lost']:,}" if "lost" in found else NOTHING,
    ]


def _failed(outcome: Outcome, *, width: int) -> list[list[str]]:
    """Return a row for each subject that has no figures, with the reason."""
    return [
        [_label(name), f"not measured: {_one_line(outcome.failures[name])}", *[NOTHING] * (width - 2)]
        for name in outcome.names
        if name in outcome.failures
    ]


def _footnote(best: str | None) -> str:
    if best is None:
        return ""
    return f"\n\n(*) the fastest peer that lost nothing at `kill -9`: {subjects.spec_of(best).label}."


def _label(name: str, *, mark: bool = False) -> str:
    spec = subjects.spec_of(name)
    label = f"**{spec.label}**" if spec.kind == "ours" else spec.label
    return f"{label} (*)" if mark else label


def _ratio(above: float | None, below: float | None) -> str:
    return number(above / below) if above and below else NOTHING


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
