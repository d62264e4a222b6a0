"""What a training of FaultBench is made of: a frozen description, whose seed draws the small variations.

Nothing here trains; ``training`` does what a recipe says, and two equal recipes give equal numbers.
"""

from __future__ import annotations

import random
from typing import Any, Literal

import msgspec

Family = Literal["mlp", "cnn", "recurrent", "transformer", "regression", "vae", "vqvae", "gan", "policy", "denoiser"]
Schedule = Literal[
    "constant", "warmup", "cosine", "warmup_cosine", "linear", "step_decay", "restarts", "one_cycle", "exponential"
]
VARIED_SCHEDULES: tuple[Schedule, ...] = ("constant", "warmup_cosine", "cosine", "linear", "warmup")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A training.

    Attributes:
        name: of the recipe; with the seed it names the run.
        family: which model and task.
        shape: what the family needs to know, e.g. ``{"hidden": [48, 48], "activation": "relu"}``.
        unseen: only the held-out half of the benchmark has it, so that detectors meet architectures for the first time.
        steps: how many optimiser steps.
        log_every: one record every so many steps.
        eval_every: one evaluation every so many steps; 0 for none.
        batch_size: examples per step.
        optimizer: ``sgd``, ``momentum``, ``adam``, ``adamw`` or ``rmsprop``.
        lr: peak learning rate.
        schedule: of the learning rate.
        clip: gradients are clipped at this norm; 0 for not.
        weight_decay: of the optimiser.
        is_scaled: whether the loss is scaled for half-precision gradients.
        growth_steps: the loss scale is doubled after so many good steps.
        resume_step: the run is interrupted before this step and goes on as a second attempt; 0 for not.
        repeat_steps: how many steps before the interruption the second attempt begins.
        ramp_steps: the batch size doubles every so many steps; 0 for not.
        eval_pause_s: how long an evaluation keeps the training waiting.
        keys: ``full``, ``three`` (loss, learning rate, gradient norm) or ``loss``.
        speed: which measure of speed is logged: ``throughput``, ``step_time_ms`` or none.
        has_memory: whether the resident memory of the process is logged.
        has_checkpoints: whether checkpoints are written.
        is_varied: whether the seed varies learning rate, batch size and schedule.
    """

    name: str
    family: Family
    shape: dict[str, Any] = {}
    unseen: bool = False
    steps: int = 480
    log_every: int = 1
    eval_every: int = 20
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float = 2e-3
    schedule: Schedule = "constant"
    clip: float = 0.0
    weight_decay: float = 0.0
    is_scaled: bool = False
    growth_steps: int = 60
    resume_step: int = 0
    repeat_steps: int = 0
    ramp_steps: int = 0
    eval_pause_s: float = 0.0
    keys: Literal["full", "three", "loss"] = "full"
    speed: str = "step_time_ms"
    has_memory: bool = False
    has_checkpoints: bool = False
    is_varied: bool = True


def varied(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with what its seed draws: the learning rate, the batch size, the schedule, how speed is logged."""
    if not recipe.is_varied:
        return recipe
    draw = random.Random(f"{recipe.name}-{seed}")
    return msgspec.structs.replace(
        recipe,
        lr=float(f"{recipe.lr * draw.uniform(0.75, 1.35):.3g}"),
        batch_size=draw.choice((recipe.batch_size // 2, recipe.batch_size, recipe.batch_size * 2)),
        schedule=draw.choice(VARIED_SCHEDULES) if recipe.schedule == "constant" else recipe.schedule,
        speed=draw.choice(("throughput", "step_time_ms")) if recipe.speed == "step_time_ms" else recipe.speed,
        has_checkpoints=draw.random() < 0.5 or recipe.has_checkpoints,
    )


def config_of(recipe: Recipe, seed: int) -> dict[str, Any]:
    """The configuration that the run records: what was intended, not what a fault makes of it."""
    config: dict[str, Any] = {
        "model": recipe.family,
        **{key: value for key, value in recipe.shape.items() if isinstance(value, (int, float, str))},
        "optimizer": {"name": recipe.optimizer, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
        "schedule": recipe.schedule,
        "batch_size": recipe.batch_size,
        "seed": seed,
    }
    if recipe.clip:
        config["grad_clip"] = recipe.clip
    if recipe.eval_every:
        config["eval_steps"] = recipe.eval_every
    return config
