"""Runs example scripts as a person would, and reads what they leave by the format's description alone."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_in(directory, script, *args, code=0):
    """Run a script in a directory with warnings as errors; returns the completed process."""
    path = script if isinstance(script, Path) else EXAMPLES / script
    command = [sys.executable, "-W", "error", str(path), *map(str, args)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert code == done.returncode, done.stdout + done.stderr
    return done


@pytest.fixture
def run_script(tmp_path):
    """Runs a script in ``tmp_path`` with warnings as errors; returns the completed process."""
    return functools.partial(run_in, tmp_path)


def contents(directory):
    """What every file below a directory holds."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def both_tiers(tmp_path_factory):
    """A directory in which ``quick_full.py`` made ``quick``, then ``full``, and what ``quick`` held in between."""
    directory = tmp_path_factory.mktemp("tumours")
    run_in(directory, "quick_full.py")
    before = contents(directory / "quick")
    run_in(directory, "quick_full.py", "full")
    return directory, before


@pytest.fixture
def tumours(both_tiers, tmp_path):
    """A copy of ``quick`` and ``full`` in ``tmp_path``, to be drawn into."""
    return shutil.copytree(both_tiers[0], tmp_path, dirs_exist_ok=True)


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
