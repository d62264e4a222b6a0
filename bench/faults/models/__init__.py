"""The trainings' models and tasks, one file per family."""

from __future__ import annotations

from bench.faults.models import (
    adversarial,
    autoencoders,
    classifiers,
    denoiser,
    policy,
    recurrent,
    regression,
    transformer,
)
from bench.faults.models.task import Task
from bench.faults.recipe import Recipe

BUILDERS = {
    "mlp": classifiers.Perceptron,
    "cnn": classifiers.Convolutional,
    "recurrent": recurrent.Recurrent,
    "transformer": transformer.LanguageModel,
    "regression": regression.Regression,
    "vae": autoencoders.Variational,
    "vqvae": autoencoders.Quantised,
    "gan": adversarial.Adversarial,
    "policy": policy.Policy,
    "denoiser": denoiser.Denoiser,
}


def build(recipe: Recipe, seed: int) -> Task:
    """The task of a recipe."""
    return BUILDERS[recipe.family](recipe, seed)
