"""What `import barograph` costs and which heavy modules come with it."""

from __future__ import annotations

import json
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from bench.measure import worker_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.envs import Environment

FORBIDDEN = ("numpy", "polars", "rich", "loguru", "matplotlib", "torch")


def measure_import(environment: Environment, *, runs: int, base: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    """Import barograph in fresh interpreters.

    Args:
        environment: where barograph is.
        runs: how many times.
        base: environment variables.
        cwd: a directory that holds no package of that name; it is `HOME` too.

    Returns:
        The median in milliseconds and the forbidden modules that were loaded.
    """
    variables = worker_environment(environment, base=base, home=cwd)
    times_ms = [
        _cumulative_ms(
            _python(environment.python, "-X", "importtime", "-c", "import barograph", env=variables, cwd=cwd)
        )
        for _ in range(runs)
    ]
    question = f"import barograph, json, sys; print(json.dumps([n for n in {FORBIDDEN} if n in sys.modules]))"
    answer = _python(environment.python, "-c", question, env=variables, cwd=cwd)
    return {
        "runs": runs,
        "median_ms": statistics.median(times_ms),
        "forbidden_loaded": json.loads(answer.stdout),
    }


def _python(python: Path, *arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=True)


def _cumulative_ms(done: subprocess.CompletedProcess[str]) -> float:
    """Return what `-X importtime` says of the outermost import of barograph."""
    for line in reversed(done.stderr.splitlines()):
        own_and_below, _, module = line.rpartition("|")
        if module.rstrip() == " barograph":
            return int(own_and_below.split("|")[1]) / 1e3
    raise ValueError(f"-X importtime names no barograph; it printed {done.stderr[-200:]!r}, run it by hand")
