"""Healthy trainings, among them what looks like a fault and is none, and the rules that make them healthy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

from bench.faults.curves import Curves
from bench.faults.recipe import Recipe

NUM_FIRST: Final = 8
FALLEN: Final = 0.85
NUM_LAST_VAL: Final = 3
"""Evaluations are few and noisy: of so many in a row the median counts."""
VAL_ABOVE_BEST: Final = 1.10
GAIN_LOST: Final = 0.001
"""A validation loss that is both so far above its best and has lost so much of its gain is no longer healthy."""
MOST_GAP: Final = 0.16
REWARD_RISE: Final = 0.1
LEAST_KL: Final = 0.5
LEAST_CODES: Final = 0.2
MOST_DEAD: Final = 0.5
DIVERSITY_KEPT: Final = 0.5
D_LOSS_RANGE: Final = (0.15, 1.2)
SLOW_RECORDS: Final = 24
SLOW_FACTOR: Final = 2.0


def _recipe(name: str, family: Any, **settings: Any) -> Recipe:
    return Recipe(name=name, family=family, is_varied=False, **settings)


_H2: Final = {"hidden": [48, 48]}

OPTIMISERS: Final = (
    _recipe("h_mlp_plain_sgd", "mlp", shape=_H2, optimizer="sgd", lr=0.3),
    _recipe("h_mlp_momentum_cosine", "mlp", shape=_H2, optimizer="momentum", lr=0.05, schedule="cosine", steps=800),
    _recipe("h_mlp_rmsprop", "mlp", shape={"hidden": [64]}, optimizer="rmsprop", lr=1e-3, schedule="exponential"),
    _recipe("h_cnn_adamw_warmup", "cnn", optimizer="adamw", lr=4e-3, schedule="warmup_cosine", weight_decay=0.05),
    _recipe("h_cnn_sgd_steps", "cnn", optimizer="momentum", lr=0.03, schedule="step_decay", steps=500),
    _recipe("h_mlp_steps", "mlp", shape={"hidden": [64, 32]}, lr=3e-3, schedule="step_decay", steps=900),
    _recipe("h_mlp_restarts", "mlp", shape={**_H2, "dropout": 0.2}, lr=4e-3, schedule="restarts", steps=750),
    _recipe(
        "h_cnn_restarts", "cnn", shape={"dropout": 0.2}, optimizer="momentum", lr=0.04, schedule="restarts", steps=600
    ),
    _recipe("h_copy_restarts", "transformer", lr=4e-3, schedule="restarts", steps=450, clip=1.0),
    _recipe(
        "h_mlp_one_cycle", "mlp", shape={**_H2, "dropout": 0.2}, optimizer="momentum", lr=0.1, schedule="one_cycle"
    ),
    _recipe(
        "h_resmlp_one_cycle",
        "mlp",
        shape={"hidden": [40] * 3, "is_residual": True, "activation": "gelu"},
        lr=5e-3,
        schedule="one_cycle",
    ),
    _recipe("h_mlp_low_rate", "mlp", shape={"hidden": [96]}, lr=3e-4, steps=1000, batch_size=64),
    _recipe("h_mlp_high_rate", "mlp", shape={"hidden": [64]}, lr=1e-2, batch_size=128, schedule="linear"),
)
BATCHES: Final = (
    _recipe("h_mlp_batch4", "mlp", shape=_H2, batch_size=4, lr=1e-3, steps=1000),
    _recipe("h_cnn_batch4", "cnn", batch_size=4, lr=2e-3, schedule="cosine", steps=700),
    _recipe("h_mlp_batch256", "mlp", shape=_H2, batch_size=256, lr=3e-3),
    _recipe("h_mlp_ramp", "mlp", shape=_H2, batch_size=8, ramp_steps=150, steps=600, speed="throughput"),
    _recipe("h_regression_ramp", "regression", batch_size=16, ramp_steps=200, steps=700, lr=3e-3),
    _recipe("h_tails", "regression", shape={"noise": 0.5, "df": 2}, lr=2e-3, batch_size=32, clip=1.0, steps=600),
    _recipe(
        "h_tails_small", "regression", shape={"noise": 0.4, "df": 2, "is_huber": 1}, lr=2e-3, batch_size=8, steps=800
    ),
    _recipe("h_regression_calm", "regression", shape={"noise": 0.02}, lr=5e-3, batch_size=128, schedule="cosine"),
    _recipe("h_dropout", "mlp", shape={"hidden": [96, 96], "dropout": 0.5}, lr=2e-3, steps=700),
    _recipe("h_cnn_dropout", "cnn", shape={"dropout": 0.4, "channels": [8, 16]}, lr=3e-3, schedule="warmup_cosine"),
    _recipe("h_smoothing", "mlp", shape={"hidden": [64], "smoothing": 0.1}, lr=3e-3),
)
SHAPES: Final = (
    _recipe("h_tanh_deep", "mlp", shape={"hidden": [32] * 4, "activation": "tanh", "has_layers": True}, lr=1e-3),
    _recipe("h_deep_relu", "mlp", shape={"hidden": [32] * 5, "has_layers": True}, lr=1.5e-3, schedule="warmup_cosine"),
    _recipe("h_lstm", "recurrent", lr=4e-3, clip=1.0, schedule="cosine"),
    _recipe("h_gru_small", "recurrent", shape={"cell": "gru", "width": 16}, lr=6e-3, batch_size=16),
    _recipe("h_rnn", "recurrent", shape={"cell": "rnn"}, lr=2e-3, clip=5.0, schedule="linear"),
    _recipe("h_copy", "transformer", lr=3e-3, schedule="warmup_cosine", clip=1.0, steps=450),
    _recipe("h_copy_small", "transformer", shape={"depth": 1, "width": 24, "length": 5}, lr=5e-3, batch_size=16),
    _recipe("h_sum", "transformer", shape={"text": "sum", "letters": 4, "length": 5}, lr=4e-3, steps=500, clip=1.0),
    _recipe("h_vae", "vae", lr=3e-3, schedule="warmup_cosine", has_checkpoints=True),
    _recipe("h_vae_small", "vae", shape={"latent_dim": 4, "width": 32}, lr=2e-3, batch_size=16, steps=600),
    _recipe("h_vqvae", "vqvae", shape={"codebook_size": 24}, lr=2e-3, batch_size=64, steps=600),
    _recipe("h_gan", "gan", lr=2e-3, steps=600),
    _recipe("h_gan_slow", "gan", shape={"width": 48}, lr=1.5e-3, batch_size=64, steps=600),
    _recipe("h_policy", "policy", lr=5e-3, steps=360, eval_every=0, schedule="linear"),
    _recipe(
        "h_policy_noisy", "policy", shape={"reward_noise": 0.5, "loss_name": "loss"}, lr=5e-3, steps=360, eval_every=0
    ),
    _recipe("h_denoiser", "denoiser", lr=3e-3, schedule="cosine", batch_size=64),
    _recipe("h_denoiser_loss", "denoiser", shape={"loss_name": "loss", "width": 64}, lr=2e-3, batch_size=16, steps=600),
)
RUNNING: Final = (
    _recipe("h_scaled", "mlp", shape=_H2, is_scaled=True, growth_steps=40, lr=2e-3, steps=700),
    _recipe("h_cnn_scaled", "cnn", is_scaled=True, growth_steps=30, optimizer="momentum", lr=0.05, batch_size=16),
    _recipe(
        "h_resumed", "mlp", shape=_H2, lr=2e-3, resume_step=300, repeat_steps=40, steps=600, schedule="warmup_cosine"
    ),
    _recipe("h_cnn_resumed", "cnn", lr=4e-3, resume_step=200, repeat_steps=15, has_checkpoints=True),
    _recipe("h_vae_resumed", "vae", lr=3e-3, resume_step=260, repeat_steps=60),
    _recipe("h_paused", "mlp", shape=_H2, eval_pause_s=0.08, eval_every=60, speed="throughput"),
    _recipe("h_sparse", "mlp", shape={"hidden": [64]}, log_every=10, eval_every=50, steps=1200, lr=1.5e-3),
    _recipe("h_cnn_sparse", "cnn", log_every=10, eval_every=100, steps=700, lr=3e-3, schedule="cosine"),
    _recipe("h_regression_sparse", "regression", log_every=5, eval_every=50, steps=1000, lr=3e-3),
    _recipe("h_three_keys", "mlp", shape=_H2, keys="three", eval_every=0, lr=2e-3),
    _recipe("h_three_keys_batch4", "cnn", keys="three", eval_every=0, batch_size=4, lr=2e-3, steps=700),
    _recipe("h_loss_only", "recurrent", shape={"cell": "gru"}, keys="loss", eval_every=0, lr=4e-3, clip=1.0),
    _recipe("h_memory", "mlp", shape={"hidden": [96, 96]}, has_memory=True, has_checkpoints=True, steps=700),
    _recipe("h_memory_cnn", "cnn", has_memory=True, batch_size=64, lr=4e-3),
)
_LONG: Final = {"hidden": [48], "dropout": 0.3}
LONG: Final = (
    _recipe("h_long_plain", "mlp", shape=_LONG, lr=7e-4, steps=3000, eval_every=50),
    _recipe("h_long_restarts", "mlp", shape=_LONG, lr=2e-3, schedule="restarts", steps=3600, eval_every=50),
    _recipe("h_long_step_decay", "mlp", shape=_LONG, optimizer="momentum", lr=0.02, schedule="step_decay", steps=3000),
    _recipe("h_long_batch4", "mlp", shape=_LONG, batch_size=4, lr=5e-4, schedule="cosine", steps=4000, eval_every=50),
    _recipe("h_long_tails", "regression", shape={"noise": 0.5, "df": 2}, lr=1e-3, clip=1.0, steps=3500, eval_every=50),
    _recipe(
        "h_long_resumed",
        "mlp",
        shape=_LONG,
        lr=1.5e-3,
        schedule="warmup_cosine",
        resume_step=2200,
        repeat_steps=150,
        steps=3200,
    ),
    _recipe("h_long_regression", "regression", lr=1.5e-3, batch_size=64, schedule="linear", steps=4000, eval_every=50),
    _recipe(
        "h_long_scaled", "mlp", shape=_LONG, is_scaled=True, growth_steps=150, lr=1e-3, schedule="cosine", steps=3000
    ),
)
"""Long enough that nobody looks at every record any more."""
HEALTHY: Final[dict[str, Recipe]] = {it.name: it for it in (*OPTIMISERS, *BATCHES, *SHAPES, *RUNNING, *LONG)}


def what_ails(recipe: Recipe, curves: Curves) -> str | None:
    """Which rule of health a run breaks; None when it is healthy."""
    return _not_finite(recipe, curves) or _not_learned(recipe, curves) or _not_kept(recipe, curves)


def slowed_down(curves: Curves) -> str | None:
    """Whether the machine slowed the run down: two dozen records in a row far above the median of their step times."""
    times = curves.step_times()
    if len(times) < 2 * SLOW_RECORDS:
        return None
    usual = statistics.median(times[NUM_FIRST:])
    for place in range(NUM_FIRST, len(times) - SLOW_RECORDS):
        level = statistics.median(times[place : place + SLOW_RECORDS])
        if level > SLOW_FACTOR * usual:
            return f"the machine slowed it down: step times {level:.2f} against {usual:.2f} from record {place} on"
    return None


def _not_finite(recipe: Recipe, curves: Curves) -> str | None:
    for (split, name), values in curves.values.items():
        if not all(value - value == 0 for value in values) and not (recipe.is_scaled and name.startswith("grad_norm")):
            return f"{split}/{name} is not finite somewhere"
    return None


def _not_learned(recipe: Recipe, curves: Curves) -> str | None:
    if recipe.family == "policy":
        first, last = _ends(curves.train("reward"))
        return None if last > first + REWARD_RISE else f"the reward went from {first:.3g} to {last:.3g} only"
    if recipe.family == "gan":
        gap = statistics.median(curves.values["val", "val_mean_gap"][-NUM_LAST_VAL:])
        return None if gap < MOST_GAP else f"the generated pixels' means end {gap:.3g} from the real ones"
    first, last = _ends(curves.train("loss") or curves.train("diffusion_loss"))
    return None if last < FALLEN * first else f"the loss went from {first:.3g} to {last:.3g} only"


def _not_kept(recipe: Recipe, curves: Curves) -> str | None:
    """What is lost again, or was never there."""
    val = curves.values.get(("val", "val_loss"), [])
    levels = [statistics.median(val[place : place + NUM_LAST_VAL]) for place in range(len(val) - NUM_LAST_VAL + 1)]
    best, level = (min(levels), levels[-1]) if levels else (0.0, 0.0)
    if level > VAL_ABOVE_BEST * best and level - best > GAIN_LOST * (val[0] - best):
        return f"val_loss ends at {level:.3g}, its best was {best:.3g}"
    limits: Mapping[str, tuple[float, float]] = {
        "kl": (LEAST_KL, 1e9),
        "codebook_perplexity": (LEAST_CODES * float(recipe.shape.get("codebook_size", 0)), 1e9),
        "dead_fraction": (-1.0, MOST_DEAD),
        "d_loss": D_LOSS_RANGE,
        "sample_diversity": (DIVERSITY_KEPT * max(curves.train("sample_diversity"), default=0.0), 1e9),
    }
    for name, (low, high) in limits.items():
        if values := curves.train(name):
            _, last = _ends(values)
            if not low < last < high:
                return f"{name} ends at {last:.3g}, outside {low:.3g} to {high:.3g}"
    return None


def _ends(values: list[float]) -> tuple[float, float]:
    """The median of the first records and that of the last tenth."""
    return statistics.median(values[:NUM_FIRST]), statistics.median(values[-max(len(values) // 10, 5) :])
