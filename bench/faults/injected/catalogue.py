"""All faults by name."""

from __future__ import annotations

from typing import Final

from bench.faults.injected.fault import FaultKind
from bench.faults.injected.kinds_of_late import LATE
from bench.faults.injected.kinds_of_optimisation import OPTIMISATION
from bench.faults.injected.kinds_of_shapes import SHAPES
from bench.faults.injected.kinds_of_surroundings import COLLAPSE, INPUTS, SYSTEM

FAULTS: Final[dict[str, FaultKind]] = {
    it.name: it for it in (*OPTIMISATION, *INPUTS, *COLLAPSE, *SYSTEM, *SHAPES, *LATE)
}
