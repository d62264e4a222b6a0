"""Faults around the training: slow loaders, leaking loops, logging that lies or falls silent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from bench.faults.injected.fault import Batch, Fault

if TYPE_CHECKING:
    from torch import Tensor


FLOATS_PER_MIB = 2**18
PERIOD = 8
MOST_S = 0.012


class LoaderSlow(Fault):
    """The loader takes ``dose`` milliseconds longer."""

    def batch(self, batch: Batch) -> Batch:
        """Really sleep."""
        time.sleep(self.dose * 1e-3)
        return batch


class LoaderSlower(Fault):
    """The loader takes ``dose`` milliseconds longer at each step than at the one before."""

    def batch(self, batch: Batch) -> Batch:
        """Really sleep."""
        time.sleep(min(self.dose * 1e-3 * self.num_steps, MOST_S))
        return batch


class LoaderStalls(Fault):
    """Every eighth batch takes ``dose`` milliseconds longer."""

    def batch(self, batch: Batch) -> Batch:
        """Really sleep."""
        if self.trainer.step % PERIOD == 0:
            time.sleep(self.dose * 1e-3)
        return batch


class LoopLeaks(Fault):
    """A list keeps ``dose`` MiB of every step."""

    def __init__(self, dose: float) -> None:
        super().__init__(dose)
        self.kept: list[Tensor] = []

    def after(self) -> None:
        """Really keep it."""
        self.kept.append(torch.ones(int(self.dose * FLOATS_PER_MIB)))


class LossCached(Fault):
    """The logged loss is a variable that is no longer written."""

    def __init__(self, dose: float) -> None:
        super().__init__(dose)
        self._kept: dict[str, float] = {}

    def report(self, values: dict[str, float], split: str) -> dict[str, float]:
        """The first values, forever."""
        if split == "train":
            self._kept = self._kept or {"loss": values["loss"]}
            values |= self._kept
        return values


class GradientCached(LossCached):
    """The logged gradient norm is a variable that is no longer written."""

    def report(self, values: dict[str, float], split: str) -> dict[str, float]:
        """The first value, forever."""
        if split == "train":
            self._kept = self._kept or {"grad_norm": values["grad_norm"]}
            values |= self._kept
        return values


class EvaluationOfOldModel(Fault):
    """Evaluations look at a copy of the model that is never updated again."""

    def __init__(self, dose: float) -> None:
        super().__init__(dose)
        self._kept: dict[str, float] = {}

    def report(self, values: dict[str, float], split: str) -> dict[str, float]:
        """What the copy gives: always the same."""
        if split == "val":
            self._kept = self._kept or dict(values)
            return dict(self._kept)
        return values


class NoEvaluation(Fault):
    """Evaluations are no longer made."""

    def evaluates(self) -> bool:
        """None is."""
        return False
