"""Friedman's regression, by a perceptron, with noise of chosen tails."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.faults import data
from bench.faults.models.task import Batch, Task, activation, rows
from bench.faults.recipe import Recipe

if TYPE_CHECKING:
    from bench.faults.training import Trainer


class Regression(Task):
    """A perceptron that regresses; shape: ``hidden``, ``activation``, ``noise``, ``df``, ``is_huber``."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        sizes = [10, *shape.get("hidden", (32, 32))]
        parts: list[nn.Module] = []
        for a, b in pairwise(sizes):
            parts += [nn.Linear(a, b), activation(shape.get("activation", "tanh"))]
        self.model = nn.Sequential(*parts, nn.Linear(sizes[-1], 1))
        generator = torch.Generator().manual_seed(seed + 7)
        drawn = {"noise": float(shape.get("noise", 0.2)), "df": float(shape.get("df", 30)), "generator": generator}
        self.train_x, self.train_y = data.friedman(4000, **drawn)
        self.evaluated = data.friedman(500, **drawn)
        self.criterion = functional.huber_loss if shape.get("is_huber") else functional.mse_loss
        self.train_rows = torch.arange(len(self.train_y))

    def batch(self, trainer: Trainer) -> Batch:
        """Points, drawn with replacement."""
        chosen = self.train_rows[rows(len(self.train_rows), trainer=trainer)]
        return self.train_x[chosen], self.train_y[chosen]

    def forward(self, x: Tensor) -> Tensor:
        """Predictions."""
        return self.model(x).squeeze(1)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The error."""
        return self.criterion(self(batch[0]), batch[1]), {}

    def evaluate(self) -> dict[str, float]:
        """The error on points that were held out."""
        with torch.no_grad():
            return {"val_loss": float(self.criterion(self(self.evaluated[0]), self.evaluated[1]))}
