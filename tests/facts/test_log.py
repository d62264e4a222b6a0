from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.facts.strategies import exact, records

from barograph.facts.codec import encode
from barograph.facts.log import SCAN_BYTES, TextLog, iterate, repair_text, scan_text

LINES = [{"seq": number, "text": "\u00fc" * number, "loss": 1.5} for number in range(6)]


def write_log(path: Path, lines=LINES) -> Path:
    """A log of whole lines."""
    log = TextLog(path)
    for line in lines:
        log.append(line)
    log.close()
    return path


@pytest.fixture
def path(tmp_path):
    """A log of six lines."""
    return write_log(tmp_path / "events.jsonl")


@settings(max_examples=40)
@given(st.lists(records, max_size=8))
def test_what_is_appended_is_read_in_order(tmp_path_factory, many):
    """Any records come back exactly, in the order of their calls."""
    path = write_log(tmp_path_factory.mktemp("log") / "a.jsonl", many)
    assert exact(many) == exact(list(iterate(path)))


def test_cut_at_any_byte_the_whole_lines_are_read(path):
    """For every length that the file can be cut to, the reader sees exactly the lines that end in a newline."""
    data = path.read_bytes()
    for cut in range(len(data), -1, -1):
        os.truncate(path, cut)
        whole = data[:cut].count(b"\n")
        scan = scan_text(path)
        assert LINES[:whole] == scan.records, cut
        assert scan.offset == data[:cut].rfind(b"\n") + 1
        assert scan.damage == []


def test_cut_at_any_byte_reopening_repairs_and_goes_on(tmp_path):
    """After every cut the next append stands on a line of its own, and the cut bytes are kept beside the file."""
    data = b"".join(encode(line) + b"\n" for line in LINES[:3])
    for cut in range(len(data) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(data[:cut])
        log = TextLog(path)
        log.append({"seq": 99})
        log.close()
        end = data[:cut].rfind(b"\n") + 1
        assert [*LINES[: data[:cut].count(b"\n")], {"seq": 99}] == list(iterate(path))
        assert log.cut_bytes == cut - end
        kept = path.with_name(f"{path.name}.cut-{end}")
        assert (kept.read_bytes() if kept.exists() else b"") == data[end:cut]


@pytest.mark.parametrize("tail", [b'{"seq":6,"lo', b"\0" * 5000, b"12"], ids=["torn", "nul", "torn number"])
def test_a_torn_tail_is_never_read(path, tail):
    """A torn number is still a number: nothing behind the last newline is parsed."""
    with path.open("ab") as file:
        file.write(tail)
    scan = scan_text(path)
    assert scan.records == LINES
    assert scan.damage == []


def test_damage_in_the_middle_is_skipped_and_counted(path):
    """The lines around damage are read; each damage has its place, size and reason."""
    before, after = encode(LINES[0]) + b"\n", encode(LINES[1]) + b"\n"
    broken = [b"\0" * 100 + b"\n", b'{"seq":1,"lo\n', b"[1]\n", b'\xff\xfe{"a":1}\n']
    path.write_bytes(before + b"".join(broken) + b"\n" + after)
    scan = scan_text(path)
    assert LINES[:2] == scan.records
    assert scan.offset == path.stat().st_size
    places = [(damage.offset, damage.size_bytes) for damage in scan.damage]
    starts = [len(before) + sum(map(len, broken[:index])) for index in range(len(broken))]
    assert list(zip(starts, map(len, broken), strict=True)) == places
    assert scan.damage[0].reason == "NUL bytes"
    assert all(str(path) == damage.path and damage.reason for damage in scan.damage)


@settings(max_examples=60)
@given(st.lists(st.one_of(records.map(encode), st.binary(max_size=30)), max_size=8), st.binary(max_size=20))
def test_arbitrary_bytes_never_raise(tmp_path_factory, lines, tail):
    """Whatever a file holds, each of its lines is a record, damage or blank."""
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + tail)
    scan = scan_text(path)
    whole = path.read_bytes().rpartition(b"\n")[0].split(b"\n")
    assert sum(1 for line in whole if line.strip()) == len(scan.records) + len(scan.damage)
    assert list(iterate(path)) == scan.records


def test_scanning_goes_on_at_its_offset(path):
    """Several small scans see what one large scan sees, each line once."""
    found, offset = [], 0
    while True:
        scan = scan_text(path, offset, limit=10)
        if scan.offset == offset:
            break
        found += scan.records
        offset = scan.offset
    assert found == LINES
    assert offset == path.stat().st_size


def test_a_line_longer_than_a_scan_is_read_whole(tmp_path):
    """A record of nine megabytes is one record."""
    long = {"text": "x" * (SCAN_BYTES + 1_000_000)}
    path = write_log(tmp_path / "a.jsonl", [long, {"seq": 1}])
    assert [long, {"seq": 1}] == list(iterate(path))


def test_a_file_that_is_not_there_has_no_records(tmp_path):
    """Neither reading nor repairing needs the file."""
    path = tmp_path / "none.jsonl"
    assert scan_text(path).records == []
    assert repair_text(path) == 0
    assert not path.exists()


def test_cutting_twice_at_the_same_place_keeps_both_tails(path):
    """What was cut is never overwritten."""
    size = path.stat().st_size
    for tail in (b"first", b"second"):
        with path.open("ab") as file:
            file.write(tail)
        assert len(tail) == repair_text(path)
    assert path.with_name(f"{path.name}.cut-{size}").read_bytes() == b"firstsecond"


def test_a_record_without_json_form_leaves_the_file_as_it_was(path):
    """Nothing is half written."""
    before = path.read_bytes()
    log = TextLog(path)
    with pytest.raises(TypeError, match=r"a is a builtins\.object"):
        log.append({"a": object()})
    log.close()
    assert before == path.read_bytes()
    assert log.num_records == 0
