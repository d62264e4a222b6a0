"""What a task is: a model, its data, one step of its training and its evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.faults.training import Trainer

Batch = tuple[Tensor, ...]


class Task(nn.Module):
    """A model with its data. Subclasses give ``batch``, ``losses`` and ``evaluate``, or a ``step`` of their own.

    Attributes:
        other_optimizers: besides the trainer's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.other_optimizers: tuple[torch.optim.Optimizer, ...] = ()

    def batch(self, trainer: Trainer) -> Batch:
        """The next batch."""
        raise NotImplementedError

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss, and what else is logged of a batch."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """What an evaluation finds."""
        raise NotImplementedError

    def step(self, trainer: Trainer, batch: Batch) -> dict[str, float]:
        """One step of training; what is logged of it."""
        loss, values = self.losses(batch)
        return {"loss": float(loss.detach()), **values, **trainer.descend(loss)}

    def layer_norms(self) -> dict[str, float]:
        """Gradient norms of the first and the last layer, where the family logs them."""
        return {}


def rows(count: int, *, trainer: Trainer) -> Tensor:
    """Places of a batch's examples among so many."""
    return torch.randint(0, count, (trainer.batch_size,), generator=trainer.generator)


def activation(name: Any) -> nn.Module:
    """An activation by name."""
    return {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}[name]()
