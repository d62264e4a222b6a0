"""Barograph without what reads its facts: no terminal, no text log, no console capture, no watch.

The budgets of bytes and of the companion are stated for this; what a user gets by default is `barograph`.
"""

from __future__ import annotations

from bench.subjects import barograph
from bench.work import Spec

SPEC = Spec(label="barograph, facts only", kind="ours", distribution="barograph", requirement=(".",))


class Recorder(barograph.Recorder):
    """A run with heartbeat, host sampler and companion, and nothing that shows, mirrors or watches."""

    def __init__(self) -> None:
        super().__init__(terminal="off", text_log=None, console=False, watch=False)
