"""Metrics in flat form: exact, complete, and readable by anybody's CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.codec import decode
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.read.flat import CSV_COLUMNS, csv_lines, json_lines

FLOATS = st.floats(width=64) | st.sampled_from([-0.0, 5e-324, 2.0**53, 0.1, math.nan, -math.nan, math.inf, -math.inf])


def record(directory, rows, *, split="train", **where):
    """Record mappings of numbers at steps 0, 1, ..."""
    log = MetricsLog(directory, run_id="r1", **where)
    for step, numbers in enumerate(rows):
        log.append(numbers, step=step, split=split, t=1000.25 + step)
    log.close()


def parsed_csv(directory, **options):
    """What the standard library's reader makes of it."""
    return list(csv.DictReader(io.StringIO("".join(csv_lines(directory, [], **options)))))


def bits(value):
    """A float's bytes, which tell -0.0 from 0.0; any NaN is one."""
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


@given(values=st.lists(FLOATS, min_size=1, max_size=30))
def test_csv_reads_back_to_the_same_bits(tmp_path_factory, values):
    """``float`` of every cell is the number that was recorded."""
    directory = RunDir(tmp_path_factory.mktemp("run"))
    record(directory, [{"loss": value} for value in values])
    assert [bits(value) for value in values] == [bits(float(row["value"])) for row in parsed_csv(directory)]


@given(values=st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=30))
def test_json_lines_read_back_to_the_same_bits(tmp_path_factory, values):
    """Strict JSON; our reader restores what is not finite, with its sign."""
    directory = RunDir(tmp_path_factory.mktemp("run"))
    record(directory, [{"a": a, "b": b} for a, b in values])
    lines = "".join(json_lines(directory, [])).splitlines()
    for line, pair in zip(lines, values, strict=True):
        json.loads(line, parse_constant=lambda name: 1 / 0)
        restored = decode(line.encode())
        assert [bits(value) for value in pair] == [bits(restored["a"]), bits(restored["b"])]


def test_csv_is_one_line_per_number(run_dir):
    """The header, then stream after stream; whole steps without a point, the rest by repr."""
    record(run_dir, [{"loss": 0.1, "lr": 1e-5}, {"loss": math.nan, "lr": math.inf}])
    record(run_dir, [{"loss": -math.inf}], split="val", attempt=1, rank=2)
    assert "".join(csv_lines(run_dir, [])).splitlines() == [
        ",".join(CSV_COLUMNS),
        "0,1000.25,train,0,0,loss,0.1",
        "0,1000.25,train,0,0,lr,1e-05",
        "1,1001.25,train,0,0,loss,nan",
        "1,1001.25,train,0,0,lr,inf",
        "0,1000.25,val,1,2,loss,-inf",
    ]


def test_json_is_one_line_per_record(run_dir):
    """The shape of ``metrics.jsonl``, what is not finite named."""
    record(run_dir, [{"loss": math.nan}])
    line = '{"step":0,"loss":null,"t":1000.25,"split":"train","attempt":0,"rank":0,"nonfinite":{"loss":"nan"}}'
    assert [line + "\n"] == list(json_lines(run_dir, []))


def test_names_with_commas_and_quotes_survive(run_dir):
    """As CSV asks."""
    names = ['loss, "total"', "val/loss", "a b"]
    record(run_dir, [dict.fromkeys(names, 1.0)], split='x,"y')
    assert [('x,"y', name) for name in names] == [(row["split"], row["name"]) for row in parsed_csv(run_dir)]


def test_fractional_steps_and_whole_integers(run_dir):
    """Step 0.5 is 0.5; 2**63 + 1 keeps its last digit."""
    log = MetricsLog(run_dir, run_id="r1")
    log.append({"n": 2**63 + 1}, step=0.5, split="train", t=1.0)
    log.close()
    (row,) = parsed_csv(run_dir)
    assert (row["step"], row["value"]) == ("0.5", str(2**63 + 1))


def test_only_what_is_wanted(run_dir):
    """By split and name; a record without any is no line."""
    record(run_dir, [{"loss": 1.0, "lr": 2.0}])
    record(run_dir, [{"loss": 3.0}], split="val", attempt=1)

    def only(split, name):
        return (split, name) == ("train", "lr")

    assert [(row["name"], row["value"]) for row in parsed_csv(run_dir, chosen=only)] == [("lr", "2.0")]
    assert [json.loads(line) for line in json_lines(run_dir, [], chosen=only)] == [
        {"step": 0, "lr": 2.0, "t": 1000.25, "split": "train", "attempt": 0, "rank": 0}
    ]


def test_a_long_stream_comes_in_parts(run_dir):
    """No part holds more than some thousand lines, so memory does not grow with the run."""
    record(run_dir, ({"loss": 1.0 * step, "lr": 0.1} for step in range(20_000)))
    parts = list(csv_lines(run_dir, []))
    assert sum(part.count("\n") for part in parts) == 40_001
    assert max(map(len, parts)) < 1_000_000


def test_a_run_without_metrics_is_a_header(run_dir):
    """And no JSON line."""
    assert (
        list(csv_lines(run_dir, [])),
        list(json_lines(run_dir, [])),
    ) == (["step,t,split,attempt,rank,name,value\n"], [])
