"""Copies of what people hand in, so that neither a later change nor a big tensor kept alive can do harm.

Arrays are anything with ``shape`` and ``tolist`` (numpy, torch, jax); no framework is imported. A snapshot holds
plain data and arrays that nobody else writes to; it is encoded later, by whoever needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from barograph.errors import MisuseError
from barograph.facts.codec import plain
from barograph.record.values import is_on_device

PLAIN_TYPES: Final = frozenset({type(None), bool, int, float, str})


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor, of any framework and any number of dimensions."""
    return hasattr(value, "shape") and hasattr(value, "tolist") and not isinstance(value, type)


def num_elements(array: Any) -> int:
    """Number of elements of an array; 1 for one without dimensions."""
    return math.prod(map(int, array.shape))


def snapshot(value: Any, where: str) -> Any:
    """Copy nested data; arrays are copied into main memory, containers become dicts and lists.

    Args:
        value: what to copy.
        where: the value's name, for messages.

    Raises:
        MisuseError: something in it has no JSON form; the message names its place.
        RecursionError: it is nested too deeply or contains itself.
    """
    if type(value) in PLAIN_TYPES:
        return value
    if is_array(value):
        owned = own_array(value)
        _check_plain(owned.reshape(-1)[0] if is_array(owned) and num_elements(owned) else owned, where)
        return owned
    if isinstance(value, Mapping):
        return {str(key): snapshot(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if PLAIN_TYPES.issuperset(map(type, value)):
            return list(value)
        return [snapshot(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _check_plain(value, where)


def _check_plain(value: Any, where: str) -> Any:
    try:
        return plain(value, where)
    except TypeError as error:
        raise MisuseError(str(error)) from None


def own_array(array: Any) -> Any:
    """A copy of an array in main memory, free of its graph of gradients; plain data when it has no dimensions."""
    if hasattr(array, "detach"):  # torch: the graph would keep every activation alive
        array = array.detach().cpu() if is_on_device(array) else array.detach().clone()
    elif hasattr(array, "copy"):
        array = array.copy()
    return array if array.shape else array.tolist()
