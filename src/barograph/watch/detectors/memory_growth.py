"""Memory that grows and is never given back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import BLOCK, Signal

NUM_PARTS: Final = 6
FEW_PARTS: Final = 4
"""Enough when they are very even."""
VERY_EVEN_SHARE: Final = 0.7
MIN_SHARE: Final = 0.02
"""Growth below this share of the level is not worth a person's time."""
MIN_MB: Final = 8.0
STEP_SHARE: Final = 0.5
"""Growth of which so much came at once is a step, not a leak."""
EVEN_SHARE: Final = 0.3
"""Each part of a leak grows by this share of the average part at least."""
ABOVE_SHARE: Final = 0.35
"""A leak rises above what there was before by this share of its growth; the next tooth of a saw does not."""
START_BLOCKS: Final = 6
"""In the first blocks every program grows."""
MOST_LOWS: Final = 48
NEAR: Final = 2.0
"""A leak that will have made the memory so many times larger by the end of the run is critical."""
MB_PER: Final = {"b": 1e-6, "bytes": 1e-6, "kb": 1e-3, "mb": 1.0, "mib": 1.0, "gb": 1e3, "gib": 1e3}


class MemoryGrowth(Detector):
    """The lowest memory of each of six parts in a row (or four) is above that before, by about the same each time.

    A part is eight records, or two, four, ... times as many, so fast and slow leaks are seen alike; the smallest growth
    that is told is 2 % and, where the unit is known by the name, 8 MB. Minima make it blind to saw-teeth; growth that
    came at once is a step and left alone, as are the first 48 records. The forecast is a straight line.

    Measured on the tuning half of FaultBench: 6 of 6 such faults noticed, after 102 steps in the median; 6 of 6 alerts
    right, no false incident. Not for runs shorter than a few hundred records.
    """

    name: ClassVar[str] = "memory_growth"
    reads: ClassVar[tuple[str, ...]] = ("memory",)
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 400

    lows: list[float] = msgspec.field(default_factory=list)
    steps: list[float] = msgspec.field(default_factory=list)
    blocks_each: int = 1
    blocks_seen: int = 0
    part_low: float = math.inf
    calm: int = 0
    base: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        memory = sample.signals["memory"]
        newest = memory.newest(BLOCK)
        if not newest:
            return None
        self.blocks_seen += 1
        self.part_low = min(self.part_low, *newest)
        if self.blocks_seen <= START_BLOCKS:
            self.part_low = math.inf
            return None
        if self.is_active:
            self._settle(newest)
        if self.blocks_seen % self.blocks_each:
            return None
        self.lows.append(self.part_low)
        self.steps.append(sample.step)
        self.part_low = math.inf
        found = None if self.is_active or self.is_quiet(sample) else self._look(sample, memory)
        if len(self.lows) >= MOST_LOWS:
            self._halve()
        return found

    def _settle(self, newest: list[float]) -> None:
        """It is over when the memory is given back or has not grown for so long as it took to tell."""
        self.calm = self.calm + 1 if min(newest) <= self.base else 0
        self.base = max(self.base, min(newest)) if not self.calm else self.base
        if self.calm >= NUM_PARTS:
            self.is_active, self.calm = False, 0
            self.lows, self.steps = [], []

    def _halve(self) -> None:
        self.lows = [min(self.lows[place : place + 2]) for place in range(0, MOST_LOWS, 2)]
        self.steps = self.steps[1::2]
        self.blocks_each *= 2

    def _look(self, sample: Sample, memory: Signal) -> Alert | None:
        for stride, num_parts in ((1, FEW_PARTS), (1, NUM_PARTS), (2, NUM_PARTS), (4, NUM_PARTS)):
            size = stride * (num_parts + 1)
            if len(self.lows) < size:
                return None
            lows = [
                min(self.lows[place : place + stride]) for place in range(len(self.lows) - size, len(self.lows), stride)
            ]
            steps = self.steps[len(self.steps) - size + stride - 1 :: stride]
            before = self.lows[:-size]
            if _is_leak(memory, lows) and lows[-1] > max(before, default=lows[0]) + ABOVE_SHARE * (lows[-1] - lows[0]):
                return self._found(sample, memory, lows, steps)
        return None

    def _found(self, sample: Sample, memory: Signal, lows: list[float], steps: list[float]) -> Alert:
        num_steps = steps[-1] - steps[0]
        per_step = (lows[-1] - lows[0]) / num_steps if num_steps > 0 else 0.0
        self.base, self.calm = lows[-1], 0
        total = sample.context.total_steps
        text = f"{memory.name} has grown from {shown(lows[0])} to {shown(lows[-1])} since step {steps[0]:.10g}"
        severity = "warning"
        if per_step > 0:
            text += f", by {shown(1000 * per_step)} per 1000 steps"
            doubled = sample.step + lows[-1] / per_step
            text += f"; at this rate it is twice as large at step {doubled:.0f}"
            if total and total > sample.step:
                at_end = lows[-1] + per_step * (total - sample.step)
                text += f" and {shown(at_end)} at the end (step {total:.10g})"
                severity = "critical" if at_end > NEAR * lows[-1] else "warning"
        return self.alert(
            sample,
            text,
            severity="critical" if severity == "critical" else "warning",
            since=steps[0],
            metrics=[memory],
            evidence=[
                Evidence(
                    name=f"lowest {memory.name}",
                    value=lows[-1],
                    threshold=lows[0] * (1 + MIN_SHARE),
                    first_step=steps[0],
                    last_step=steps[-1],
                )
            ],
            causes=[
                "losses or outputs kept with their graph: a list that is appended to without .item() or .detach()",
                "a cache without a limit",
                "hooks or figures that are made again in every step and never removed",
            ],
            remedies=[
                Remedy(text="append loss.item(), not loss; detach what is kept over steps"),
                Remedy(text="compare two tracemalloc snapshots 100 steps apart: the line that grows is on top"),
                Remedy(text="close figures, bound caches (functools.lru_cache(maxsize=...)), remove hooks"),
                Remedy(text=f"until then: checkpoint, and restart before step {sample.step + num_steps * 10:.0f}"),
            ],
            confidence=0.88,
        )


def _is_leak(memory: Signal, lows: list[float]) -> bool:
    rises = [b - a for a, b in pairwise(lows)]
    total = lows[-1] - lows[0]
    least = max(MIN_SHARE * abs(lows[0]), MIN_MB / _mb_per_unit(memory.name))
    if total < least or max(rises) > STEP_SHARE * total:
        return False
    even = EVEN_SHARE if len(rises) > FEW_PARTS else VERY_EVEN_SHARE
    return min(rises) > even * total / len(rises)


def _mb_per_unit(name: str) -> float:
    word = name.lower().replace("/", "_").rsplit("_", 1)[-1]
    return MB_PER.get(word, math.inf)
