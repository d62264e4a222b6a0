"""The comparison of a directory of runs that were really trained, against numbers computed by hand."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from scipy import stats

from barograph.compare.comparator import ExperimentComparator
from barograph.errors import MetricNotFoundError, MisuseError, RunNotFoundError
from barograph.facts.codec import decode, encode
from barograph.read.frames import load_runs

LABELS = ["lr=0.005", "lr=0.1", "lr=0.11", "lr=1e+09"]


@pytest.fixture(scope="module")
def report(study):
    """What a comparison without any option says."""
    return ExperimentComparator(study).compare_experiments()


def finals(root, lr):
    """The final losses on held-out data of the runs with a learning rate, by seed."""
    found = {}
    for reader in load_runs(root).readers:
        if reader.config["optim"]["lr"] == lr and reader.status().state == "finished":
            found[reader.identity.seed] = float(reader.series("loss", split="val").values[-1])
    return np.array([found[seed] for seed in sorted(found)])


@pytest.mark.spec("S2.8", "S2.17", "S2.35", "S2.44")
def test_groups_are_found_and_compared_without_being_told(study, report):
    """Runs are grouped by everything but the seed; a held-out loss is chosen; each group is summed up with its n."""
    assert [group["label"] for group in report["groups"]] == LABELS
    assert [group["n"] for group in report["groups"]] == [8, 8, 8, 2]
    assert report["groups"][0]["seeds"] == list(range(8))
    assert report["groups"][1]["differing"] == {"optim.lr": 0.1}
    (table,) = report["table"]
    assert (table["metric"], table["split"], table["mode"], table["baseline"]) == ("loss", "val", "min", "lr=0.005")
    for row, lr in zip(table["rows"][:3], (0.005, 0.1, 0.11), strict=True):
        values = finals(study, lr)
        interval = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
        assert row["n"] == 8
        assert row["mean"] == pytest.approx(values.mean())
        assert (row["mean_interval"]["low"], row["mean_interval"]["high"]) == pytest.approx(interval)
        assert row["median"] == pytest.approx(np.median(values))
        assert row["iqm"] == pytest.approx(np.sort(values)[2:6].mean())
        assert row["best"]["value"] == values.min()


@pytest.mark.spec("S2.44")
def test_verdicts_rest_on_paired_permutations_corrected_for_all_comparisons(study, report):
    """Seeds match, so signs are flipped; p is 2 of 256 arrangements, times three comparisons; the effect is by hand."""
    better, also, diverged = report["comparisons"]
    assert (better["a"]["label"], better["b"]["label"], better["verdict"]) == ("lr=0.1", "lr=0.005", "better")
    assert (better["paired"], better["exact"], better["n_a"]) == (True, True, 8)
    assert better["p"] == 2 / 256
    assert better["p_corrected"] == pytest.approx(3 * 2 / 256)
    assert better["difference"] == pytest.approx((finals(study, 0.1) - finals(study, 0.005)).mean())
    assert also["verdict"] == "better"
    assert (diverged["a"]["label"], diverged["verdict"], diverged["difference"]) == ("lr=1e+09", "worse", None)


@pytest.mark.spec("S2.37", "S2.47")
def test_the_best_configuration_comes_with_its_interval_and_its_rivals(study):
    """It is the group with the lowest mean; whether it can be told from the runner-up is a test, not a rank."""
    found = ExperimentComparator(study).find_best_configuration()
    means = {lr: finals(study, lr).mean() for lr in (0.005, 0.1, 0.11)}
    best, runner_up, _ = sorted(means, key=means.get)
    assert found["config"]["optim.lr"] == best
    assert found["config"] == {"optim.lr": best, "data.noise": 0.5, "epochs": 60}
    assert found["value"] == pytest.approx(means[best])
    assert found["interval"]["low"] < found["value"] < found["interval"]["high"]
    assert (found["n"], len(found["runs"])) == (8, 8)
    assert found["runner_up"]["label"] == f"lr={runner_up}"
    assert found["not_told_from"] == ([] if found["distinguishable"] else [f"lr={runner_up}"])
    assert list(found["excluded"]) == ["lr=1e+09"]


@pytest.mark.spec("S2.37")
def test_the_best_configuration_in_another_metric(study):
    """Of accuracy more is better, as its name says; a mode that is given counts."""
    comparator = ExperimentComparator(study)
    found = comparator.find_best_configuration("accuracy")
    assert (found["metric"], found["mode"]) == ("accuracy", "max")
    assert found["config"]["optim.lr"] in (0.1, 0.11)
    assert comparator.find_best_configuration("accuracy", mode="min")["config"]["optim.lr"] == 0.005


@pytest.mark.spec("S2.36", "S2.46")
def test_insights_are_sentences_that_print(study, report):
    """Each is a text with the number of runs in it, and has evidence: kind, runs, n; its links lead to runs."""
    lines = [f"\N{ELECTRIC LIGHT BULB} {insight}" for insight in report["insights"]]
    assert len(set(lines)) == len(lines) == len(report["evidence"])
    kinds = [evidence["kind"] for evidence in report["evidence"]]
    assert kinds == ["failures", "failures", "best", "verdict", "verdict", "verdict", *kinds[6:]]
    assert set(kinds[6:]) == {"convergence", "impact"}
    for line, evidence in zip(report["insights"], report["evidence"], strict=True):
        assert line.startswith(evidence["text"])
        assert re.search(r"\bn = \d+|^\d+ of \d+ runs| in \d+ of \d+ runs", line)
        assert evidence["n"] > 0
        assert all((study / link / "run.json").is_file() for link in evidence["runs"])
        assert evidence["runs"] or evidence["kind"] == "impact"


def test_runs_that_did_not_finish_are_left_out_and_named(study, report):
    """A crashed run does not count, unless asked for; then it is a run of its group."""
    (skipped,) = report["skipped"]
    assert skipped["reason"] == "failed: ValueError: a file of the data is missing"
    assert "crashed" in skipped["path"]
    found = ExperimentComparator(study, unfinished=True).compare(impact=False)
    assert [len(group) for group in found.groups] == [8, 9, 8, 2]
    assert found.skipped == []


def test_runs_without_a_finite_value_are_named_and_never_averaged(report):
    """They are counted, named with kind and step, and their group has no mean."""
    row = report["table"][0]["rows"][3]
    assert (row["n"], row["mean"], row["best"], row["num_nonfinite"]) == (2, None, None, 2)
    assert {found["kind"] for found in row["nonfinite"]} <= {"nan", "inf"}
    assert [found["step"] for found in row["nonfinite"]] == [59.0, 59.0]


def test_the_same_runs_give_the_same_report(study, report):
    """Two comparisons agree to the bit, and the report is data that strict JSON can hold."""
    again = ExperimentComparator(study).compare_experiments()
    assert encode(report) == encode(again)
    assert decode(encode(report))["insights"] == report["insights"]
    json.loads(encode(report), parse_constant=pytest.fail)


def test_whole_curves_are_compared_at_the_steps_that_all_recorded(study):
    """The verdict says at how many steps a group is better; each row sums up the means over the steps."""
    found = ExperimentComparator(study).compare(["loss"], split="val", reduce="curve", impact=False)
    row = found.tables[0].row("lr=0.1")
    assert row.comparison.curve.num_steps == 60
    assert row.comparison.verdict == "better"
    curves = [reader.series("loss", split="val").values for reader in ExperimentComparator(study).groups[1].runs]
    assert row.summary.mean == pytest.approx(np.mean(curves))


def test_the_baseline_and_the_grouping_can_be_chosen(study):
    """By a label or by a run; groups by one key, or without one; what is not there is an error that lists what is."""
    comparator = ExperimentComparator(study)
    assert comparator.compare(baseline="lr=0.11", impact=False).baseline == "lr=0.11"
    run = comparator.groups[1].runs[0]
    assert comparator.compare(baseline=run.identity.run_id, impact=False).baseline == "lr=0.1"
    with pytest.raises(MisuseError, match=r"'nothing' means no group or run; .*'lr=0.005', 'lr=0.1'"):
        comparator.compare(baseline="nothing")
    whole = ExperimentComparator(study, group_by=["noise"])
    assert [len(group) for group in whole.groups] == [26]
    assert len(ExperimentComparator(study, ignore=["optim.lr"]).groups) == 1
    one = ExperimentComparator(study, select="config.optim.lr = 0.1")
    assert [len(group) for group in one.groups] == [8]
    assert len(one.compare(impact=False).skipped) == 19


def test_one_group_has_no_verdict_and_no_rival(study):
    """There is nothing to compare with, and that is said."""
    found = ExperimentComparator(study, select="config.optim.lr = 0.1").compare(impact=False)
    assert found.best.is_distinguishable is None
    assert found.best.as_dict()["reason"] == "there is no other group to compare it with"
    assert found.as_dict()["comparisons"] == []


@pytest.mark.spec("S2.45")
def test_the_impact_of_parameters_on_the_first_metric(search):
    """The learning rate comes first, and is the only one that is told from chance; the insight says so with n."""
    found = ExperimentComparator(search).compare_experiments()
    impact = found["impact"]
    assert (impact["metric"], impact["n"], impact["num_configs"], impact["method"]) == ("loss", 16, 16, "fanova")
    assert impact["parameters"][0]["keys"] == ["optim.lr"]
    assert [parameter["is_shown"] for parameter in impact["parameters"]] == [True, False, False]
    (sentence,) = [it["text"] for it in found["evidence"] if it["kind"] == "impact"]
    assert sentence.startswith("optim.lr moves loss (val): ")
    assert sentence.endswith("n = 16 runs of 16 configurations")
    (hint,) = found["hints"]
    assert hint.startswith("dropout, optim.lr")


def test_without_optuna_the_rest_of_the_report_goes_on(study, search, monkeypatch):
    """The impact says what to install; everything else is there."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setitem(sys.modules, "optuna.distributions", None)
    found = ExperimentComparator(search).compare_experiments()
    assert found["impact"]["reason"] == (
        "this needs optuna, which is not installed; python -m pip install 'barograph[impact]'"
    )
    assert found["best"]["label"]


def test_errors_say_what_there_is(study, tmp_path):
    """An empty directory, a metric that nobody logged, a metric whose better side is not clear."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunNotFoundError, match="holds no run to compare"):
        ExperimentComparator(tmp_path / "empty").compare_experiments()
    with pytest.raises(MetricNotFoundError, match="accuracy"):
        ExperimentComparator(study).compare_experiments(["f1"])
    with pytest.raises(RunNotFoundError, match="no directory"):
        ExperimentComparator(tmp_path / "nothing")
