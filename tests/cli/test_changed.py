"""``barograph changed A B``."""

from __future__ import annotations

import json

import pytest
from tests.compare.studies import job, record_study

from barograph.cli import main


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two learning rates by two numbers of workers, which do nothing, with three seeds each; one run diverges."""
    jobs = [
        job(lr=lr, workers=workers, seed=seed, epochs=40, name=f"{lr}-{workers}-{seed}")
        for lr in (0.005, 0.1)
        for workers in (2, 4)
        for seed in range(3)
    ]
    return record_study(tmp_path_factory.mktemp("study"), [*jobs, job(lr=1e9, workers=2, epochs=60, name="diverged")])


@pytest.fixture
def command(capsys):
    """Run ``barograph`` in this process; returns what it printed, or the error when a code is expected."""

    def run(*arguments, code=0):
        assert code == main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def test_changes_are_ranked_with_share_interval_and_n(cli, study):
    """The learning rate explains the gap; what the workers do cannot be told from nothing."""
    lines = cli("--root", study, "changed", "0.005-2-0", "0.1-4-1").stdout.splitlines()
    assert lines[0].startswith("final loss (val): ")
    assert lines[3].startswith("  gap  -")
    assert "over 12 runs; runs that agree in everything but the seed scatter by " in lines[3]
    assert lines[3].endswith(" (n=12)")
    assert lines[5].split() == ["change", "A", "B", "share", "effect", "n", "method", "verdict"]
    first, second = lines[6].split(), lines[7].split()
    assert (first[:3], first[-3:]) == (["optim.lr", "0.005", "0.1"], ["12", "paired", "explains"])
    assert (second[:3], second[-4:]) == (["workers", "2", "4"], ["12", "paired", "cannot", "tell"])
    assert lines[9].startswith("left unexplained: ")
    assert lines[10].startswith("left out: ")
    assert "diverged" in lines[10]


def test_json_holds_the_same_and_more(command, study):
    """Every explanation with its effect, share and interval."""
    document = json.loads(command("--root", study, "changed", "0.005-2-0", "0.1-4-1", "--json"))
    assert (document["metric"], document["split"], document["n"]) == ("loss", "val", 12)
    assert document["gap"] == pytest.approx(document["value_b"] - document["value_a"])
    lr, workers = document["explanations"]
    assert (lr["keys"], lr["verdict"], workers["verdict"]) == (["optim.lr"], "explains", "cannot tell")
    assert lr["share"] == pytest.approx(lr["effect"]["estimate"] / document["gap"])
    assert document["unexplained"] == pytest.approx(1 - lr["share"])


def test_a_metric_can_be_named(command, study):
    """And of it the best value of each run."""
    text = command("--root", study, "changed", "0.005-2-0", "0.1-4-1", "--metric", "accuracy", "--reduce", "best")
    assert text.startswith("best accuracy (val): ")
    text = command("--root", study, "changed", "0.005-2-0", "0.1-4-1", "--metric", "loss", "--split", "train")
    assert text.startswith("final loss (train): ")


def test_the_seed_alone_is_no_change(command, study):
    """It says so, and points to the rest."""
    text = command("--root", study, "changed", "0.1-4-0", "0.1-4-1")
    assert "nothing that counts differs but the seed; `barograph diff` shows the rest" in text


def test_a_run_without_the_metric_has_no_gap(command, study):
    """Exit code 2 and one line."""
    failed = command("--root", study, "changed", "0.1-4-0", "diverged", code=2)
    assert "has no finite 'loss'" in failed
    assert len(failed.splitlines()) == 1


def test_two_runs_alone_are_not_enough(command, study, tmp_path):
    """Both runs by their directories, below an empty root: the changes are listed, nothing is made up."""
    a, b = (next(study.glob(f"*_{name}_job*")) for name in ("0.005-2-0", "0.1-4-1"))
    (tmp_path / "empty").mkdir()
    text = command("--root", tmp_path / "empty", "changed", a, b)
    (line,) = [line for line in text.splitlines() if "optim.lr" in line]
    assert line.startswith("optim.lr + workers")
    assert line.endswith("not enough runs: 2 runs, 2 things to estimate; 5 runs are needed")
