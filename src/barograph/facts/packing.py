"""Turns a record of metrics into the bytes of a row: one function per stream, generated for its columns.

Generated, because a loop over the values costs 0.2 us of a call that takes 2 (docs/decisions.md); the standard
library makes ``namedtuple`` in the same way. The source depends on the number of columns alone, never on a name.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import CodeType
from typing import Any, Final

EXACT_BITS: Final = 53
"""An int shifted right by this is 0 when it is not negative and a float64 holds it exactly."""

EXACT_TYPES: Final[set[type]] = {float}
"""Types whose every value a float64 holds; numpy's floating scalars join when the first of them was checked."""

PackRow = Callable[[Mapping[str, Any], int], bytes | None]

_TEMPLATE: Final = """
def pack_row(record, step):
    {values} = get(record)
    if {all_floats}:
        return pack(step, {values} clock())
    return pack_mixed(({values}), step)
"""


def make_packer(columns: Sequence[str], clock: Callable[[], float]) -> PackRow:
    """A function that packs ``record`` and ``step`` as one row.

    Args:
        columns: names of the metrics, in the order of the row.
        clock: unix seconds; read when a row is packed.

    Returns:
        The function. It returns None when a value is neither a float nor an int that a float64 holds exactly, and
        raises ``KeyError`` when the record lacks a column.
    """
    pack = struct.Struct(f"<{len(columns) + 2}d").pack
    first = operator.itemgetter(columns[0])
    namespace: dict[str, Any] = {
        "get": operator.itemgetter(*columns) if len(columns) > 1 else lambda record: (first(record),),
        "pack": pack,
        "clock": clock,
        "pack_mixed": lambda values, step: pack(step, *values, clock()) if all(map(_is_exact, values)) else None,
    }
    exec(_compiled(len(columns)), namespace)  # noqa: S102 - the template above, filled with a number of columns
    pack_row: PackRow = namespace["pack_row"]
    return pack_row


@cache
def _compiled(num_columns: int) -> CodeType:
    names = [f"v{index}" for index in range(num_columns)]
    source = _TEMPLATE.format(
        values=", ".join(names) + ",",
        all_floats=" is ".join(f"type({name})" for name in names) + " is float",
    )
    return compile(source, "<row packer>", "exec")


def _is_exact(value: object) -> bool:
    """Whether packing keeps the value; a bool takes the way that checks, a tensor may be on a device."""
    kind = type(value)
    return kind in EXACT_TYPES or isinstance(value, float) or (kind is int and not value >> EXACT_BITS)  # type: ignore[operator]
