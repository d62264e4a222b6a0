"""Columns are the rows that a plain reader reads, whatever the size of a block."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import iterate_rows, scan_rows
from barograph.facts.rundir import RunDir
from barograph.read.columns import find_streams, iterate_blocks, iterate_overflow, iterate_stream


def log_rows(directory, rows, *, keys=("a", "b", "c"), **where):
    """Record rows and return their stream, None when they went elsewhere."""
    log = MetricsLog(directory, run_id="r1", **where)
    for step, row in enumerate(rows):
        log.append(dict(zip(keys, row, strict=True)), step=step, split="train", t=1000.0 + step)
    log.close()
    return next(iter(find_streams(directory, [])), None)


@given(limit=st.integers(1, 2000), num_rows=st.integers(0, 60))
def test_blocks_of_any_size_hold_each_number_once(tmp_path_factory, limit, num_rows):
    """A block is whole rows; together they are the file."""
    directory = run_in(tmp_path_factory)
    stream = log_rows(directory, [(0.1 * n, math.nan if n % 7 == 0 else n, -0.0) for n in range(max(num_rows, 1))])
    blocks = list(iterate_blocks(stream, [], limit=limit))
    numbers = [number for block in blocks for number in block]
    expected = [number for row in iterate_rows(stream.path) for number in row]
    assert struct.pack(f"<{len(expected)}d", *expected) == struct.pack(f"<{len(numbers)}d", *numbers)


def run_in(factory):
    """A run's directory for one example."""
    return RunDir(factory.mktemp("run"))


def test_columns_have_their_names(run_dir):
    """Steps, times and one sequence per metric."""
    stream = log_rows(run_dir, [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)])
    (columns,) = iterate_stream(stream, [])
    assert {k: list(v) for k, v in columns.values.items()} == {"a": [1.0, 4.0], "b": [2.0, 5.0], "c": [3.0, 6.0]}
    assert (list(columns.steps), list(columns.t)) == ([0.0, 1.0], [1000.0, 1001.0])
    assert (columns.split, columns.attempt, columns.rank) == ("train", 0, 0)


def test_a_torn_row_is_left_out(run_dir):
    """Half a number is no number."""
    stream = log_rows(run_dir, [(1.0, 2.0, 3.0)] * 3)
    with stream.path.open("r+b") as file:
        file.truncate(stream.path.stat().st_size - 3)
    assert [len(columns.steps) for columns in iterate_stream(stream, [])] == [2]


@pytest.mark.parametrize("limit", [1, 100, 1 << 20])
def test_rows_of_zeros_are_left_out_and_noted(run_dir, limit):
    """As everywhere: what a power cut leaves is skipped and counted, at the same places as a plain scan."""
    stream = log_rows(run_dir, [(1.0, 2.0, 3.0)] * 6)
    size = stream.header.row_bytes
    with stream.path.open("r+b") as file:
        file.seek(stream.header.header_bytes + 2 * size)
        file.write(bytes(2 * size))
    damage = []
    steps = [step for columns in iterate_stream(stream, damage, limit=limit) for step in columns.steps]
    assert steps == [0.0, 1.0, 4.0, 5.0]
    assert damage == scan_rows(stream.path, stream.header).damage


def test_a_damaged_header_is_noted(run_dir):
    """The stream is not read, and the reason is there."""
    stream = log_rows(run_dir, [(1.0, 2.0, 3.0)])
    with stream.path.open("r+b") as file:
        file.write(b"XXXX")
    damage = []
    assert find_streams(run_dir, damage) == []
    assert ["cannot be read" in found.reason and "header" in found.reason for found in damage] == [True]


def test_a_file_that_vanishes_is_noted(run_dir):
    """Between finding and reading it was removed."""
    stream = log_rows(run_dir, [(1.0, 2.0, 3.0)])
    stream.path.unlink()
    damage = []
    assert list(iterate_blocks(stream, damage)) == []
    assert [found.reason for found in damage] == ["cannot be read: No such file or directory"]


def test_overflow_records_keep_integers_whole(run_dir):
    """2**63 + 1 is no float64; its record is in ``metrics.jsonl``, and what is no number there is left out."""
    log_rows(run_dir, [(2**63 + 1, 0.5, 1.0)], attempt=2, rank=1)
    with run_dir.overflow(1).open("ab") as file:
        file.write(b'{"step": 5, "loss": null, "word": "x", "flag": true}\n')
    whole, foreign = iterate_overflow(run_dir, [])
    assert whole.values == {"a": [2**63 + 1], "b": [0.5], "c": [1.0]}
    assert (whole.attempt, whole.rank, whole.steps) == (2, 1, [0])
    assert (foreign.values, foreign.rank, foreign.steps) == ({}, 1, [5])
