"""``barograph rename``, ``tag``, ``note``, ``delete`` and ``restore``."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An index of the test's own."""
    monkeypatch.setenv("BAROGRAPH_CACHE", str(tmp_path / "cache"))


def test_a_run_gets_another_name_and_is_found_by_both(cli, root):
    """In lists, in ``show``, on the command line."""
    path = cli("list", root, "--json").stdout
    (run,) = [run["path"] for run in json.loads(path)["runs"] if run["name"] == "mlp"]
    assert cli("rename", "mlp", "wide", "--root", root).stdout == f"wide  (recorded as mlp)  {run}\n"
    assert cli("show", "wide", "--root", root).stdout.startswith("wide  ")
    assert cli("show", "mlp", "--root", root).stdout.startswith("wide  ")
    assert [line.split()[2] for line in cli("list", root).stdout.splitlines()[1:2]] == ["wide"]


def test_a_run_gets_another_group_or_none(cli, root):
    """With or without a name."""
    document = json.loads(cli("rename", "mlp", "wide", "--group", "g1", "--root", root, "--json").stdout)
    assert (document["identity"]["name"], document["identity"]["group"]) == ("wide", "g1")
    assert (document["recorded"]["name"], document["recorded"]["group"]) == ("mlp", None)
    assert ", group g1  (recorded as" in cli("rename", "wide", "--group", "g1", "--root", root).stdout
    assert ", group" not in cli("rename", "wide", "--no-group", "--root", root).stdout


def test_a_rename_without_a_name_says_what_to_give(cli, root):
    """Nothing is written."""
    error = cli("rename", "mlp", "--root", root, code=2).stderr
    assert error == "barograph: there is nothing to change; give a new NAME, --group GROUP or --no-group\n"
    assert list(root.glob("*/edits.jsonl")) == []


def test_tags_come_and_go(cli, root):
    """And are printed."""
    assert cli("tag", "mlp", "best", "paper", "--root", root).stdout == "mlp: best, paper\n"
    assert cli("tag", "mlp", "--remove", "best", "--root", root).stdout == "mlp: paper\n"
    assert cli("tag", "mlp", "--root", root).stdout == "mlp: paper\n"
    assert cli("tag", "twice", "--root", root).stdout == "twice: no tags\n"
    document = json.loads(cli("tag", "mlp", "--root", root, "--json").stdout)
    assert (document["tags"], document["recorded"]) == (["paper"], [])


def test_notes_are_written_and_the_history_is_shown(cli, root):
    """Who did what, and what was undone."""
    assert cli("note", "mlp", "look at step 30", "--root", root).stdout == "look at step 30\n"
    assert cli("note", "mlp", "-", "--root", root, input="two\nlines\n").stdout == "two\nlines\n"
    cli("restore", "mlp", "--undo", "--root", root)
    first, _, head, *lines = cli("note", "mlp", "--root", root).stdout.splitlines()
    assert first == "look at step 30"
    assert head.split() == ["when", "who", "edit", "what"]
    assert [" ".join(line.split()[3:5]) for line in lines] == [
        'note {"text":"look',
        "note (undone)",
        'undo {"edit":"' + edit_id(root),
    ]
    assert cli("note", "mlp", "--clear", "--root", root).stdout == "mlp has no notes\n"
    document = json.loads(cli("note", "mlp", "--root", root, "--json").stdout)
    assert (document["notes"], [edit["op"] for edit in document["edits"]]) == (None, ["note", "note", "undo", "note"])


def edit_id(root):
    """The id of the second edit, as it stands in the undo's line."""
    (path,) = root.glob("*/edits.jsonl")
    return json.loads(path.read_text().splitlines()[1])["id"] + '"}'


def test_a_deleted_run_is_hidden_and_comes_back(cli, root):
    """From lists; by name; nothing is removed from the disk."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    said = cli("delete", "mlp", "twice", "--root", root).stdout.splitlines()
    assert [line.split(";")[0] for line in said] == ["deleted mlp", "deleted twice"]
    assert names(cli("list", root)) == ["diverged", "failed", "killed"]
    assert names(cli("list", root, "--deleted")) == ["mlp", "twice"]
    assert "`barograph restore" in cli("show", "mlp", "--root", root, code=2).stderr
    assert set(files) <= set(root.rglob("*"))
    assert cli("restore", "mlp", "--root", root).stdout.startswith("mlp  restored  ")
    document = json.loads(cli("restore", "twice", "--undo", "--root", root, "--json").stdout)
    assert [(it["name"], it["undone"]) for it in document["restored"]] == [("twice", {"op": "delete"})]
    assert names(cli("list", root)) == ["mlp", "diverged", "twice", "failed", "killed"]
    assert cli("list", root, "--deleted").stdout == f"no deleted runs below {root}\n"


def names(done):
    """The names in a list."""
    return [line.split()[2] for line in done.stdout.splitlines()[1:]]


def test_all_or_none_are_deleted(cli, root):
    """A name that is wrong stops it before anything is hidden."""
    assert "no run 'nope'" in cli("delete", "mlp", "nope", "--root", root, code=2).stderr
    assert len(names(cli("list", root))) == 5


def test_one_that_is_deleted_already_stops_the_deletion_of_others(cli, root):
    """By its path it is found; nothing is hidden. The same goes for bringing back."""
    paths = {run["name"]: run["path"] for run in json.loads(cli("list", root, "--json").stdout)["runs"]}
    cli("delete", paths["mlp"])
    assert "is deleted already" in cli("delete", paths["twice"], paths["mlp"], code=2).stderr
    assert names(cli("list", root, "--deleted")) == ["mlp"]
    assert "is not deleted" in cli("restore", paths["mlp"], paths["twice"], code=2).stderr
    assert names(cli("list", root, "--deleted")) == ["mlp"]


def test_a_group_that_cannot_be_stops_the_new_name(cli, root):
    """Both or neither."""
    assert "group 'g/1' has '/'" in cli("rename", "mlp", "wide", "--group", "g/1", "--root", root, code=2).stderr
    assert list(root.glob("*/edits.jsonl")) == []


EDITS = [("rename", "x"), ("tag", "x"), ("note", "x"), ("delete",), ("restore",), ("restore", "--undo")]


@pytest.mark.parametrize("words", EDITS, ids="-".join)
def test_what_is_read_through_the_cache_is_not_edited(cli, tmp_path, words):
    """Edits would be lost with the cache; reading goes on."""
    (tmp_path / "trainer").mkdir()
    state = {"global_step": 2, "epoch": 1.0, "log_history": [{"loss": 0.5, "step": 1}, {"loss": 0.25, "step": 2}]}
    (tmp_path / "trainer" / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    (run,) = json.loads(cli("list", tmp_path / "trainer", "--json").stdout)["runs"]
    verb, *rest = words
    options = ("--root", tmp_path / "trainer")
    error = cli(verb, run["path"], *rest, *options, code=2).stderr
    assert "is a view, in the cache, of what another tool wrote" in error
    assert "`barograph import`" in error
    assert "is a view" in cli("backfill", "a=1", *options, code=2).stderr
    assert json.loads(cli("list", tmp_path / "trainer", "--json").stdout)["runs"] == [run]


def test_a_living_run_is_not_deleted(cli, root):
    """It is being recorded: by this process, says its record."""
    from barograph.facts.state import this_process, write_process

    (path,) = [path.parent for path in root.glob("*/run.json") if '"name":"killed"' in path.read_text()]
    write_process(path / "facts" / "process.json", this_process(attempt=0))
    assert "is being recorded; end it first" in cli("delete", "killed", "--root", root, code=2).stderr


def test_an_undo_says_what_it_took_back(cli, root):
    """And without any edit what to look at."""
    cli("rename", "mlp", "wide", "--root", root)
    assert cli("restore", "wide", "--undo", "--root", root).stdout.startswith(
        'mlp  took back: rename {"name":"wide"}  '
    )
    assert "has no edit to take back" in cli("restore", "mlp", "--undo", "--root", root, code=2).stderr
    assert "is not deleted" in cli("restore", "mlp", "--root", root, code=2).stderr
