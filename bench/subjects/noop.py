"""The measuring loop itself: what every other figure contains of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.work import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.work import Row, Values

SPEC = Spec(label="noop (the measuring loop)", kind="floor", persists=False)


class Recorder:
    """Takes the numbers and does nothing."""

    def open(self, home: Path) -> None:
        """Do nothing."""

    def log(self, step: int, values: Values) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def read_back(self, home: Path) -> Iterable[Row]:  # noqa: ARG002 - the protocol's, and nothing was kept
        """Return nothing."""
        return ()
