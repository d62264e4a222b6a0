"""Files that releases wrote stay readable: what is in them is stated here and beside them, not derived."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest
from tests.facts.strategies import exact
from tests.golden.make import HOSTILE, NAME, NEGATIVE_NAN, RUN_ID, T, make

from barograph.facts.blobs import BlobRef, get_bytes
from barograph.facts.codec import decode
from barograph.facts.kinds import MOMENTS, Event, OnExample, parse
from barograph.facts.rundir import RunDir
from barograph.facts.state import read_exit, read_process
from barograph.read.follow import Follower, Record, Rows

HERE = Path(__file__).parent
RELEASES = ["v0.1.0"]


def files(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def readable(value):
    """Facts as strict JSON in which every bit of a float shows."""
    if isinstance(value, dict):
        return {key: readable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(item) for item in value]
    if isinstance(value, float):
        return f"float {'-' if math.copysign(1, value) < 0 and math.isnan(value) else ''}{value.hex()}"
    return value


def read(directory: Path) -> list:
    """Every fact of a run, in the form of ``facts.json``."""
    follower = Follower(RunDir(directory))
    facts = follower.drain()
    assert follower.damage == []
    return [{type(fact).__name__: readable(msgspec.structs.asdict(fact) | header(fact))} for fact in facts]


def header(fact) -> dict:
    """A stream's header as plain data."""
    return {"header": msgspec.structs.asdict(fact.header)} if isinstance(fact, Rows) else {}


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_wrote_is_read_as_it_was_then(release):
    """Every event, row and record, to the last bit, as it stands in ``facts.json`` beside the run."""
    expected = json.loads((HERE / release / "facts.json").read_text(encoding="utf-8"))
    assert expected == read(HERE / release / NAME)


@pytest.mark.parametrize("release", RELEASES)
def test_the_values_that_were_written_are_there(release):
    """Independent of ``facts.json``: what the script wrote, said once more by hand."""
    facts = Follower(RunDir(HERE / release / NAME)).drain()
    events = [fact for fact in facts if isinstance(fact, Event)]
    own = [event for event in events if "rank" not in event.payload]
    assert set(MOMENTS) == {event.moment for event in events}
    assert list(range(len(own))) == [event.seq for event in own]
    assert (own[0].schema_version, own[0].t) == (1, T)
    (example, _) = [parse(event, OnExample) for event in events if event.moment == "on_example"]
    assert (example.tier, example.golden, example.example_loss, example.matched) == ("full", "Paris", 0.2134, True)
    note = next(event.payload for event in events if event.moment == "custom")
    assert exact({"big": 2**64, "nested": [[NEGATIVE_NAN]]}) == exact({key: note[key] for key in ("big", "nested")})
    assert note["text"] == "\u2028 \x00 \ud800"
    streams = [fact for fact in facts if isinstance(fact, Rows)]
    assert [(rows.header.attempt, rows.header.rank, rows.header.split) for rows in streams] == [
        (0, 3, "train"),
        (0, 0, "train"),
        (0, 0, "val"),
        (1, 0, "train"),
        (1, 0, "val"),
    ]
    assert exact(HOSTILE) == exact([row[1] for row in streams[1].rows])
    (first, second) = [fact for fact in facts if isinstance(fact, Record)]
    assert exact({"tokens": 2**63, "loss": NEGATIVE_NAN}) == exact(first.metrics)
    assert (first.step, first.attempt, second.attempt) == (2**53 + 1, 0, 1)


@pytest.mark.parametrize("release", RELEASES)
def test_what_stands_beside_the_facts_is_read(release):
    """Identity, state, table and blob."""
    run = RunDir(HERE / release / NAME)
    identity = decode(run.identity.read_bytes())
    assert (identity["run_id"], identity["notes"], identity["seed"]) == (RUN_ID, "caf\u00e9 \udc80", 7)
    assert tuple(getattr(read_process(run.process()), key) for key in ("attempt", "pid", "host")) == (1, 4243, "golden")
    assert (1, "finished", {"best": -math.inf}) == tuple(
        getattr(read_exit(run.exit()), key) for key in ("attempt", "status", "summary")
    )
    assert run.scalars_csv.read_text(encoding="utf-8") == (
        "epoch,train_loss,val_loss,m0,m1\n0,0.5,inf,12.5,\n1,0.5,inf,,12.5\n"
    )
    (blob,) = [path for path in run.blobs.rglob("*") if path.is_file()]
    assert get_bytes(run.blobs, BlobRef(sha256=blob.name, size_bytes=7)) == b"a blob\n"


def test_this_release_still_writes_the_bytes_of_its_golden_run(tmp_path):
    """A change of the format does not go unnoticed: it needs a new version, a migration and golden files of its own."""
    make(tmp_path)
    assert files(HERE / RELEASES[-1] / NAME) == files(tmp_path / NAME)


@pytest.mark.spec("S3.42")
def test_a_run_of_a_facts_first_study_is_read():
    """Events without version and number, of a loop that knew nothing of this package, become events."""
    follower = Follower(RunDir(HERE / "s3" / "run_20251103-140953_experiment_job0"))
    events = follower.drain()
    assert [(event.moment, event.t) for event in events] == [
        ("on_start", 1762178993.0),
        ("on_epoch_end", 1762179010.5),
        ("on_epoch_end", 0.0),
        ("on_train_end", 0.0),
    ]
    assert [event.payload["train_loss"] for event in events[1:3]] == [0.5, 0.25]
    assert math.isnan(events[2].payload["metrics"]["perplex"])
    assert events[2].payload["histories"] == {"train_loss": [0.5, 0.25]}
    assert follower.damage == []


def test_a_run_of_a_newer_release_is_read_as_far_as_it_is_known():
    """Unknown keys, moments and versions of lines, and unknown keys of headers, stop nothing."""
    follower = Follower(RunDir(HERE / "newer" / "run_20301231-235959_future_job0"))
    facts = follower.drain()
    (rows,) = [fact for fact in facts if isinstance(fact, Rows)]
    assert rows.rows == [(1.0, 0.5, 1_900_000_000.0)]
    (record,) = [fact for fact in facts if isinstance(fact, Record)]
    assert record.metrics == {"loss": 0.25, "units": {"loss": "nats"}}
    events = [fact for fact in facts if isinstance(fact, Event)]
    assert [(e.moment, e.schema_version) for e in events] == [("on_start", 2), ("on_dream", 3), ("custom", 1)]
    assert events[1].payload == {"sheep": ["electric"], "loss": math.inf}
    assert follower.damage == []
