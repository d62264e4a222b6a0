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
