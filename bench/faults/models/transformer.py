"""A small causal transformer on generated text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.faults import data
from bench.faults.models.task import Batch, Task
from bench.faults.recipe import Recipe

if TYPE_CHECKING:
    from bench.faults.training import Trainer

NUM_EVALUATED = 64
TEXTS = {"copy": data.copy_text, "sum": data.sum_text}


class Block(nn.Module):
    """Attention and a perceptron, each after a normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        count, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(count, length, width))
        return x + self.wide(self.norm2(x))


class LanguageModel(Task):
    """A causal language model; shape: ``text`` (``copy``, ``sum``), ``width``, ``depth``, ``length``, ``letters``."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        self.text = TEXTS[shape.get("text", "copy")]
        self.length, self.letters = int(shape.get("length", 6)), int(shape.get("letters", 8))
        width = int(shape.get("width", 32))
        self.embed = nn.Embedding(self.letters + 1, width)
        self.place = nn.Parameter(0.1 * torch.randn(2 * self.length + 1, width))
        self.blocks = nn.Sequential(*(Block(width, 2) for _ in range(int(shape.get("depth", 2)))))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, self.letters + 1)
        self.held_out = self._texts(NUM_EVALUATED, torch.Generator().manual_seed(seed + 9))

    def _texts(self, count: int, generator: torch.Generator) -> Tensor:
        return self.text(count, length=self.length, letters=self.letters, generator=generator)

    def batch(self, trainer: Trainer) -> Batch:
        """Texts that were never seen before."""
        return (self._texts(trainer.batch_size, trainer.generator),)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at every place."""
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.place[: tokens.shape[1]])))

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy and accuracy of the second half, which follows from the first."""
        tokens = batch[0]
        logits = self(tokens[:, :-1])[:, self.length :]
        wanted = tokens[:, self.length + 1 :]
        hits = (logits.detach().argmax(2) == wanted).float().mean()
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()), {"accuracy": float(hits)}

    def generated(self) -> Tensor:
        """Second halves, written token by token after held-out first halves."""
        tokens = self.held_out[:, : self.length + 1]
        with torch.no_grad():
            for _ in range(self.length):
                tokens = torch.cat([tokens, self(tokens)[:, -1].argmax(1, keepdim=True)], dim=1)
        return tokens[:, self.length + 1 :]

    def evaluate(self) -> dict[str, float]:
        """Held-out loss and accuracy, how much generated text repeats itself, and how much of it is right."""
        with torch.no_grad():
            loss, values = self.losses((self.held_out,))
        text = self.generated()
        repeated = (text[:, 1:] == text[:, :-1]).float().mean()
        exact = (text == self.held_out[:, self.length + 1 :]).float().mean()
        return {
            "val_loss": float(loss),
            "val_accuracy": values["accuracy"],
            "gen_repetition": float(repeated),
            "quality": float(exact),
        }
