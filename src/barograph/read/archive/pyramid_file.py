"""The file of a run's pyramid: what it was made from, then the numbers of each curve, at their own places.

One curve is read without the others. A file that is not whole, of another release, or older than the run's files
counts as none; it is derived, so nothing is lost by that.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from barograph.facts.rundir import RunDir
from barograph.read.archive.curves import Curve, Pyramid, choose, empty_curve

FILE: Final = ".pyramid"
"""In the run's directory, not among its facts: a new file there would change the time of ``facts``."""
_START: Final = struct.Struct("<8sII")  # magic; size and CRC-32 of the head
_MAGIC: Final = b"BAROPYR2"
_FIRST_READ_BYTES: Final = 4096
_ALIGNMENT_BYTES: Final = 8

Stamps = dict[str, tuple[int, int]]


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a curve is in the file, from ``offset`` after the head on.

    These follow each other: ``y`` as float64; ``x`` as float64, unless it is ``start + stride * place`` exactly;
    ``nonfinite`` as uint32; ``places`` in as many bytes as the number of points takes. Of five noisy metrics that is
    8 % of what the rows take at 20,000 steps, and 1 % at a million.
    """

    name: str
    split: str
    rank: int
    num_points: int
    num_buckets: int
    num_shown: int
    num_nonfinite: int
    place_bytes: Literal[1, 2, 4, 8]
    steps: tuple[float, float] | None
    offset: int

    @property
    def size_bytes(self) -> int:
        return (8 if self.steps else 16) * self.num_shown + 16 * self.num_nonfinite + self.place_bytes * self.num_shown


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What the file was made from, and what it holds."""

    facts_mtime_ns: int
    files: Stamps
    curves: list[_Place]


_NUM_BYTES: Final[dict[int, Literal[1, 2, 4, 8]]] = {1: 1, 2: 2, 4: 4, 8: 8}
_HEADS: Final = msgspec.msgpack.Decoder(_Head)


def read_curve(path: str, name: str, split: str, rank: int, num_buckets: int) -> Curve | None:
    """One curve from a file that can be believed; of a thousand runs, each microsecond here is a millisecond.

    Returns:
        A curve of no points when the run did not log the metric; None when there is no such file.
    """
    try:
        descriptor = os.open(f"{path}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.pread(descriptor, _FIRST_READ_BYTES, 0)
        if len(data) < _head_end(data) <= os.fstat(descriptor).st_size:
            data = os.pread(descriptor, _head_end(data), 0)
        found = _head(data)
        if found is None or not _is_valid(found[0], path):
            return None
        head, start = found
        mine = [it for it in head.curves if it.name == name and it.split == split and it.rank == rank]
        chosen = choose([it.num_buckets for it in mine], num_buckets)
        if chosen is None:
            return empty_curve(name, split, rank)
        place = mine[chosen]
        return _decode_curve(place, os.pread(descriptor, place.size_bytes, start + place.offset))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def decode_pyramid(data: bytes, path: str) -> Pyramid | None:
    """The pyramid of the run at ``path`` from the bytes of its file; None when they cannot be believed."""
    found = _head(data)
    if found is None or not _is_valid(found[0], path):
        return None
    head, start = found
    body = memoryview(data)[start:]
    curves = [_decode_curve(it, body[it.offset : it.offset + it.size_bytes]) for it in head.curves]
    whole = [curve for curve in curves if curve is not None]
    return Pyramid(curves=whole) if len(whole) == len(curves) else None


def encode_pyramid(facts_mtime_ns: int, files: Stamps, curves: Sequence[Curve]) -> bytes:
    """The bytes of the file."""
    places: list[_Place] = []
    bodies: list[bytes] = []
    offset = 0
    for curve in curves:
        place, body = _encode_curve(curve, offset)
        places.append(place)
        bodies.append(_padded(body))
        offset += len(bodies[-1])
    head = msgspec.msgpack.encode(_Head(facts_mtime_ns, files, places))
    return b"".join([_padded(_START.pack(_MAGIC, len(head), zlib.crc32(head)) + head), *bodies])


def stamps_of(directory: RunDir) -> tuple[int, Stamps]:
    """Time of the directory of facts, size and time of each file of metrics."""
    files = {path.name: path.stat() for path in (*directory.stream_files(), *directory.overflow_files())}
    stamps = {name: (found.st_size, found.st_mtime_ns) for name, found in files.items()}
    return directory.facts.stat().st_mtime_ns, stamps


def _head(data: bytes) -> tuple[_Head, int] | None:
    """The head of a file and where its curves begin; None when it is not whole, or of another release."""
    end = _head_end(data)
    if not _START.size <= end <= len(data):
        return None
    head = memoryview(data)[_START.size : end]
    if zlib.crc32(head) != _START.unpack_from(data)[2]:
        return None
    try:
        return _HEADS.decode(head), _aligned(end)
    except msgspec.MsgspecError:
        return None


def _head_end(data: bytes) -> int:
    """Where the head of a file that begins so ends; 0 when it is none of this release."""
    magic, size, _ = _START.unpack_from(data) if len(data) >= _START.size else (b"", 0, 0)
    return _START.size + int(size) if magic == _MAGIC else 0


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


def _encode_curve(curve: Curve, offset: int) -> tuple[_Place, bytes]:
    place_bytes = _NUM_BYTES[np.min_scalar_type(curve.num_points).itemsize]
    steps = _progression(curve)
    parts = [curve.y.astype("<f8")]
    if steps is None:
        parts.append(curve.x.astype("<f8"))
    parts += [curve.nonfinite.astype("<u4"), curve.places.astype(f"<u{place_bytes}")]
    place = _Place(
        curve.name,
        curve.split,
        curve.rank,
        curve.num_points,
        curve.num_buckets,
        len(curve.x),
        len(curve.nonfinite),
        place_bytes,
        steps,
        offset,
    )
    return place, b"".join(part.tobytes() for part in parts)


def _progression(curve: Curve) -> tuple[float, float] | None:
    """Start and stride when they give each step exactly."""
    if len(curve.x) < 2:  # noqa: PLR2004 - what a line takes
        return None
    with np.errstate(all="ignore"):  # steps that are no numbers make no progression
        stride = float((curve.x[-1] - curve.x[0]) / (curve.places[-1] - curve.places[0]))
        start = float(curve.x[0] - stride * curve.places[0])
        is_exact = np.array_equal(start + stride * curve.places, curve.x)
    return (start, stride) if is_exact else None


def _decode_curve(place: _Place, data: bytes | memoryview) -> Curve | None:
    """The curve at a place; None when its bytes are not whole."""
    if len(data) < place.size_bytes:
        return None
    m = place.num_shown
    places_at = place.size_bytes - place.place_bytes * m
    places = np.frombuffer(data, f"<u{place.place_bytes}", m, places_at).astype(np.float64)
    y = np.frombuffer(data, "<f8", m)
    nonfinite = np.frombuffer(data, "<u4", 4 * place.num_nonfinite, places_at - 16 * place.num_nonfinite)
    if place.steps is None:
        x = np.frombuffer(data, "<f8", m, 8 * m)
    elif place.steps == (0.0, 1.0):
        x = places
    else:
        x = place.steps[0] + place.steps[1] * places
    return Curve(
        name=place.name,
        split=place.split,
        rank=place.rank,
        num_points=place.num_points,
        num_buckets=place.num_buckets,
        places=places,
        x=x,
        y=y,
        nonfinite=nonfinite.reshape(-1, 4),
    )


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")
