"""What a fault is: something that the training code really does wrong from a step on.

A fault is told when it begins and may then meddle at six places of the training loop. Before its first step nothing of
it is called, so that a faulty run and its twin are the same run until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

    from bench.faults.training import Trainer

Shows = Literal["twin", "slow", "memory", "same", "missing", "overfit", "stuck", "swings", "spike"]
Batch = tuple["Tensor", ...]


class Fault:
    """A training without a fault, and what faults have in common.

    Args:
        dose: how strong; what the number means is the fault's own affair.

    Attributes:
        trainer: whose training goes wrong.
        first_step: the first step that is wrong.
    """

    trainer: Trainer
    first_step: int

    def __init__(self, dose: float = 0.0) -> None:
        self.dose = dose

    @property
    def num_steps(self) -> int:
        """How many steps have been wrong before this one."""
        return self.trainer.step - self.first_step

    def start(self, trainer: Trainer) -> None:
        """From this step on the training is wrong."""
        self.trainer, self.first_step = trainer, trainer.step
        self.begin()

    def begin(self) -> None:
        """Called once, before the first step that is wrong."""

    def rate(self, lr: float) -> float:
        """The learning rate that is used."""
        return lr

    def batch(self, batch: Batch) -> Batch:
        """The batch that is trained on."""
        return batch

    def loss(self, loss: Tensor) -> Tensor:
        """The loss whose gradient is taken."""
        return loss

    def gradients(self) -> None:
        """Called when the gradients are there, before they are looked at."""

    def after(self) -> None:
        """Called after the optimiser's step."""

    def evaluates(self) -> bool:
        """Whether the next evaluation is made."""
        return True

    def report(self, values: dict[str, float], split: str) -> dict[str, float]:
        """What is logged."""
        del split
        return values


class FaultKind(msgspec.Struct, frozen=True, kw_only=True):
    """A type of fault, with what counts as recognising it. Written down before any detector was run on it.

    Attributes:
        name: of the fault.
        make: the fault itself, by dose.
        right: types of alerts that name it, the plainest first.
        symptoms: types that also count as noticing it.
        doses: a strong one and a mild one.
        recipes: which trainings it is injected into, in turn; those with ``unseen`` only in held-out seeds.
        changed: changes of the recipe that only the faulty run has, by dose.
        early: whether it begins in the first third of the run, while much is still to be learned.
        late: whether it begins when most of the run is over, and everybody has stopped looking.
        from_start: whether it is wrong from the first step.
        sudden: whether it shows within a few steps, so that a delay can be measured.
        shows: the rule that says from which step on the numbers show it.
        metrics: what shows it; any of the metrics when empty.
        unlogged: metrics that neither the run nor its twin logs.
    """

    name: str
    make: Any
    right: tuple[str, ...]
    symptoms: tuple[str, ...] = ()
    doses: tuple[float, float] = (1.0, 0.5)
    recipes: tuple[str, ...]
    changed: dict[float, dict[str, Any]] = {}
    early: bool = False
    late: bool = False
    from_start: bool = False
    sudden: bool = True
    shows: Shows = "twin"
    metrics: tuple[str, ...] = ()
    unlogged: tuple[str, ...] = ()
