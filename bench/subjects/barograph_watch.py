"""Barograph that watches the run with every detector, without what reads its facts for people.

The budget of the companion with the watch is stated for this; what the watch adds is its distance to `barograph_facts`.
"""

from __future__ import annotations

from bench.subjects import barograph
from bench.work import Spec

SPEC = Spec(label="barograph, facts and watch", kind="ours", distribution="barograph", requirement=(".",))


class Recorder(barograph.Recorder):
    """A run with heartbeat, host sampler, companion and all detectors, and nothing that shows or mirrors."""

    def __init__(self) -> None:
        super().__init__(terminal="off", text_log=None, console=False, watch=True)
