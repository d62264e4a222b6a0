"""The floor: the same rows files, read by nothing but numpy into contiguous columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.reading.subjects.barograph import write_rows
from bench.reading.work import METRICS, NUM_BUCKETS, Amount, Answer, Spec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = Spec(label="numpy alone, rows", kind="floor")
WIDTH = len(METRICS) + 2
HEADER_BYTES = 4096


def make() -> Floor:
    """A fresh subject."""
    return Floor()


class Floor:
    """Knows where the files are and how many columns they have, and that they are whole."""

    def __init__(self) -> None:
        import numpy as np

        self._np: Any = np

    def write(self, home: Path, amount: Amount) -> None:
        """The same files as ours."""
        write_rows(home, amount)

    def _tables(self, home: Path) -> list[Any]:
        paths = sorted(home.glob("*/facts/metrics.000.rows"))
        return [self._np.fromfile(path, "<f8", offset=HEADER_BYTES).reshape(-1, WIDTH) for path in paths]

    def load_all(self, home: Path) -> Answer:
        """Every file, then one contiguous column per metric."""
        tables = self._tables(home)
        columns = [self._np.concatenate([table[:, place] for table in tables]) for place in range(WIDTH)]
        numbers = columns[1:-1]
        return Answer(sum(map(len, numbers)), float(sum(column.sum() for column in numbers)))

    def one_metric(self, home: Path) -> Answer:
        """One column of every file."""
        loss = self._np.concatenate([table[:, 1] for table in self._tables(home)])
        return Answer(len(loss), float(loss.sum()))

    def last_values(self, home: Path) -> Answer:
        """The last row of every file, read from its end."""
        last = []
        for path in sorted(home.glob("*/facts/metrics.000.rows")):
            with path.open("rb") as file:
                file.seek(-8 * WIDTH, 2)
                last.append(self._np.frombuffer(file.read(), "<f8")[1])
        return Answer(len(last), float(sum(last)))

    def reduced(self, home: Path) -> Answer:
        """Minimum and maximum of 500 buckets, by place."""
        np, highest, count = self._np, 0.0, 0
        for table in self._tables(home):
            loss = np.ascontiguousarray(table[:, 1])
            starts = np.unique(np.linspace(0, len(loss), NUM_BUCKETS, endpoint=False).astype(int))
            np.minimum.reduceat(loss, starts)
            highest += float(np.maximum.reduceat(loss, starts).max())
            count += 1
        return Answer(count, highest)
