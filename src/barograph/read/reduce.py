"""Fewer points that show the same: first, minimum, maximum and last of each bucket, never an average.

Deterministic. The window is applied first, then every series is reduced on one grid of buckets over x; values that
are not finite stand apart, each at its own x. What is returned says how many points it stands for.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.errors import MisuseError
from barograph.read.arrays import Floats

Places = npt.NDArray[np.intp]
MIN_BUCKETS = 2


class Reduced(msgspec.Struct, frozen=True, kw_only=True):
    """A series, reduced.

    Attributes:
        x: where each shown point stands, ascending; points of one x are in the order in which they were recorded.
        y: its value; always a recorded one.
        nonfinite_x: where the values stand that are not finite, every one of them.
        nonfinite_y: what they are: nan, inf or -inf.
        num_points: how many points of the series lie in the window.
        is_reduced: whether points were left out.
    """

    x: Floats
    y: Floats
    nonfinite_x: Floats
    nonfinite_y: Floats
    num_points: int
    is_reduced: bool

    @property
    def num_shown(self) -> int:
        """How many points are shown, those that are not finite among them."""
        return len(self.x) + len(self.nonfinite_x)

    def words(self) -> str:
        """``"n of m points"``, or nothing when all are shown."""
        return f"{self.num_shown:,} of {self.num_points:,} points" if self.is_reduced else ""


def grid(low: float, high: float, num_buckets: int) -> Floats:
    """Edges of ``num_buckets`` buckets of one width from ``low`` to ``high``."""
    edges: Floats = np.linspace(low, high, num_buckets + 1)
    return edges


def reduce(
    x: Floats, y: Floats, *, num_buckets: int, window: tuple[float, float] | None = None, edges: Floats | None = None
) -> Reduced:
    """Reduce a series to at most four points per bucket: the first, the smallest, the largest and the last.

    Args:
        x: ascending; where each point stands.
        y: its value.
        num_buckets: over the window; nothing is left out of a series with no more than four times as many points.
        window: only points with ``low <= x <= high``.
        edges: of the buckets, to reduce several series on one grid; else equal parts of the window, or of x.

    Raises:
        MisuseError: x is not ascending, or there are fewer than two buckets.
    """
    if num_buckets < MIN_BUCKETS:
        raise MisuseError(f"num_buckets={num_buckets} shows nothing; give {MIN_BUCKETS} at least")
    if len(x) > 1 and not np.all(x[1:] >= x[:-1]):
        raise MisuseError("x must be ascending; sort the series first (Series.effective() is sorted by step)")
    if window is not None:
        first, end = np.searchsorted(x, window[0], "left"), np.searchsorted(x, window[1], "right")
        x, y = x[first:end], y[first:end]
    num_points = len(x)
    finite = np.isfinite(y)
    nonfinite_x, nonfinite_y = x[~finite], y[~finite]
    x, y = (x, y) if not len(nonfinite_x) else (x[finite], y[finite])
    is_reduced = len(x) > 4 * num_buckets
    if is_reduced:
        low, high = window or (x[0], x[-1])
        kept = _kept(x, y, grid(low, high, num_buckets) if edges is None else edges)
        is_reduced = len(kept) < len(x)
        x, y = x[kept], y[kept]
    return Reduced(
        x=x, y=y, nonfinite_x=nonfinite_x, nonfinite_y=nonfinite_y, num_points=num_points, is_reduced=is_reduced
    )


def _kept(x: Floats, y: Floats, edges: Floats) -> Places:
    """Places of the first, smallest, largest and last point of each bucket; the last bucket holds its right edge."""
    buckets = np.clip(np.searchsorted(edges, x, "right") - 1, 0, len(edges) - 2)
    starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
    ends = np.r_[starts[1:], len(x)]
    sizes = ends - starts
    lows = _first_equal(y, np.minimum.reduceat(y, starts), starts, sizes)
    highs = _first_equal(y, np.maximum.reduceat(y, starts), starts, sizes)
    kept = np.unique(np.concatenate([starts, lows, highs, ends - 1]))
    return kept.astype(np.intp)


def _first_equal(y: Floats, wanted: Floats, starts: Places, sizes: Places) -> Places:
    """The first place of each bucket at which its extreme stands."""
    hits = np.flatnonzero(y == np.repeat(wanted, sizes))
    owner = np.searchsorted(starts, hits, "right")
    _, first = np.unique(owner, return_index=True)
    return hits[first]
