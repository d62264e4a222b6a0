"""Barograph, sealed: rows turned into Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.reading.subjects.barograph import Barograph
from bench.reading.work import Amount, Spec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = Spec(label="barograph, sealed", kind="ours", distribution="barograph")


def make() -> SealedBarograph:
    """A fresh subject."""
    return SealedBarograph()


class SealedBarograph(Barograph):
    """The same calls."""

    def write(self, home: Path, amount: Amount) -> None:
        """Write, seal every run, and make the pyramids."""
        from barograph.read.archive.seal import seal
        from barograph.read.run import RunReader
        from bench.reading.subjects.barograph import write_rows

        write_rows(home, amount)
        for path in self._discover(home):
            seal(RunReader(path))
        self.reduced(home)
