"""A curve in buckets: what is kept of each, and how it is made from every point of a run.

Buckets are of consecutive points, so that dense and sparse parts of a curve are shown alike; they follow from how many
points there are. Kept are recorded points, never averages. Nothing here knows files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.read.arrays import Floats, Series

NUM_BUCKETS: Final = 500
FINE_BUCKETS: Final = 2000
WHOLE_POINTS: Final = 4 * NUM_BUCKETS
"""A curve of no more points is kept as it is."""
FINE_POINTS: Final = 64 * FINE_BUCKETS
"""A curve of so many points is kept in ``FINE_BUCKETS`` as well."""
_KINDS: Final = ("nan", "inf", "-inf")

Places = npt.NDArray[np.intp]
Counts = npt.NDArray[np.uint32]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of the effective curve, in buckets of consecutive points.

    Attributes:
        name: the metric.
        split: e.g. ``train``.
        rank: which process of a distributed run.
        num_points: how many points it stands for.
        num_buckets: in how many buckets they are, whose sizes differ by one at most; one each for a curve that is
            kept whole.
        places: which points were kept, counted from 0 and ascending: of each bucket the first, the smallest, the
            largest and the last finite one.
        x: their steps.
        y: their values; always recorded ones, and finite.
        nonfinite: shape (n, 4): bucket, and how many values in it are nan, inf and -inf; buckets of finite values
            are left out.
    """

    name: str
    split: str
    rank: int
    num_points: int
    num_buckets: int
    places: Floats
    x: Floats
    y: Floats
    nonfinite: Counts

    @property
    def starts(self) -> Places:
        """Where each bucket begins in ``x`` and ``y``, and where the last one ends."""
        starts: Places = np.searchsorted(self.places, _edges(self.num_points, self.num_buckets))
        return starts

    def num_nonfinite(self) -> dict[str, int]:
        """How many values are ``nan``, ``inf`` and ``-inf``; kinds that did not occur are left out."""
        if not len(self.nonfinite):
            return {}
        totals = self.nonfinite[:, 1:].sum(axis=0, dtype=np.int64).tolist()
        return {kind: total for kind, total in zip(_KINDS, totals, strict=True) if total}


class Pyramid(msgspec.Struct, frozen=True, kw_only=True):
    """The curves of a run, by split, rank and name; the coarser of a metric's two is first."""

    curves: list[Curve]

    def find(self, name: str, *, split: str = "train", rank: int = 0, num_buckets: int = FINE_BUCKETS) -> Curve | None:
        """The coarsest of a metric that has so many buckets, or its finest; None when the run did not log it."""
        wanted = (name, split, rank)
        mine = [curve for curve in self.curves if (curve.name, curve.split, curve.rank) == wanted]
        chosen = choose((curve.num_buckets for curve in mine), num_buckets)
        return None if chosen is None else mine[chosen]


def choose(resolutions: Iterable[int], num_buckets: int) -> int | None:
    """Which of some resolutions, ascending, is the first that has so many buckets; else the last; None of none."""
    place = None
    for place, found in enumerate(resolutions):  # noqa: B007 - the last one is what is left
        if found >= num_buckets:
            break
    return place


def empty_curve(name: str, split: str, rank: int) -> Curve:
    """That of a metric which was not logged."""
    nothing = np.empty(0)
    return Curve(
        name=name,
        split=split,
        rank=rank,
        num_points=0,
        num_buckets=1,
        places=nothing,
        x=nothing,
        y=nothing,
        nonfinite=np.empty((0, 4), dtype=np.uint32),
    )


def make_curves(series: Series) -> list[Curve]:
    """The buckets of one effective curve, at each resolution that it is kept at."""
    num_points = len(series)
    if num_points <= WHOLE_POINTS:
        return [_make_curve(series, max(1, num_points))]
    resolutions = (NUM_BUCKETS,) if num_points < FINE_POINTS else (NUM_BUCKETS, FINE_BUCKETS)
    return [_make_curve(series, num_buckets) for num_buckets in resolutions]


def _make_curve(series: Series, num_buckets: int) -> Curve:
    edges = _edges(len(series), num_buckets)
    finite = np.isfinite(series.values)
    kept = _kept(series.values, np.flatnonzero(finite), edges)
    return Curve(
        name=series.name,
        split=series.split,
        rank=series.rank,
        num_points=len(series),
        num_buckets=num_buckets,
        places=kept.astype(np.float64),
        x=series.steps[kept],
        y=series.values[kept],
        nonfinite=_count_nonfinite(series.values, np.flatnonzero(~finite), edges),
    )


def _edges(num_points: int, num_buckets: int) -> Places:
    """Places at which buckets begin, and where the last one ends."""
    return np.arange(num_buckets + 1, dtype=np.intp) * num_points // num_buckets


def _kept(values: Floats, finite: Places, edges: Places) -> Places:
    """Places of the first, smallest, largest and last finite point of each bucket, each place once."""
    if not len(finite):
        return finite
    starts = np.searchsorted(finite, edges)
    filled = starts[1:] > starts[:-1]
    firsts, lasts = starts[:-1][filled], starts[1:][filled] - 1
    columns = np.arange((lasts - firsts).max() + 1)
    # One row per bucket; where it is shorter than the longest, its last point again, which is no new extreme.
    rows = values[finite[np.minimum(firsts[:, None] + columns, lasts[:, None])]]
    chosen = np.stack([firsts, firsts + rows.argmin(axis=1), firsts + rows.argmax(axis=1), lasts], axis=1)
    chosen.sort(axis=1)
    flat = chosen.ravel()
    kept: Places = finite[flat[np.append(True, flat[1:] > flat[:-1])]]
    return kept


def _count_nonfinite(values: Floats, places: Places, edges: Places) -> Counts:
    """Bucket and counts by kind, of the buckets that have any."""
    if not len(places):
        return np.empty((0, 4), dtype=np.uint32)
    buckets, owners = np.unique(np.searchsorted(edges, places, "right") - 1, return_inverse=True)
    found = values[places]
    kinds = (np.isnan(found), np.isposinf(found), np.isneginf(found))
    counts = [np.bincount(owners[kind], minlength=len(buckets)) for kind in kinds]
    return np.stack([buckets, *counts], axis=1).astype(np.uint32)
