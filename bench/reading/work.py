"""The work that is the same for all: how many runs of how many steps, what was logged, and what is asked.

Standard library only: it is imported in the peers' environments. Every value is a function of run and step, so that
an answer can be told right from wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

METRICS: Final = ("loss", "accuracy", "lr", "grad_norm", "throughput")
QUESTIONS: Final = ("load_all", "one_metric", "last_values", "reduced")
NUM_BUCKETS: Final = 500
START_T: Final = 1_790_000_000.0
STEP_S: Final = 0.05


class Amount(NamedTuple):
    """How much was recorded.

    Attributes:
        runs: how many runs.
        steps: how many steps of five numbers each has.
    """

    runs: int
    steps: int

    @property
    def numbers(self) -> int:
        """How many numbers that are; steps and times are not counted."""
        return self.runs * self.steps * len(METRICS)

    def __str__(self) -> str:
        return f"{self.runs:,} x {self.steps:,} x {len(METRICS)}"


class Answer(NamedTuple):
    """What a question came to.

    Attributes:
        count: how many numbers, last values or curves there were.
        total: their sum; of curves, the sum of the largest values.
    """

    count: int
    total: float


class Spec(NamedTuple):
    """What the driver must know of a subject.

    Attributes:
        label: its name in the tables.
        kind: ``floor``, ``ours`` or ``peer``.
        environment: name of its environment under ``.bench/envs``; empty for the repository's own.
        distribution: whose version is shown; empty for none.
        variables: environment variables.
        most_numbers: it is not asked for more than so many.
    """

    label: str
    kind: str
    environment: str = ""
    distribution: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    most_numbers: int = 1_000_000_000


class Reader(Protocol):
    """A subject: writes once, is asked four questions."""

    def write(self, home: Path, amount: Amount) -> None:
        """Record the work with the subject's own writer."""

    def load_all(self, home: Path) -> Answer:
        """Every number of every run, as arrays or a frame."""

    def one_metric(self, home: Path) -> Answer:
        """Every number of ``loss``."""

    def last_values(self, home: Path) -> Answer:
        """The newest ``loss`` of each run."""

    def reduced(self, home: Path) -> Answer:
        """The curve of ``loss`` of each run, reduced to 500 buckets; the total is that of the largest values."""


def values(run: int, step: int, amount: Amount) -> tuple[float, ...]:
    """What a run logs at a step, in the order of ``METRICS``; full of noise, as measurements are."""
    done = step / amount.steps
    place = run * 7919 + step
    noise = [_fraction(math.sin(place * 12.9898 + shift) * 43758.5453) for shift in range(4)]
    return (
        2 * math.exp(-3 * done) + 0.1 * noise[0],
        1 - math.exp(-3 * done) + 0.01 * noise[1],
        1e-3 * (1 + math.cos(math.pi * done)) / 2,
        1 + noise[2],
        1000 + 10 * noise[3],
    )


def table(run: int, amount: Amount) -> Any:
    """The same for every step of a run, with numpy: shape (steps, 5)."""
    import numpy as np

    steps = np.arange(amount.steps)
    done = steps / amount.steps
    angles = (run * 7919 + steps)[:, None] * 12.9898 + np.arange(4)
    noise = np.mod(np.sin(angles) * 43758.5453, 1.0)
    return np.stack(
        [
            2 * np.exp(-3 * done) + 0.1 * noise[:, 0],
            1 - np.exp(-3 * done) + 0.01 * noise[:, 1],
            1e-3 * (1 + np.cos(np.pi * done)) / 2,
            1 + noise[:, 2],
            1000 + 10 * noise[:, 3],
        ],
        axis=1,
    )


def expected(amount: Amount) -> dict[str, Answer]:
    """The right answers."""
    total = loss = last = highest = 0.0
    for run in range(amount.runs):
        numbers = table(run, amount)
        total += float(numbers.sum())
        loss += float(numbers[:, 0].sum())
        last += float(numbers[-1, 0])
        highest += float(numbers[:, 0].max())
    return {
        "load_all": Answer(amount.numbers, total),
        "one_metric": Answer(amount.runs * amount.steps, loss),
        "last_values": Answer(amount.runs, last),
        "reduced": Answer(amount.runs, highest),
    }


def is_right(found: Answer, wanted: Answer) -> bool:
    """Whether an answer is right; sums may differ by what float32 storage costs."""
    return found.count == wanted.count and math.isclose(found.total, wanted.total, rel_tol=1e-6)


def _fraction(number: float) -> float:
    return number % 1.0
