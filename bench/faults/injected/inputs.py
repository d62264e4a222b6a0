"""Faults of the data: labels, inputs, loaders, splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.faults.injected.fault import Batch, Fault
from bench.faults.models.transformer import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor


class LabelsShuffled(Fault):
    """A share ``dose`` of the examples has the label of another example."""

    def batch(self, batch: Batch) -> Batch:
        """Labels that belong elsewhere; in text, second halves that do."""
        count = len(batch[0])
        order = torch.randperm(count, generator=self.trainer.fault_generator)
        kept = torch.rand(count, generator=self.trainer.fault_generator) >= self.dose
        order = torch.where(kept, torch.arange(count), order)
        if isinstance(self.trainer.task, LanguageModel):
            tokens, half = batch[0], self.trainer.task.length + 1
            return (torch.cat([tokens[:, :half], tokens[order, half:]], dim=1),)
        return batch[0], batch[1][order]


class InputsUnscaled(Fault):
    """Inputs are ``dose`` times as large: the normalisation is lost."""

    def batch(self, batch: Batch) -> Batch:
        """Too large."""
        return (batch[0] * self.dose, *batch[1:])


class LoaderStuck(Fault):
    """The loader returns the same batch again and again."""

    def __init__(self, dose: float) -> None:
        super().__init__(dose)
        self._kept: Batch | None = None

    def batch(self, batch: Batch) -> Batch:
        """The first one."""
        self._kept = self._kept or batch
        return self._kept


class GarbageBatches(Fault):
    """Two batches hold noise of ``dose`` times the usual size; in text, random letters."""

    NUM = 2

    def batch(self, batch: Batch) -> Batch:
        """Garbage, twice."""
        if self.num_steps >= self.NUM:
            return batch
        if isinstance(self.trainer.task, LanguageModel):
            letters = self.trainer.task.letters
            return (torch.randint(0, letters, batch[0].shape, generator=self.trainer.fault_generator),)
        noise = torch.randn(batch[0].shape, generator=self.trainer.fault_generator)
        return (noise * self.dose * batch[0].std(), *batch[1:])


class NanInBatch(Fault):
    """One value of one batch is not a number."""

    def batch(self, batch: Batch) -> Batch:
        """Put it in, once."""
        if self.num_steps == 0:
            batch[0].view(-1)[0] = torch.nan
        return batch


class OneShard(Fault):
    """Only the first ``dose`` training examples are read."""

    def begin(self) -> None:
        """Keep them."""
        task = self.trainer.task
        task.train_rows = task.train_rows[: int(self.dose)]


class FewClasses(Fault):
    """The sampler draws the classes below ``dose`` only."""

    def begin(self) -> None:
        """Keep them."""
        task = self.trainer.task
        task.train_rows = torch.nonzero(task.train_y < self.dose)[:, 0]


class TokensRepeat(Fault):
    """In a share ``dose`` of the texts one letter is repeated throughout."""

    def batch(self, batch: Batch) -> Batch:
        """The first letter, everywhere but at the bar."""
        tokens = batch[0].clone()
        chosen = torch.rand(len(tokens), generator=self.trainer.fault_generator) < self.dose
        bar = self.trainer.task.length
        repeated = tokens[:, :1].expand_as(tokens).clone()
        repeated[:, bar] = tokens[:, bar]
        return (torch.where(chosen[:, None], repeated, tokens),)


class ValIsTrain(Fault):
    """A share ``dose`` of the evaluation's examples is taken from the training examples."""

    def begin(self) -> None:
        """Replace them."""
        task = self.trainer.task
        x, y = task.evaluated
        count = int(self.dose * len(y))
        task.evaluated = (
            self._mixed(x, task.train_x, count),
            self._mixed(y, task.train_y, count),
        )

    @staticmethod
    def _mixed(evaluated: Tensor, trained: Tensor, count: int) -> Tensor:
        return torch.cat([trained[:count], evaluated[count:]])
