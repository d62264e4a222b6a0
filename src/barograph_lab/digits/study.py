"""The study as a whole: trains every configuration, compares them, and looks back at what was recorded.

What it looks back with are the project's own commands, in processes of their own, as a person would type them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from barograph_lab.digits import report
from barograph_lab.digits.train import HYPOTHESIS, Config, begin_run, train

TOO_HIGH_LR = 3.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the study does.

    Attributes:
        epochs: of each run.
        seeds: of each configuration.
        log_steps: a fast log every so many steps.
        eval_steps: a full evaluation every so many steps.
        tier: ``quick`` or ``full``.
        root: where the runs go; as ``barograph.init`` decides when not given.
    """

    epochs: int = 15
    seeds: int = 6
    log_steps: int = 50
    eval_steps: int = 200
    tier: str = "full"
    root: Path | None = None

    def configs(self) -> list[Config]:
        """The runs, in the order in which they are trained."""
        common = {"epochs": self.epochs, "log_steps": self.log_steps, "eval_steps": self.eval_steps}
        mlp, linear = Config(name="mlp", hidden=64, **common), Config(name="linear", hidden=0, **common)
        seeds = range(self.seeds)
        return [
            *(replace(config, seed=seed) for config in (mlp, linear) for seed in seeds),
            replace(mlp, name="mlp-too-fast", lr=TOO_HIGH_LR),
        ]


def run_study(plan: Plan) -> int:
    """Train, compare, verify and say what to type next; returns the exit code."""
    configs = plan.configs()
    print(f"{len(configs)} runs on handwritten digits. Hypothesis: {HYPOTHESIS}.")
    print(
        "The first run is shown as it goes: a fast log often, a full evaluation rarely; and the last, which diverges.\n"
    )
    results = []
    for number, config in enumerate(configs):
        started_s = time.perf_counter()
        is_shown = number == 0 or config.lr == TOO_HIGH_LR
        result = _train_one(config, plan, terminal="auto" if is_shown else "off")
        line = report.result_line(result, duration_s=time.perf_counter() - started_s)
        print(line if number else f"\n{line}", flush=True)
        results.append(result)
    rows = report.summarise(results)
    print(f"\n{report.table(rows)}\n\n{report.verdict(rows)}\n")
    return _look_back(results)


def run_study_quietly(plan: Plan) -> int:
    """Train, compare and verify, and print one line of JSON; returns the exit code."""
    results = [_train_one(config, plan, terminal="off") for config in plan.configs()]
    reports = _check(results)
    print(report.as_json(results, reports))
    return report.exit_code(reports)


def _train_one(config: Config, plan: Plan, *, terminal: str) -> dict[str, Any]:
    return train(config, begin=partial(begin_run, root=plan.root, tier=plan.tier, terminal=terminal))


def _look_back(results: Sequence[Mapping[str, Any]]) -> int:
    """List, compare and report on the runs, verify their facts, say what to type next; returns the exit code."""
    root = results[0]["run_dir"].parent
    failed = next((result["run_dir"] for result in results if result["status"] != "finished"), None)
    finished = next((result["run_dir"] for result in results if result["status"] == "finished"), None)
    program = report.program()
    shown_root = report.short(root)
    _show_command(program, "list", shown_root)
    reports = _check(results)
    if failed is not None:
        _show_command(program, "check", report.short(failed))
    code = _show_command(program, "compare", shown_root)
    pages = report.short(root.parent / "reports")
    code |= _show_command(program, "report", "comparison", f"inputs.sweep_dir={shown_root}", f"outputs.dir={pages}")
    print(report.verified(reports))
    print(report.next_steps(program, root, finished=finished, failed=failed))
    return code or report.exit_code(reports)


def _show_command(program: str, *arguments: str) -> int:
    """Print a command as a person types it, and what it prints; returns its exit code, 0 for ``check``'s verdict."""
    print(f"$ {program} {' '.join(arguments)}", flush=True)
    words = [word for argument in arguments for word in shlex.split(argument)]
    done = subprocess.run([sys.executable, "-m", "barograph.cli", *words], check=False)  # noqa: S603 - our own
    print(flush=True)
    return 0 if arguments[0] == "check" else done.returncode


def _check(results: Sequence[Mapping[str, Any]]) -> dict[Path, dict[str, Any] | None]:
    """What ``barograph check`` says about each of these runs; None for one that it does not find."""
    run_dirs: list[Path] = [result["run_dir"] for result in results]
    command = [sys.executable, "-m", "barograph.cli", "check", str(run_dirs[0].parent), "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    found = {Path(run["path"]).resolve(): run for run in json.loads(done.stdout)["runs"]}
    return {path: found.get(path.resolve()) for path in run_dirs}
