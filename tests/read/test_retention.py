"""What retention may remove, and that nothing goes of which nothing tells."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from barograph.errors import MisuseError, RunBusyError
from barograph.facts.blobs import put_bytes
from barograph.facts.codec import encode
from barograph.facts.state import this_process, write_process
from barograph.read import edits
from barograph.read.archive.lock import alone
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


def happened(run, *payloads, moment="on_checkpoint"):
    """Add events, as somebody else's program may."""
    with (run / "facts" / "events.jsonl").open("ab") as file:
        for payload in payloads:
            file.write(encode({"schema_version": 1, "seq": 99, "t": 1.0, "moment": moment, **payload}) + b"\n")


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
    """What they lead to is somebody else's; the links are the run's, in a directory that was made for it."""
    run = run.rename(run.with_name("run_20261120-061500_mlp_job0"))
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


class TestWhatIsSomebodyElses:
    """Retention takes what the run wrote, where the run wrote it, and nothing that it is led to."""

    @pytest.mark.parametrize("folder", ["figures", "blobs"])
    def test_a_folder_that_is_a_link(self, run, tmp_path, folder):
        """A figure or blob of it lies in a folder that others use, too."""
        shared = (run / folder).rename(tmp_path / "shared")
        (run / folder).symlink_to(shared)
        before = contents(shared)
        assert planned(run, thin=["figures", "blobs"]).keys() == {"figures", "blobs"} - {folder}
        edits.delete(run)
        for step in plan(run.parent, Policy(remove_deleted=True), now=later()):
            carry_out(step)
        assert before == contents(shared)

    def test_a_digest_that_is_a_path(self, run, tmp_path):
        """A blob's name is 64 hexadecimal digits, or no blob's."""
        victim = tmp_path / "victim"
        victim.write_bytes(b"mine")
        digests = ("../victim", "../../victim", "../../../victim", "0" * 64)
        series = [{"kind": "image", "name": "sample", "blob": {"sha256": digest}} for digest in digests]
        happened(run, *series, moment="custom")
        for step in plan(run.parent, Policy(thin=["blobs"]), now=later()):
            carry_out(step)
        assert victim.read_bytes() == b"mine"

    @pytest.mark.parametrize(
        "name", ["facts/metrics.000.rows", "./facts/../run.json", "config.yaml", "train.log", "figures/x.pt", "\0"]
    )
    def test_a_checkpoint_that_is_a_fact(self, run, name):
        """Whatever an event says: facts are never thinned."""
        happened(run, {"path": name}, {"path": "z.pt"})
        assert planned(run, thin=["checkpoints"]) == {"checkpoints": ["a.pt", "b.pt"]}

    def test_a_checkpoint_to_which_any_link_leads(self, run):
        """Not only those of the names that Barograph knows."""
        (run / "newest").mkdir()
        (run / "newest" / "weights.pt").symlink_to(run / "a.pt")
        assert planned(run, thin=["checkpoints"]) == {"checkpoints": ["b.pt"]}

    def test_a_run_within_the_run(self, run, new_run):
        """It may be alive; it has its own time."""
        inner = new_run(name="inner", dir=run / "facts" / "inner")
        inner.log({"loss": 1.0}, step=0)
        edits.delete(run)
        for step in plan(run.parent, Policy(remove_deleted=True), now=later()):
            carry_out(step)
        inner.log({"loss": 0.5}, step=1)
        inner.finish()
        assert [point.value for point in RunReader(inner.dir).curve("loss")] == [1.0, 0.5]

    def test_a_directory_that_the_caller_named(self, run):
        """The project's own, say: what Barograph did not write there stays, whatever it is called."""
        for name in ("train.py", ".git/HEAD", "figures/paper.pdf", "details/plan.txt", "notes/a.md", "deploy.yaml"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_bytes(b"mine")
        edits.delete(run)
        for step in plan(run.parent, Policy(remove_deleted=True), now=later()):
            carry_out(step)
        left = {name for name in contents(run) if name != "run.json"}
        assert left == {"train.py", ".git/HEAD", "figures/paper.pdf", "details/plan.txt", "notes/a.md", "deploy.yaml"}

    def test_a_directory_that_was_made_for_the_run(self, run):
        """All of it goes, also what the script wrote there."""
        made = run.rename(run.with_name("run_20261120-061500_mlp_job0"))
        (made / "notes").mkdir()
        (made / "notes" / "a.md").write_bytes(b"the run's")
        edits.delete(made)
        for step in plan(made.parent, Policy(remove_deleted=True), now=later()):
            carry_out(step)
        assert sorted(path.name for path in made.iterdir()) == ["edits.jsonl", "run.json"]

    def test_a_log_that_is_a_link(self, run, tmp_path):
        """It is not compressed."""
        shared = (run / "train.log").rename(tmp_path / "shared.log")
        (run / "train.log").symlink_to(shared)
        assert planned(run, compress=True) == {}


class TestWhen:
    """A run is old when nobody can have written it for so long."""

    def test_a_deleted_run_that_ended_later(self, run, new_run):
        """It counts from its end, not from a deletion that a resumed run, or another clock, put before it."""
        new_run(name="mlp", resume="allow").finish()
        edits.append_edit(run, "delete", {}, now=lambda: time.time() - 100 * DAY_S)
        assert planned(run, now=time.time, remove_deleted=True) == {}
        assert list(planned(run, remove_deleted=True)) == ["remove"]

    @pytest.mark.parametrize("line", ['{"op":"delete"}', '{"op":"delete","t":-5}'])
    def test_a_deletion_that_does_not_tell_its_time(self, run, line):
        """It counts from when the edits last changed, not from 1970."""
        (run / "edits.jsonl").write_text(line + "\n")
        os.utime(run / "facts" / "exit.json", (1e9, 1e9))
        assert planned(run, now=later(29), remove_deleted=True) == {}
        assert list(planned(run, now=later(31), remove_deleted=True)) == ["remove"]

    def test_a_run_of_which_another_rank_lives(self, run):
        """Rank 0 may have ended before the others."""
        write_process(run / "facts" / "process.rank003.json", this_process(attempt=0))
        assert planned(run, compress=True, thin=["figures"]) == {}

    def test_a_run_that_is_lost_since_an_hour(self, run):
        """Its machine may only be cut off: it is left for a day, and never sealed."""
        (run / "facts" / "exit.json").unlink()
        elsewhere = msgspec.structs.replace(this_process(attempt=0), host="other")
        write_process(run / "facts" / "process.json", elsewhere)
        policy = {"older_than_days": 0.0, "compress": True, "seal": True}
        assert planned(run, now=later(1 / 24), **policy) == {}
        assert list(planned(run, now=later(2), **policy)) == ["compress"]

    def test_a_run_that_was_restored_or_resumed_since_the_plan(self, run, new_run):
        """Hashing takes its time; what happened meanwhile counts."""
        edits.delete(run)
        (removal,) = plan(run.parent, Policy(remove_deleted=True), now=later())
        edits.restore(run)
        (thinning,) = plan(run.parent, Policy(thin=["figures"]), now=later())
        with pytest.raises(RunBusyError, match="was restored since the plan was made"):
            carry_out(removal)
        new_run(name="mlp", resume="allow").finish()
        with pytest.raises(RunBusyError, match="was resumed since the plan was made"):
            carry_out(thinning)
        assert planned(run, thin=["figures"])["figures"] == thinning.files

    def test_not_a_number_of_days(self):
        """It is refused; nothing is older than it, nor younger."""
        with pytest.raises(MisuseError, match="older_than_days is nan"):
            Policy(older_than_days=float("nan"))


def test_a_removed_run_is_not_brought_back_by_an_undo(run):
    """There is nothing to bring back; other edits of it can be taken back."""
    edits.delete(run)
    for step in plan(run.parent, Policy(remove_deleted=True), now=later()):
        carry_out(step)
    with pytest.raises(MisuseError, match="were removed by `barograph retain`"):
        edits.undo(run)
    edits.rename(run, "other")
    assert edits.undo(run).op == "rename"
    assert discover_runs(run.parent) == []


def test_a_removal_that_was_killed_goes_on(run, monkeypatch):
    """All that goes was written down before the first file went."""
    edits.delete(run)
    before = contents(run)
    (step,) = plan(run.parent, Policy(remove_deleted=True), now=later())
    killed_at(monkeypatch, step.files[3].rpartition("/")[2])
    with pytest.raises(KeyboardInterrupt):
        carry_out(step)
    monkeypatch.undo()
    assert {it["name"] for it in RunReader(run).edits[-1].payload["removed"]} == set(before) - {"run.json"}
    for rest in plan(run.parent, Policy(remove_deleted=True), now=later()):
        carry_out(rest)
    assert sorted(path.name for path in run.iterdir()) == ["edits.jsonl", "run.json"]


def killed_at(monkeypatch, name):
    """The process dies when it is about to remove a file of that name."""
    unlink = Path.unlink

    def dying(path, *args, **options):
        if path.name == name:
            raise KeyboardInterrupt
        unlink(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", dying)


def test_a_compression_that_was_killed_does_not_double_the_log(run, monkeypatch):
    """The packed log was in place, the log itself not yet gone; a log that grew since goes behind it."""
    text = (run / "train.log").read_bytes()
    (step,) = plan(run.parent, Policy(compress=True), now=later())
    killed_at(monkeypatch, "train.log")
    with pytest.raises(KeyboardInterrupt):
        carry_out(step)
    monkeypatch.undo()
    assert (run / "train.log").exists()
    carry_out(step)
    assert gzip.decompress((run / "train.log.gz").read_bytes()) == text
    assert not (run / "train.log").exists()


def test_a_pipe_is_not_waited_for(run):
    """It is removed like the rest, in a directory that was made for the run."""
    made = run.rename(run.with_name("run_20261120-061500_mlp_job0"))
    os.mkfifo(made / "pipe")
    edits.delete(made)
    for step in plan(made.parent, Policy(remove_deleted=True), now=later()):
        carry_out(step)
    assert {"name": "pipe", "mode": "prw-r--r--"} in RunReader(made).edits[-1].payload["removed"]
    assert not (made / "pipe").exists()


def test_a_hard_link_keeps_its_content(run):
    """What is freed is what is free afterwards."""
    os.link(run / "a.pt", run.parent / "kept.pt")
    (step,) = plan(run.parent, Policy(thin=["checkpoints"]), now=later())
    assert (step.files, step.size_bytes, carry_out(step)) == (["a.pt", "b.pt"], 400, 400)
    assert (run.parent / "kept.pt").read_bytes() == b"a.pt" * 100


def test_two_at_once_are_one(run):
    """The second is told."""
    (step,) = plan(run.parent, Policy(compress=True), now=later())
    with alone(run / ".retain.lock", what="thins"), pytest.raises(RunBusyError, match="another process thins"):
        carry_out(step)
    carry_out(step)
    assert not (run / ".retain.lock").exists()


def test_each_rank_has_series_of_its_own(run):
    """The newest picture of one rank does not take the place of another's."""
    for rank in (0, 1):
        for number in (0, 1):
            ref = msgspec.to_builtins(put_bytes(run / "blobs", bytes([rank, number])))
            happened(run, {"kind": "image", "name": "of ranks", "blob": ref, "rank": rank}, moment="custom")
    gone = [hashlib.sha256(bytes([rank, 0])).hexdigest() for rank in (0, 1)]
    assert {Path(name).name for name in planned(run, thin=["blobs"])["blobs"]} >= set(gone)
    kept = [hashlib.sha256(bytes([rank, 1])).hexdigest() for rank in (0, 1)]
    assert not {Path(name).name for name in planned(run, thin=["blobs"])["blobs"]} & set(kept)
