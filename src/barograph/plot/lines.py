"""What a curve looks like: joined pieces, reduced to what can be seen, and marks for values that are not finite.

A line joins neighbouring points of one attempt and nothing else: not over a value that is not finite, not over a gap
in which points are missing, not from one attempt to the next. Every shown point is a recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from barograph.plot.curves import Curve
from barograph.read.arrays import Bools, Floats
from barograph.read.reduce import grid, reduce

NUM_BUCKETS: Final = 500
"""Four points per bucket at most: more than the pixels of a figure's width can show."""
GAP_FACTORS: Final = {"step": 3.0, "epoch": 3.0, "time": 20.0}
"""A gap is so many times as wide as the usual distance of two points of the attempt (their median); a pause is none."""
MIN_FOR_GAPS: Final = 8
"""With fewer points there is no usual distance."""
KINDS: Final[dict[str, Callable[[Floats], Bools]]] = {"nan": np.isnan, "inf": np.isposinf, "-inf": np.isneginf}


class Strand(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one attempt that have one look.

    Attributes:
        attempt: which.
        superseded: whether a later attempt recorded the metric again there.
        x: where the points stand, ascending.
        y: finite values.
        starts: whether a piece of line begins at this point, so that it is not joined to the one before.
    """

    attempt: int
    superseded: bool
    x: Floats
    y: Floats
    starts: Bools


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A curve as it is shown.

    Attributes:
        name: the metric as it was logged.
        split: e.g. ``train``.
        strands: its pieces.
        marks: by kind (``nan``, ``inf``, ``-inf``), the x of each value that is not finite.
        num_points: how many points were logged.
        num_shown: how many of them are shown.
    """

    name: str
    split: str
    strands: tuple[Strand, ...]
    marks: dict[str, Floats]
    num_points: int
    num_shown: int

    @property
    def words(self) -> str:
        """``n of m points`` when points are left out, else nothing."""
        return f"{self.num_shown:,} of {self.num_points:,} points" if self.num_shown < self.num_points else ""

    def limits(self) -> tuple[float, float] | None:
        """The smallest and the largest value shown; None when none is finite."""
        values = [strand.y for strand in self.strands if len(strand.y)]
        return (min(float(y.min()) for y in values), max(float(y.max()) for y in values)) if values else None


def to_lines(curves: Sequence[Curve], *, num_buckets: int = NUM_BUCKETS) -> tuple[Line, ...]:
    """Reduce curves that share one pair of axes, on one grid of buckets.

    Args:
        curves: their points.
        num_buckets: over the whole width.
    """
    ends = [end for curve in curves if len(curve) for end in (curve.x.min(), curve.x.max())]
    edges = grid(min(ends), max(ends), num_buckets) if ends else None
    return tuple(_line(curve, num_buckets, edges) for curve in curves)


def joints(x: Floats, y: Floats, superseded: Bools, *, gap_factor: float = GAP_FACTORS["step"]) -> Bools:
    """At which points of one attempt a piece of line begins.

    Args:
        x: ascending.
        y: values; one that is not finite parts the points beside it.
        superseded: a change of it parts too.
        gap_factor: so many times the usual distance part too.
    """
    starts = np.ones(len(x), dtype=bool)
    if len(x) < 2:  # noqa: PLR2004 - two points are the first that could be joined
        return starts
    steps = np.diff(x)
    steady = steps[steps > 0]
    is_gap = steps > gap_factor * np.median(steady) if len(x) >= MIN_FOR_GAPS and len(steady) else steps < 0
    finite = np.isfinite(y)
    starts[1:] = is_gap | ~finite[1:] | ~finite[:-1] | (superseded[1:] != superseded[:-1])
    return starts


def _line(curve: Curve, num_buckets: int, edges: Floats | None) -> Line:
    strands: list[Strand] = []
    marks: dict[str, list[Floats]] = {kind: [] for kind in KINDS}
    num_shown = 0
    for attempt in np.unique(curve.attempts):
        mine = curve.attempts == attempt
        x, y, superseded = curve.x[mine], curve.values[mine], curve.superseded[mine]
        beginnings = x[joints(x, y, superseded, gap_factor=GAP_FACTORS[curve.axis])]
        for is_old in (True, False):
            chosen = superseded == is_old
            shown = reduce(x[chosen], y[chosen], num_buckets=num_buckets, edges=edges)
            num_shown += shown.num_shown
            for kind, is_kind in KINDS.items():
                marks[kind].append(shown.nonfinite_x[is_kind(shown.nonfinite_y)])
            if len(shown.x):
                piece = np.searchsorted(beginnings, shown.x, "right")
                starts = np.r_[True, piece[1:] != piece[:-1]]
                strands.append(Strand(attempt=int(attempt), superseded=is_old, x=shown.x, y=shown.y, starts=starts))
    return Line(
        name=curve.name,
        split=curve.split,
        strands=tuple(strands),
        marks={kind: np.sort(np.concatenate(found)) for kind, found in marks.items() if sum(map(len, found))},
        num_points=len(curve),
        num_shown=num_shown,
    )
