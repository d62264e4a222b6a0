from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import shutil
import subprocess
import types
import typing

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.facts.strategies import (
    FLOATS,
    INTS,
    NEGATIVE_NAN,
    exact,
    floats,
    ints,
    json_values,
    records,
    texts,
)

from barograph.errors import FormatError
from barograph.facts.codec import decode, encode, plain
from barograph.facts.kinds import MOMENTS, Event, as_payload, parse


def strict_loads(line: bytes):
    """Read JSON and refuse the constants that JSON does not have."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def as_naive_reader(value):
    """What a reader without our codec sees: numbers that are not finite are missing."""
    if isinstance(value, dict):
        return {key: as_naive_reader(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_naive_reader(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(records)
def test_any_record_comes_back_exactly(record):
    """What is decoded is what was encoded: types, signs of NaN and zero, integers of any size, lone surrogates."""
    assert exact(record) == exact(decode(encode(record)))


@given(records)
def test_a_line_is_strict_json_on_one_line(record):
    """The standard library reads the same values, non-finite ones as null, and the line holds no line break."""
    line = encode(record)
    seen = strict_loads(line)
    seen.pop("nonfinite", None)
    assert exact(as_naive_reader(record)) == exact(seen)
    assert b"\n" not in line
    assert b"\r" not in line


@pytest.mark.spec("S4.38")
@settings(max_examples=10)
@given(st.lists(records, min_size=20, max_size=40))
def test_jq_accepts_every_line(many):
    """Jq reads every line as one object; a lone high surrogate (no file name has one) is beyond jq 1.6."""
    many = [record for record in many if not re.search(rb"\\ud[89ab]", encode(record))]
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    lines = b"\n".join(map(encode, many))
    found = subprocess.run(["jq", "-c", "type"], input=lines, capture_output=True, check=True)
    assert ['"object"'] * len(many) == found.stdout.decode().split()


@pytest.mark.parametrize("number", [*FLOATS, *INTS])
def test_a_hostile_number_survives_at_every_depth(number):
    """On top, in a list and in a mapping, a number keeps its type, its sign and every bit."""
    record = {"a": number, "b": [number, [number]], "c": {"a.b/c": {"": number}}}
    assert exact(record) == exact(decode(encode(record)))


def test_nonfinite_numbers_are_null_and_named_with_their_sign():
    """The documented form of a line, byte by byte."""
    record = {"loss": math.nan, "metrics": {"perplex": -math.inf, "ok": 1.5}, "grads": [0.0, NEGATIVE_NAN, math.inf]}
    expected = (
        b'{"loss":null,"metrics":{"perplex":null,"ok":1.5},"grads":[0.0,null,null],'
        b'"nonfinite":{"loss":"nan","metrics":{"perplex":"-inf"},"grads":{"1":"-nan","2":"inf"}}}'
    )
    assert expected == encode(record)


def test_a_real_null_stays_none():
    """None is no number that went missing: it is not named, and comes back as None."""
    assert encode({"a": None, "b": "null"}) == b'{"a":null,"b":"null"}'
    assert decode(encode({"a": None, "b": "null"})) == {"a": None, "b": "null"}


def test_the_reserved_key_is_refused_on_top_and_free_below():
    """A record that brings its own ``nonfinite`` is refused; further down the word means nothing."""
    with pytest.raises(ValueError, match=r"'nonfinite' is reserved .* rename it"):
        encode({"nonfinite": {}})
    assert decode(encode({"a": {"nonfinite": 1}})) == {"a": {"nonfinite": 1}}


class Colour(enum.StrEnum):
    """A text that is an enumeration."""

    RED = "red"


class Point(msgspec.Struct, rename="camel"):
    """A struct whose names on disk differ."""

    my_x: float


@dataclasses.dataclass
class Sample:
    """A dataclass."""

    loss: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64("nan"), math.nan),
        (np.float32(0.1), 0.10000000149011612),
        (np.int64(2**62), 2**62),
        (np.bool_(True), True),
        (np.array([[1.0, -np.inf], [np.nan, 2.0]]), [[1.0, -math.inf], [math.nan, 2.0]]),
        ({1.5, math.inf}, [1.5, math.inf]),
        (frozenset(), []),
        ((1, (math.nan,)), [1, [math.nan]]),
        (types.MappingProxyType({"a": -math.inf}), {"a": -math.inf}),
        ({1: math.nan, 2.5: -math.inf}, {"1": math.nan, "2.5": -math.inf}),
        ({Colour.RED: math.nan}, {"red": math.nan}),
        (Colour.RED, "red"),
        (Point(my_x=-math.inf), {"myX": -math.inf}),
        (Sample(loss=math.nan), {"loss": math.nan}),
    ],
    ids=repr,
)
def test_values_of_other_libraries_become_plain_data(value, expected):
    """Numpy, sets, tuples, structs and dataclasses are written as JSON data, no number in them lost."""
    found = decode(encode({"value": value}))["value"]
    if isinstance(value, (set, frozenset)):
        found = sorted(found)
    assert exact(expected) == exact(found)


def test_torch_values_become_plain_data():
    """Tensors are written as their numbers."""
    torch = pytest.importorskip("torch")
    record = {"scalar": torch.tensor(float("nan")), "vector": torch.tensor([1.0, float("-inf")]), "n": torch.tensor(3)}
    expected = {"scalar": math.nan, "vector": [1.0, -math.inf], "n": 3}
    assert exact(expected) == exact(decode(encode(record)))


@pytest.mark.parametrize("value", [1j, object(), np.complex128(1j), print], ids=lambda value: type(value).__name__)
def test_what_has_no_json_form_is_refused_with_its_place(value):
    """The error says where in the record the value stands and what it is."""
    with pytest.raises(TypeError, match=r"a\.b\[1\] is a .*has no JSON form; pass a number"):
        encode({"a": {"b": [0, value]}})


def test_a_record_that_holds_itself_is_refused():
    """No endless recursion: a TypeError that says what is wrong."""
    record: dict = {"a": 1}
    record["self"] = record
    for convert in (encode, plain):
        with pytest.raises(TypeError, match="nested too deeply, or holds itself"):
            convert(record)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[1]",
        b'{"a":1',
        b"\0\0\0\n",
        b'{"a":"\xff"}',
        b"12",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "newline", "list", "torn", "nul", "no utf-8", "number", "deep", "huge integer"],
)
def test_what_is_no_json_object_is_a_format_error(line):
    """Whatever a file holds, the reader meets one kind of error."""
    with pytest.raises(FormatError):
        decode(line)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_an_object_or_a_format_error(line):
    """Never another error."""
    try:
        record = decode(line)
    except FormatError:
        return
    assert isinstance(record, dict)


@given(records, json_values)
def test_a_foreign_nonfinite_map_harms_nothing(record, marks):
    """Whatever stands in the map, numbers appear at most where null stands; all else is as it was."""
    line = json.dumps({**as_naive_reader(record), "nonfinite": marks}).encode()
    found = decode(line)
    if not isinstance(marks, dict):
        assert repr(json.loads(line)["nonfinite"]) == repr(found.pop("nonfinite"))
    assert exact(as_naive_reader(record)) == exact(as_naive_reader(found))


def test_marks_restore_only_what_is_missing():
    """A number that stands in the line wins over its mark, and a mark of an index that is not there is left out."""
    line = (
        b'{"a":1.0,"b":[null],"d":null,"e":null,'
        b'"nonfinite":{"a":"nan","b":{"0":"inf","7":"nan","x":"nan"},"c":"nan","d":[],"e":"huge"}}'
    )
    assert decode(line) == {"a": 1.0, "b": [math.inf], "d": None, "e": None}


def test_bare_constants_of_other_writers_are_read():
    """``json.dumps`` of Python writes NaN and Infinity; such lines of other tools are read."""
    found = decode(b'{"a":NaN,"b":-Infinity}')
    assert exact({"a": math.nan, "b": -math.inf}) == exact(found)


def without_nan(value):
    """NaN by a name, so that equal values are equal."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return f"nan {math.copysign(1, value)}" if isinstance(value, float) and math.isnan(value) else value


def payloads(kind):
    """Payloads of a kind, with any value that its annotations allow."""
    return st.builds(kind, **{field.name: allowed(field.type) for field in msgspec.structs.fields(kind)})


def allowed(annotation):
    """Values that an annotation allows."""
    inner = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType):
        return st.one_of(*map(allowed, inner))
    if typing.get_origin(annotation) is list:
        return st.lists(allowed(inner[0]), max_size=3)
    if typing.get_origin(annotation) is dict:
        return st.dictionaries(texts, allowed(inner[1]), max_size=3)
    known = {str: texts, float: floats, int: ints, bool: st.booleans(), type(None): st.none(), typing.Any: json_values}
    return known[annotation]


@pytest.mark.spec("S2.13")
@pytest.mark.parametrize("moment", MOMENTS)
@settings(max_examples=40)
@given(st.data())
def test_every_kind_of_event_comes_back_as_it_was(moment, data):
    """A payload of each moment survives struct, line, and struct again."""
    kind = MOMENTS[moment]
    payload = data.draw(payloads(kind))
    line = encode({"schema_version": 1, "seq": 0, "t": 1.0, "moment": moment, **as_payload(payload)})
    record = decode(line)
    fields = {key: value for key, value in record.items() if key not in {"schema_version", "seq", "t", "moment"}}
    found = parse(Event(moment=moment, seq=0, t=1.0, payload=fields), kind)
    assert without_nan(msgspec.structs.asdict(payload)) == without_nan(msgspec.structs.asdict(found))
