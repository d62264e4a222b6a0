"""The first floor: turn the numbers into the bytes of a row and keep none of them."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from bench.work import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.work import Row, Values

SPEC = Spec(label="pack", kind="floor", persists=False)


class Recorder:
    """Packs step, five metrics and the time as seven float64."""

    def __init__(self) -> None:
        self._pack = struct.Struct("<7d").pack
        self._clock = time.time

    def open(self, home: Path) -> None:
        """Do nothing."""

    def log(self, step: int, values: Values) -> None:
        """Pack one row."""
        loss, accuracy, lr, grad_norm, throughput = values
        self._pack(step, loss, accuracy, lr, grad_norm, throughput, self._clock())

    def close(self) -> None:
        """Do nothing."""

    def read_back(self, home: Path) -> Iterable[Row]:  # noqa: ARG002 - the protocol's, and nothing was kept
        """Return nothing."""
        return ()
