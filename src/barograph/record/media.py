"""Turns images, sounds, many numbers and tables into bytes and plain data that a run can keep.

Pure functions, standard library only: arrays of numpy and torch are used through their own methods, figures of
matplotlib and images of Pillow through theirs, and none of them is imported. Values are never clipped or rescaled.
"""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from barograph.errors import MisuseError
from barograph.facts.codec import plain
from barograph.record.dense import dense, num_below, ordered, to_levels

MAX_BINS: Final = 65_536
MAX_CHANNELS: Final = 32
_COLOUR_TYPES: Final = {1: 0, 3: 2, 4: 6}  # channels: the PNG's colour type
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
)
_SVG_HEAD_BYTES: Final = 1024


def image_bytes(image: Any) -> tuple[bytes, str]:
    """An image as the bytes of a file, and its media type.

    Args:
        image: the path or the bytes of an image file, which stay what they are; a matplotlib figure or a Pillow
            image; or an array as ``png_bytes`` takes it.

    Raises:
        MisuseError: it is none of these.
        OSError: the file cannot be read.
    """
    if isinstance(image, (str, Path)):
        data = Path(image).read_bytes()
        return data, _media_type(data, str(image))
    if isinstance(image, (bytes, bytearray)):
        return bytes(image), _media_type(bytes(image), f"{len(image)} bytes")
    for method in ("savefig", "save"):  # matplotlib, Pillow
        save = getattr(image, method, None)
        if callable(save):
            file = io.BytesIO()
            save(file, format="png")
            return file.getvalue(), "image/png"
    return png_bytes(image), "image/png"


def png_bytes(pixels: Any) -> bytes:
    """Encode pixels as PNG.

    Args:
        pixels: height x width, or height x width x channels with 1 (grey), 3 (RGB) or 4 (RGBA) channels: nested
            lists, or an array of numpy or torch. Integers are 0 to 255, floats 0 to 1, booleans black and white.

    Raises:
        MisuseError: another shape, or a pixel that is out of range or not finite; the message names its place.
    """
    image = dense(pixels, what="image")
    channels = image.shape[2] if len(image.shape) == 3 else 1  # noqa: PLR2004 - height, width, channels
    if len(image.shape) not in (2, 3) or channels not in _COLOUR_TYPES or 0 in image.shape:
        raise MisuseError(f"an image of shape {image.shape} cannot be encoded; {_shape_advice(image.shape)}")
    height, width = image.shape[:2]
    scale = {"f": 255.0, "b": 255.0, "i": 1.0}[image.kind]
    samples = bytes(to_levels(image, what="pixel", low=0, high=255, scale=scale))
    row_bytes = width * channels
    rows = b"".join(b"\0" + samples[at : at + row_bytes] for at in range(0, len(samples), row_bytes))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _MAGIC[0][0] + b"".join(_chunk(kind, data) for kind, data in chunks)


def wav_bytes(samples: Any, rate_hz: int) -> bytes:
    """Encode sound as 16-bit WAV.

    Args:
        samples: one channel, or samples x channels: nested lists, or an array of numpy or torch. Floats are within
            -1 to 1, integers are 16-bit levels.
        rate_hz: samples per second.

    Raises:
        MisuseError: another shape, a rate that is no positive integer, or a sample that is out of range or not
            finite; the message names its place.
    """
    if type(rate_hz) is not int or rate_hz < 1:
        raise MisuseError(f"rate_hz must be a positive integer, not {rate_hz!r}; pass samples per second, e.g. 16000")
    sound = dense(samples, what="sound")
    channels = sound.shape[1] if len(sound.shape) == 2 else 1  # noqa: PLR2004 - samples, channels
    if len(sound.shape) not in (1, 2) or 0 in sound.shape or channels > MAX_CHANNELS:
        raise MisuseError(
            f"a sound of shape {sound.shape} cannot be encoded; pass samples, or samples x channels (up to "
            f"{MAX_CHANNELS}), channels last"
        )
    scale = 32767.0 if sound.kind == "f" else 1.0
    low = -32767 if sound.kind == "f" else -32768
    levels = to_levels(sound, what="sample", low=low, high=32767, scale=scale)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(struct.pack(f"<{len(levels)}h", *levels))
    return file.getvalue()


def histogram(values: Any, *, bins: int | Sequence[float] = 64) -> dict[str, Any]:
    """Count values in bins; the same values give the same counts, whatever holds them.

    A bin holds what is at or above its left edge and below its right one; the last bin also holds its right edge.

    Args:
        values: numbers in any nesting, or an array.
        bins: how many bins of equal width from the least to the greatest finite value, or their edges.

    Returns:
        ``edges``, ``counts`` (one less), ``n`` values in all, of which ``nan``, ``inf``, ``ninf`` and, with given
        edges, ``below`` and ``above`` are in no bin; ``min`` and ``max`` of the finite values, None without any.

    Raises:
        MisuseError: the values are no numbers, or the bins cannot be.

    >>> histogram([0.0, 0.5, 1.0, float("nan")], bins=2)["counts"]
    [1, 2]
    """
    bins = bins.tolist() if hasattr(bins, "tolist") else bins
    finite, outside = ordered(dense(values, what="histogram"))
    low, high = (float(end) + 0.0 for end in (finite[0], finite[-1])) if len(finite) else (None, None)  # no -0.0
    is_list = isinstance(bins, Sequence) and not isinstance(bins, str)
    edges = _given_edges(bins) if is_list else _even_edges(low, high, bins)
    below = num_below(finite, edges)
    below[-1:] = num_below(finite, edges[-1:], inclusive=True)
    return {
        "edges": edges,
        "counts": [after - before for before, after in pairwise(below)],
        "n": len(finite) + sum(outside.values()),
        **outside,
        "below": below[0],
        "above": len(finite) - below[-1],
        "min": low,
        "max": high,
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """A table as plain data, every cell checked before any is kept.

    Args:
        columns: names, all different.
        rows: one sequence of cells each: texts, numbers, booleans, None, or what converts to plain data.

    Raises:
        MisuseError: a name that appears twice or is no text, a row of another length, or a cell without a JSON
            form; the message names its place.

    >>> table(["text", "score"], [("good", 0.9)])
    {'columns': ['text', 'score'], 'rows': [['good', 0.9]]}
    """
    names: list[Any] = list(columns)
    for index, name in enumerate(names):
        if not isinstance(name, str) or name in names[:index]:
            raise MisuseError(f"column {index} of the table is named {name!r}; give every column a text of its own")
    kept = []
    row: Any
    for index, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(names):
            raise MisuseError(f"row {index} of the table is {row!r:.80}; give it {len(names)} cells, one per column")
        try:
            kept.append([plain(cell, f"row {index}, column {name!r}") for name, cell in zip(names, row, strict=True)])
        except TypeError as error:
            raise MisuseError(f"{error}") from None
    return {"columns": names, "rows": kept}


def _even_edges(low: float | None, high: float | None, bins: Any) -> list[float]:
    if type(bins) is not int or not 1 <= bins <= MAX_BINS:
        raise MisuseError(f"bins={bins!r} cannot be; pass how many (1 to {MAX_BINS}) or a list of edges")
    if low is None or high is None:
        low, high = 0.0, 1.0
    elif low == high:
        half = max(0.5, math.ulp(low))
        low, high = low - half, high + half
    inner = (max(low, min(high, low * (1 - place / bins) + high * (place / bins))) for place in range(1, bins))
    return [low, *inner, high]


def _given_edges(bins: Any) -> list[float]:
    try:
        edges = [float(edge) for edge in bins]
    except (TypeError, ValueError) as error:
        raise MisuseError(f"the edges {bins!r:.80} are no numbers ({error}); pass at least two numbers") from None
    if len(edges) < 2 or not all(left < right for left, right in pairwise(edges)):  # noqa: PLR2004 - one bin
        raise MisuseError(f"the edges {edges!r:.80} are no bins; pass at least two, each greater than the one before")
    if edges[0] == -math.inf or edges[-1] == math.inf:
        raise MisuseError(f"the edges {edges!r:.80} are not finite; infinities are counted apart, leave them out")
    return edges


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _shape_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in _COLOUR_TYPES:  # noqa: PLR2004 - channels, height, width
        return "its channels come first: move them to the end, e.g. with .permute(1, 2, 0)"
    return "pass height x width, or height x width x 1, 3 or 4 channels"


def _media_type(data: bytes, where: str) -> str:
    for magic, at, media_type in _MAGIC:
        if data.startswith(magic, at):
            return media_type
    head = data[:_SVG_HEAD_BYTES].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head:
        return "image/svg+xml"
    raise MisuseError(
        f"{where}: no image file by its first bytes {data[:8]!r}; pass PNG, JPEG, GIF, WebP, BMP, TIFF or SVG"
    )
