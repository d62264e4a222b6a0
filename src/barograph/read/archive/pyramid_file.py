"""The file of a run's pyramid: what it was made from, then the numbers of each curve, at their own places.

One curve is read without the others. A file that is not whole, of another release, or older than the run's files
counts as none; it is derived, so nothing is lost by that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from barograph.facts.rundir import RunDir
from barograph.read.archive.curves import Curve, Pyramid
from barograph.read.arrays import Floats

FILE: Final = ".pyramid"
"""In the run's directory, not among its facts: a new file there would change the time of ``facts``."""
_START: Final = struct.Struct("<8sQ")  # magic, size of the head
_MAGIC: Final = b"BAROPYR1"
_FIRST_READ_BYTES: Final = 4096

Stamps = dict[str, tuple[int, int]]


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a curve is in the file."""

    name: str
    split: str
    rank: int
    num_points: int
    num_nonfinite: int
    num_shown: int
    num_buckets: int
    offset: int


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What the file was made from, and what it holds."""

    facts_mtime_ns: int
    files: Stamps
    curves: list[_Place]


Found = tuple[Floats, Floats, int, int]
NOTHING: Final[Found] = (np.empty(0), np.empty(0), 0, 0)


def read_curve(path: str, name: str, split: str, rank: int) -> Found | None:
    """One curve from a file that can be believed; of a thousand runs, each microsecond here is a millisecond."""
    try:
        descriptor = os.open(f"{path}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.pread(descriptor, _FIRST_READ_BYTES, 0)
        if len(data) < _head_end(data) <= os.fstat(descriptor).st_size:
            data = os.pread(descriptor, _head_end(data), 0)
        head = _head(data)
        if head is None or not _is_valid(head, path):
            return None
        place = next((it for it in head.curves if (it.name, it.split, it.rank) == (name, split, rank)), None)
        data = b"" if place is None else os.pread(descriptor, 16 * place.num_shown, place.offset)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if place is None:
        return NOTHING
    m = place.num_shown
    if len(data) < 16 * m:
        return None
    numbers = np.frombuffer(data, dtype="<f8")
    return numbers[:m], numbers[m:], place.num_points, place.num_nonfinite


def _counts_place(place: _Place) -> tuple[int, int]:
    """Where the counts of a curve are, and their size."""
    return place.offset + 16 * place.num_shown + 24 * place.num_buckets, 16 * place.num_buckets


def _head(data: bytes) -> _Head | None:
    """The head of a file; None when it is not whole, or of another release."""
    end = _head_end(data)
    if not _START.size <= end <= len(data):
        return None
    try:
        return _HEADS.decode(data[_START.size : end])
    except msgspec.MsgspecError:
        return None


def _head_end(data: bytes) -> int:
    """Where the head of a file that begins so ends; 0 when it is none of this release."""
    magic, size = _START.unpack_from(data) if len(data) >= _START.size else (b"", 0)
    return _START.size + int(size) if magic == _MAGIC else 0


_HEADS: Final = msgspec.msgpack.Decoder(_Head)


def _is_valid(head: _Head, path: str) -> bool:
    """Whether the run's files are those that the pyramid was made from."""
    facts = f"{path}/facts"
    try:
        if os.stat(facts).st_mtime_ns != head.facts_mtime_ns:  # noqa: PTH116 - a str and one call
            return False
        for name, stamp in head.files.items():
            now = os.stat(f"{facts}/{name}")  # noqa: PTH116 - the same
            if (now.st_size, now.st_mtime_ns) != stamp:
                return False
    except OSError:
        return False
    return True


def stamps_of(directory: RunDir) -> tuple[int, Stamps]:
    """Time of the directory of facts, size and time of each file of metrics."""
    files = {path.name: path.stat() for path in (*directory.stream_files(), *directory.overflow_files())}
    stamps = {name: (found.st_size, found.st_mtime_ns) for name, found in files.items()}
    return directory.facts.stat().st_mtime_ns, stamps


def decode_pyramid(data: bytes, path: str) -> Pyramid | None:
    """The pyramid of the run at ``path`` from the bytes of its file; None when they cannot be believed."""
    head = _head(data)
    return None if head is None or not _is_valid(head, path) else _decode(head, data)


def encode_pyramid(facts_mtime_ns: int, files: Stamps, curves: Sequence[Curve]) -> bytes:
    """The bytes of the file."""
    bodies = [_body(curve) for curve in curves]
    start = 0
    while True:  # the head's size depends on the offsets in it
        offsets = np.cumsum([start, *map(len, bodies)]).tolist()
        places = [
            _Place(
                it.name,
                it.split,
                it.rank,
                it.num_points,
                sum(it.num_nonfinite().values()),
                len(it.x),
                len(it.mean),
                offset,
            )
            for it, offset in zip(curves, offsets, strict=False)
        ]
        head = msgspec.msgpack.encode(_Head(facts_mtime_ns, files, places))
        if start >= _START.size + len(head):
            break
        start = (_START.size + len(head) + 15) // 8 * 8
    return (_START.pack(_MAGIC, len(head)) + head).ljust(start, b"\0") + b"".join(bodies)


def _body(curve: Curve) -> bytes:
    floats = np.concatenate([curve.x, curve.y, curve.x_low, curve.x_high, curve.mean]).astype("<f8")
    return floats.tobytes() + curve.counts.astype("<u4").tobytes() + _padded(curve.starts.astype("<u4").tobytes())


def _padded(data: bytes) -> bytes:
    return data.ljust((len(data) + 7) // 8 * 8, b"\0")


def _decode(head: _Head, data: bytes) -> Pyramid | None:
    curves = []
    for place in head.curves:
        m, n = place.num_shown, place.num_buckets
        offset, size = _counts_place(place)
        if len(data) < offset + size + 4 * (n + 1):
            return None
        floats = np.frombuffer(data, dtype="<f8", count=2 * m + 3 * n, offset=place.offset)
        curves.append(
            Curve(
                name=place.name,
                split=place.split,
                rank=place.rank,
                num_points=place.num_points,
                x=floats[:m],
                y=floats[m : 2 * m],
                x_low=floats[2 * m : 2 * m + n],
                x_high=floats[2 * m + n : 2 * m + 2 * n],
                mean=floats[2 * m + 2 * n :],
                counts=np.frombuffer(data, dtype="<u4", count=4 * n, offset=offset).reshape(n, 4),
                starts=np.frombuffer(data, dtype="<u4", count=n + 1, offset=offset + size),
            )
        )
    return Pyramid(curves=curves)
