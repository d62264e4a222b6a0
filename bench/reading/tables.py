"""What came out, as markdown, and the budgets beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.marks import put, table
from bench.reading.work import QUESTIONS, Amount
from bench.tables import number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.reading.driver import Outcome

HEADS = {"load_all": "load all", "one_metric": "one metric", "last_values": "last values", "reduced": "500 buckets"}
BUDGETS = (
    ("one run of 100 000 numbers, load all", (1, 20_000), "load_all", 5.0),
    ("200 x 1 000 x 5, load all", (200, 1_000), "load_all", 60.0),
    ("1 000 x 20 000 x 5, load all", (1_000, 20_000), "load_all", 600.0),
    ("1 000 x 20 000 x 5, every run reduced to 500 buckets", (1_000, 20_000), "reduced", 100.0),
)
OURS = "barograph"


def write(outcome: Outcome, *, document: Path) -> None:
    """Put the tables between the marks of a document.

    Raises:
        ValueError: it lacks the marks.
    """
    put(render(outcome), document=document)


def render(outcome: Outcome) -> str:
    """Everything between the marks."""
    conditions = "\n".join(f"- {name}: {value}" for name, value in outcome.machine.items())
    parts = [conditions, "### Budgets", table(("what", "budget", "measured", "met"), _budgets(outcome))]
    for amount in outcome.amounts:
        parts += [f"### {amount}: {amount.numbers:,} numbers, in ms", table(_head(), _rows(outcome, amount))]
    return "\n\n".join(parts) + "\n"


def _head() -> list[str]:
    return ["subject", "version", *HEADS.values(), "MB on disk", "bytes per number", "written in s"]


def _rows(outcome: Outcome, amount: Amount) -> Iterable[list[str]]:
    for name, spec in outcome.specs.items():
        found = outcome.figures.get((name, amount))
        label = f"**{spec.label}**" if spec.kind == "ours" else spec.label
        if found is None:
            reason = outcome.failures.get((name, amount))
            yield [label, f"not measured: {reason}" if reason else "not asked", *["-"] * 7]
            continue
        times = [number(1e3 * found[question]["s"]) for question in QUESTIONS]
        size = found["size_bytes"]
        yield [
            *(label, found["version"] or "-", *times, number(size / 1e6)),
            *(f"{size / amount.numbers:.2f}", number(found["write_s"])),
        ]


def _budgets(outcome: Outcome) -> Iterable[list[str]]:
    for what, amount, question, budget_ms in BUDGETS:
        found = outcome.figures.get((OURS, Amount(*amount)), {}).get(question)
        yield _judged(what, budget_ms, "ms", None if found is None else 1e3 * found["s"])
    for what, budget, unit, measured in outcome.extras:
        yield _judged(what, budget, unit, measured)


def _judged(what: str, budget: float, unit: str, measured: float | None) -> list[str]:
    if measured is None:
        return [what, f"{budget:g} {unit}", "-", "-"]
    return [what, f"{budget:g} {unit}", f"{number(measured)} {unit}", "yes" if measured <= budget else "NO"]
