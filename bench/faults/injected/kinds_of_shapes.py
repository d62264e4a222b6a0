"""The faults that give the loss a shape of its own, and what counts as recognising each.

Written down before any detector was run on them, or could be. Each has a rule that the loss must really take the
shape; runs in which it does not are left out. What would tell the cause at once is not logged, so that the shape is
what there is to see.
"""

from __future__ import annotations

from typing import Final

from bench.faults.injected import optimisation, waves
from bench.faults.injected.counts import UNSTABLE, without
from bench.faults.injected.fault import FaultKind

PLATEAUS: Final = (
    FaultKind(
        name="rate_dies_unlogged",
        make=waves.RateDies,
        doses=(1e-3, 1e-2),
        recipes=("mlp", "vae", "cnn", "resmlp", "vae_deep", "cnn_norm"),
        early=True,
        sudden=False,
        shows="stuck",
        unlogged=("lr", "update_ratio"),
        right=("plateau",),
        symptoms=("underfitting", "frozen", "learning_rate"),
    ),
    FaultKind(
        name="clipped_away",
        make=waves.ClippedAway,
        doses=(1e-3, 4e-3),
        recipes=("mlp_sgd", "cnn_sgd", "mlp_full_batch", "gelu_sgd"),
        early=True,
        sudden=False,
        shows="stuck",
        unlogged=("update_ratio",),
        right=("plateau",),
        symptoms=("underfitting", "frozen"),
    ),
    FaultKind(
        name="trunk_frozen",
        make=waves.TrunkFrozen,
        doses=(1.0, 1.0),
        recipes=("vae", "copy", "vae_deep", "copy_long"),
        early=True,
        sudden=False,
        shows="stuck",
        unlogged=("update_ratio",),
        right=("plateau",),
        symptoms=("underfitting", "frozen"),
    ),
)
"""The loss stands still, far above what can be learned. That most of a model is frozen in truth, no number says."""

SWINGING: Final = (
    FaultKind(
        name="momentum_too_high",
        make=optimisation.MomentumRaised,
        doses=(0.9995, 0.999),
        recipes=("regression_ball", "relu_ball"),
        early=True,
        sudden=False,
        shows="swings",
        right=("oscillation", "divergence"),
        symptoms=without(UNSTABLE, "oscillation", "divergence", "plateau", "underfitting"),
    ),
    FaultKind(
        name="edge_of_stability",
        make=optimisation.RateJump,
        doses=(20.0, 8.0),
        recipes=("regression_huber", "relu_huber"),
        sudden=False,
        shows="swings",
        unlogged=("lr", "update_ratio"),
        right=("oscillation", "divergence"),
        symptoms=("learning_rate", *without(UNSTABLE, "oscillation", "divergence", "plateau", "underfitting")),
    ),
    FaultKind(
        name="rate_alternates",
        make=waves.RateAlternates,
        doses=(20.0, 12.0),
        recipes=("mlp", "cnn", "mlp_tanh", "resmlp", "cnn_norm"),
        sudden=False,
        shows="swings",
        unlogged=("lr", "update_ratio"),
        right=("oscillation",),
        symptoms=("learning_rate", *without(UNSTABLE, "oscillation", "plateau", "underfitting")),
    ),
    FaultKind(
        name="classes_in_blocks",
        make=waves.ClassesInBlocks,
        doses=(1.0, 0.8),
        recipes=("mlp", "cnn", "mlp_sgd", "resmlp", "gelu_sgd"),
        sudden=False,
        shows="swings",
        right=("oscillation", "data_shift"),
        symptoms=("overfitting", "quality_drop", *without(UNSTABLE, "oscillation", "plateau", "underfitting")),
    ),
)
"""The loss goes up and down, far and again and again: the name of it is right whatever the cause.

That the classes come in blocks is a shift of the data as well: training and validation part at the first block. At the
edge of stability, and with far too much momentum, the loss swings from its first climb on, and whoever calls that climb
a divergence is right: it was one. Both were injected into classifiers before, whose cross-entropy flattens away from
the edge and whose noise hides slow waves: it did not swing, and nothing that was logged could have justified the name.
"""

SPIKING: Final = (
    FaultKind(
        name="corrupt_shard",
        make=waves.CorruptShard,
        doses=(20.0, 12.0),
        recipes=("mlp", "cnn", "denoiser", "resmlp", "gelu_sgd", "regression_relu"),
        shows="spike",
        right=("loss_spike",),
        symptoms=("exploding_gradient", "gradient_noise", "data_shift", "divergence"),
    ),
    FaultKind(
        name="rate_burst",
        make=waves.RateBurst,
        doses=(40.0, 25.0),
        recipes=("mlp_sgd", "mlp", "cnn", "gelu_sgd", "gru", "cnn_norm"),
        shows="spike",
        unlogged=("lr", "update_ratio"),
        right=("loss_spike",),
        symptoms=("exploding_gradient", "gradient_noise", "divergence", "learning_rate"),
    ),
    FaultKind(
        name="reduce_glitch",
        make=waves.ReduceGlitch,
        doses=(35.0, 25.0),
        recipes=("mlp_full_batch", "cnn_sgd", "gelu_sgd"),
        shows="spike",
        right=("loss_spike", "exploding_gradient"),
        symptoms=("gradient_noise", "divergence"),
    ),
)
"""The loss jumps and comes back. A gradient that is wrong for one step is seen as such a record before the loss is."""

SHAPES: Final = (*PLATEAUS, *SWINGING, *SPIKING)
