"""``barograph retain``."""

from __future__ import annotations

import json


def files(root):
    """Every file and its bytes."""
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_without_yes_nothing_is_done(cli, root):
    """It says what would be."""
    before = files(root)
    head, *rows, last = cli("retain", root, "--older-than", "0", "--compress").stdout.splitlines()
    assert head.split() == ["run", "what", "files", "size"]
    assert all("compress logs" in row for row in rows)
    assert last.endswith("; nothing was changed, --yes does it")
    assert before == files(root)


def test_with_yes_it_is_done_and_written_down(cli, root):
    """Once; a second time there is nothing to do."""
    document = json.loads(cli("retain", root, "--older-than", "0", "--compress", "--yes", "--json").stdout)
    assert document["done"] is True
    assert {step["kind"] for step in document["steps"]} == {"compress"}
    for step in document["steps"]:
        edits = [json.loads(line) for line in (root / step["run"] / "edits.jsonl").read_text().splitlines()]
        assert {it["name"] for edit in edits for it in edit["compressed"]} == set(step["files"])
    assert cli("retain", root, "--older-than", "0", "--compress", "--yes").stdout == f"nothing to do below {root}\n"
    assert cli("check", root, "--no-criteria", "--json", code=0).returncode == 0


def test_a_deleted_run_is_removed(cli, root):
    """When it is old enough, and asked for."""
    cli("delete", "mlp", "--root", root)
    assert cli("retain", root, "--remove-deleted", "--yes").stdout == f"nothing to do below {root}\n"
    said = cli("retain", root, "--remove-deleted", "--older-than", "0", "--yes").stdout
    assert "remove the run" in said
    assert "freed in 1 run" in said
    assert len(list(root.glob("*/facts"))) == 4


def test_what_makes_no_sense_is_refused(cli, root):
    """The message says what to give."""
    assert "say --thin, --compress, --seal or --remove-deleted" in cli("retain", root, code=2).stderr
    assert "cannot thin metrics; choose from" in cli("retain", root, "--thin", "metrics,figures", code=2).stderr
    assert "use 0 or more" in cli("retain", root, "--compress", "--keep-last", "-1", code=2).stderr


def test_what_is_read_through_the_cache_is_not_thinned(cli, tmp_path):
    """It would only come back."""
    (tmp_path / "trainer").mkdir()
    state = {"global_step": 2, "epoch": 1.0, "log_history": [{"loss": 0.5, "step": 1}, {"loss": 0.25, "step": 2}]}
    (tmp_path / "trainer" / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    error = cli("retain", tmp_path / "trainer", "--compress", "--older-than", "0", code=2).stderr
    assert "is a view, in the cache, of what another tool wrote" in error


def test_the_trouble_of_one_run_is_not_another_s(cli, root):
    """The others are thinned; what could not be done is named, and the exit code tells."""
    (stuck, *others) = sorted(path.parent for path in root.glob("*/run.json"))
    for path in (stuck, *others):
        (path / "train.log").write_text("a line\n" * 40, encoding="utf-8")
    (stuck / "train.log.gz").mkdir()
    done = cli("retain", root, "--older-than", "0", "--compress", "--yes", "--json", code=2)
    document = json.loads(done.stdout)
    assert [it["run"] for it in document["failed"]] == [str(stuck)]
    assert done.stderr.startswith("barograph: compress logs: ")
    assert [(path / "train.log").exists() for path in others] == [False] * len(others) != []
    assert (stuck / "train.log").exists()
