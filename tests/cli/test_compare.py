"""``barograph compare ROOT|RUNS...``."""

from __future__ import annotations

import json
import math

import pytest
from tests.compare.studies import job, record_study

from barograph.cli import main
from barograph.facts.codec import decode


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two learning rates with eight seeds each, one that diverges, and a run that crashed."""
    common = {"noise": 0.5, "epochs": 60}
    jobs = [job(lr=lr, seed=seed, name=f"lr-{lr}", **common) for lr in (0.005, 0.1) for seed in range(8)]
    jobs += [job(lr=1e9, seed=seed, name="too-fast", **common) for seed in range(2)]
    jobs.append(job(lr=0.1, seed=8, name="crashed", crash_at=3, **common))
    return record_study(tmp_path_factory.mktemp("study"), jobs)


@pytest.fixture
def command(capsys):
    """Run ``barograph`` in this process; returns what it printed, or the error when a code is expected."""

    def run(*arguments, code=0):
        assert code == main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def sections(text):
    """The lines below each heading."""
    return {block.splitlines()[0]: block.splitlines()[1:] for block in text.rstrip().split("\n\n")}


@pytest.mark.spec("S2.17", "S2.36", "S2.44", "S2.47")
def test_groups_statistics_verdicts_best_and_insights_on_one_screen(cli, study):
    """The grouping that was found; a row per group with interval and n; the best; insights with their lamp."""
    found = sections(cli("compare", study).stdout)
    grouping, metric, best, impact, insights, left_out = found
    assert grouping == "3 groups of 18 runs, told apart by optim.lr"
    assert [line.split()[:2] for line in found[grouping]] == [
        ["group", "n"],
        ["lr=0.005", "8"],
        ["lr=0.1", "8"],
        ["lr=1e+09", "2"],
    ]
    assert found[grouping][1].endswith("0-7    lr-0.005")
    assert metric == "final loss (val); lower is better, baseline lr=0.005"
    head, base, better, diverged = found[metric][:4]
    assert head.split() == ["group", "n", "mean", "median", "IQM", "best", "no", "finite", "value", "verdict"]
    assert base.endswith(" baseline")
    assert better.endswith(" better")
    assert better.count("[") == 3
    assert diverged.split() == ["lr=1e+09", "2", "-", "-", "-", "-", "2", "worse"]
    assert [line for line in found[metric] if "too-fast" in line and line.endswith(" at step 59")]
    assert best == "best configuration in final loss (val)"
    assert found[best][0].startswith("  lr=0.1: mean 0.")
    assert found[best][1].startswith("  against the runner-up lr=0.005: better: -")
    assert found[impact][0].startswith("  not enough runs: 2 different configurations of 1 parameter")
    assert insights == "insights"
    assert all(line.startswith("\N{ELECTRIC LIGHT BULB} ") for line in found[insights])
    assert left_out == "left out"
    assert [line for line in found[left_out] if "crashed" in line and "ValueError" in line]


def test_json_is_the_report_as_data(command, study):
    """Strict JSON with everything; what is not finite is null and named."""
    text = command("compare", study, "--json", "--no-impact")
    document = json.loads(text, parse_constant=pytest.fail)
    assert [row["verdict"] for row in document["table"][0]["rows"]] == [None, "better", "worse"]
    assert document["table"][0]["rows"][2]["values"] == [None, None]
    assert document["best"]["config"]["optim.lr"] == 0.1
    assert document["impact"] is None
    assert len(document["insights"]) == len(document["evidence"])
    assert len(document["skipped"]) == 1
    values = decode(text.encode())["table"][0]["rows"][2]["values"]
    assert not any(map(math.isfinite, values))


def test_several_runs_metrics_and_options(command, study):
    """Runs by directory; a table per metric; a baseline by its label; whole curves; a group key by its last word."""
    runs = sorted(study.glob("*_lr-*"))
    text = command("compare", *runs, "--metric", "loss", "--metric", "accuracy", "--baseline", "lr=0.1", "--no-impact")
    found = sections(text)
    assert "final loss (val); lower is better, baseline lr=0.1" in found
    assert "final accuracy (val); higher is better, baseline lr=0.1" in found
    assert "corrected over 2 comparisons" in text
    curves = command("compare", *runs, "--reduce", "curve", "--group-by", "lr", "--no-impact", "--split", "train")
    assert "curve loss (train); lower is better, baseline lr=0.005" in curves
    assert "1 group of 18 runs" in command("compare", study, "--ignore", "optim.lr", "--no-impact")
    assert "2 groups of 9 runs" in command("compare", study, "--select", "seed > 3", "--unfinished", "--no-impact")


def test_mistakes_are_one_line_with_the_next_step(command, study, tmp_path):
    """Exit code 2."""
    for arguments, message in (
        ((study, "--baseline", "x"), "the baseline 'x' means no group or run; give the label of a group: 'lr=0.005'"),
        ((study, "--metric", "f1"), "'f1'"),
        ((tmp_path / "nowhere",), "there is no run "),
        ((study, "--group-by", "widht"), "no one configuration key is 'widht'"),
    ):
        lines = command("compare", *arguments, code=2).splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("barograph: ")
        assert message in lines[0]


def test_a_terminal_without_symbols_gets_a_star(cli, study):
    """ASCII where the encoding has no lamp."""
    text = cli("compare", study, "--no-impact", env={"PYTHONIOENCODING": "ascii"}).stdout
    assert text.isascii()
    assert "\n* " in text
