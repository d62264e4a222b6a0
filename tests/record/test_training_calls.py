"""What a loop says besides numbers: epochs, checks, checkpoints, notes, alerts, details; and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError, MisuseError, RecordingWarning, RunClosedError


@pytest.mark.spec("S3.11", "S3.12", "S3.13", "S3.15", "S3.16")
def test_moments_of_a_training(new_run):
    """A training leaves its moments in order: start, each epoch's end, test results, the end with the total time."""
    run = new_run()
    for epoch in range(2):
        for step in range(3):
            run.log({"loss": 0.5}, step=3 * epoch + step, epoch=epoch)
        run.log({"loss": 0.6}, step=3 * epoch + 2, split="val")
        run.epoch_end(
            epoch, train_loss=torch.tensor(0.5), val_loss=np.float64(0.6), metrics={"perplex": 2}, epoch_time_s=1.5
        )
    run.log({"loss": 0.7}, step=5, split="test")
    run.summary["test_loss"] = 0.7
    run.finish()
    found = Recorded(run.dir)
    assert found.moments == ["on_start", "on_epoch_end", "on_epoch_end", "custom", "on_train_end"]
    assert found.of("on_epoch_end")[1] == {
        "epoch": 1,
        "train_loss": 0.5,
        "val_loss": 0.6,
        "metrics": {"perplex": 2},
        "epoch_time_s": 1.5,
    }
    end = found.only("on_train_end")
    assert (end["status"], end["summary"]) == ("finished", {"test_loss": 0.7})
    assert 0 < end["total_time_s"] < 60
    assert found.column("loss", split="test") == [0.7]
    assert all(event.schema_version == 1 for event in found.events)


def test_epoch_with_what_is_not_finite(new_run):
    """A diverged epoch is recorded with its NaN and infinities."""
    run = new_run()
    run.epoch_end(0, train_loss=math.nan, val_loss=-math.inf, metrics={"f1": math.inf})
    found = Recorded(run.dir).only("on_epoch_end")
    assert math.isnan(found["train_loss"])
    assert (found["val_loss"], found["metrics"]["f1"]) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("3",), {}, "epoch must be an integer, not '3'; convert it with int()"),
        ((1.5,), {}, "epoch must be an integer, not 1.5"),
        ((math.nan,), {}, "epoch must be an integer, not nan"),
        ((None,), {}, "epoch must be an integer, not None"),
        ((0,), {"train_loss": "0.5"}, "metric 'train_loss' is a str ('0.5')"),
        ((0,), {"val_loss": np.zeros(3)}, "metric 'val_loss' is a numpy.ndarray of shape (3,)"),
        ((0,), {"metrics": {"f1": None}}, "metric 'f1' is a NoneType"),
        ((0,), {"epoch_time_s": "long"}, "metric 'epoch_time_s' is a str"),
    ],
)
def test_refused_epochs(new_run, arguments, options, text):
    """An epoch that cannot be recorded is refused with its value; nothing is written and the next one works."""
    run = new_run()
    with pytest.raises(MisuseError) as caught:
        run.epoch_end(*arguments, **options)
    assert text in str(caught.value)
    assert Recorded(run.dir).moments == ["on_start"]
    run.epoch_end(0)
    assert Recorded(run.dir).moments == ["on_start", "on_epoch_end"]


@pytest.mark.spec("S4.13", "S4.14", "S4.15", "S4.16", "S4.17", "S4.18")
def test_checks(new_run):
    """Statements about a run are tested and recorded: what was expected, what was there, and the verdict."""
    run = new_run(success=["check 'LoRA tensors' passed", "check 'deltaH1 is finite' passed", "check 'clip' passed"])
    delta = torch.tensor(2.659)
    assert run.check("LoRA tensors", expected=392, got=torch.tensor(392)) is True
    assert run.check("rb_requires_grad", expected=True, got=True, note="rb_residual mode") is True
    assert run.check("batch shape", expected=(32, 64), got=torch.zeros(32, 64).shape) is True
    assert run.check("gradients", passed=True) is True
    assert run.check("deltaH1 is finite", got=delta, passed=math.isfinite(delta)) is True
    assert run.check("clip", expected=1.0, got=1.5) is False
    run.note("Stage 1 Mixed probe analysis completed")
    run.finish()
    found = Recorded(run.dir)
    assert found.of("on_check") == [
        {"name": "LoRA tensors", "passed": True, "expected": 392, "got": 392},
        {"name": "rb_requires_grad", "passed": True, "expected": True, "got": True, "note": "rb_residual mode"},
        {"name": "batch shape", "passed": True, "expected": [32, 64], "got": [32, 64]},
        {"name": "gradients", "passed": True},
        {"name": "deltaH1 is finite", "passed": True, "got": delta.item()},
        {"name": "clip", "passed": False, "expected": 1.0, "got": 1.5},
    ]
    assert [verdict["passed"] for verdict in found.exit.success] == [True, True, False]
    assert [note["text"] for note in found.custom("note")] == ["Stage 1 Mixed probe analysis completed"]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("shape", {"expected": np.zeros(2), "got": np.zeros(2)}, "check 'shape': "),
        ("model", {"got": object(), "passed": True}, "got is a builtins.object, which has no JSON form"),
        ("model", {"expected": {"a": abs}, "passed": True}, "expected.a is a builtins.builtin_function"),
        ("", {"passed": True}, "the check's name must be a text, not ''"),
        (7, {"passed": True}, "the check's name must be a text, not 7"),
    ],
)
def test_refused_checks(new_run, name, options, text):
    """A check whose verdict or values cannot be told is refused, with what to pass instead; nothing is written."""
    run = new_run()
    with pytest.raises(MisuseError) as caught:
        run.check(name, **options)
    assert text in str(caught.value)
    assert Recorded(run.dir).moments == ["on_start"]


@pytest.mark.spec("S3.14", "S3.77")
def test_checkpoints(new_run, tmp_path):
    """A checkpoint is recorded with its place, size, what was measured there and, when asked, its digest."""
    run = new_run()
    best, outside = run.dir / "best_val.pt", tmp_path / "elsewhere.pt"
    best.write_bytes(b"weights")
    outside.write_bytes(b"x" * 100)
    (tmp_path / "sharded").mkdir()
    for number in range(3):
        (tmp_path / "sharded" / f"part{number}").write_bytes(b"x" * 10)
    run.checkpoint(best, {"val_loss": np.float32(0.25)}, kind="best", step=60, epoch=2, digest=True)
    run.checkpoint(str(outside), step=0.5)
    run.checkpoint(tmp_path / "sharded", kind="last")
    assert Recorded(run.dir).of("on_checkpoint") == [
        {
            "path": "best_val.pt",
            "kind": "best",
            "step": 60,
            "epoch": 2,
            "size_bytes": 7,
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "metrics": {"val_loss": 0.25},
        },
        {"path": str(outside), "step": 0.5, "size_bytes": 100},
        {"path": str(tmp_path / "sharded"), "kind": "last", "size_bytes": 30},
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": "missing.pt"}, "checkpoint 'missing.pt' does not exist; save it first, then record it"),
        ({"metrics": {"val_loss": "low"}}, "metric 'val_loss' is a str ('low')"),
        ({"step": math.nan}, "step must be a finite number, not nan"),
        ({"epoch": "last"}, "epoch must be an integer, not 'last'"),
        ({"kind": ""}, "the checkpoint's kind must be a text, not ''"),
    ],
)
def test_refused_checkpoints(new_run, options, text):
    """A checkpoint that is not there, or is described by what cannot be recorded, is refused."""
    run = new_run()
    (run.dir / "last.pt").write_bytes(b"weights")
    with pytest.raises(MisuseError) as caught:
        run.checkpoint(**{"path": run.dir / "last.pt", **options})
    assert text in str(caught.value)
    assert Recorded(run.dir).moments == ["on_start"]


def test_checkpoint_that_cannot_be_read(new_run, monkeypatch):
    """A checkpoint that fails to be read while it is recorded costs that record, not training."""
    run = new_run()
    (run.dir / "last.pt").write_bytes(b"weights")

    def vanish(_path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("barograph.record.training_calls.hash_file", vanish)
    with pytest.warns(RecordingWarning, match="recording of checkpoint failed: OSError"):
        assert run.checkpoint(run.dir / "last.pt", digest=True) is None
    assert run.ledger.lost == 1


@pytest.mark.spec("S4.11")
def test_notes_are_a_journal(new_run):
    """Findings are kept in order with their time, and whatever else belongs to them."""
    run = new_run()
    run.note("top_p 1.0 -> 0.995", author="me")
    run.note("final deltaH1 = 2.659, runtime 3.5 minutes")
    found = Recorded(run.dir)
    assert found.custom("note") == [
        {"kind": "note", "text": "top_p 1.0 -> 0.995", "author": "me"},
        {"kind": "note", "text": "final deltaH1 = 2.659, runtime 3.5 minutes"},
    ]
    times = [event.t for event in found.events]
    assert times == sorted(times)


@pytest.mark.spec("S2.21", "S2.39")
def test_alerts_and_data_usage(new_run):
    """The script's own alerts and counts of data are events; an unknown level is named with the known ones."""
    run = new_run()
    run.alert("loss went up", "twice in a row", level="error")
    run.data_usage(files={"a.mid": 2}, augmentations=["flip"], transpositions={"-3": 1})
    with pytest.raises(MisuseError, match="alert level 'loud' is none of info, warning, error; choose one"):
        run.alert("x", level="loud")
    found = Recorded(run.dir)
    assert found.custom("alert") == [
        {"kind": "alert", "title": "loss went up", "text": "twice in a row", "level": "error"}
    ]
    assert found.custom("data_usage") == [
        {"kind": "data_usage", "files": {"a.mid": 2}, "augmentations": ["flip"], "transpositions": {"-3": 1}}
    ]


def test_events_of_ones_own(new_run):
    """Any moment and payload may be recorded; values of numpy, torch and containers become JSON data."""
    run = new_run()
    event = run.event("on_codebook_reset", step=3, codes=np.arange(3), used={"b", "a"}, scale=torch.tensor(0.5))
    assert (event.moment, event.seq) == ("on_codebook_reset", 1)
    assert Recorded(run.dir).only("on_codebook_reset") == {
        "step": 3,
        "codes": [0, 1, 2],
        "used": ["a", "b"],
        "scale": 0.5,
    }


@pytest.mark.parametrize(
    ("moment", "payload", "text"),
    [
        ("custom", {"seq": 1}, "event 'custom' has the reserved keys ['seq']; rename them"),
        ("custom", {"t": 1, "moment": 2}, "event 'custom' has the reserved keys ['moment', 't']; rename them"),
        ("custom", {"nonfinite": {}}, "has the reserved keys ['nonfinite']"),
        ("on epoch end", {}, "moment 'on epoch end' is no name; use one such as 'on_epoch_end' or 'custom'"),
        ("a/b", {}, "moment 'a/b' is no name"),
        (
            "custom",
            {"model": {"layers": [abs]}},
            "event 'custom': model.layers[0] is a builtins.builtin_function",
        ),
    ],
)
def test_refused_events(new_run, moment, payload, text):
    """An event that cannot be written is refused with the place in it; no number is used up."""
    run = new_run()
    with pytest.raises(MisuseError) as caught:
        run.event(moment, **payload)
    assert text in str(caught.value)
    assert run.event("custom", kind="next").seq == 1
    assert (run.ledger.lost, run.ledger.written) == (0, 2)


@pytest.mark.spec("S4.20", "S4.25", "S4.39")
def test_details_of_a_run(new_run):
    """A detail record lies in the run's dated folder, carries its id, and has the run's config beside it."""
    run = new_run(detail={"level": "minimal", "compress": True}, config={"lr": 0.1})
    detail = run.details("entropy_probe", checkpoint="step_60")
    detail.minimal(core_results={"deltaH1": 2.659})
    detail.debug(tensors={"grads": np.zeros(4)})
    files = detail.write()
    day = next((run.dir / "details").iterdir())
    assert sorted(path.suffix for path in day.iterdir()) == [".gz", ".json", ".yaml"]
    main = json.loads(gzip.decompress(files[0].read_bytes()))
    assert (main["run_id"], main["core_results"]) == (run.id, {"deltaH1": 2.659})
    assert files[2].read_text() == "lr: 0.1\n"
    assert len(run._attempt.flight) == 1  # what the level leaves out is remembered for a crash


def test_what_is_remembered_is_written_on_a_crash(new_run):
    """The flight recorder's last entries are on disk when training fails, and nowhere before."""
    run = new_run()
    for step in range(300):
        run.remember(step, loss=step / 7)
    assert not list((run.dir / "facts").glob("flight*"))
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    crash = Recorded(run.dir).only("on_exception")
    lines = gzip.decompress((run.dir / crash["flight"]).read_bytes()).splitlines()
    header, *entries = map(json.loads, lines)
    assert (header["reason"], header["num_entries"], header["num_evicted"]) == ("on_exception", 200, 100)
    assert entries[-1]["data"] == {"loss": 299 / 7}


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.event("custom"),
        lambda run: run.epoch_end(0),
        lambda run: run.example(step=10, prompt="p", golden="g"),
        lambda run: run.check("c", passed=True),
        lambda run: run.note("n"),
        lambda run: run.remember(0),
        lambda run: run.details("d", checkpoint="c"),
        lambda run: run.checkpoint(run.dir / "run.json"),
        lambda run: run.text("name", "text"),
        lambda run: run.histogram("name", [1.0]),
        lambda run: run.artifact("name", b"x"),
        lambda run: run.figure("losses", b"x"),
        lambda run: run.sync(),
    ],
)
def test_after_the_end(new_run, call):
    """Every call after ``finish`` is refused, and nothing is written behind the last event."""
    run = new_run()
    run.finish()
    before = {path: path.stat().st_size for path in run.dir.rglob("*")}
    with pytest.raises(RunClosedError, match="is finished; nothing more can be recorded in it"):
        call(run)
    assert {path: path.stat().st_size for path in run.dir.rglob("*")} == before


def test_losses_on_the_way_to_a_metric_error(new_run):
    """InvalidMetricError is a ValueError and a TypeError, so a script that catches either has it."""
    run = new_run()
    for kind in (ValueError, TypeError, InvalidMetricError):
        with pytest.raises(kind):
            run.epoch_end(0, train_loss="0.5")


def test_a_detail_record_that_cannot_be_written_costs_only_itself(new_run):
    """A file in the way of the folder is reported once; the loop goes on."""
    run = new_run()
    (run.dir / "details").write_text("a file where the folder should be", encoding="utf-8")
    details = run.details("probe", checkpoint="step_1")
    details.minimal(core_results={"x": 1.0})
    with pytest.warns(RecordingWarning, match="a file"):
        assert details.write() is None
    run.log({"loss": 0.5}, step=0)
    run.finish()
    assert Recorded(run.dir).column("loss") == [0.5]
