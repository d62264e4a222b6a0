"""A run that is made without a training process."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.read.archive.making import Maker


@pytest.fixture
def made(tmp_path) -> Maker:
    """A run without a stream."""
    return Maker(tmp_path / "run")


@pytest.fixture
def without_privileges() -> list[str]:
    """A command before which root obeys permissions like anybody else; nothing where the process is not root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and setpriv (util-linux) is not there to change that")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--"]
