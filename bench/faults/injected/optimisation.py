"""Faults of the optimisation: learning rates, losses, gradients, optimisers, initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.faults.injected.fault import Fault


class RateJump(Fault):
    """The learning rate is ``dose`` times what it should be, all at once."""

    def rate(self, lr: float) -> float:
        """Too high."""
        return lr * self.dose


class RateDecaysPerStep(Fault):
    """A decay by the factor ``dose`` that is meant for epochs is made at every step."""

    def rate(self, lr: float) -> float:
        """Gone within a few dozen steps."""
        return lr * self.dose**self.num_steps


class RateWarmsForever(Fault):
    """A warm-up that does not end: the rate grows by ``dose`` times its peak at every step."""

    def rate(self, lr: float) -> float:
        """Higher and higher."""
        return lr * (1 + self.dose * (self.num_steps + 1))


class MomentumRaised(Fault):
    """The momentum is ``dose``."""

    def begin(self) -> None:
        """Set it in every group."""
        for group in self.trainer.optimizer.param_groups:
            group["momentum"] = self.dose


class SignFlipped(Fault):
    """The loss is maximised on a share ``dose`` of the batches."""

    def loss(self, loss: Tensor) -> Tensor:
        """Uphill."""
        is_flipped = torch.rand((), generator=self.trainer.fault_generator) < self.dose
        return -loss if is_flipped else loss


class WeightsGrow(Fault):
    """Decoupled weight decay with the wrong sign: weights grow by the share ``dose`` per step."""

    def after(self) -> None:
        """Grow them."""
        with torch.no_grad():
            for parameter in self.trainer.task.parameters():
                parameter.mul_(1 + self.dose)


class LossSummed(Fault):
    """The loss is summed over the batch, and scaled by ``dose``, instead of averaged; it is logged averaged."""

    def loss(self, loss: Tensor) -> Tensor:
        """As many times too large as there are examples."""
        return loss * self.trainer.batch_size * self.dose


class OptimizerForgets(Fault):
    """The optimiser holds copies of the parameters, as after a model that was built anew."""

    def begin(self) -> None:
        """Put copies in."""
        for group in self.trainer.optimizer.param_groups:
            group["params"] = [nn.Parameter(it.detach().clone()) for it in group["params"]]


class WeightsScaled(Fault):
    """All weight matrices begin ``dose`` times as large as they should."""

    def begin(self) -> None:
        """Scale them."""
        with torch.no_grad():
            for parameter in self.trainer.task.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(self.dose)


class GradientsNoisy(Fault):
    """A worker sends noise: to each gradient is added noise of ``dose`` times its norm."""

    def gradients(self) -> None:
        """Add it."""
        for parameter in self.trainer.task.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.shape, generator=self.trainer.fault_generator)
                parameter.grad += noise * (self.dose * parameter.grad.norm() / noise.norm().clamp(min=1e-9))


class HalfOverflows(Fault):
    """An operation overflows in half precision in a share ``dose`` of the steps, whatever the loss scale is."""

    def gradients(self) -> None:
        """Put an infinity into the first gradient."""
        first = next(it.grad for it in self.trainer.task.parameters() if it.grad is not None)
        if torch.rand((), generator=self.trainer.fault_generator) < self.dose:
            first.view(-1)[0] = torch.inf


class LogOfZero(Fault):
    """A term of the loss takes the logarithm of a number that has become zero."""

    def loss(self, loss: Tensor) -> Tensor:
        """Zero times minus infinity."""
        underflowed = 0.0 * loss
        return loss + underflowed * underflowed.log()


class BiasesSink(Fault):
    """A regulariser with the wrong sign lowers the biases of the hidden units by ``dose`` per step."""

    def after(self) -> None:
        """Lower them."""
        with torch.no_grad():
            for layer in self.trainer.task.layers:
                layer.bias.sub_(self.dose)


class BiasesLow(Fault):
    """The biases of the hidden units begin at ``-dose``."""

    def begin(self) -> None:
        """Set them."""
        with torch.no_grad():
            for layer in self.trainer.task.layers:
                layer.bias.fill_(-self.dose)
