"""A run that is made without a training process."""

from __future__ import annotations

import pytest
from tests.read.archive.making import Maker


@pytest.fixture
def made(tmp_path) -> Maker:
    """A run without a stream."""
    return Maker(tmp_path / "run")
