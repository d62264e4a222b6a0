from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.facts.strategies import floats, metric_names

from barograph.facts.packing import make_packer

T = 1_800_000_000.25


@given(
    st.lists(metric_names, min_size=1, max_size=20, unique=True),
    st.data(),
    st.integers(0, 2**53 - 1),
)
def test_a_packed_row_is_step_values_and_time(columns, data, step):
    """The same bytes as one plain call of ``struct``, for any number of columns, in the order of the columns."""
    values = data.draw(st.lists(floats, min_size=len(columns), max_size=len(columns)))
    record = dict(reversed(list(zip(columns, values, strict=True))))
    expected = struct.pack(f"<{len(columns) + 2}d", step, *values, T)
    assert expected == make_packer(columns, lambda: T)(record, step)


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (0, True),
        (2**53 - 1, True),
        (2**53, False),
        (-1, False),
        (True, False),
        ("1", False),
        (None, False),
    ],
    ids=repr,
)
def test_what_is_no_plain_number_is_left_to_the_long_way(value, packed):
    """Alone, among floats and among integers, only floats and integers from 0 to 2^53 are packed."""
    for record in ({"x": value}, {"x": value, "y": 1.0}, {"x": value, "y": 1}):
        row = make_packer(list(record), lambda: T)(record, 3)
        expected = struct.pack(f"<{len(record) + 2}d", 3, *record.values(), T) if packed else None
        assert expected == row


def test_a_missing_column_is_a_key_error():
    """The caller takes it for another set of keys."""
    with pytest.raises(KeyError, match="lr"):
        make_packer(["loss", "lr"], lambda: T)({"loss": 1.0, "other": 2.0}, 0)


@pytest.mark.parametrize("name", ["__import__('os')", "v0", "get", "step", "'", "a b", "\u00fc"])
def test_names_are_data_never_code(name):
    """A metric may be called anything; the generated source does not contain its name."""
    row = make_packer([name, "b"], lambda: T)({"b": 2.0, name: 1.0}, 0)
    assert struct.pack("<4d", 0, 1.0, 2.0, T) == row
