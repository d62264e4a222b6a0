"""How large data will be as JSON, estimated from a sample, before anybody pays for encoding it.

The estimate looks at a few thousand values of a section, however large it is. It is no bound: data whose few
large items the sample misses are larger than estimated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from barograph.facts.codec import plain
from barograph.record.snapshot import is_array, num_elements
from barograph.record.values import is_on_device

SAMPLE: Final = 128
_ALL_KEYS: Final = 64
_ARRAY_SAMPLE: Final = 64
_GOLDEN: Final = 0.6180339887498949
_MARK_BYTES: Final = 14  # ``null`` and the number's entry in the map of non-finite numbers
_UNSEEN_BYTES: Final = 20  # a float32 in decimal; a value on a device is not read for an estimate


def estimate_bytes(value: Any, *, sample: int = SAMPLE) -> int:
    """Estimate the size of a value as JSON, in bytes; what has no JSON form counts nothing.

    Args:
        value: nested plain data and arrays.
        sample: how many items of a long list are looked at; fewer in the lists inside it.

    >>> estimate_bytes({"loss": 0.25, "ids": [1, 2, 3]})
    27
    """
    if isinstance(value, str):
        return _text_bytes(value)
    if is_array(value):
        return _array_bytes(value)
    if isinstance(value, Mapping):
        keys = _spread(list(value), max(sample, _ALL_KEYS))
        inner = sample if len(value) <= _ALL_KEYS else _fewer(sample)  # few keys: a form, each with its own size
        seen = sum(_text_bytes(str(key)) + 2 + estimate_bytes(value[key], sample=inner) for key in keys)
        return _scaled(seen, len(value), len(keys)) + 1 + (not value)
    if isinstance(value, (list, tuple)):
        items = _spread(value, sample)
        seen = sum(1 + estimate_bytes(item, sample=_fewer(sample)) for item in items)
        return _scaled(seen, len(value), len(items)) + 1 + (not value)
    return _scalar_bytes(value, sample)


def format_bytes(size: float) -> str:
    """A size for people, in decimal units.

    >>> format_bytes(512), format_bytes(12_345), format_bytes(10_000_000)
    ('512 B', '12.3 kB', '10 MB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - decimal units
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.4g} GB"


def _scalar_bytes(value: Any, sample: int) -> int:
    if value is None or isinstance(value, bool):
        return len("false") if value is False else len("true")
    if isinstance(value, (int, float)):
        return _MARK_BYTES if isinstance(value, float) and not math.isfinite(value) else len(repr(value))
    try:
        return estimate_bytes(plain(value), sample=sample)
    except TypeError:
        return 0


def _fewer(sample: int) -> int:
    return max(sample // 8, 1)


def _text_bytes(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return size + 2 + sum(map(text.count, '"\\\n\r\t'))


def _array_bytes(array: Any) -> int:
    count = num_elements(array)
    lists, brackets = 1, 0
    for length in array.shape:
        brackets += 3 * lists
        lists *= int(length)
    if count == 0 or is_on_device(array):
        return count * _UNSEEN_BYTES + brackets
    flat = array.reshape(-1)
    places = _spread(range(count), _ARRAY_SAMPLE)
    seen = sum(1 + estimate_bytes(flat[place].tolist()) for place in places)
    return _scaled(seen, count, len(places)) + brackets


def _spread(items: Sequence[Any], sample: int) -> Sequence[Any]:
    """All items, or ``sample`` of them, spread evenly but out of step with any period in the data."""
    count = len(items)
    if count <= sample:
        return items
    return [items[int(number * _GOLDEN % 1.0 * count)] for number in range(sample)]


def _scaled(seen: int, count: int, num_seen: int) -> int:
    return seen * count // num_seen if num_seen else seen
