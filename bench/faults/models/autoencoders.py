"""Autoencoders of digits: variational, and with a codebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.faults import data
from bench.faults.models.task import Batch, Task, rows
from bench.faults.recipe import Recipe

if TYPE_CHECKING:
    from bench.faults.training import Trainer

ACTIVE_NATS = 0.02
PRECISION = 12.0


class _Digits(Task):
    def __init__(self) -> None:
        super().__init__()
        self.train_x, _, self.val_x, _ = data.digits()

    def batch(self, trainer: Trainer) -> Batch:
        """Digits, drawn with replacement."""
        return (self.train_x[rows(len(self.train_x), trainer=trainer)],)

    def evaluate(self) -> dict[str, float]:
        """The loss on held-out digits."""
        with torch.no_grad():
            loss, values = self.losses((self.val_x,))
        return {"val_loss": float(loss), **{f"val_{key}": values[key] for key in ("kl",) if key in values}}


class Variational(_Digits):
    """A variational autoencoder; shape: ``width``, ``latent_dim``, ``depth``.

    Attributes:
        beta: weight of the KL term.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        width, self.latent_dim = int(shape.get("width", 48)), int(shape.get("latent_dim", 8))
        deeper = [it for _ in range(int(shape.get("depth", 1)) - 1) for it in (nn.Linear(width, width), nn.ReLU())]
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU(), *deeper, nn.Linear(width, 2 * self.latent_dim))
        self.decoder = nn.Sequential(nn.Linear(self.latent_dim, width), nn.ReLU(), nn.Linear(width, 64))
        self.beta = float(shape.get("beta", 1.0))
        self.noise = torch.Generator().manual_seed(seed + 5)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Negative evidence bound in nats per image, and its parts."""
        mean, log_var = self.encoder(batch[0]).chunk(2, dim=1)
        z = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=self.noise)
        recon = PRECISION / 2 * (torch.sigmoid(self.decoder(z)) - batch[0]).square().sum() / len(z)
        by_unit = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0)
        kl = by_unit.sum()
        active = float((by_unit.detach() > ACTIVE_NATS).sum())
        values = {"recon_loss": float(recon.detach()), "kl": float(kl.detach()), "active_units": active}
        return recon + self.beta * kl, values


class Quantised(_Digits):
    """An autoencoder with a codebook, learned by gradient, from the first batch's codes.

    Shape: ``width``, ``codebook_size``, ``num_codes`` per image, ``code_dim``.

    Attributes:
        codebook: one code per row.
        commitment: weight of the commitment term.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        width = int(shape.get("width", 48))
        self.num_codes, self.code_dim = int(shape.get("num_codes", 4)), int(shape.get("code_dim", 4))
        flat = self.num_codes * self.code_dim
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, flat))
        self.decoder = nn.Sequential(nn.Linear(flat, width), nn.ReLU(), nn.Linear(width, 64))
        size = int(shape.get("codebook_size", 32))
        with torch.no_grad():
            codes = self.encoder(self.train_x[:200]).view(-1, self.code_dim)
        chosen = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed + 6))[:size]
        self.codebook = nn.Parameter(codes[chosen].clone())
        self.commitment = 0.25
        self.used = torch.zeros(size)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction, codebook and commitment; how many codes are in use."""
        z = self.encoder(batch[0]).view(-1, self.code_dim)
        nearest = torch.cdist(z, self.codebook).argmin(1)
        codes = self.codebook[nearest]
        through = z + (codes - z).detach()
        recon = functional.mse_loss(torch.sigmoid(self.decoder(through.view(len(batch[0]), -1))), batch[0])
        book = functional.mse_loss(codes, z.detach())
        commit = functional.mse_loss(z, codes.detach())
        self.used = torch.bincount(nearest, minlength=len(self.codebook)).float()
        share = self.used / self.used.sum()
        perplexity = float((-(share * (share + 1e-10).log()).sum()).exp())
        values = {
            "recon_loss": float(recon.detach()),
            "codebook_perplexity": perplexity,
            "codebook_usage": float((self.used > 0).float().mean()),
        }
        return 10 * recon + book + self.commitment * commit, values
