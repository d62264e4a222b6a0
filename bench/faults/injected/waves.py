"""Faults whose mark is a shape of the loss: it stops falling, it swings, or it jumps up and comes back."""

from __future__ import annotations

from typing import Final

import torch

from bench.faults.injected.fault import Batch, Fault

PERIOD: Final = 36
NUM_HIGH: Final = 6
NUM_PER_BLOCK: Final = 12
NUM_BURST: Final = 3
NUM_CORRUPT: Final = 5


class RateDies(Fault):
    """A milestone that comes far too early leaves the share ``dose`` of the learning rate."""

    def rate(self, lr: float) -> float:
        """Almost nothing."""
        return lr * self.dose


class ClippedAway(Fault):
    """An optimiser that was built anew clips at the share ``dose`` of the norm that gradients have at that moment.

    What is logged is the norm before clipping.
    """

    def gradients(self) -> None:
        """Set the limit by the first gradient that is seen, and forget the momentum."""
        if self.num_steps == 0:
            self.trainer.optimizer.state.clear()
            grads = [it.grad for it in self.trainer.task.parameters() if it.grad is not None]
            self.trainer.clip = self.dose * float(torch.nn.utils.get_total_norm(grads))


class TrunkFrozen(Fault):
    """A switch of fine-tuning was left on: the last layer learns, and nothing before it does."""

    def gradients(self) -> None:
        """Take their gradients away; an optimiser leaves a tensor without one alone."""
        for parameter in self.trainer.parameters[:-2]:
            parameter.grad = None


class RateAlternates(Fault):
    """A cyclic schedule that nobody wanted: of every 36 steps, 6 have a learning rate ``dose`` times too high."""

    def rate(self, lr: float) -> float:
        """High, then right, then high."""
        return lr * self.dose if self.num_steps % PERIOD < NUM_HIGH else lr


class ClassesInBlocks(Fault):
    """The loader no longer shuffles: a share ``dose`` of each batch is of one class, another one every 12 steps."""

    def batch(self, batch: Batch) -> Batch:
        """Draw that share anew, from the class whose turn it is."""
        task, count = self.trainer.task, len(batch[0])
        turn = self.num_steps // NUM_PER_BLOCK % int(task.train_y.max() + 1)
        offered = torch.nonzero(task.train_y == turn)[:, 0]
        drawn = offered[torch.randint(0, len(offered), (count,), generator=self.trainer.fault_generator)]
        is_kept = torch.arange(count) >= round(self.dose * count)
        x = torch.where(is_kept.view(-1, *(1,) * (batch[0].dim() - 1)), batch[0], task.train_x[drawn])
        return x, torch.where(is_kept, batch[1], task.train_y[drawn])


class RateBurst(Fault):
    """The learning rate is ``dose`` times too high for three steps."""

    def rate(self, lr: float) -> float:
        """High, and right again."""
        return lr * self.dose if self.num_steps < NUM_BURST else lr


class CorruptShard(Fault):
    """Five batches come from a shard whose inputs are ``dose`` times as large."""

    def batch(self, batch: Batch) -> Batch:
        """Too large, for so long."""
        return (batch[0] * self.dose, *batch[1:]) if self.num_steps < NUM_CORRUPT else batch


class ReduceGlitch(Fault):
    """For one step the all-reduce returns a gradient ``dose`` times as large, of which one worker's part is noise."""

    def gradients(self) -> None:
        """Once."""
        if self.num_steps > 0:
            return
        for parameter in self.trainer.task.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.shape, generator=self.trainer.fault_generator)
                usual = parameter.grad.norm()
                parameter.grad.add_(noise * usual / noise.norm().clamp(min=1e-9)).mul_(self.dose)
