"""Data that trainings are made of: scikit-learn's digits, generated text, generated regressions. Loaded once."""

from __future__ import annotations

import functools
from typing import Final

import torch
from sklearn.datasets import load_digits
from torch import Tensor

NUM_TRAIN: Final = 1200
NUM_VAL: Final = 300
NUM_CLASSES: Final = 10
NUM_PIXELS: Final = 64


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images between 0 and 1, flat, and classes: for training, then for validation."""
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(20))
    images = torch.tensor(x, dtype=torch.float32)[order] / 16.0
    classes = torch.tensor(y, dtype=torch.int64)[order]
    val = slice(NUM_TRAIN, NUM_TRAIN + NUM_VAL)
    return images[:NUM_TRAIN], classes[:NUM_TRAIN], images[val], classes[val]


def friedman(count: int, *, noise: float, df: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Friedman's regression with noise of Student's t: heavy-tailed for few degrees of freedom."""
    x = torch.rand(count, 10, generator=generator)
    y = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    normal = torch.randn(count, generator=generator)
    chi2 = torch.randn(count, int(df), generator=generator).square().sum(1)
    return x, (y - 14.4) / 4.9 + noise * normal / (chi2 / df).sqrt()


def copy_text(count: int, *, length: int, letters: int, generator: torch.Generator) -> Tensor:
    """Rows ``w | w``: a word of random letters, a bar (the last token but none), and the word again."""
    word = torch.randint(0, letters, (count, length), generator=generator)
    bar = torch.full((count, 1), letters)
    return torch.cat([word, bar, word], dim=1)


def sum_text(count: int, *, length: int, letters: int, generator: torch.Generator) -> Tensor:
    """Rows ``w | s``: letters as digits of a base, and their running sums modulo the base."""
    word = torch.randint(0, letters, (count, length), generator=generator)
    bar = torch.full((count, 1), letters)
    return torch.cat([word, bar, word.cumsum(1) % letters], dim=1)
