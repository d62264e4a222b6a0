"""``barograph demo`` hands everything to the study; the study itself is tested with the lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from barograph.read.catalog import discover_runs


def test_its_help_is_the_studys(cli):
    """Options go through, with their dashes."""
    assert cli("demo", "--help").stdout.startswith("usage: barograph demo ")


def test_its_mistakes_are_the_studys(cli):
    """So is the exit code."""
    assert "unrecognized arguments: --frobnicate" in cli("demo", "--frobnicate", code=2).stderr


def test_the_root_before_the_verb_counts(tmp_path):
    """And ^C, which a terminal sends to both, ends both; the run that it interrupted is recorded as killed."""
    command = [sys.executable, "-m", "barograph.cli", "--root", tmp_path / "runs", "demo", "--epochs", "100000"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as demo:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/*/facts/metrics.000.rows")):
            assert time.monotonic() < deadline
            assert demo.poll() is None, demo.stderr.read()
            time.sleep(0.05)
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=60) in (130, 1)
    (run,) = discover_runs(tmp_path / "runs")
    assert '"status":"killed"' in (run / "facts" / "exit.json").read_text()
