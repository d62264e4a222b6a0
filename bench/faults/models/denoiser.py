"""A small diffusion model of digits: predicts the noise that was added."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.faults import data
from bench.faults.models.task import Batch, Task, rows
from bench.faults.recipe import Recipe

if TYPE_CHECKING:
    from bench.faults.training import Trainer

NUM_LEVELS = 50
TIME_DIM = 16


class Denoiser(Task):
    """Predicts noise; shape: ``width``, ``depth``, ``loss_name``."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        width = int(shape.get("width", 96))
        deeper = [it for _ in range(int(shape.get("depth", 1))) for it in (nn.Linear(width, width), nn.SiLU())]
        self.model = nn.Sequential(nn.Linear(64 + TIME_DIM, width), nn.SiLU(), *deeper, nn.Linear(width, 64))
        train_x, _, val_x, _ = data.digits()
        self.train_x, self.val_x = 2 * train_x - 1, 2 * val_x - 1
        self.loss_name = str(shape.get("loss_name", "diffusion_loss"))
        generator = torch.Generator().manual_seed(seed + 8)
        self.fixed = self._noised(self.val_x, generator)

    @staticmethod
    def _noised(x: Tensor, generator: torch.Generator) -> Batch:
        level = torch.randint(0, NUM_LEVELS, (len(x),), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        signal = torch.cos(0.5 * math.pi * (level + 1) / (NUM_LEVELS + 1))[:, None]
        return signal * x + (1 - signal.square()).sqrt() * noise, level, noise

    def batch(self, trainer: Trainer) -> Batch:
        """Noisy digits, their noise levels and their noise."""
        return self._noised(self.train_x[rows(len(self.train_x), trainer=trainer)], trainer.generator)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the predicted noise."""
        x, level, noise = batch
        angles = level[:, None] / NUM_LEVELS * 2.0 ** torch.arange(TIME_DIM // 2)
        told = self.model(torch.cat([x, angles.sin(), angles.cos()], dim=1))
        return functional.mse_loss(told, noise), {}

    def step(self, trainer: Trainer, batch: Batch) -> dict[str, float]:
        """One step; the loss has the name that the recipe gives it."""
        values = super().step(trainer, batch)
        values[self.loss_name] = values.pop("loss")
        return values

    def evaluate(self) -> dict[str, float]:
        """The same on held-out digits, always with the same noise."""
        with torch.no_grad():
            return {"val_loss": float(self.losses(self.fixed)[0])}
