"""Types and trainings that several faults have in common."""

from __future__ import annotations

from typing import Any, Final

UNSTABLE: Final = (
    *("divergence", "loss_spike", "exploding_gradient", "oscillation", "gradient_noise", "non_finite", "dead_units"),
    *("underfitting", "plateau"),
)
"""What may follow when steps are too large."""
DIGITS: Final = ("mlp", "cnn", "lstm", "mlp_tanh", "resmlp", "cnn_norm", "gru")
ANY: Final = ("mlp", "copy", "cnn", "regression", "vae", "resmlp", "copy_long", "cnn_norm")
DEEP: Final = ("mlp_deep", "mlp_wide_deep")


def without(types: tuple[str, ...], *left_out: str) -> tuple[str, ...]:
    """The types but some."""
    return tuple(it for it in types if it not in left_out)


def sigmoid(depth: int) -> dict[str, Any]:
    """What changes a perceptron into a deep one with saturating units."""
    return {"shape": {"hidden": [24] * depth, "activation": "sigmoid", "has_layers": True}}
