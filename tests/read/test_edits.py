"""Edits: what people change about a run lies over what it recorded, which stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from barograph.errors import InvalidNameError, MisuseError, RunBusyError, RunNotFoundError
from barograph.facts.codec import encode
from barograph.facts.rundir import RunDir
from barograph.read import edits
from barograph.read.catalog import discover_runs, find_run
from barograph.read.run import RunReader
from barograph.read.verify import verify

CONFIG = "optim:\n  lr: 0.1\nseed: 1\n"


@pytest.fixture
def run(tmp_path):
    """A run of another day: an identity, a configuration and nothing else."""
    path = tmp_path / "runs" / "run_20261120-061500_mlp_job0"
    path.mkdir(parents=True)
    identity = {"run_id": "abc123", "name": "mlp", "tags": ["small"], "notes": "old", "group": "g", "created_t": 1e9}
    (path / "run.json").write_bytes(encode(identity) + b"\n")
    (path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return path


def lines(run):
    """The records of ``edits.jsonl``."""
    return [json.loads(line) for line in (run / "edits.jsonl").read_text().splitlines()]


def test_the_identity_is_as_edited_and_the_recorded_one_stays(run):
    """Name, group, tags and notes; ``run.json`` has the same bytes as before."""
    before = (run / "run.json").read_bytes()
    edits.rename(run, "wide")
    edits.regroup(run, None)
    edits.tag(run, add=["best", "paper"], remove=["small"])
    edits.note(run, "look at step 40")
    reader = RunReader(run)
    identity = reader.identity
    assert (identity.name, identity.group, identity.tags) == ("wide", None, ["best", "paper"])
    assert identity.notes == "look at step 40"
    recorded = reader.recorded_identity
    assert (recorded.name, recorded.group, recorded.tags, recorded.notes) == ("mlp", "g", ["small"], "old")
    assert (identity.run_id, identity.created_t) == ("abc123", 1e9)
    assert before == (run / "run.json").read_bytes()
    assert reader.damage == []


def test_a_line_says_when_who_and_what(run):
    """Strict JSON with a version, an id, the time, ``user@host:pid``."""
    edits.append_edit(run, "rename", {"name": "wide"}, now=lambda: 1234.5)
    (line,) = lines(run)
    assert (line["schema_version"], line["t"], line["op"], line["name"]) == (1, 1234.5, "rename", "wide")
    user, _, place = line["who"].partition("@")
    assert user
    assert place == f"{os.uname().nodename}:{os.getpid()}"
    assert len(line["id"]) == 12


def test_an_undo_takes_back_the_latest_edit_then_the_one_before(run):
    """And says which; the lines stay; with none left it is an error."""
    edits.rename(run, "wide")
    edits.tag(run, add=["best"])
    assert edits.undo(run).op == "tag"
    assert RunReader(run).identity.tags == ["small"]
    assert edits.undo(run).payload == {"name": "wide"}
    assert RunReader(run).identity.name == "mlp"
    assert [line["op"] for line in lines(run)] == ["rename", "tag", "undo", "undo"]
    with pytest.raises(MisuseError, match="has no edit to take back"):
        edits.undo(run)


def test_an_edit_after_an_undo_counts(run):
    """An undo names its edit, so later ones are not touched by it."""
    edits.rename(run, "a")
    edits.undo(run)
    edits.rename(run, "b")
    assert RunReader(run).identity.name == "b"


def test_a_deleted_run_is_hidden_and_comes_back(run):
    """Lists leave it out, ``deleted=True`` shows it alone, nothing is removed; restoring or undoing brings it back."""
    root = run.parent
    files = sorted(path.name for path in run.iterdir())
    edits.delete(run)
    assert discover_runs(root) == []
    assert discover_runs(root, deleted=True) == [run]
    assert discover_runs(root, deleted=None) == [run]
    assert [*files, "edits.jsonl"] == sorted([path.name for path in run.iterdir()], key=[*files, "edits.jsonl"].index)
    edits.restore(run)
    assert discover_runs(root) == [run]
    assert discover_runs(root, deleted=True) == []
    edits.delete(run)
    edits.undo(run)
    assert discover_runs(root) == [run]


def test_deleting_twice_and_restoring_what_is_there_are_errors(run):
    """Each says what to do instead."""
    with pytest.raises(MisuseError, match="is not deleted; `barograph list --deleted`"):
        edits.restore(run)
    edits.delete(run)
    with pytest.raises(MisuseError, match="is deleted already; `barograph restore"):
        edits.delete(run)
    assert len(lines(run)) == 1


def test_a_run_is_found_by_its_old_name_and_its_new_one(run):
    """Links in papers and habits of fingers outlive a rename."""
    edits.rename(run, "wide")
    assert find_run("mlp", run.parent) == run
    assert find_run("wide", run.parent) == run


def test_a_deleted_run_is_not_found_by_name_and_the_error_says_why(run):
    """It is found where deleted runs are looked for, and by its path."""
    edits.delete(run)
    with pytest.raises(RunNotFoundError, match=r"the run 'mlp' is deleted; `barograph restore .*job0` brings it back"):
        find_run("mlp", run.parent)
    assert find_run("mlp", run.parent, deleted=True) == run
    assert find_run(str(run), run.parent) == run
    edits.restore(run)
    with pytest.raises(RunNotFoundError, match="the run 'mlp' is not deleted"):
        find_run("mlp", run.parent, deleted=True)


def test_keys_are_filled_in_where_nothing_was_recorded(run):
    """``config`` has them, ``backfilled`` names them, the recorded ones and ``config.yaml`` stay."""
    edits.set_keys(run, {"optim.beta": 0.9, "optim.lr": 0.5, "new/key": "default", "seed.extra": 1})
    reader = RunReader(run)
    assert reader.config == {"optim": {"lr": 0.1, "beta": 0.9}, "seed": 1, "new/key": "default"}
    assert reader.backfilled == {"optim.beta": 0.9, "new/key": "default"}
    assert reader.recorded_config == {"optim": {"lr": 0.1}, "seed": 1}
    assert (run / "config.yaml").read_text() == CONFIG


def test_the_first_default_stays_until_it_is_undone(run):
    """A second stamp does not change what tables have shown."""
    edits.set_keys(run, {"beta": 1})
    edits.set_keys(run, {"beta": 2, "gamma": 3})
    assert RunReader(run).backfilled == {"beta": 1, "gamma": 3}
    edits.undo(run)
    edits.undo(run)
    assert RunReader(run).backfilled == {}


def test_a_torn_line_is_skipped_and_counted_and_the_next_edit_is_whole(run):
    """Half a line of an editor that was killed."""
    edits.rename(run, "wide")
    with (run / "edits.jsonl").open("ab") as file:
        file.write(b'{"op":"rename","name":"torn')
    reader = RunReader(run)
    assert reader.identity.name == "wide"
    (place,) = reader.damage
    assert (place.path, place.size_bytes) == (str(run / "edits.jsonl"), 27)
    edits.tag(run, add=["best"])
    reader = RunReader(run)
    assert (reader.identity.name, reader.identity.tags) == ("wide", ["small", "best"])
    assert len(reader.damage) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"[1, 2]",
        b"\0\0\0\0",
        b'{"op": 5}',
        b'{"op": "rename", "name": 7}',
        b'{"op": "tag", "add": "x"}',
        b'{"op": "later"}',
    ],
)
def test_lines_that_are_no_edits_change_nothing(run, line):
    """Strangers' lines and those of later versions never raise."""
    (run / "edits.jsonl").write_bytes(line + b"\n")
    assert RunReader(run).identity == RunReader(run).recorded_identity


def test_a_hand_written_line_is_an_edit(run):
    """Only ``op`` and what it says are needed; it can be undone, too."""
    (run / "edits.jsonl").write_text('{"op": "rename", "name": "by hand"}\n')
    assert RunReader(run).identity.name == "by hand"
    edits.undo(run)
    assert RunReader(run).identity.name == "mlp"


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 200])
def test_a_name_that_no_run_could_have_is_refused(run, name):
    """Nothing is written."""
    with pytest.raises(InvalidNameError):
        edits.rename(run, name)
    assert not (run / "edits.jsonl").exists()


def test_a_tag_both_given_and_taken_is_refused(run):
    """So is an edit that does nothing."""
    with pytest.raises(MisuseError, match="both added and removed"):
        edits.tag(run, add=["a", "b"], remove=["b"])
    with pytest.raises(MisuseError, match="no tag to add or remove"):
        edits.tag(run)


EDITOR = """
import sys
from pathlib import Path
from barograph.read import edits
for number in range(int(sys.argv[3])):
    edits.tag(Path(sys.argv[1]), add=[f"{sys.argv[2]}-{number}"])
"""


def test_editors_in_several_processes_lose_nothing(run):
    """Four processes, 25 edits each: 100 whole lines, 100 tags."""
    command = [sys.executable, "-c", EDITOR, run]
    children = [subprocess.Popen([*command, f"p{number}", "25"]) for number in range(4)]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    reader = RunReader(run)
    assert len(lines(run)) == 100
    assert set(reader.identity.tags) == {"small", *(f"p{child}-{number}" for child in range(4) for number in range(25))}
    assert reader.damage == []


def test_two_deletions_at_once_are_one(run):
    """What is looked at and what is written belong together: one of two processes is told that it came late."""
    script = "import sys; from pathlib import Path; from barograph.read import edits; edits.delete(Path(sys.argv[1]))"
    children = [
        subprocess.Popen([sys.executable, "-c", script, run], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert sorted(child.returncode for child in children) == [0, 1, 1]
    assert sum("is deleted already" in error for error in errors) == 2
    assert [line["op"] for line in lines(run)] == ["delete"]


def test_an_editor_that_hangs_is_waited_for_and_named(run, monkeypatch):
    """Ten seconds, here a tenth of one."""
    import fcntl

    monkeypatch.setattr(edits, "LOCK_S", 0.1)
    fd = os.open(run, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(RunBusyError, match=r"is being edited by another process .*; try again"):
        edits.rename(run, "wide")
    os.close(fd)
    edits.rename(run, "wide")
    assert RunReader(run).identity.name == "wide"


def test_a_recorded_run_is_whole_after_edits(copy):
    """Verification finds in an edited run what it found before: nothing."""
    before = verify(copy)
    edits.rename(copy, "edited")
    edits.set_keys(copy, {"new.key": 1})
    assert before == verify(copy)
    assert RunDir(copy).edits.is_file()
