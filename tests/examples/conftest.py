"""Runs example scripts as a person would, and reads what they leave by the format's description alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_script(tmp_path):
    """Runs a script in ``tmp_path`` with warnings as errors; returns the completed process."""

    def run(script, *args, code=0):
        path = script if isinstance(script, Path) else EXAMPLES / script
        command = [sys.executable, "-W", "error", str(path), *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert code == done.returncode, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def read_events():
    """Reads the events of a run by ``json`` alone."""

    def read(run_dir, moment=None):
        lines = (run_dir / "facts" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if moment in (None, event["moment"])]

    return read


@pytest.fixture
def read_streams():
    """Reads every stream of a split: a list of (header, table)."""

    def read(run_dir, split="train"):
        found = []
        for path in sorted((run_dir / "facts").glob("metrics.*.rows")):
            with path.open("rb") as file:
                header = json.loads(file.readline())
            table = np.fromfile(path, "<f8", offset=header["header_bytes"]).reshape(-1, len(header["columns"]))
            if header["split"] == split:
                found.append((header, table))
        return found

    return read
