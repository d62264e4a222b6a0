"""A curve in buckets: what is kept of each, and how it is made from every point of a run.

Buckets are of consecutive points, so that dense and sparse parts of a curve are shown alike. Which points are kept is
decided by ``read.reduce``; nothing here knows files.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.read.arrays import Floats, Series
from barograph.read.reduce import MIN_BUCKETS, reduce

BUCKET_POINTS: Final = 128
MAX_BUCKETS: Final = 2048
_KINDS: Final = ("nan", "inf", "-inf")

Counts = npt.NDArray[np.uint32]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of the effective curve, in buckets of consecutive points.

    Attributes:
        name: the metric.
        split: e.g. ``train``.
        rank: which process of a distributed run.
        num_points: how many points it stands for.
        x: steps of the points that were kept, ascending.
        y: their values; always recorded ones, and finite.
        starts: where each bucket begins in x and y, and where the last one ends.
        x_low: step of the first point of each bucket, finite or not.
        x_high: step of the last one.
        mean: of the finite values of each bucket; NaN when it has none.
        counts: per bucket, how many values are finite, nan, inf and -inf.
    """

    name: str
    split: str
    rank: int
    num_points: int
    x: Floats
    y: Floats
    starts: Counts
    x_low: Floats
    x_high: Floats
    mean: Floats
    counts: Counts

    @property
    def first(self) -> Floats:
        """The first finite value of each bucket; NaN when it has none."""
        return self._of_buckets(self.y[self.starts[:-1][self._filled]])

    @property
    def last(self) -> Floats:
        """The last one."""
        return self._of_buckets(self.y[self.starts[1:][self._filled] - 1])

    @property
    def min(self) -> Floats:
        """The smallest one."""
        return self._of_buckets(np.minimum.reduceat(self.y, self.starts[:-1][self._filled]) if len(self.y) else self.y)

    @property
    def max(self) -> Floats:
        """The largest one."""
        return self._of_buckets(np.maximum.reduceat(self.y, self.starts[:-1][self._filled]) if len(self.y) else self.y)

    @property
    def _filled(self) -> npt.NDArray[np.bool_]:
        filled: npt.NDArray[np.bool_] = self.starts[1:] > self.starts[:-1]
        return filled

    def _of_buckets(self, values: Floats) -> Floats:
        found = np.full(len(self.mean), np.nan)
        found[self._filled] = values
        return found

    def num_nonfinite(self) -> dict[str, int]:
        """How many values are ``nan``, ``inf`` and ``-inf``; kinds that did not occur are left out."""
        totals = self.counts[:, 1:].sum(axis=0, dtype=np.int64)
        return {kind: int(total) for kind, total in zip(_KINDS, totals, strict=True) if total}


class Pyramid(msgspec.Struct, frozen=True, kw_only=True):
    """The curves of a run, by split, rank and name."""

    curves: list[Curve]

    def find(self, name: str, *, split: str = "train", rank: int = 0) -> Curve | None:
        """One of them; None when the run did not log it."""
        wanted = (name, split, rank)
        return next((curve for curve in self.curves if (curve.name, curve.split, curve.rank) == wanted), None)


def make_curve(series: Series) -> Curve:
    """The buckets of one effective curve."""
    x, y, num_points = series.steps, series.values, len(series)
    size = max(BUCKET_POINTS, -(-num_points // MAX_BUCKETS))
    firsts = np.arange(0, num_points, size)
    places = np.arange(num_points, dtype=np.float64)
    edges = np.append(firsts, num_points).astype(np.float64)
    kept = reduce(places, y, num_buckets=max(MIN_BUCKETS, len(firsts)), edges=edges).x.astype(np.intp)
    finite = np.isfinite(y)
    kinds = np.stack([finite, np.isnan(y), np.isposinf(y), np.isneginf(y)], axis=1)
    counts = np.add.reduceat(kinds, firsts, axis=0, dtype=np.uint32)
    shares = np.where(finite, y, 0.0) / np.repeat(np.maximum(counts[:, 0], 1), np.diff(edges).astype(np.intp))
    mean = np.where(counts[:, 0] > 0, np.add.reduceat(shares, firsts), np.nan)
    return Curve(
        name=series.name,
        split=series.split,
        rank=series.rank,
        num_points=num_points,
        x=x[kept],
        y=y[kept],
        starts=np.searchsorted(kept, edges).astype(np.uint32),
        x_low=x[firsts],
        x_high=x[edges[1:].astype(np.intp) - 1],
        mean=mean,
        counts=counts,
    )
