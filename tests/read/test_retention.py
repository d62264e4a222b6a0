"""What retention may remove, and that nothing goes of which nothing tells."""

from __future__ import annotations

import gzip
import hashlib
import time

import pytest

from barograph.errors import MisuseError, RunBusyError
from barograph.facts.state import this_process, write_process
from barograph.read import edits
from barograph.read.catalog import discover_runs
from barograph.read.retention import DAY_S, Policy, carry_out, plan, removed_digests
from barograph.read.run import RunReader
from barograph.read.status import LIVING
from barograph.read.verify import verify

IMAGES = [bytes([number]) * 50 for number in range(3)]


@pytest.fixture
def run(new_run):
    """A finished run with four checkpoints, five figures, an image series, an artifact and logs."""
    run = new_run(name="mlp")
    for step in range(5):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
    for kind, name in [("checkpoint", "a.pt"), ("best", "best_val.pt"), ("checkpoint", "b.pt"), ("last", "c.pt")]:
        (run.dir / name).write_bytes(name.encode() * 100)
        run.checkpoint(run.dir / name, {"val_loss": 0.5}, kind=kind, step=1)
    for epoch in (1, 2, 10):
        run.figure("losses", b"png", moment="on_epoch_end", epoch=epoch)
    run.figure("losses", b"png", moment="on_epoch_end", epoch=10)
    run.figure("metrics", b"png", moment="on_train_end", epoch=1)
    for step, data in enumerate(IMAGES):
        (run.dir.parent / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        run.image("sample", run.dir.parent / "image.png", step=step)
    run.artifact("weights", b"an artifact")
    run.finish()
    (run.dir / "train.log").write_bytes(b"2026-11-20 06:15:00 | INFO | a line\n" * 40)
    return run.dir


def later(days=40):
    """A clock that many days from now."""
    return lambda: time.time() + days * DAY_S


def planned(run, now=None, **policy):
    """The files of each kind of step."""
    return {step.kind: step.files for step in plan(run.parent, Policy(**policy), now=now or later())}


def contents(run):
    """Every file but the edits."""
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "edits.jsonl"}


def test_checkpoints_that_are_neither_best_nor_last(run):
    """Neither by kind, nor by name, nor because a link leads to them."""
    assert planned(run, thin=["checkpoints"]) == {"checkpoints": ["a.pt", "b.pt"]}
    (run / "model.pt").unlink(missing_ok=True)
    (run / "model.pt").symlink_to("b.pt")
    assert planned(run, thin=["checkpoints"]) == {"checkpoints": ["a.pt"]}


def test_a_checkpoint_outside_the_run_is_not_its_own(run, tmp_path):
    """Whatever an event says of where it is."""
    outside = tmp_path / "other.pt"
    outside.write_bytes(b"other")
    with (run / "facts" / "events.jsonl").open("ab") as file:
        for name in (str(outside), "../other.pt", "b.pt"):
            file.write(f'{{"schema_version":1,"seq":99,"t":1,"moment":"on_checkpoint","path":"{name}"}}\n'.encode())
    assert planned(run, thin=["checkpoints"]) == {"checkpoints": ["a.pt"]}  # b.pt is the newest now


def test_figures_but_the_last_of_each_family_and_moment(run):
    """By number, not by letters; of two of one epoch the later one stays."""
    assert planned(run, thin=["figures"]) == {
        "figures": [
            "figures/losses-on_epoch_end-e001.png",
            "figures/losses-on_epoch_end-e002.png",
            "figures/losses-on_epoch_end-e010.png",
        ]
    }
    assert (run / "figures" / "losses-on_epoch_end-e010-2.png").exists()


def test_blobs_but_the_last_of_each_series(run):
    """Artifacts and whatever else refers to a blob keep it."""
    digests = [hashlib.sha256(b"\x89PNG\r\n\x1a\n" + data).hexdigest() for data in IMAGES]
    assert planned(run, thin=["blobs"]) == {"blobs": [f"blobs/{digest[:2]}/{digest}" for digest in digests[:2]]}


def test_thinning_removes_what_was_planned_and_writes_it_down(run):
    """Names, sizes and SHA-256; everything else, the facts above all, has the same bytes; verification is content."""
    before = contents(run)
    steps = plan(run.parent, Policy(thin=["checkpoints", "figures", "blobs"]), now=later())
    gone = [name for step in steps for name in step.files]
    assert sum(map(carry_out, steps)) == sum(len(before[name]) for name in gone) > 0
    assert contents(run) == {name: data for name, data in before.items() if name not in gone}
    removed = {it["name"]: it for edit in RunReader(run).edits for it in edit.payload["removed"]}
    assert removed == {
        name: {"name": name, "size_bytes": len(before[name]), "sha256": hashlib.sha256(before[name]).hexdigest()}
        for name in gone
    }
    assert removed_digests(RunReader(run).edits) == {it["sha256"] for it in removed.values()}
    assert [finding for finding in verify(run) if finding.severity == "error"] == []
    assert plan(run.parent, Policy(thin=["checkpoints", "figures", "blobs"]), now=later()) == []


def test_a_blob_that_went_without_a_word_is_still_missing(run):
    """Verification forgives only what retention wrote down."""
    (artifact,) = [path for path in run.glob("blobs/*/*") if path.read_bytes() == b"an artifact"]
    artifact.unlink()
    assert [finding.code for finding in verify(run) if finding.severity == "error"] == ["missing_blob"]


def test_logs_are_compressed_and_read_back(run):
    """The text is the same; a log that a resumed run wrote since goes behind it."""
    text = (run / "train.log").read_bytes()
    (step,) = plan(run.parent, Policy(compress=True), now=later())
    assert step.files == ["train.log"]
    carry_out(step)
    assert not (run / "train.log").exists()
    assert gzip.decompress((run / "train.log.gz").read_bytes()) == text
    (run / "train.log").write_bytes(b"more\n")
    (step,) = plan(run.parent, Policy(compress=True), now=later())
    carry_out(step)
    assert gzip.decompress((run / "train.log.gz").read_bytes()) == text + b"more\n"
    assert [finding for finding in verify(run) if finding.severity == "error"] == []


def test_metrics_are_sealed(run):
    """The same numbers as before."""
    pytest.importorskip("pyarrow")
    before = RunReader(run).curve("loss")
    (step,) = plan(run.parent, Policy(seal=True), now=later())
    assert step.files == ["facts/metrics.000.rows"]
    carry_out(step)
    assert RunReader(run).directory.rows_files() == []
    assert before == RunReader(run).curve("loss")
    assert RunReader(run).edits[-1].payload == {"what": "seal", "sealed": ["facts/metrics.000.rows"]}


def test_a_deleted_run_is_removed_but_for_who_it_was(run):
    """After its time; run.json and edits.jsonl tell what was there; it can be restored no more."""
    assert planned(run, remove_deleted=True) == {}
    edits.delete(run)
    assert planned(run, now=later(29), remove_deleted=True) == {}
    before = contents(run)
    (step,) = plan(run.parent, Policy(remove_deleted=True), now=later(31))
    carry_out(step)
    assert sorted(path.name for path in run.iterdir()) == ["edits.jsonl", "run.json"]
    names = {it["name"] for it in RunReader(run).edits[-1].payload["removed"]}
    assert names == set(before) - {"run.json"}
    assert RunReader(run).identity.name == "mlp"
    assert (discover_runs(run.parent), discover_runs(run.parent, deleted=True)) == ([], [run])
    with pytest.raises(MisuseError, match="were removed by `barograph retain`; restore them from a copy"):
        edits.restore(run)
    assert planned(run, remove_deleted=True) == {}


def test_links_in_a_removed_run_are_not_followed(run, tmp_path):
    """What they lead to is somebody else's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.bin").write_bytes(b"data")
    (run / "data").symlink_to(tmp_path / "data")
    (run / "latest.bin").symlink_to(tmp_path / "data" / "set.bin")
    edits.delete(run)
    for step in plan(run.parent, Policy(remove_deleted=True), now=later()):
        carry_out(step)
    assert (tmp_path / "data" / "set.bin").read_bytes() == b"data"
    assert not (run / "latest.bin").is_symlink()
    assert not (run / "data").is_symlink()


def test_young_runs_and_the_newest_are_left(run):
    """By days since the end, and by count."""
    assert planned(run, now=later(29), thin=["figures"]) == {}
    assert list(planned(run, now=later(29), thin=["figures"], older_than_days=20)) == ["figures"]
    assert planned(run, thin=["figures"], keep_last=1) == {}


def test_a_living_run_is_left_and_one_that_began_to_live_is_refused(run):
    """Whatever the policy says."""
    (step,) = plan(run.parent, Policy(thin=["figures"]), now=later())
    (run / "facts" / "exit.json").unlink()
    write_process(run / "facts" / "process.json", this_process(attempt=1))
    assert RunReader(run).status().state in LIVING
    assert planned(run, thin=["figures"]) == {}
    with pytest.raises(RunBusyError, match="is being recorded, so it is left alone"):
        carry_out(step)
    assert len(list((run / "figures").iterdir())) == 5


def test_what_cannot_be_read_is_not_removed(run):
    """A checkpoint vanished between plan and deed: nothing else of the step goes, and no edit claims it."""
    (step,) = plan(run.parent, Policy(thin=["checkpoints"]), now=later())
    (run / "b.pt").unlink()
    with pytest.raises(FileNotFoundError):
        carry_out(step)
    assert (run / "a.pt").exists()
    assert not (run / "edits.jsonl").exists()


@pytest.mark.parametrize("policy", [{"thin": ["facts"]}, {"keep_last": -1}, {"older_than_days": -1.0}])
def test_a_policy_that_makes_no_sense_is_refused(policy):
    """At once."""
    with pytest.raises(MisuseError, match=r"cannot thin facts; choose from checkpoints|use 0 or more"):
        Policy(**policy)


def test_the_size_of_a_step_is_that_of_its_files(run):
    """Before anything is done."""
    (step,) = plan(run.parent, Policy(thin=["checkpoints"]), now=later())
    assert step.size_bytes == sum((run / name).stat().st_size for name in step.files) == 800
