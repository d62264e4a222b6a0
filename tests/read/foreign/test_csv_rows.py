"""Tables that another program appends to, cut anywhere."""

from __future__ import annotations

import csv
import io
import math

import hypothesis
from hypothesis import strategies

from barograph.read.foreign.csv_rows import csv_columns, csv_rows, number_of

NOTES = ["", "a", "b,c", 'say "x"', "two\nlines"]
ROWS = strategies.lists(
    strategies.tuples(strategies.floats().map(repr), strategies.sampled_from(NOTES)), min_size=1, max_size=8
)


def table(rows):
    """The bytes that Python's writer makes of them."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("value", "note"), *rows])
    return text.getvalue().encode()


@hypothesis.given(rows=ROWS, data=strategies.data())
@hypothesis.settings(max_examples=80)
def test_a_table_cut_at_any_byte_gives_a_prefix_of_its_rows(tmp_path_factory, rows, data):
    """Every row but the torn one, cells to the character; rows, first line and damage cover every byte."""
    path = tmp_path_factory.mktemp("cut") / "table.csv"
    whole = table(rows)
    end = data.draw(strategies.integers(0, len(whole)))
    path.write_bytes(whole[:end])
    damage = []
    found = list(csv_rows(path, damage))
    full = [place for place in range(len(rows) + 1) if len(table(rows[:place])) <= end]
    num_whole = max(full, default=0)
    assert [tuple(row.cells.values()) for row in found] == rows[:num_whole]
    head = len(table([])) if end >= len(table([])) else 0
    told = head + sum(row.size_bytes for row in found) + sum(place.size_bytes for place in damage)
    assert told == end


def test_numbers_are_read_to_the_bit():
    """Integers stay integers of any size; what Python writes for a float reads back; words are none."""
    assert number_of(str(2**63 + 1)) == 2**63 + 1
    floats = [0.1 + 0.2, -0.0, 5e-324, math.inf]
    assert [repr(number_of(repr(value))) for value in floats] == [repr(value) for value in floats]
    assert math.isnan(number_of("nan"))
    assert [number_of(cell) for cell in ("", "x", "1,5", "tensor(1)")] == [None] * 4


def test_columns_are_those_of_a_whole_first_line(tmp_path):
    """A torn first line, or none, has no columns; asking never raises."""
    path = tmp_path / "table.csv"
    path.write_bytes(b'a,"b,c",d\r\n1,2,3\r\n')
    assert csv_columns(path) == ["a", "b,c", "d"]
    path.write_bytes(b"a,b")
    assert csv_columns(path) == []
    assert csv_columns(tmp_path / "missing.csv") == []


def test_a_cell_beyond_the_readers_limit_is_damage(tmp_path):
    """The rows after it are read."""
    path = tmp_path / "table.csv"
    path.write_bytes(b"a\n" + b"x" * 200_000 + b"\n1\n")
    damage = []
    assert [row.cells for row in csv_rows(path, damage)] == [{"a": "1"}]
    assert [(place.offset, place.size_bytes) for place in damage] == [(2, 200_001)]
