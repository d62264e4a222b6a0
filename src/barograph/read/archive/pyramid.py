"""The curves of a finished run at a resolution that charts of many runs need, in one small file beside its facts.

Of each bucket of consecutive points: the first, the smallest, the largest and the last finite one, each at its own
step; their mean, and how many are not finite. The file is derived: it may be deleted, it is believed only while the
run's files are those it was made from, and a run that lives has none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from barograph.facts.descriptor import replace_file
from barograph.read.archive.curves import Pyramid, make_curve
from barograph.read.archive.pyramid_file import FILE, NOTHING, decode_pyramid, encode_pyramid, read_curve, stamps_of
from barograph.read.arrays import Floats
from barograph.read.reduce import reduce
from barograph.read.run import RunReader
from barograph.read.status import ENDED


class OverviewCurve(msgspec.Struct, frozen=True, kw_only=True):
    """One run's curve among those of many.

    Attributes:
        path: the run's directory.
        x: steps of the points that are shown, ascending.
        y: their values; recorded and finite ones.
        num_points: how many points of the effective curve they stand for; 0 when the run did not log the metric.
        num_nonfinite: how many of those are not finite.
    """

    path: Path
    x: Floats
    y: Floats
    num_points: int = 0
    num_nonfinite: int = 0


def pyramid(reader: RunReader) -> Pyramid | None:
    """The pyramid of a run; it is made, and kept beside the run where that is possible, when there is none.

    Returns:
        None for a run that has not ended.
    """
    path = os.fspath(reader.path)
    with contextlib.suppress(OSError):
        found = decode_pyramid(Path(path, FILE).read_bytes(), path)
        if found is not None:
            return found
    return _make(reader)


def overview_curves(
    paths: Iterable[str | os.PathLike[str]],
    name: str,
    *,
    split: str = "train",
    rank: int = 0,
    num_buckets: int = 500,
) -> list[OverviewCurve]:
    """One metric of many runs, reduced, for a chart of them all.

    The points of a run that has ended are those of its pyramid: where it has more buckets than ``num_buckets``, or the
    run lives, they are reduced as ``read.reduce`` does. Every minimum and maximum of a pyramid's bucket is among them,
    at its own step.

    Args:
        paths: the runs' directories.
        name: the metric.
        split: e.g. ``train``.
        rank: which process of distributed runs.
        num_buckets: how many buckets a curve has at most, over its own steps.

    Returns:
        One curve per path, in their order.
    """
    return [_overview_curve(os.fspath(path), name, split, rank, num_buckets) for path in paths]


def _overview_curve(path: str, name: str, split: str, rank: int, num_buckets: int) -> OverviewCurve:
    found = read_curve(path, name, split, rank)
    if found is None:
        reader = RunReader(Path(path))
        made = pyramid(reader)
        if made is None:
            return _living_curve(reader, name, split, rank, num_buckets)
        curve = made.find(name, split=split, rank=rank)
        found = NOTHING if curve is None else (curve.x, curve.y, curve.num_points, sum(curve.num_nonfinite().values()))
    x, y, num_points, num_nonfinite = found
    if len(x) > 4 * num_buckets:
        reduced = reduce(x, y, num_buckets=num_buckets)
        x, y = reduced.x, reduced.y
    return OverviewCurve(path=Path(path), x=x, y=y, num_points=num_points, num_nonfinite=num_nonfinite)


def _living_curve(reader: RunReader, name: str, split: str, rank: int, num_buckets: int) -> OverviewCurve:
    for series in reader.all_series(names=[name], splits=[split], rank=rank):
        curve = series.effective()
        reduced = reduce(curve.steps, curve.values, num_buckets=num_buckets)
        return OverviewCurve(
            path=reader.path,
            x=reduced.x,
            y=reduced.y,
            num_points=reduced.num_points,
            num_nonfinite=len(reduced.nonfinite_x),
        )
    return OverviewCurve(path=reader.path, x=np.empty(0), y=np.empty(0))


def _make(reader: RunReader) -> Pyramid | None:
    try:
        facts_mtime_ns, files = stamps_of(reader.directory)  # before reading: what comes later makes it stale
    except FileNotFoundError:  # a run without facts, or one that is being sealed
        return None
    if reader.status().state not in ENDED:
        return None
    curves = [make_curve(series.effective()) for series in reader.all_series(rank=None)]
    with contextlib.suppress(OSError):  # a disk that is full or may not be written: it is made again next time
        replace_file(reader.path / FILE, encode_pyramid(facts_mtime_ns, files, curves))
    return Pyramid(curves=curves)
