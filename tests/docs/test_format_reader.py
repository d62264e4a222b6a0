"""The reader that stands in the page of the format reads what the package reads, from whole and from torn files."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Rows

PAGE = Path(__file__).parents[2] / "docs" / "format.md"

RUN = """
    import os
    import barograph

    def record(**options):
        with barograph.init(dir="run", terminal="off", host_s=0.1, **options) as run:
            for step in range(1, 30):
                run.log({"loss": 1 / step, "lr": 0.1}, step=step, epoch=step // 10)
                run.log({"lr": 0.2, "loss": 2 / step}, step=step + 0.5, split="val")
            run.log({"loss": float("nan"), "x": float("-inf")}, step=-3)
            run.log({"tokens": 2**60 + 1, "gap": float("inf")}, step=7)
            run.epoch_end(0, train_loss=0.5, val_loss=float("nan"), metrics={"p": float("inf")})
            run.event("custom", kind="list", values=[1.0, float("-inf"), {"deep": -float("nan")}])
            run.check("unicode", expected="\\u00e9\\u2028", got="x")
            child = os.fork()
            if child == 0:
                run.log({"loss": 9.0}, step=31)
                run.log({"tokens": 2**61}, step=31)
                run.event("custom", kind="child")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

    record()
    record(resume="must")
"""


@pytest.fixture(scope="module")
def read_run():
    """The function of the page, as it is printed there."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (source,) = [block for block in blocks if "def read_run" in block]
    namespace = {}
    exec(compile(source, "format.md", "exec"), namespace)
    return namespace["read_run"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of two attempts with all kinds of numbers, and a forked child in each."""
    directory = tmp_path_factory.mktemp("format")
    script = directory / "script.py"
    script.write_text(textwrap.dedent(RUN), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], cwd=directory, check=True, timeout=60)
    return directory / "run"


def bits(value):
    """A value with its floats as text that tells NaN of either sign, and zeros, apart."""
    if isinstance(value, float):
        return f"{'-' if math.copysign(1, value) < 0 else ''}nan" if math.isnan(value) else value.hex()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value


def by_the_package(run_dir):
    """Metrics and events as the package reads them, in the form of the page's reader."""
    metrics, events = [], []
    for fact in Follower(RunDir(run_dir)).drain():
        if isinstance(fact, Event):
            events.append({"seq": fact.seq, "moment": fact.moment, "t": fact.t, **fact.payload})
        elif isinstance(fact, Rows):
            header = fact.header
            for step, *values, t in fact.rows:
                named = dict(zip(header.columns[1:-1], values, strict=True))
                metrics.append((header.split, header.attempt, header.rank, step, t, named))
        else:
            metrics.append((fact.split, fact.attempt, fact.rank, fact.step, fact.t, fact.metrics))
    return metrics, events


def in_any_order(items):
    """Items as sorted text, since the two readers go through the files in different orders."""
    return sorted(repr(bits(item)) for item in items)


def without_version(events):
    """Events with their keys in the order of the package's reader."""
    return [
        {key: event[key] for key in ("seq", "moment", "t")}
        | {key: value for key, value in event.items() if key not in ("seq", "moment", "t", "schema_version")}
        for event in events
    ]


def test_both_readers_read_the_same(read_run, recorded):
    """Every number to the bit, with NaN of either sign, every event with every key, of both attempts and children."""
    metrics, events = read_run(recorded)
    expected_metrics, expected_events = by_the_package(recorded)
    assert in_any_order(expected_metrics) == in_any_order(metrics)
    assert in_any_order(expected_events) == in_any_order(without_version(events))
    assert {0, 1} == {attempt for _, attempt, *_ in metrics}
    assert {31, 2**61, 2**60 + 1} <= {value for *_, step, _, named in metrics for value in (step, *named.values())}


def test_both_readers_pass_over_the_same_damage(read_run, recorded, tmp_path):
    """Torn ends, headers that are torn or damaged, a line that is no JSON, a row of zeros: the rest is the same."""
    facts = tmp_path / "run" / "facts"
    facts.mkdir(parents=True)
    for path in (recorded / "facts").iterdir():
        data = path.read_bytes()
        if path.suffix == ".rows":
            end = data.index(b"\n") + 1
            hole = bytes(8 * len(json.loads(data[:end])["columns"]))
            data = data[:end] + hole + data[end:-3] if len(data) > end else data
        elif path.suffix == ".jsonl":
            data = b"not json\n" + data[:-4]
        (facts / path.name).write_bytes(data)
    (facts / "metrics.097.rows").write_bytes(b"")
    (facts / "metrics.098.rows").write_bytes(b'{"format":"barograph-rows/1"')
    (facts / "metrics.099.rows").write_bytes(b"\0\xff damaged\n" + bytes(8192))
    metrics, events = read_run(tmp_path / "run")
    expected_metrics, expected_events = by_the_package(tmp_path / "run")
    assert in_any_order(expected_metrics) == in_any_order(metrics)
    assert in_any_order(expected_events) == in_any_order(without_version(events))
    whole_metrics, whole_events = read_run(recorded)
    assert 0 < len(metrics) < len(whole_metrics)
    assert 0 < len(events) < len(whole_events)
