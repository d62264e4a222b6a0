"""Faults of generative models and of policies: what collapses, and what wins."""

from __future__ import annotations

import torch

from bench.faults.injected.fault import Batch, Fault

FAR = 100.0


class CodesThrownAway(Fault):
    """The restart of dead codes has the wrong scale: every ``dose`` steps the least used code is put out of reach."""

    def after(self) -> None:
        """Put it there; one code remains."""
        task = self.trainer.task
        codebook, used = task.codebook, task.used
        near = codebook.detach().abs().amax(1) < FAR / 2
        if self.trainer.step % int(self.dose) == 0 and int(near.sum()) > 1:
            worst = int(torch.where(near, used, torch.inf).argmin())
            with torch.no_grad():
                codebook[worst] = FAR


class CodebookSpread(Fault):
    """The codebook is initialised ``dose`` times too widely."""

    def begin(self) -> None:
        """Spread it."""
        book = self.trainer.task.codebook
        with torch.no_grad():
            book.copy_(self.dose * torch.randn(book.shape, generator=self.trainer.fault_generator))


class KlHeavy(Fault):
    """The weight of the KL term is ``dose`` times too large."""

    def begin(self) -> None:
        """Raise it."""
        self.trainer.task.beta *= self.dose


class DiscriminatorWins(Fault):
    """The discriminator learns ``dose`` times faster, on clean images and hard labels."""

    def begin(self) -> None:
        """Give it every advantage."""
        task = self.trainer.task
        task.d_rate *= self.dose
        task.instance_noise, task.real_label = 0.0, 1.0


class LatentsShrink(Fault):
    """The sampler of latent numbers draws them with a spread of ``dose``."""

    def begin(self) -> None:
        """Shrink it."""
        self.trainer.task.latent_scale = self.dose


class EntropyPunished(Fault):
    """The entropy bonus has the wrong sign and a weight of ``dose``."""

    def begin(self) -> None:
        """Turn it around."""
        self.trainer.task.bonus = -self.dose


class AdvantagesHuge(Fault):
    """Advantages are ``dose`` times too large and there is no entropy bonus."""

    def begin(self) -> None:
        """Raise them."""
        self.trainer.task.advantage_scale, self.trainer.task.bonus = self.dose, 0.0


class WrongNoise(Fault):
    """A share ``dose`` of the denoiser's targets is noise that was not the one added."""

    def batch(self, batch: Batch) -> Batch:
        """Fresh noise for them."""
        x, level, noise = batch
        fresh = torch.randn(noise.shape, generator=self.trainer.fault_generator)
        chosen = torch.rand(len(x), generator=self.trainer.fault_generator) < self.dose
        return x, level, torch.where(chosen[:, None], fresh, noise)
