"""A generator of digits against a discriminator."""

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

SPREAD_GAIN = 10.0


class Adversarial(Task):
    """A GAN with the non-saturating loss; shape: ``width``, ``latent_dim``, ``smooth``, ``noise``.

    Attributes:
        latent_scale: spread of the latent numbers that the sampler draws.
        d_rate: learning rate of the discriminator, as a share of the generator's.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        shape = recipe.shape
        width, self.latent_dim = int(shape.get("width", 64)), int(shape.get("latent_dim", 16))
        self.generator = nn.Sequential(
            nn.Linear(self.latent_dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)
        )
        for layer in self.generator[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.critic = nn.Sequential(
            nn.Linear(64 + 1, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
        )
        self.train_x = data.digits()[0]
        self.noise = torch.Generator().manual_seed(seed + 5)
        self.latent_scale = 1.0
        self.real_label = float(shape.get("smooth", 0.9))
        self.instance_noise = float(shape.get("noise", 0.5))
        self.d_rate = float(shape.get("d_rate", 1.0))
        betas = (0.5, 0.999)
        self.d_optimizer = torch.optim.Adam(self.critic.parameters(), recipe.lr, betas=betas, fused=True)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), recipe.lr, betas=betas, fused=True)
        self.other_optimizers = (self.d_optimizer, self.g_optimizer)

    def batch(self, trainer: Trainer) -> Batch:
        """Digits, drawn with replacement."""
        return (self.train_x[rows(len(self.train_x), trainer=trainer)],)

    def fakes(self, count: int) -> Tensor:
        """Generated images."""
        z = self.latent_scale * torch.randn((count, self.latent_dim), generator=self.noise)
        return torch.sigmoid(self.generator(z))

    def _judged(self, x: Tensor) -> Tensor:
        """Judge images with some noise on them; the critic is told how much the images of the batch differ."""
        spread = x.std(0).mean().expand(len(x), 1)
        noisy = x + self.instance_noise * torch.randn(x.shape, generator=self.noise)
        return self.critic(torch.cat([noisy, SPREAD_GAIN * spread], dim=1))

    def step(self, trainer: Trainer, batch: Batch) -> dict[str, float]:
        """One step of the discriminator, one of the generator."""
        real = batch[0]
        for group in self.d_optimizer.param_groups:
            group["lr"] *= self.d_rate
        fake = self.fakes(len(real))
        on_real, on_fake = self._judged(real), self._judged(fake.detach())
        bce = functional.binary_cross_entropy_with_logits
        d_loss = 0.5 * (
            bce(on_real, torch.full_like(on_real, self.real_label)) + bce(on_fake, torch.zeros_like(on_fake))
        )
        trainer.descend(d_loss, self.d_optimizer)
        judged = self._judged(fake)
        g_loss = bce(judged, torch.ones_like(judged))
        values = trainer.descend(g_loss, self.g_optimizer)
        return {
            "d_loss": float(d_loss.detach()),
            "g_loss": float(g_loss.detach()),
            "d_real": float((on_real.detach() > 0).float().mean()),
            "d_fake": float((on_fake.detach() < 0).float().mean()),
            "sample_diversity": float(fake.detach().std(0).mean()),
            "grad_norm": values["grad_norm"],
        }

    def evaluate(self) -> dict[str, float]:
        """How far the generated pixels' means are from the real ones."""
        with torch.no_grad():
            fake = self.fakes(256)
        return {"val_mean_gap": float((fake.mean(0) - self.train_x.mean(0)).abs().mean())}
