"""Barograph in its batch mode, for file systems where a write is slow; it says what it may lose."""

from __future__ import annotations

from bench.subjects import barograph
from bench.work import Spec

SPEC = Spec(label="barograph, batch", kind="ours", distribution="barograph", requirement=(".",))


class Recorder(barograph.Recorder):
    """A run with `write="batch"`, otherwise default settings."""

    def __init__(self) -> None:
        super().__init__(write="batch")
