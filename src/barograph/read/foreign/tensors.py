"""The numbers in TensorFlow's tensors, and values of ``google.protobuf.Value``, as event files hold them.

Sources: tensor.proto and types.proto of https://github.com/tensorflow/tensorflow, protobuf's struct.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from barograph.facts.rows import EXACT_INT
from barograph.read.foreign.wire import fields, packed, signed, text

_BFLOAT16: Final = 14

_NUMBERS: Final[dict[int, tuple[int, str, str]]] = {
    1: (5, "f", "f"),  # DT_FLOAT
    2: (6, "d", "d"),  # DT_DOUBLE
    3: (7, "", "i"),  # DT_INT32
    4: (7, "", "B"),  # DT_UINT8
    5: (7, "", "h"),  # DT_INT16
    6: (7, "", "b"),  # DT_INT8
    9: (10, "", "q"),  # DT_INT64
    10: (11, "", "?"),  # DT_BOOL
    14: (13, "", "H"),  # DT_BFLOAT16
    17: (7, "", "H"),  # DT_UINT16
    19: (13, "", "e"),  # DT_HALF
    22: (16, "", "I"),  # DT_UINT32
    23: (17, "", "Q"),  # DT_UINT64
}
"""By type of tensor: the field of its values, their code there ("" for varints), their code in tensor_content."""


def tensor_numbers(dtype: int, occurrences: Mapping[int, list[tuple[int, Any]]]) -> list[float] | None:
    """The numbers of a tensor; None when its type holds none."""
    if dtype not in _NUMBERS:
        return None
    number, code, content_code = _NUMBERS[dtype]
    content = b"".join(value for _, value in occurrences.get(4, []))
    if content:
        found = [value for (value,) in struct.iter_unpack(f"<{content_code}", content)]
    else:
        found = packed(occurrences.get(number, []), code)
        if content_code == "e":
            found = [struct.unpack("<e", struct.pack("<H", bits))[0] for bits in found]
        elif content_code in "bhiq":
            found = [signed(value) for value in found]
    if dtype == _BFLOAT16:
        found = [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for bits in found]
    return [int(value) if isinstance(value, bool) else value for value in found]


def value_of(message: bytes) -> Any:
    """A ``google.protobuf.Value``: one field, whose number tells the kind; 1 is null."""
    found: Any = None
    for number, _, value in fields(message):
        match number:
            case 2:
                found = _whole(struct.unpack("<d", value)[0])
            case 3:
                found = text(value)
            case 4:
                found = bool(value)
            case 5:
                entries = ({part: item for part, _, item in fields(entry)} for _, _, entry in fields(value))
                found = {text(entry.get(1, b"")): value_of(entry.get(2, b"")) for entry in entries}
            case 6:
                found = [value_of(item) for _, _, item in fields(value)]
            case _:
                found = None
    return found


def _whole(value: float) -> float:
    """The plugin keeps every number as a double; a whole one was most likely an integer, and is the same number."""
    return int(value) if value.is_integer() and abs(value) <= EXACT_INT else value
