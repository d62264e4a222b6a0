"""Runs in this process, without anything that talks, and what their files hold."""

from __future__ import annotations

import pytest
from tests.recorded import Recorded

import barograph

QUIET = {"terminal": "off", "text_log": None, "console": False, "host_s": None}


@pytest.fixture
def new_run(tmp_path):
    """Begin a run in ``tmp_path/"run"``, or as the options say; it is finished when the test ends."""
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
