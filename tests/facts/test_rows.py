from __future__ import annotations

import json
import math
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.facts.strategies import FLOATS, floats, metric_names

from barograph.errors import FormatError
from barograph.facts.rows import (
    HEADER_BLOCK,
    RowStream,
    StreamHeader,
    as_columns,
    encode_header,
    iterate_rows,
    read_header,
    repair_rows,
    scan_rows,
    tail_rows,
)

T = 1_800_000_000.25
ROWS = [(float(step), 0.5 / step, math.nan, T + step) for step in range(1, 6)]
HEADER = StreamHeader(run_id="r1", columns=["step", "loss", "lr", "t"], split="val", attempt=2, rank=3, pid=4)


def packed(rows) -> list[bytes]:
    """The bytes of rows, so that signs of zero and NaN count."""
    return [struct.pack(f"<{len(row)}d", *row) for row in rows]


def write_stream(path, header=HEADER, rows=ROWS):
    """A whole stream file."""
    stream = RowStream(path, header)
    for row in rows:
        stream.append(row)
    stream.close()
    return path


@pytest.fixture
def path(tmp_path):
    """A stream of five rows."""
    return write_stream(tmp_path / "metrics.000.rows")


@settings(max_examples=60)
@given(
    names=st.lists(metric_names, min_size=1, max_size=30, unique=True),
    values=st.lists(st.lists(floats, min_size=31, max_size=31), max_size=6),
)
def test_rows_come_back_bit_by_bit(tmp_path_factory, names, values):
    """Whatever float64 numbers a stream holds, the reader has the same bits, in the same order."""
    rows = [(*row[: len(names) + 1], T) for row in values]
    path = tmp_path_factory.mktemp("rows") / "metrics.000.rows"
    write_stream(path, StreamHeader(run_id="r1", columns=["step", *names, "t"]), rows)
    assert packed(rows) == packed(iterate_rows(path))


def test_the_documented_numpy_call_reads_the_same_numbers(path):
    """``np.fromfile(f, "<f8", offset=4096).reshape(-1, len(columns))`` is all that a reader needs."""
    columns = json.loads(path.read_bytes()[:4096])["columns"]
    found = np.fromfile(path, "<f8", offset=4096).reshape(-1, len(columns))
    assert packed(ROWS) == packed(map(tuple, found.tolist()))


@pytest.mark.spec("S2.13", "S4.38")
def test_the_header_is_one_padded_line_of_json(path):
    """Documented keys, spaces up to a multiple of 4096 bytes, a newline; then 8 bytes a number."""
    data = path.read_bytes()
    line = data[: data.index(b"\n") + 1]
    expected = {
        "format": "barograph-rows/1",
        "header_bytes": 4096,
        "run_id": "r1",
        "columns": ["step", "loss", "lr", "t"],
        "split": "val",
        "attempt": 2,
        "rank": 3,
        "pid": 4,
    }
    assert expected == json.loads(line)
    assert len(line) == 4096
    assert line.rstrip(b" \n") + b" " * (4096 - len(line.rstrip(b" \n")) - 1) + b"\n" == line
    assert len(data) == 4096 + len(ROWS) * 4 * 8


@pytest.mark.parametrize("num_columns", [1, 40, 200, 5_000])
def test_a_wide_header_takes_whole_blocks(tmp_path, num_columns):
    """However many columns a stream has, its header is a multiple of 4096 bytes and read back."""
    columns = ["step", *(f"{number:0500d}" for number in range(num_columns)), "t"]
    path = write_stream(tmp_path / "wide.rows", StreamHeader(run_id="r1", columns=columns), [[T] * len(columns)])
    header = read_header(path)
    assert columns == header.columns
    assert header.header_bytes % HEADER_BLOCK == 0
    assert [tuple([T] * len(columns))] == list(iterate_rows(path))


def test_a_header_whose_line_exactly_fills_a_block_still_ends_in_a_newline():
    """Around the edge of a block no size is wrong by one."""
    for length in range(3_800, 4_300):
        header = StreamHeader(run_id="x" * length, columns=["step", "t"])
        line = encode_header(header)
        assert len(line) % HEADER_BLOCK == 0
        assert len(line) == json.loads(line)["header_bytes"]
        assert line.endswith(b"}\n" if line[-2:-1] == b"}" else b" \n")


def test_cut_at_any_byte_the_whole_rows_are_read(path):
    """For every length that the file can be cut to, the reader sees exactly the rows that are whole in it."""
    size = path.stat().st_size
    for cut in range(size, -1, -1):
        os.truncate(path, cut)
        whole = max(0, cut - HEADER_BLOCK) // 32
        assert packed(ROWS[:whole]) == packed(iterate_rows(path)), cut


@pytest.mark.parametrize("torn_bytes", [1, 7, 8, 31])
def test_repair_cuts_to_the_last_whole_row_and_keeps_what_was_cut(path, torn_bytes):
    """The torn bytes lie beside the file, which ends in a whole row."""
    whole = path.read_bytes()
    path.write_bytes(whole + b"\x01" * torn_bytes)
    assert torn_bytes == repair_rows(path)
    assert whole == path.read_bytes()
    assert b"\x01" * torn_bytes == path.with_name(f"{path.name}.cut-{len(whole)}").read_bytes()
    assert repair_rows(path) == 0


def test_repair_empties_a_file_whose_header_is_torn(path):
    """A header that never became whole describes no rows; its bytes are kept."""
    head = path.read_bytes()[:100]
    path.write_bytes(head)
    assert read_header(path) is None
    assert repair_rows(path) == 100
    assert path.read_bytes() == b""
    assert head == path.with_name(f"{path.name}.cut-0").read_bytes()


def flip(data: bytes, at: int) -> bytes:
    """Damage one byte."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: flip(data, 0),
        lambda data: flip(data, 20),
        lambda data: flip(data, HEADER_BLOCK - 1),
        lambda data: b"\0" * HEADER_BLOCK + data[HEADER_BLOCK:],
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b"barograph-rows/1", b"barograph-rows/9"),
        lambda data: data.replace(b'"header_bytes":4096', b'"header_bytes":8192'),
        lambda data: data.replace(b'["step","loss","lr","t"]', b'["step"                ]'),
        lambda data: data.replace(b'"columns"', b'"c0lumns"'),
    ],
    ids=["brace", "text", "newline", "nul", "all nul", "format", "size", "columns", "no columns"],
)
def test_a_damaged_header_is_a_format_error_and_is_left_alone(path, damage):
    """The reader names the file, and repair cuts nothing of rows whose length it cannot know."""
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(FormatError, match=r"metrics\.000\.rows"):
        read_header(path)
    assert repair_rows(path) == 0
    assert damaged == path.read_bytes()


def test_rows_of_zero_bytes_are_no_facts(path):
    """What a power cut leaves, in the middle and at the end, is skipped and counted; the rows around it are read."""
    data = bytearray(path.read_bytes())
    data[4096 + 32 : 4096 + 64] = bytes(32)
    data[4096 + 3 * 32 + 16 : 4096 + 4 * 32] = bytes(16)  # the page with the end of the row is lost
    path.write_bytes(data + bytes(75))
    scan = scan_rows(path, read_header(path))
    assert packed([ROWS[0], ROWS[2], ROWS[4]]) == packed(scan.rows)
    places = [(damage.offset, damage.size_bytes, damage.reason) for damage in scan.damage]
    zero, end = "a row of zero bytes", "a row that ends in zero bytes"
    assert [(4128, 32, zero), (4192, 32, end), (4256, 32, zero), (4288, 32, zero)] == places
    assert scan.offset == 4096 + 7 * 32


def test_a_row_of_zeros_that_were_logged_is_a_fact(tmp_path):
    """Zeros at step 0 are numbers; only a time of zero is not."""
    rows = [(0.0, 0.0, -0.0, T)]
    assert packed(rows) == packed(iterate_rows(write_stream(tmp_path / "a.rows", rows=rows)))


def test_reading_goes_on_behind_a_hole_larger_than_one_scan(tmp_path):
    """Two megabytes of nothing do not hide the rows behind them."""
    path = write_stream(tmp_path / "a.rows", rows=ROWS[:1])
    with path.open("ab") as file:
        file.write(bytes(32 * 70_000))
        file.write(b"".join(packed(ROWS[1:])))
    assert packed(ROWS) == packed(iterate_rows(path))


def test_the_last_rows_are_read_from_the_end(path):
    """As many as there are, at most as many as were asked for, torn bytes left out."""
    with path.open("ab") as file:
        file.write(b"torn")
    header = read_header(path)
    assert packed(ROWS[-2:]) == packed(tail_rows(path, header, 2))
    assert packed(ROWS) == packed(tail_rows(path, header, 99))
    assert tail_rows(path, header, 0) == []


def test_columns_hold_the_rows_by_name():
    """One list per column, in order."""
    rows = [(1.0, 0.5, 2.0, T), (2.0, 0.25, 3.0, T)]
    assert as_columns(HEADER, rows) == {"step": [1.0, 2.0], "loss": [0.5, 0.25], "lr": [2.0, 3.0], "t": [T, T]}
    assert as_columns(HEADER, []) == {}


def test_a_stream_file_is_never_opened_twice(path):
    """One writer per file: the second is refused, and the file is as it was."""
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        RowStream(path, HEADER)
    assert before == path.read_bytes()


@pytest.mark.parametrize("number", FLOATS)
def test_hostile_numbers_keep_their_bits(tmp_path, number):
    """Signs of NaN and zero, subnormals and infinities."""
    rows = [(0.0, number, -number, T)]
    assert packed(rows) == packed(iterate_rows(write_stream(tmp_path / "a.rows", rows=rows)))
