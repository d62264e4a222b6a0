"""Digits, classified by a perceptron or a small convolutional network."""

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


class Classifier(Task):
    """What classifiers of digits have in common.

    Attributes:
        train_rows: places of the training examples that are used; a faulty loader changes them.
        evaluated: images and classes of the evaluation.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        x, y, val_x, val_y = data.digits()
        self.train_x, self.train_y = x, y
        self.evaluated = (val_x, val_y)
        self.train_rows = torch.arange(int(recipe.shape.get("num_train", len(y))))
        self.smoothing = float(recipe.shape.get("smoothing", 0.0))

    def batch(self, trainer: Trainer) -> Batch:
        """Digits, drawn with replacement."""
        chosen = self.train_rows[rows(len(self.train_rows), trainer=trainer)]
        return self.train_x[chosen], self.train_y[chosen]

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy and accuracy."""
        x, y = batch
        logits = self(x)
        hits = (logits.detach().argmax(1) == y).float().mean()
        return functional.cross_entropy(logits, y, label_smoothing=self.smoothing), {
            "accuracy": float(hits),
            **self.health(),
        }

    def evaluate(self) -> dict[str, float]:
        """Cross-entropy, accuracy and macro-averaged recall on held-out digits."""
        x, y = self.evaluated
        self.eval()
        with torch.no_grad():
            logits = self(x)
        self.train()
        hits = (logits.argmax(1) == y).float()
        recalls = [float(hits[y == it].mean()) for it in range(data.NUM_CLASSES)]
        return {
            "val_loss": float(functional.cross_entropy(logits, y)),
            "val_accuracy": float(hits.mean()),
            "val_quality": sum(recalls) / data.NUM_CLASSES,
        }

    def health(self) -> dict[str, float]:
        """What is known of the units after a batch."""
        return {}


class Perceptron(Classifier):
    """A perceptron; shape: ``hidden``, ``activation``, ``dropout``, ``is_residual``, ``has_layers`` (norms)."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        del seed
        super().__init__(recipe)
        shape = recipe.shape
        sizes = [data.NUM_PIXELS, *shape.get("hidden", (48, 48))]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], data.NUM_CLASSES)
        self.act = activation(shape.get("activation", "relu"))
        self.is_residual = bool(shape.get("is_residual", False))
        self.norms = nn.ModuleList(nn.LayerNorm(it) for it in sizes[1:]) if self.is_residual else None
        self.drop = nn.Dropout(float(shape.get("dropout", 0.0)))
        self.has_layers = bool(shape.get("has_layers", False))
        self.has_dead = isinstance(self.act, nn.ReLU)
        self.dead = 0.0
        if shape.get("init", "kaiming") == "kaiming" and isinstance(self.act, nn.ReLU):
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        num_dead = num_units = 0
        for place, layer in enumerate(self.layers):
            after = self.act(layer(x))
            if self.has_dead and self.training:
                num_dead += int((after.detach() <= 0).all(0).sum())
                num_units += after.shape[1]
            if self.norms is not None:
                after = self.norms[place](after)
                after = after + x if after.shape == x.shape else after
            x = self.drop(after)
        self.dead = num_dead / max(num_units, 1)
        return self.head(x)

    def health(self) -> dict[str, float]:
        """The share of units that no example of the batch has woken."""
        return {"dead_fraction": self.dead} if self.has_dead else {}

    def layer_norms(self) -> dict[str, float]:
        """Of the first and the last layer."""
        if not self.has_layers:
            return {}
        first, last = self.layers[0].weight.grad, self.head.weight.grad
        return {
            "grad_norm_first": 0.0 if first is None else float(first.norm()),
            "grad_norm_last": 0.0 if last is None else float(last.norm()),
        }


class Convolutional(Classifier):
    """Two or three convolutions; shape: ``channels``, ``has_norm``, ``dropout``."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        del seed
        super().__init__(recipe)
        shape = recipe.shape
        parts: list[nn.Module] = []
        before = 1
        for channels in shape.get("channels", (6, 12)):
            parts.append(nn.Conv2d(before, channels, 3, padding=1))
            parts += [nn.BatchNorm2d(channels)] if shape.get("has_norm") else []
            parts += [nn.ReLU(), nn.MaxPool2d(2)]
            before = channels
        self.body = nn.Sequential(*parts, nn.Flatten())
        self.drop = nn.Dropout(float(shape.get("dropout", 0.0)))
        side = 8 // 2 ** len(shape.get("channels", (6, 12)))
        self.head = nn.Linear(before * side * side, data.NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.drop(self.body(x.view(-1, 1, 8, 8))))
