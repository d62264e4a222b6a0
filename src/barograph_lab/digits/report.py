"""What the study says when its runs are over: pure functions from results to text.

Every figure is of a run that finished; what a figure is taken over stands beside it.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one configuration.

    Attributes:
        name: of the configuration.
        num_runs: how many there were.
        num_failed: how many of them did not finish.
        val_losses: the lowest validation loss of each that finished.
        test_accuracies: at that point, on the test set.
    """

    name: str
    num_runs: int
    num_failed: int
    val_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...]


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Gather the results of ``train`` by configuration, in the order in which they first came."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["name"], []).append(result)
    rows = []
    for name, runs in groups.items():
        done = [run for run in runs if run["status"] == "finished"]
        rows.append(
            Row(
                name=name,
                num_runs=len(runs),
                num_failed=len(runs) - len(done),
                val_losses=tuple(run["best_val_loss"] for run in done),
                test_accuracies=tuple(run["test_accuracy"] for run in done),
            )
        )
    return rows


def best(rows: Iterable[Row]) -> Row | None:
    """The configuration with the lowest mean validation loss, of those whose runs all finished."""
    whole = [row for row in rows if row.val_losses and not row.num_failed]
    return min(whole, key=lambda row: statistics.fmean(row.val_losses), default=None)


def result_line(result: Mapping[str, Any], *, duration_s: float) -> str:
    """One run in one line."""
    title = f"{result['name']} seed {result['seed']}"
    if result["status"] != "finished":
        return f"  {title:<19} {result['status']}: {result['reason']}"
    return (
        f"  {title:<19} best val_loss {result['best_val_loss']:.4f}   "
        f"test accuracy {result['test_accuracy']:.4f}   {duration_s:.1f} s"
    )


def table(rows: Iterable[Row]) -> str:
    """A line per configuration: means over its finished runs, with how many there are and how far they lie apart."""
    lines = [f"  {'':<14} {'runs':>4} {'failed':>6}   {'best val_loss: mean (least to most)':<38} test accuracy: mean"]
    for row in rows:
        figures = "no run finished"
        if row.val_losses:
            spread = f"({min(row.val_losses):.4f} to {max(row.val_losses):.4f}, n={len(row.val_losses)})"
            figures = f"{statistics.fmean(row.val_losses):.4f} {spread}"
        accuracy = f"{statistics.fmean(row.test_accuracies):.4f}" if row.test_accuracies else ""
        lines.append(f"  {row.name:<14} {row.num_runs:>4} {row.num_failed:>6}   {figures:<38} {accuracy}".rstrip())
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Which configuration is best, by what, over how many runs, and whether the others' runs come near."""
    winner = best(rows)
    if winner is None:
        return "No configuration finished all of its runs."
    losses = winner.val_losses
    seeds = "1 seed" if len(losses) == 1 else f"{len(losses)} seeds"
    text = f"Best by mean val_loss: {winner.name}, {statistics.fmean(losses):.4f} over n={len(losses)} ({seeds})."
    others = [loss for row in rows if row is not winner for loss in row.val_losses]
    if not others:
        return text
    if max(losses) < min(others):
        return f"{text}\nIts worst seed is below the best of the others; `barograph compare` says how sure that is."
    return f"{text}\nIts seeds overlap with those of the others, so more seeds are needed to tell them apart."


def errors(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with a run's files, from the report of ``barograph check --json``."""
    return [f"{item['file']}: {item['message']}" for item in found["findings"] if item["severity"] == "error"]


def verified(reports: Mapping[Path, Mapping[str, Any] | None]) -> str:
    """Whether the facts of every run are whole, and which runs meet what was stated at their start."""
    lines = []
    damaged = {path: errors(found) if found else ["not found"] for path, found in reports.items()}
    whole = [path for path, wrong in damaged.items() if not wrong]
    lines.append(f"Facts verified: {len(whole)} of {len(reports)} runs are whole.")
    lines += [f"  {path.name}: {'; '.join(wrong)}" for path, wrong in damaged.items() if wrong]
    met = [found for found in reports.values() if found and all(v["passed"] for v in found["success"])]
    lines.append(f"Success criteria: met by {len(met)} runs, not met by {len(reports) - len(met)}.")
    return "\n".join(lines)


def exit_code(reports: Mapping[Path, Mapping[str, Any] | None]) -> int:
    """0 when every run is there and its facts are whole, else 1; criteria that are not met are results, not faults."""
    return 0 if all(found is not None and not errors(found) for found in reports.values()) else 1


def as_json(results: Iterable[Mapping[str, Any]], reports: Mapping[Path, Mapping[str, Any] | None]) -> str:
    """Results and verdicts as one line of strict JSON; what is not finite is null and named in ``nonfinite``."""
    results = list(results)
    winner = best(summarise(results))
    runs = []
    for result in results:
        found = reports[result["run_dir"]]
        success = [] if found is None else [{"text": v["text"], "passed": v["passed"]} for v in found["success"]]
        wrong = ["not found"] if found is None else errors(found)
        numbers = {key: value for key, value in result.items() if isinstance(value, float)}
        marks = {key: str(value) for key, value in numbers.items() if not math.isfinite(value)}
        run = {**result, "run_dir": str(result["run_dir"]), **dict.fromkeys(marks), "success": success, "errors": wrong}
        runs.append({**run, "nonfinite": marks} if marks else run)
    return json.dumps({"runs": runs, "best": None if winner is None else winner.name}, allow_nan=False)


def next_steps(program: str, root: Path, *, finished: Path | None, failed: Path | None) -> str:
    """Commands to type next, each with what it shows."""
    steps = [
        (f"{program} list {short(root)}", "all runs"),
        (f"{program} compare {short(root)} --metric val_loss --reduce best", "the groups, by another figure"),
        (f"{program} report list {short(root.parent / 'reports')}", "reports: open report.html of one, or verify it"),
    ]
    shown = finished or failed
    if shown is not None:
        steps += [
            (f"{program} show {short(shown)}", "one run: configuration, metrics, criteria, cost of recording"),
            (f"{program} tail {short(shown)}", "its latest blocks, as they were on the terminal"),
            (f"{program} cat {short(shown)}", "every number, as CSV"),
        ]
    if failed is not None:
        steps.append((f"{program} check {short(failed)}", "what the run that diverged promised, and what came"))
    if shown is not None:
        steps.append((f'grep "metric " {short(shown / "train.log")}', "the fast tier, without this program"))
    width = max(len(command) for command, _ in steps)
    lines = ["", "What to type next:", "", *(f"  {command:<{width}}  # {what}" for command, what in steps)]
    lines += [
        "",
        "What a kill leaves, for you to try: everything that was recorded until then.",
        "",
        f"  {short(Path(sys.executable))} -m barograph_lab.digits --epochs 2000 --root /tmp/killed > /dev/null &",
        "  sleep 5; kill -9 $!",
        f"  {program} check /tmp/killed",
    ]
    return "\n".join(lines)


def program() -> str:
    """How a person in this directory would call the command of this environment."""
    beside = Path(sys.executable).with_name("barograph")
    on_path = shutil.which("barograph")
    return "barograph" if on_path and beside.exists() and Path(on_path).samefile(beside) else short(beside)


def short(path: Path) -> str:
    """A path as a person in this directory would type it."""
    here = Path.cwd()
    whole = here / path  # links are not followed: an environment's python is one
    return shlex.quote(str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole))
