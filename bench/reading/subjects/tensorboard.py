"""TensorBoard's EventAccumulator, told to keep every point, on files that tensorboardX wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.subjects.trackio import bucketed
from bench.reading.work import METRICS, Amount, Answer, Spec, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = Spec(label="TensorBoard", kind="peer", distribution="tensorboard", most_numbers=1_000_000)


def make() -> TensorBoard:
    """A fresh subject."""
    return TensorBoard()


class TensorBoard:
    """A directory per run."""

    def write(self, home: Path, amount: Amount) -> None:
        """Add every scalar."""
        from tensorboardX import SummaryWriter

        for run in range(amount.runs):
            writer = SummaryWriter(logdir=str(home / f"run{run:06d}"))
            for step in range(amount.steps):
                for name, value in zip(METRICS, values(run, step, amount), strict=True):
                    writer.add_scalar(name, value, step)
            writer.close()

    def _runs(self, home: Path) -> Iterator[Any]:
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

        for path in sorted(home.iterdir()):
            accumulator = EventAccumulator(str(path), size_guidance={SCALARS: 0})
            accumulator.Reload()
            yield accumulator

    def load_all(self, home: Path) -> Answer:
        """Every scalar of every tag, as arrays."""
        import numpy as np

        runs = self._runs(home)
        arrays = [np.array([event.value for event in run.Scalars(name)]) for run in runs for name in METRICS]
        return Answer(sum(map(len, arrays)), float(sum(array.sum() for array in arrays)))

    def one_metric(self, home: Path) -> Answer:
        """One tag; files are read whole."""
        loss = [event.value for run in self._runs(home) for event in run.Scalars("loss")]
        return Answer(len(loss), sum(loss))

    def last_values(self, home: Path) -> Answer:
        """The last event of one tag."""
        last = [run.Scalars("loss")[-1].value for run in self._runs(home)]
        return Answer(len(last), sum(last))

    def reduced(self, home: Path) -> Answer:
        """Read whole, then minimum and maximum of 500 buckets."""
        import numpy as np

        highest = [bucketed(np.array([event.value for event in run.Scalars("loss")])) for run in self._runs(home)]
        return Answer(len(highest), sum(highest))
