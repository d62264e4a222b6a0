"""What came out: every round as it was measured, and the one figure per subject that the tables show."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.work import Plan

Figures = dict[str, Any]

LATENCIES = ("latency", "alone", "beside")
MEDIANS = (
    *("cpu_us_per_step", "bytes_per_step", "opened_bytes", "peak_rss_bytes", "helper_rss_bytes"),
    *("open_s", "close_s", "steps", "background_us_per_call"),
)


@dataclass(kw_only=True)
class Outcome:
    """Everything that a run of the benchmark found.

    Attributes:
        names: the subjects asked for, in order.
        plan: how much of everything.
        machine: what it was measured on.
        rounds: the figures of each repetition, by subject.
        failures: why a subject has no figures.
        imports: what `import barograph` costs; empty when barograph was not among the subjects.
        soaks: growth of memory and the companion's work over very many steps, by subject.
    """

    names: tuple[str, ...]
    plan: Plan
    machine: dict[str, str]
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    imports: Figures = field(default_factory=dict)
    soaks: dict[str, Figures] = field(default_factory=dict)

    def summaries(self) -> dict[str, Figures]:
        """Return the figures of the tables for each subject that was measured in every round."""
        return {
            name: summarize(self.rounds[name])
            for name in self.names
            if name in self.rounds and name not in self.failures
        }


def summarize(rounds: list[Figures]) -> Figures:
    """Join repetitions: medians, but the worst of what must never be bad (longest call, facts lost)."""
    summary: Figures = {name: statistics.median(found[name] for found in rounds) for name in MEDIANS}
    for name in LATENCIES:
        for figure in ("p50_us", "p99_us"):
            summary[f"{name}_{figure}"] = statistics.median(found[name][figure] for found in rounds)
        summary[f"{name}_calls"] = min(found[name]["calls"] for found in rounds)
        summary[f"{name}_max_us"] = max(found[name]["max_us"] for found in rounds)
    if "lost" in rounds[0]:
        summary["lost"] = max(found["lost"] for found in rounds)
        summary["returned"] = sum(found["returned"] for found in rounds)
    return summary | {"version": rounds[0]["version"]}


def fastest_lossless_peer(summaries: Mapping[str, Figures]) -> str | None:
    """Return the peer with the lowest median call among those that lost nothing at `kill -9`."""
    lossless = [
        name for name, summary in summaries.items() if subjects.spec_of(name).kind == "peer" and summary["lost"] == 0
    ]
    return min(lossless, key=lambda name: summaries[name]["latency_p50_us"], default=None)


def save(outcome: Outcome, *, folder: Path) -> Path:
    """Write the raw results as JSON, named after their date, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = "".join(character for character in outcome.machine["date"] if character.isdigit())
    path = folder / f"{stamp}.json"
    content = {
        "machine": outcome.machine,
        "plan": outcome.plan._asdict(),
        "rounds": outcome.rounds,
        "failures": outcome.failures,
        "imports": outcome.imports,
        "soaks": outcome.soaks,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
