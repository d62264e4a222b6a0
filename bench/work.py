"""The work that every subject does, and the promise that every subject keeps.

Imported in each peer's own environment, so the standard library is all there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

METRICS: Final = ("loss", "accuracy", "lr", "grad_norm", "throughput")

Values = tuple[float, float, float, float, float]
"""The five scalars of a step, in the order of METRICS."""

Row = tuple[int, tuple[float, ...]]
"""A step and its five values, in the order of METRICS."""


def values_of(step: int) -> Values:
    """Return the five scalars of a step: different at every step, the same in every process."""
    decay = 1.0 / (1.0 + 0.001 * step)
    return 2.0 * decay, 1.0 - decay, 1e-3 * decay, 0.5 + decay, 1000.0 + 0.25 * step


def is_right(row: Row) -> bool:
    """Whether a row read back carries what was logged, to the 24 bits that some formats keep."""
    step, values = row
    wanted = values_of(step)
    return len(values) == len(wanted) and all(
        abs(got - want) <= 1e-6 * abs(want) for got, want in zip(values, wanted, strict=True)
    )


def rows_from_points(points: Iterable[tuple[int, str, float]]) -> Iterator[Row]:
    """Join scalars that a format keeps apart; steps that lack one of the five are not facts yet."""
    gathered: dict[int, dict[str, float]] = {}
    for step, name, value in points:
        if name in METRICS:
            gathered.setdefault(step, {})[name] = value
    for step, found in gathered.items():
        if len(found) == len(METRICS):
            yield step, tuple(found[name] for name in METRICS)


class Subject(Protocol):
    """What is measured: four methods, each doing what the subject's own documentation says.

    `log` receives bare numbers, so that the dictionary or the five calls that an interface asks for are part of
    what is measured.
    """

    def open(self, home: Path) -> None:
        """Import the subject and begin a run that keeps its files in `home`."""

    def log(self, step: int, values: Values) -> None:
        """Log one step."""

    def close(self) -> None:
        """End the run as a script does."""

    def read_back(self, home: Path) -> Iterable[Row]:
        """Read every whole step in `home`, in another process, with the subject's reader or from its format."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What the driver must know of a subject without importing it.

    Attributes:
        label: its name in the tables.
        kind: a floor, ourselves, or a peer.
        distribution: the installed distribution whose version is shown; empty for the floors.
        requirement: what pip installs into its environment; empty when the driver's interpreter will do.
        environment: variables that switch off telemetry and networks.
        persists: whether it keeps anything that could be lost.
    """

    label: str
    kind: Literal["floor", "ours", "peer"]
    distribution: str = ""
    requirement: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    persists: bool = True


class Plan(NamedTuple):
    """How much of everything; the defaults are the official run.

    Attributes:
        steps: calls back to back.
        steps_limit_s: seconds after which a slow subject stops.
        paced_calls: calls at one per millisecond.
        paced_limit_s: seconds after which a slow subject stops there.
        spin_calls: calls at one per millisecond beside a thread that computes without pause. Whoever sleeps
            waits up to 5 ms for the interpreter lock afterwards, so a thousand take five seconds.
        spin_limit_s: seconds after which a subject stops there.
        kill_after_s: seconds of calls before `kill -9`.
        soak_steps: steps over whose second half the growth of our own memory is taken.
        import_runs: fresh interpreters that `import barograph` is timed in.
        repetitions: rounds through all subjects.
    """

    steps: int = 20_000
    steps_limit_s: float = 10.0
    paced_calls: int = 1_500
    paced_limit_s: float = 3.0
    spin_calls: int = 1_000
    spin_limit_s: float = 4.0
    kill_after_s: float = 2.0
    soak_steps: int = 1_000_000
    import_runs: int = 20
    repetitions: int = 3


OFFICIAL: Final = Plan()
QUICK: Final = Plan(
    steps=1_000,
    steps_limit_s=2.0,
    paced_calls=100,
    paced_limit_s=1.0,
    spin_calls=40,
    spin_limit_s=1.0,
    kill_after_s=0.3,
    soak_steps=40_000,
    import_runs=3,
    repetitions=1,
)
