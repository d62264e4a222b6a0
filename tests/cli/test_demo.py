"""``barograph demo`` hands everything to the study; the study itself is tested with the lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from barograph.read.catalog import discover_runs
from barograph.read.run import RunReader
from barograph.read.status import read_status


def test_its_help_is_the_studys(cli):
    """Options go through, with their dashes."""
    assert cli("demo", "--help").stdout.startswith("usage: barograph demo ")


def test_its_mistakes_are_the_studys(cli):
    """So is the exit code."""
    assert "unrecognized arguments: --frobnicate" in cli("demo", "--frobnicate", code=2).stderr


def test_the_root_before_the_verb_counts(tmp_path):
    """And ^C, which a terminal sends to both, ends both; the run that it interrupted is recorded as killed by it."""
    command = [sys.executable, "-m", "barograph.cli", "--root", tmp_path / "runs", "demo", "--epochs", "100000"]
    options = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    demo = subprocess.Popen(command, start_new_session=True, **options)
    try:
        deadline = time.monotonic() + 60
        while not is_training(tmp_path / "runs"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=60) in (130, 1)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    (run,) = discover_runs(tmp_path / "runs")
    status = read_status(run)
    assert (status.state, status.reason) == ("killed", "SIGINT")


def is_training(root):
    """Whether a run has recorded a loss."""
    return root.is_dir() and any(RunReader(run).curve("loss") for run in discover_runs(root))
