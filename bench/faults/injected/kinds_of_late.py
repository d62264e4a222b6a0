"""Faults that begin late in long trainings, when most of the run is over.

What is right is what is right when they begin early. Written down before any detector was run on them.
"""

from __future__ import annotations

from typing import Any, Final

from bench.faults.injected import inputs, optimisation, system
from bench.faults.injected.counts import UNSTABLE, without
from bench.faults.injected.fault import FaultKind

CLASSIFIERS: Final = ("mlp_long", "gelu_long")
LONG: Final = ("mlp_long", "regression_long", "gelu_long")


def _late(name: str, make: type, recipes: tuple[str, ...], right: tuple[str, ...], **settings: Any) -> FaultKind:
    return FaultKind(name=name, make=make, recipes=recipes, right=right, late=True, **settings)


LATE: Final = (
    _late(
        "late_divergence",
        optimisation.SignFlipped,
        LONG,
        ("divergence",),
        doses=(1.0, 0.6),
        symptoms=("data_shift", *without(UNSTABLE, "divergence")),
    ),
    _late(
        "late_exploding",
        optimisation.LossSummed,
        LONG,
        ("exploding_gradient",),
        doses=(1.0, 0.3),
        symptoms=without(UNSTABLE, "exploding_gradient"),
    ),
    _late("late_non_finite", optimisation.LogOfZero, ("policy_long", *LONG), ("non_finite",)),
    _late(
        "late_slow",
        system.LoaderSlow,
        LONG,
        ("throughput_drop",),
        doses=(8.0, 4.0),
        shows="slow",
        symptoms=("stall",),
    ),
    _late(
        "late_unscaled",
        inputs.InputsUnscaled,
        LONG,
        ("data_shift", "divergence"),
        doses=(16.0, 5.0),
        symptoms=without(UNSTABLE, "divergence"),
    ),
    _late(
        "late_frozen",
        optimisation.OptimizerForgets,
        ("regression_long", "mlp_long", "gelu_long"),
        ("frozen",),
        sudden=False,
        symptoms=("plateau", "underfitting", "stale_metric"),
    ),
    _late(
        "late_leak",
        system.LoopLeaks,
        ("mlp_long_memory", "gelu_long_memory"),
        ("memory_growth",),
        doses=(0.2, 0.05),
        shows="memory",
        sudden=False,
    ),
    _late(
        "late_one_shard",
        inputs.OneShard,
        CLASSIFIERS,
        ("overfitting",),
        doses=(25.0, 45.0),
        shows="overfit",
        sudden=False,
        symptoms=("data_shift", "quality_drop", "leakage", "divergence"),
    ),
    _late(
        "late_few_classes",
        inputs.FewClasses,
        CLASSIFIERS,
        ("quality_drop", "data_shift", "overfitting"),
        doses=(4.0, 8.0),
        sudden=False,
        symptoms=("divergence", "leakage"),
    ),
    _late(
        "late_gradient_cached",
        system.GradientCached,
        LONG,
        ("stale_metric",),
        shows="same",
        metrics=("grad_norm",),
        symptoms=("frozen",),
    ),
)
