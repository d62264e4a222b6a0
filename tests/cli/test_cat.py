"""``barograph cat``."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys

from barograph.facts.codec import decode
from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader


def numbers(run):
    """Every number of a run's metrics, read by a follower."""
    return [
        (row[0], name, value)
        for facts in RunReader(run).facts()
        for fact in facts
        if hasattr(fact, "header")
        for row in fact.rows
        for name, value in zip(fact.header.columns[1:-1], row[1:-1], strict=True)
    ]


def test_csv_is_every_number_exactly(cli, root, ids):
    """Read with the standard library, it is what the follower sees, to the bit."""
    (run,) = root.glob("*mlp*")
    rows = list(csv.DictReader(io.StringIO(cli("--root", root, "cat", ids["mlp"]).stdout)))
    assert [(float(row["step"]), row["name"], float(row["value"])) for row in rows] == numbers(run)
    assert {(row["split"], row["attempt"], row["rank"]) for row in rows} == {("train", "0", "0"), ("val", "0", "0")}


def test_what_is_not_finite_is_named(cli, root, ids):
    """In CSV by its name, in JSON null with the name beside it."""
    text = cli("--root", root, "cat", ids["diverged"]).stdout
    assert [line.rpartition(",")[2] for line in text.splitlines()] == ["value", "1.0", "1e+30", "inf", "nan", "-inf"]
    lines = cli("--root", root, "cat", ids["diverged"], "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line).get("nonfinite") for line in lines] == [
        None,
        None,
        {"loss": "inf"},
        {"loss": "nan"},
        {"loss": "-inf"},
    ]
    values = [decode(line.encode())["loss"] for line in lines]
    assert (values[:3], math.isnan(values[3]), values[4]) == ([1.0, 1e30, math.inf], True, -math.inf)


def test_json_is_the_same_as_format_jsonl(cli, root, ids):
    """One line per record with everything that says where it belongs."""
    lines = cli("--root", root, "cat", ids["twice"], "--json").stdout
    assert lines == cli("--root", root, "cat", ids["twice"], "--format", "jsonl").stdout
    first, *_, last = map(json.loads, lines.splitlines())
    assert {"step": 0, "loss": 1.0, "split": "train", "attempt": 0, "rank": 0, "run_id": ids["twice"]} == {
        name: value for name, value in first.items() if name != "t"
    }
    assert (last["step"], last["attempt"]) == (14, 1)


def test_only_some_splits_and_metrics(cli, root, ids):
    """Options may be given again."""
    text = cli("--root", root, "cat", ids["mlp"], "--metric", "loss", "--metric", "accuracy", "--split", "val").stdout
    assert [line.split(",")[2:] for line in text.splitlines()[1:]] == [
        ["val", "0", "0", "loss", "0.75"],
        ["val", "0", "0", "accuracy", "0.5"],
    ]


def test_damage_is_told_on_stderr(cli, root, ids):
    """The numbers that are whole are there; the exit code is that of success."""
    (run,) = root.glob("*mlp*")
    stream = RunDir(run).rows(1)
    stream.write_bytes(b"X" + stream.read_bytes()[1:])
    done = cli("--root", root, "cat", ids["mlp"])
    assert len(done.stdout.splitlines()) == 81
    assert done.stderr == (f"barograph: 1 place of {run} without a fact left out; `barograph check {run}` says where\n")


def test_a_run_that_is_being_written(cli, start, tmp_path):
    """What is there; no torn number."""
    script = """
    import barograph, sys, time
    run = barograph.init(dir=sys.argv[1], terminal="off", host_s=None)
    for step in range(100):
        run.log({"loss": 0.1}, step=step)
    print("ready", flush=True)
    while True:
        step += 1
        run.log({"loss": 0.1}, step=step)
    """
    child = start(script, tmp_path / "run")
    assert child.stdout.readline() == "ready\n"
    for args in (["cat"], ["cat", "--json"], ["check"]):
        done = cli(*args, tmp_path / "run")
        lines = done.stdout.splitlines()
        if args == ["cat"]:
            assert len(lines) > 100
            assert {line.rpartition(",")[2] for line in lines[1:]} == {"0.1"}
    assert child.poll() is None


def test_memory_does_not_grow_with_the_run(tmp_path):
    """Half a million numbers pass through less than 60 MB of memory, the interpreter included."""
    script = """if True:
        import sys
        from pathlib import Path
        from barograph.facts.metrics import MetricsLog
        from barograph.facts.rundir import RunDir
        directory = RunDir(Path(sys.argv[1]))
        log = MetricsLog(directory, run_id="r")
        for step in range(250_000):
            log.append({"a": 0.1, "b": 0.2}, step=step, split="train", t=1.0)
        log.close()
        directory.identity.write_text('{"run_id": "r"}')
    """
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    measure = """if True:
        import sys
        from barograph.cli import main
        assert main(["cat", sys.argv[1]]) == 0
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(peak.split()[1], file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", measure, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 500_001
    print(f"peak memory of cat: {int(done.stderr) / 1000:.0f} MB")
    assert int(done.stderr) < 60_000
