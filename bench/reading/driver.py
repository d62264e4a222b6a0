"""Starts a worker per subject and amount, checks the answers, and asks what only barograph is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import envs, machine
from bench.measure import worker_environment
from bench.reading import extras
from bench.reading.work import QUESTIONS, Amount, Answer, Spec, expected, is_right

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

WRITE_TIMEOUT_S = 900.0
ASK_LIMIT_S = 8.0
ASK_TIMEOUT_S = 600.0


class FailedError(Exception):
    """A worker gave no right answer; the message says why."""


@dataclass(kw_only=True)
class Outcome:
    """Everything that was found.

    Attributes:
        machine: what it was measured on.
        amounts: how much was recorded.
        specs: the subjects, by name, in order.
        figures: by subject and amount: seconds of each question, seconds of writing, bytes on disk.
        failures: why a subject has no figures.
        extras: further budgets: what, limit, unit, measured.
    """

    machine: dict[str, str]
    amounts: tuple[Amount, ...]
    specs: dict[str, Spec]
    figures: dict[tuple[str, Amount], dict[str, Any]] = field(default_factory=dict)
    failures: dict[tuple[str, Amount], str] = field(default_factory=dict)
    extras: list[tuple[str, float, str, float | None]] = field(default_factory=list)


def run(
    specs: Mapping[str, Spec], amounts: Sequence[Amount], *, work: Path, num_index_runs: int, say: Callable[[str], None]
) -> Outcome:
    """Ask every subject everything that it can do.

    Args:
        specs: the subjects.
        amounts: how much is recorded.
        work: a directory of ours; a subject's files are removed when it was asked.
        num_index_runs: runs of the run table.
        say: told what goes on.
    """
    work.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(machine=machine.describe(folder=work), amounts=tuple(amounts), specs=dict(specs))
    for amount in amounts:
        right = expected(amount)
        for name, spec in specs.items():
            if amount.numbers > spec.most_numbers:
                continue
            say(f"{amount}: {spec.label}")
            try:
                outcome.figures[name, amount] = _measure(name, spec, amount, right, work=work / name)
            except FailedError as error:
                outcome.failures[name, amount] = str(error)
                say(f"  {error}")
            finally:
                shutil.rmtree(work / name, ignore_errors=True)
    say("run table and sealed size")
    outcome.extras = extras.measure(work / "extras", num_runs=num_index_runs)
    return outcome


def _measure(name: str, spec: Spec, amount: Amount, right: dict[str, Answer], *, work: Path) -> dict[str, Any]:
    environment = _environment(spec)
    if environment.python is None:
        raise FailedError(environment.reason)
    shutil.rmtree(work, ignore_errors=True)
    home = work / "home"
    home.mkdir(parents=True)
    figures = _ask(environment, spec, [name, "write", str(home), *map(str, amount), "0"], timeout_s=WRITE_TIMEOUT_S)
    figures["size_bytes"] = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    arguments = [name, "read", str(home), *map(str, amount), str(ASK_LIMIT_S)]
    found = _ask(environment, spec, arguments, timeout_s=ASK_TIMEOUT_S)
    for question in QUESTIONS:
        answer = Answer(*found[question]["answer"])
        if not is_right(answer, right[question]):
            raise FailedError(f"{question}: {answer} is not {right[question]}")
    return figures | found | {"version": _version(environment, spec)}


def _environment(spec: Spec) -> envs.Environment:
    if not spec.environment:
        return envs.working_tree()
    return envs.ensure((spec.environment,), home=envs.ROOT / ".bench" / "envs" / spec.environment)


def _ask(environment: envs.Environment, spec: Spec, arguments: list[str], *, timeout_s: float) -> dict[str, Any]:
    home = envs.ROOT / ".bench" / "work"
    home.mkdir(parents=True, exist_ok=True)
    variables = worker_environment(environment, base=os.environ, home=home) | dict(spec.variables)
    command = [str(environment.python), "-m", "bench.reading.worker", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=variables, check=False)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{arguments[1]} took longer than {timeout_s:.0f} s") from None
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode != 0 or not lines:
        raise FailedError(f"{arguments[1]}: {lines[-1] if lines else 'ended without a word'}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _version(environment: envs.Environment, spec: Spec) -> str:
    if not spec.distribution:
        return ""
    source = f"import importlib.metadata as m; print(m.version({spec.distribution!r}))"
    python = str(environment.python or sys.executable)
    return subprocess.run([python, "-c", source], capture_output=True, text=True, check=True).stdout.strip()
