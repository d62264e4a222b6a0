"""Runs in this process, without anything that talks, and what their files hold."""

from __future__ import annotations

import pytest
from tests.recorded import Recorded

import barograph

QUIET = {"terminal": "off", "text_log": None, "console": False, "host_s": None}


@pytest.fixture
def new_run(tmp_path, monkeypatch):
    """Begin a run in ``tmp_path/"run"``, or as the options say; it is finished when the test ends."""
    # As if a script outside this repository ran, or every run would keep the repository's uncommitted changes.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py"])
    runs = []

    def new_run(**options) -> barograph.Run:
        place = {} if "root" in options else {"dir": tmp_path / "run"}
        runs.append(barograph.init(**{**QUIET, **place, **options}))
        return runs[-1]

    yield new_run
    for run in runs:
        run.finish()


@pytest.fixture
def recorded():
    """Read a run's files: ``recorded(directory)``."""
    return Recorded
