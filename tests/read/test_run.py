"""One run, read back: everything that was recorded, nothing more, and nothing changed by reading."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from barograph.facts.kinds import Event
from barograph.facts.writers import append_jsonl_event
from barograph.read.follow import Record, Rows
from barograph.read.run import RunReader, open_run


@pytest.fixture
def run(recorded):
    """A reader of the recorded run."""
    return RunReader(recorded)


def test_who_it_is(run):
    """Identity and provenance as they were stated."""
    identity = run.identity
    assert (identity.name, identity.project, identity.group, identity.seed) == ("mlp", "digits", "g", 7)
    assert (identity.tags, identity.hypothesis) == (["small", "first"], "a line is enough")
    assert identity.success == ["loss < 0.3 by step 100 on train", "val_loss < 0.01"]
    assert len(identity.run_id) == 12
    assert run.provenance["python"]["version"].startswith("3.")


def test_its_configuration(run):
    """Exactly as it was given."""
    assert run.config == {"optim": {"lr": 1e-3, "betas": [0.9, 0.99]}, "seed": 7}


def test_its_metrics(run):
    """Two splits and one integer that no float64 holds; an infinite gradient is counted."""
    found = {(it.name, it.split): it for it in run.metrics() if it.split != "host"}
    assert set(found) == {
        ("loss", "train"),
        ("grad", "train"),
        ("epoch", "train"),
        ("big", "train"),
        ("loss", "val"),
        ("accuracy", "val"),
    }
    loss = found["loss", "train"]
    assert (
        loss.count,
        loss.last,
        loss.last_step,
        loss.min,
        loss.min_step,
        loss.max,
        loss.max_step,
    ) == (40, 0.025, 39.0, 0.025, 39.0, 1.0, 0.0)
    assert found["grad", "train"].nonfinite_counts == {"inf": 1}
    assert found["big", "train"].last == 2**63 + 1


def test_one_curve(run):
    """All points of a metric on a split."""
    assert [(it.step, it.value) for it in run.curve("loss", split="val")] == [(19.0, 0.75), (39.0, 0.75)]
    assert len(run.curve("loss")) == 40


def test_its_examples_epochs_and_checks(run):
    """As the structs of their moments."""
    assert [(it.tier, it.step) for it in run.examples()] == [("fast", 10), ("full", 20), ("fast", 30)]
    first, second = run.epochs()
    assert (first.val_loss, first.train_loss) == (0.75, 0.05)
    assert math.isnan(second.val_loss)
    assert [(it.name, it.passed) for it in run.checks()] == [("shapes", True), ("LoRA tensors", False)]


def test_its_alerts_are_its_own_and_those_of_whoever_watched(copy):
    """The script's come first."""
    (copy / "facts" / "alerts.jsonl").write_text('{"type": "plateau", "severity": "warning"}\n', encoding="utf-8")
    assert [alert.get("title") for alert in RunReader(copy).alerts()] == ["loss is flat", None]


def test_its_end(run):
    """One attempt, finished, with verdicts from the facts: the loss fell, the validation loss did not."""
    (attempt,) = run.attempts()
    assert (attempt.status, attempt.number) == ("finished", 0)
    assert attempt.ended_t - attempt.started_t == pytest.approx(attempt.total_time_s, abs=5.0)
    assert [verdict["passed"] for verdict in run.success()] == [True, False]
    assert run.status().state == "finished"


def test_events_of_one_moment(run):
    """In the order in which they were recorded."""
    everything = list(run.events())
    assert [event.seq for event in everything] == list(range(len(everything)))
    assert [event for event in everything if event.moment == "on_check"] == list(run.events("on_check"))


def test_all_facts_are_those_of_a_follower(run):
    """Rows, records and events, each once."""
    facts = [fact for part in run.facts() for fact in part]
    rows = [row for fact in facts if isinstance(fact, Rows) and fact.header.split != "host" for row in fact.rows]
    assert (len(rows), sum(isinstance(fact, Record) for fact in facts)) == (42, 1)
    assert [fact for fact in facts if isinstance(fact, Event)] == list(run.events())


def test_nothing_is_damaged(run):
    """Of a run that ended by itself."""
    run.metrics()
    list(run.events())
    assert (run.damage, run.misfits) == ([], [])


def test_damage_is_counted_once_however_often_it_is_read(copy):
    """A damaged line, a damaged stream, a damaged configuration: no exception, three places."""
    events = copy / "facts" / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([*lines[:2], b"{broken}\n", *lines[2:]]))
    stream = copy / "facts" / "metrics.000.rows"
    stream.write_bytes(b"XXXX" + stream.read_bytes()[4:])
    (copy / "config.yaml").write_text("{", encoding="utf-8")
    run = RunReader(copy)
    for _ in range(2):
        assert len(list(run.events())) == len(lines)
        run.metrics()
        assert run.config == {}
    assert {"events.jsonl", "metrics.000.rows", "config.yaml"} == {Path(it.path).name for it in run.damage}
    assert len(run.damage) == 3


def test_events_that_do_not_fit_are_named(run_dir):
    """They are left out of what they are no part of."""
    append_jsonl_event(run_dir.path, {"moment": "on_check", "name": "a", "passed": "perhaps"})
    run = RunReader(run_dir.path)
    assert run.checks() == []
    assert len(run.misfits) == 1
    assert "event 0 (on_check)" in run.misfits[0]


def test_a_run_without_anything_is_empty(tmp_path):
    """No file, no exception."""
    run = RunReader(tmp_path)
    assert (run.metrics(), list(run.events()), run.config, run.success()) == ([], [], {}, [])
    assert run.identity.name == tmp_path.name


def test_open_run_by_id_and_by_path(recorded):
    """The same run."""
    run_id = RunReader(recorded).identity.run_id
    assert recorded == open_run(run_id[:8], root=recorded.parent).path
    assert recorded == open_run(recorded).path


@pytest.mark.spec("S3.43", "S3.57")
def test_reading_changes_no_byte_and_touches_no_loop(copy):
    """Reports consume what loops emitted: a reader loads no recorder, and the files are as they were."""
    before = contents(copy)
    script = """if True:
        import sys
        from pathlib import Path
        from barograph.read.overview import overview
        from barograph.read.run import RunReader
        from barograph.read.tables import load_tables
        from barograph.read.verify import verify
        run = RunReader(Path(sys.argv[1]))
        print(len(run.metrics()), len(run.examples()), overview(run.path).name, len(load_tables([run]).order))
        assert verify(run.path) == [], verify(run.path)
        print([name for name in sys.modules if name.startswith(("barograph.record", "barograph.session", "torch"))])
    """
    for _ in range(2):  # an analysis is run again without training again
        done = subprocess.run([sys.executable, "-c", script, copy], capture_output=True, text=True, check=True)
        counts, loaded = done.stdout.splitlines()
        assert counts.split()[1:] == ["3", "mlp", "1"]
        assert loaded == "[]"
    assert before == contents(copy)


@pytest.mark.spec("S3.43")
def test_the_recorder_loads_no_analysis():
    """Loops emit: what runs in the training process knows nothing of summaries, catalogs and verification."""
    script = """if True:
        import sys, barograph
        barograph.init
        emitting = {"barograph.read", "barograph.read.follow"}
        print(sorted(name for name in sys.modules if name.startswith("barograph.read") and name not in emitting))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def contents(path):
    """Every file of a directory, its bytes and its time."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return [(file, file.read_bytes(), file.stat().st_mtime_ns) for file in files]
