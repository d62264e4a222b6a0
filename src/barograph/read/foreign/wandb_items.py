"""The names and values in W&B's records: of a history, a summary, a configuration, statistics.

A run has one message for each value, so this is where the time goes that reading takes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from barograph.read.foreign.wire import FIXED64, LENGTH, fields, text, zigzag

_VALUE_JSON: Final = b"\x82\x01"
"""How field 16 of an item begins."""
_PLAIN: Final = (0x0A, 0x12)
"""How fields 1 and 2 begin: of a record, which hold an item each; of an item, its key and its nested key."""
_decode = msgspec.json.Decoder().decode


def items(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a record that hold bytes: number and content.

    Raises:
        FormatError: the bytes are no message.
    """
    position, last = 0, len(message) - 2
    while position <= last:
        key, size = message[position], message[position + 1]
        end = position + 2 + size
        if key not in _PLAIN or size & 0x80 or end > last + 2:
            break
        yield key >> 3, message[position + 2 : end]
        position = end
    if position < len(message):
        yield from ((number, value) for number, kind, value in fields(message[position:]) if kind == LENGTH)


def item(message: bytes) -> tuple[list[str], Any]:
    """The name, as a path, and the value of an item.

    Raises:
        FormatError: the bytes are no message.
        ValueError: the value is no JSON.
    """
    size = len(message)
    if size > 4 and message[0] in _PLAIN:  # noqa: PLR2004 - the commonest: a name and a value in JSON, both short
        end = 2 + message[1]
        if message[end : end + 2] == _VALUE_JSON and end + 2 < size and message[end + 2] == size - end - 3:
            return [text(message[2:end])], from_json(message[end + 3 :])
    return _item(message)


def _item(message: bytes) -> tuple[list[str], Any]:
    """Any item, field by field."""
    key, nested = "", []
    value: Any = None
    for number, kind, found in fields(message):
        match number:
            case 1:
                key = text(found)
            case 2:
                nested.append(text(found))
            case 4:
                value = bool(found)
            case 5:
                value = zigzag(found)
            case 6 if kind == FIXED64:
                (value,) = struct.unpack("<d", found)
            case 7:
                value = text(found)
            case 8 | 16:
                value = from_json(found)
            case _:
                pass  # 3 says that there is none
    return nested or [key], value


def from_json(value: bytes) -> Any:
    """A value in JSON, in which NaN and Infinity may stand bare; ``-0`` is the float that wandb was given."""
    if value == b"-0":
        return -0.0
    try:
        return _decode(value)
    except msgspec.DecodeError:
        return json.loads(value)


def put(record: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value in nested mappings, which are made where there are none."""
    for name in path[:-1]:
        inner = record.get(name)
        if not isinstance(inner, dict):
            inner = record[name] = {}
        record = inner
    record[path[-1]] = value


def drop(record: dict[str, Any], path: list[str]) -> None:
    """Take a value out of nested mappings, if it is there."""
    for name in path[:-1]:
        inner = record.get(name)
        if not isinstance(inner, dict):
            return
        record = inner
    record.pop(path[-1], None)
