"""A dynamic loss scale with real half-precision gradients, as mixed-precision training has it, on a CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import nn

FIRST_SCALE: Final = 2.0**16
LEAST_SCALE: Final = 2.0**-14


class LossScaler:
    """Doubles the scale after a number of good steps, halves it when a half-precision gradient overflows.

    Args:
        growth_steps: so many good steps.

    Attributes:
        scale: by which the loss is multiplied.
    """

    def __init__(self, *, growth_steps: int) -> None:
        self.scale = FIRST_SCALE
        self._growth_steps, self._num_good = growth_steps, 0

    def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Round the gradients to half precision, divide them by the scale; whether none overflowed."""
        is_finite = True
        for parameter in parameters:
            if parameter.grad is not None:
                half = parameter.grad.half()
                is_finite = is_finite and bool(torch.isfinite(half).all())
                parameter.grad = half.float() / self.scale
        return is_finite

    def update(self, *, is_finite: bool) -> None:
        """Take in how a step went."""
        if not is_finite:
            self.scale, self._num_good = max(self.scale / 2, LEAST_SCALE), 0
            return
        self._num_good += 1
        if self._num_good == self._growth_steps:
            self.scale, self._num_good = self.scale * 2, 0
