"""The trainings that faults are injected into. Those marked unseen are met in the held-out half only."""

from __future__ import annotations

from typing import Any, Final

from bench.faults.recipe import Recipe

BALL: Final[dict[str, Any]] = {"optimizer": "momentum", "lr": 1.8e-3, "batch_size": 256, "schedule": "warmup"}
"""A slow descent of little noise: what gains momentum there swings."""
HUBER: Final[dict[str, Any]] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 512, "schedule": "warmup"}
"""Gradients that are bounded: beyond the edge of stability the loss swings and does not blow up."""
HEAVY: Final[dict[str, Any]] = {"optimizer": "momentum", "lr": 0.05, "batch_size": 64}
LONG: Final[dict[str, Any]] = {"steps": 2500, "lr": 1e-3, "batch_size": 64, "schedule": "cosine", "eval_every": 40}

RECIPES: Final[dict[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="mlp", family="mlp", shape={"hidden": [48, 48]}),
        Recipe(name="mlp_sgd", family="mlp", shape={"hidden": [64]}, optimizer="momentum", lr=0.05, clip=2.0),
        Recipe(name="mlp_tanh", family="mlp", shape={"hidden": [48, 32], "activation": "tanh"}, optimizer="adamw"),
        Recipe(
            name="mlp_full_batch", family="mlp", shape={"hidden": [32]}, optimizer="momentum", lr=0.1, batch_size=256
        ),
        Recipe(name="mlp_deep", family="mlp", shape={"hidden": [24] * 6, "has_layers": True}, lr=1e-3),
        Recipe(name="mlp_scaled", family="mlp", shape={"hidden": [48, 48]}, is_scaled=True),
        Recipe(name="mlp_resumed", family="mlp", shape={"hidden": [48, 48]}, schedule="warmup_cosine", resume_step=260),
        Recipe(name="mlp_memory", family="mlp", shape={"hidden": [64, 64]}, has_memory=True),
        Recipe(
            name="resmlp",
            family="mlp",
            shape={"hidden": [40] * 4, "is_residual": True, "activation": "gelu"},
            optimizer="adamw",
            unseen=True,
        ),
        Recipe(
            name="resmlp_memory",
            family="mlp",
            shape={"hidden": [40] * 3, "is_residual": True},
            unseen=True,
            optimizer="adamw",
            has_memory=True,
        ),
        Recipe(
            name="mlp_wide_deep", family="mlp", shape={"hidden": [40] * 8, "has_layers": True}, lr=8e-4, unseen=True
        ),
        Recipe(name="mlp_wide", family="mlp", shape={"hidden": [128]}, optimizer="rmsprop", lr=1e-3, unseen=True),
        Recipe(
            name="gelu_scaled",
            family="mlp",
            shape={"hidden": [64], "activation": "gelu"},
            is_scaled=True,
            growth_steps=45,
            unseen=True,
        ),
        Recipe(name="cnn", family="cnn", lr=4e-3),
        Recipe(name="cnn_sgd", family="cnn", optimizer="momentum", lr=0.05, shape={"channels": [8]}),
        Recipe(name="cnn_norm", family="cnn", shape={"has_norm": True}, optimizer="adamw", unseen=True),
        Recipe(name="lstm", family="recurrent", lr=5e-3, clip=1.0),
        Recipe(name="rnn", family="recurrent", shape={"cell": "rnn"}, lr=2e-3),
        Recipe(name="gru", family="recurrent", shape={"cell": "gru"}, lr=5e-3, unseen=True),
        Recipe(name="copy", family="transformer", lr=4e-3, steps=400, clip=1.0),
        Recipe(
            name="copy_long",
            family="transformer",
            shape={"length": 8, "letters": 6, "depth": 1},
            lr=4e-3,
            steps=400,
            optimizer="adamw",
            unseen=True,
        ),
        Recipe(name="regression", family="regression", lr=4e-3),
        Recipe(
            name="regression_relu",
            family="regression",
            shape={"activation": "relu", "noise": 0.4, "df": 5},
            lr=2e-3,
            unseen=True,
        ),
        Recipe(name="vae", family="vae", lr=3e-3),
        Recipe(name="vae_deep", family="vae", shape={"depth": 2, "latent_dim": 6}, lr=2e-3, unseen=True),
        Recipe(name="vqvae", family="vqvae", shape={"codebook_size": 32}, lr=3e-3),
        Recipe(name="vqvae_small", family="vqvae", shape={"codebook_size": 16, "code_dim": 6}, lr=3e-3, unseen=True),
        Recipe(name="gan", family="gan", lr=3e-3),
        Recipe(name="gan_wide", family="gan", shape={"width": 96, "latent_dim": 8}, lr=2e-3, unseen=True),
        Recipe(name="policy", family="policy", lr=5e-3, steps=360, eval_every=0),
        Recipe(
            name="policy_wide",
            family="policy",
            shape={"side": 5, "width": 64, "loss_name": "loss"},
            lr=3e-3,
            steps=360,
            eval_every=0,
            unseen=True,
        ),
        Recipe(name="denoiser", family="denoiser", lr=3e-3),
        Recipe(
            name="denoiser_deep",
            family="denoiser",
            shape={"depth": 3, "width": 80, "loss_name": "loss"},
            lr=2e-3,
            unseen=True,
        ),
        Recipe(name="regression_ball", family="regression", shape={"noise": 0.1}, **BALL),
        Recipe(name="relu_ball", family="regression", shape={"activation": "relu", "noise": 0.1}, unseen=True, **BALL),
        Recipe(name="regression_huber", family="regression", shape={"noise": 0.1, "is_huber": 1}, **HUBER),
        Recipe(
            name="relu_huber",
            family="regression",
            shape={"noise": 0.1, "is_huber": 1, "activation": "relu"},
            unseen=True,
            **HUBER,
        ),
        Recipe(name="gelu_sgd", family="mlp", shape={"hidden": [64], "activation": "gelu"}, unseen=True, **HEAVY),
        Recipe(name="mlp_long", family="mlp", shape={"hidden": [48], "dropout": 0.3}, **LONG),
        Recipe(name="regression_long", family="regression", shape={"noise": 0.3}, **LONG),
        Recipe(name="policy_long", family="policy", **{**LONG, "lr": 3e-3, "eval_every": 0}),
        Recipe(name="mlp_long_memory", family="mlp", shape={"hidden": [64], "dropout": 0.3}, has_memory=True, **LONG),
        Recipe(
            name="gelu_long",
            family="mlp",
            shape={"hidden": [64], "activation": "gelu", "dropout": 0.3},
            optimizer="adamw",
            unseen=True,
            **LONG,
        ),
        Recipe(
            name="gelu_long_memory",
            family="mlp",
            shape={"hidden": [48], "activation": "gelu", "dropout": 0.3},
            has_memory=True,
            unseen=True,
            **LONG,
        ),
    )
}
