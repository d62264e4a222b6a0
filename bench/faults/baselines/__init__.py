"""Those whom we have to be better than, one file each; none imports what another needs."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from bench.faults.baselines.base import Baseline

ORDER: Final = (
    *("fixed_thresholds", "z_score", "twelve_rules", "zclip", "olmo_skip_step", "kill_loss_spike", "sagemaker"),
    *("adwin", "page_hinkley", "half_space_trees", "chance"),
)


def load(name: str) -> Baseline:
    """The baseline of a name, which is one of ``ORDER``."""
    found: Baseline = import_module(f"bench.faults.baselines.{name}").BASELINE
    return found
