"""``barograph backfill``."""

from __future__ import annotations

import json

import pytest


@pytest.mark.spec("S3.72")
def test_a_dry_run_says_what_would_be_stamped_and_changes_nothing(cli, root):
    """In the words of the spec: --dry-run --labels '{"new/key": "default"}'."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    labels = '{"new/key": "default"}'
    head, *rows, last = cli("backfill", "--dry-run", "--labels", labels, "--root", root).stdout.splitlines()
    assert head.split() == ["name", "run", "stamped", "already", "there"]
    assert [row.split()[0] for row in rows] == ["mlp", "diverged", "twice", "failed", "killed"]
    assert all("new/key=default" in row for row in rows)
    assert last == f"5 of 5 runs below {root} would be stamped; without --dry-run it is done"
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.spec("S3.72")
def test_old_runs_are_stamped_and_recorded_values_stay(cli, root):
    """Values are JSON where they can be; tables have them; configurations on disk are as they were."""
    configs = {path: path.read_bytes() for path in root.glob("*/config.yaml")}
    document = json.loads(cli("backfill", root, "lr=0.5", "optim.name=adam", "warm=true", "--json").stdout)
    assert document["dry_run"] is False
    stamped = {run["name"]: run["missing"] for run in document["runs"]}
    everything = {"lr": 0.5, "optim.name": "adam", "warm": True}
    assert stamped["mlp"] == {"optim.name": "adam", "warm": True}
    assert stamped["diverged"] == everything
    answer = cli(
        "sql", "select name, config.lr, config.optim.name from runs order by name", "--root", root, "--csv"
    ).stdout
    assert "mlp,0.001,adam\n" in answer
    assert "diverged,0.5,adam\n" in answer
    assert configs == {path: path.read_bytes() for path in root.glob("*/config.yaml")}
    shown = [line.split() for line in cli("show", "mlp", "--root", root).stdout.splitlines()]
    assert ["lr", "0.001"] in shown
    assert ["optim.name", "'adam'", "(filled", "in)"] in shown
    document = json.loads(cli("show", "mlp", "--root", root, "--json").stdout)
    assert document["backfilled"] == {"optim.name": "adam", "warm": True}
    assert cli("backfill", root, "warm=false").stdout == f"0 of 5 runs below {root} stamped\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["=1"], "'=1' is no KEY=VALUE; write e.g. optim.beta=0.9"),
        ([], "names no key, or an empty one"),
        (["--labels", "[1]"], "write a JSON object"),
        (["--labels", "{"], "write a JSON object"),
        (["a..b=1"], "names no key, or an empty one"),
    ],
)
def test_what_is_no_key_is_refused(cli, root, arguments, message):
    """Nothing is stamped."""
    assert message in cli("backfill", *arguments, "--root", root, code=2).stderr
    assert list(root.glob("*/edits.jsonl")) == []
