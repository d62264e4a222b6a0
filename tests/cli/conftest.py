"""The real command over runs that were really recorded: finished, failed, diverged, killed, resumed."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECORDING = """
import math, os, signal, sys, barograph

def start(name, **options):
    return barograph.init(
        project="digits", name=name, root=sys.argv[1], terminal="off", host_s=None, log_steps=10, eval_steps=20,
        **options,
    )

with start("mlp", config={"lr": 0.001, "note": "a b"}, seed=1, total_steps=40,
           success=["loss < 0.3 by step 100 on train"], hypothesis="small is enough") as run:
    for step in range(40):
        run.log({"loss": 1.0 / (step + 1), "lr": 0.1}, step=step)
        with run.tier(step) as tier:
            if tier:
                run.example(step=step, prompt="What is the capital of France?", golden="Paris", golden_tokens=1,
                            output="It is Paris" if tier == "full" else None, loss=0.5,
                            val_loss=0.25 if tier == "full" else None)
    run.log({"loss": 0.75, "accuracy": 0.5}, step=39, split="val")
    run.epoch_end(0, train_loss=0.025, val_loss=0.75, metrics={"accuracy": 0.5})
    run.check("shapes", expected=[8, 8], got=[8, 8])
    run.summary["accuracy"] = 0.5

with start("diverged", success=["final loss is finite", "f1 > 0.9"]) as run:
    for step, loss in enumerate([1.0, 1e30, math.inf, math.nan, -math.inf]):
        run.log({"loss": loss}, step=step)
    run.check("LoRA tensors", expected=392, got=391)
    run.alert("loss is not finite", "at step 2", level="error")

resumed = os.path.join(sys.argv[1], "resumed")
for attempt in range(2):
    with barograph.init(name="twice", dir=resumed, resume="allow", terminal="off", host_s=None) as run:
        for step in range(5 * attempt, 10 + 5 * attempt):
            run.log({"loss": 1.0 - attempt}, step=step)

try:
    with start("failed") as run:
        run.log({"loss": 1.0}, step=0)
        raise ValueError("no such layer")
except ValueError:
    pass

run = start("killed")
for step in range(100):
    run.log({"loss": 1.0}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="session")
def recorded_root(tmp_path_factory) -> Path:
    """A directory of five runs; it must not be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    script = folder / "script.py"
    script.write_text(RECORDING, encoding="utf-8")
    command = [sys.executable, script, folder / "runs"]
    done = subprocess.run(command, cwd=folder, env=environment(), timeout=120, check=False)
    assert done.returncode == -9
    return folder / "runs"


@pytest.fixture
def root(recorded_root, tmp_path) -> Path:
    """A copy of the five runs."""
    return shutil.copytree(recorded_root, tmp_path / "runs")


def environment(**changes):
    """The environment of a test, without what a person may have set for barograph or colours."""
    names = ("BAROGRAPH_ROOT", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"PYTHONIOENCODING": "utf-8"} | changes


@pytest.fixture
def cli(tmp_path):
    """Run ``barograph`` with some arguments in an empty directory; returns the completed process."""

    def run(*args, code=0, env=None, **options):
        command = [sys.executable, "-W", "error", "-m", "barograph.cli", *map(str, args)]
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        options = {"capture_output": True, "text": True, "cwd": folder, "timeout": 60, **options}
        done = subprocess.run(command, env=environment(**(env or {})), check=False, **options)
        assert code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in (done.stderr or "")
        return done

    return run


@pytest.fixture
def terminal(tmp_path):
    """Run ``barograph`` on a pseudo terminal; returns what it printed."""

    def run(*args, env=None):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "barograph.cli", *map(str, args)]
        child = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=tmp_path,
            env=environment(**{"TERM": "xterm-256color", **(env or {})}),
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        assert child.wait(timeout=60) == 0, shown
        return shown.decode("utf-8")

    return run


@pytest.fixture
def ids(root):
    """The id of each run, by name."""
    found = {}
    for path in root.glob("*/run.json"):
        text = path.read_text(encoding="utf-8")
        found[re.search(r'"name":"(\w+)"', text)[1]] = re.search(r'"run_id":"(\w+)"', text)[1]
    return found
