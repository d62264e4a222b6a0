"""Whatever happened to the bytes of a run, a reader returns the whole valid facts, all of them, and counts the rest."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import barograph
from barograph.facts.codec import encode
from barograph.facts.rows import StreamHeader, encode_header
from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader

NUMBERS = [0.0, -0.0, 0.05, math.nan, math.inf, -math.inf, 5e-324, 1e300]
ROWS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)), max_size=12)
TAIL = st.sampled_from([b"", b"\0" * 24, b"\0" * 7, b"\0" * 4096, b"\x01" * 5])
EVENT_TAIL = st.sampled_from([b"", b"\0" * 9, b'{"moment": "custom", "seq": 99, "t": 1', b"\0" * 5000])
SPOILT = st.sampled_from([b"{", b'{"a": nope}', b"null", b"[1]", b"\0\0\0", b"\xff\xfe", b'{"moment": 1,', b"1,2,3"])
HEADER = StreamHeader(run_id="r", columns=["step", "loss", "acc", "t"])


def pack(rows) -> bytes:
    """Rows as bytes, times counting from 1."""
    return b"".join(struct.pack("<4d", step, a, b, place + 1) for place, (step, a, b) in enumerate(rows))


def make(tmp_path_factory) -> RunDir:
    """A run directory with an identity and nothing else."""
    directory = RunDir(tmp_path_factory.mktemp("run"))
    directory.ensure_facts()
    directory.identity.write_bytes(b'{"run_id": "r", "name": "r", "created_t": 1.0}\n')
    return directory


def read(directory: RunDir) -> tuple[list[tuple[float, ...]], RunReader]:
    """Every row of the frame, bits for numbers."""
    runs = barograph.load_runs([directory.path])
    frame = runs.metrics(attempt="all", rank="all")
    there = [name for name in ("step", "loss", "acc", "t") if name in frame.columns]
    return [tuple(map(bits, row)) for row in frame.sort("t").select(there).iter_rows()], runs.readers[0]


def bits(number: float) -> bytes:
    """A number's eight bytes."""
    return struct.pack("<d", number)


def of_series(directory: RunDir) -> list[tuple[float, ...]]:
    """The same rows, by the other reader: one metric at a time."""
    series = {found.name: found for found in RunReader(directory.path).all_series()}
    if not series:
        return []
    columns = (series["loss"].steps, series["loss"].values, series["acc"].values, series["loss"].t)
    return [tuple(map(bits, row)) for row in zip(*columns, strict=True)]


@given(rows=ROWS, tail=TAIL, data=st.data())
@settings(max_examples=150, deadline=None)
def test_rows_cut_at_any_byte_with_any_tail(tmp_path_factory, rows, tail, data):
    """Exactly the rows that are whole; rows of zero bytes are none, and are counted."""
    directory = make(tmp_path_factory)
    whole = encode_header(HEADER) + pack(rows)
    cut = data.draw(st.integers(0, len(whole)))
    kept = whole[:cut] + (tail if cut == len(whole) else b"")
    directory.rows(0).write_bytes(kept)
    body = kept[HEADER.header_bytes :]
    in_file = [body[at : at + 32] for at in range(0, len(body) - len(body) % 32, 32)]
    recorded = [struct.unpack("<4d", row) for row in in_file if row[24:] != b"\0" * 8]
    expected = sorted((tuple(map(bits, row)) for row in recorded), key=lambda row: struct.unpack("<d", row[-1]))
    found, reader = read(directory)
    assert expected == found == of_series(directory)
    assert len(in_file) - len(recorded) == len(reader.damage)


@given(rows=ROWS, place=st.integers(0, 4095), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_damaged_header_gives_its_rows_or_is_counted(tmp_path_factory, rows, place, byte):
    """Rows whose columns nobody knows are not guessed at; the file is named as damage."""
    directory = make(tmp_path_factory)
    header = bytearray(encode_header(HEADER))
    header[place] = byte
    directory.rows(0).write_bytes(bytes(header) + pack(rows))
    runs = barograph.load_runs([directory.path])
    frame = runs.metrics(attempt="all", rank="all")
    damaged = {damage.path for damage in runs.readers[0].damage}
    if frame.height:
        assert (
            pack(rows)
            == frame.select(pl.exclude("run", "split", "attempt", "rank"))
            .select("step", pl.exclude("step", "t"), "t")
            .to_numpy()
            .tobytes()
        )
    if rows:
        assert (frame.height == len(rows)) != (damaged == {str(directory.rows(0))})


@given(
    before=st.lists(st.integers(0, 99), max_size=5),
    spoilt=SPOILT,
    after=st.lists(st.integers(0, 99), max_size=5),
    tail=EVENT_TAIL,
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_text_with_damaged_lines_cut_at_any_byte(tmp_path_factory, *, before, spoilt, after, tail, data):
    """Events: every whole line that is a record, in order; lines that are none are counted, a torn end is not read."""
    directory = make(tmp_path_factory)
    lines = [encode({"moment": "custom", "seq": n, "t": 1.0 + n, "value": math.nan}) for n in before]
    lines += [spoilt]
    lines += [encode({"moment": "custom", "seq": n, "t": 1.0 + n, "value": math.nan}) for n in after]
    whole = b"".join(line + b"\n" for line in lines)
    cut = data.draw(st.integers(0, len(whole)))
    kept = whole[:cut] + (tail if cut == len(whole) else b"")
    directory.events().write_bytes(kept)
    num_whole = kept.count(b"\n")
    expected = [n for n, _ in zip([*before, None, *after], range(num_whole), strict=False) if n is not None]
    runs = barograph.load_runs([directory.path])
    assert expected == runs.events()["seq"].to_list()
    assert int(num_whole > len(before)) == len(runs.readers[0].damage)


@given(rows=ROWS, splits=st.lists(st.integers(1, 200), max_size=6))
@settings(max_examples=60, deadline=None)
def test_rows_appended_while_they_are_read(tmp_path_factory, rows, splits):
    """However the bytes arrive, a follower sees each row once, and a reader the whole rows that are there."""
    directory = make(tmp_path_factory)
    whole = encode_header(HEADER) + pack(rows)
    follower = RunReader(directory.path).follow()
    seen = []
    at = 0
    for step in [HEADER.header_bytes - 5, *splits, len(whole)]:
        with directory.rows(0).open("ab") as file:
            file.write(whole[at : at + step])
        at = min(len(whole), at + step)
        seen += [row for fact in follower.poll() for row in fact.rows]
        num_whole = max(0, at - HEADER.header_bytes) // 32
        found, _ = read(directory)
        assert num_whole == len(seen) == len(found)
    assert [tuple(map(bits, row)) for row in struct.iter_unpack("<4d", pack(rows))] == [
        tuple(map(bits, row)) for row in seen
    ]


@pytest.mark.parametrize("line", [b'{"step": 1, "t": 2, "loss": null}', b'{"x": 1}', b'{"step": "a", "loss": 3}'])
def test_lines_of_another_schema_are_read_as_far_as_they_go(tmp_path, line):
    """Numbers that are there are there; nothing raises, nothing is invented."""
    directory = RunDir(tmp_path)
    directory.ensure_facts()
    directory.identity.write_bytes(b'{"run_id": "r", "created_t": 1.0}\n')
    Path(directory.overflow()).write_bytes(line + b"\n")
    frame = barograph.load_runs([tmp_path]).metrics(attempt="all")
    numbers = [value for name in ("loss", "x") if name in frame.columns for value in frame[name].to_list()]
    assert numbers in ([1.0], [3.0], [])
