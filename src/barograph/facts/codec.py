"""Strict JSON lines that lose nothing: the codec of every text file of a run.

A non-finite float is written as ``null`` where it stands and named, with its sign, in the record's ``nonfinite``
map, which mirrors the record's shape: ``{"loss": null, "nonfinite": {"loss": "nan"}}``. A naive reader sees a
missing value, ours sees the truth. This module knows bytes and plain data; it opens no file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from barograph.errors import FormatError

NONFINITE: Final = "nonfinite"
_MARKS: Final = {
    "nan": math.nan,
    "-nan": math.copysign(math.nan, -1.0),
    "inf": math.inf,
    "-inf": -math.inf,
}


class _NotPlainError(Exception):
    """The record holds something that is not JSON yet."""


def _refuse(value: object) -> object:
    raise _NotPlainError(type(value).__name__)


_MAX_DIGITS: Final = 18

_encoder = msgspec.json.Encoder(enc_hook=_refuse)
_decoder = msgspec.json.Decoder()


def encode(record: Mapping[str, Any]) -> bytes:
    r"""Write a record as one line of strict JSON, without the newline.

    Strings may hold lone surrogates (``os.fsdecode`` makes them); they are written as ``\udcXX`` escapes.

    Args:
        record: JSON data; numpy and torch values are converted by ``.item()`` / ``.tolist()``.

    Raises:
        TypeError: a value has no JSON form (the message names its place), or the record holds itself.
        ValueError: the record has a key named ``nonfinite``.

    >>> encode({"loss": float("nan"), "lr": 0.1})
    b'{"loss":null,"lr":0.1,"nonfinite":{"loss":"nan"}}'
    """
    if NONFINITE in record:
        raise ValueError(f"the key {NONFINITE!r} is reserved for non-finite numbers; rename it")
    try:
        line = _dump(record)
    except (_NotPlainError, RecursionError):
        record = plain(record)
        line = _dump(record)
    if b"null" in line:
        marks = _find_marks(
            msgspec.to_builtins(record, str_keys=True)
        )  # sets, structs and dataclasses as the encoder sees them
        if marks:
            line = _dump({**record, NONFINITE: marks})
    return line


def decode(line: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Read one line, non-finite numbers restored with their sign.

    Lines by other writers may hold bare ``NaN`` or ``Infinity``; they are read too.

    Raises:
        FormatError: the line is not a JSON object.

    >>> decode(b'{"loss":null,"nonfinite":{"loss":"-inf"}}')
    {'loss': -inf}
    """
    try:
        record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = _decode_foreign(bytes(line))
    if not isinstance(record, dict):
        raise FormatError(f"expected a JSON object, found {type(record).__name__}: {bytes(line)[:80]!r}")
    if isinstance(record.get(NONFINITE), dict):
        _restore(record, record.pop(NONFINITE))
    return record


def plain(value: Any, path: str = "") -> Any:
    """Convert nested data to what JSON can hold; floats stay what they are.

    Raises:
        TypeError: naming the place and the type of what cannot be converted.
    """
    try:
        return _plain(value, path)
    except RecursionError:
        raise TypeError(f"{path or 'the record'} is nested too deeply, or holds itself; pass flat data") from None


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return _plain(sorted(value, key=repr), path)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return _plain_leaf(value, path)


def _plain_leaf(value: Any, path: str) -> Any:
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value), path)
    if hasattr(value, "__fspath__"):
        return str(value)
    for method in ("tolist", "item", "isoformat"):  # numpy, torch; scalars of other libraries; dates
        convert = None if isinstance(value, type) else getattr(value, method, None)
        converted = value if convert is None else convert()
        if type(converted) is not type(value):
            return _plain(converted, path)
    for kind in (str, int, float):  # subclasses, as StrEnum and IntEnum
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(
        f"{path or 'the record'} is a {type(value).__module__}.{type(value).__qualname__}, which has no JSON "
        f"form; pass a number, a string, a list or a mapping"
    )


def _dump(record: Mapping[str, Any]) -> bytes:
    try:
        return _encoder.encode(record)
    except UnicodeEncodeError:
        flat = _without_nonfinite(plain(record))
        return json.dumps(flat, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _decode_foreign(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not a JSON line ({error}): {line[:80]!r}") from None


def _mark(value: float) -> str | None:
    if math.isfinite(value):
        return None
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    return sign + ("nan" if math.isnan(value) else "inf")


def _find_marks(value: Any) -> dict[str, Any]:
    """Mirror the shape of ``value``, keeping only its non-finite numbers, as names."""
    marks: dict[str, Any] = {}
    if not isinstance(value, (dict, list, tuple)):
        return marks
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found = _mark(item) if isinstance(item, float) else _find_marks(item)
        if found:
            marks[str(key)] = found
    return marks


def _without_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nonfinite(item) for item in value]
    return None if isinstance(value, float) and _mark(value) else value


def _restore(value: Any, marks: dict[str, Any]) -> None:
    """Put the named numbers back where ``null`` stands; marks that fit nowhere are left out."""
    for key, mark in marks.items():
        place: Any = key
        if isinstance(value, list):
            if not key.isdecimal() or len(key) > _MAX_DIGITS or int(key) >= len(value):
                continue
            place = int(key)
        elif not isinstance(value, dict) or key not in value:
            continue
        if isinstance(mark, dict):
            _restore(value[place], mark)
        elif value[place] is None and isinstance(mark, str) and mark in _MARKS:
            value[place] = _MARKS[mark]
