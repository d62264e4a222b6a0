from __future__ import annotations

import csv
import json
import struct

import numpy as np
import pytest
import yaml
from scipy import stats

from barograph import plugins
from barograph.compare.comparator import ExperimentComparator
from barograph.errors import PluginNotFoundError, ReportError
from barograph.read.edits import rename
from barograph.read.frames import load_runs
from barograph.read.run import RunReader
from barograph.report.choice import choose_metrics
from barograph.report.config import Inputs
from barograph.report.document import Column, Document, Prose, Section
from barograph.report.inputs import gather
from barograph.report.number import Facts
from barograph.report.protocol import ReportKind, load_kind
from barograph.report.query import Query
from barograph.report.run import run_report
from barograph.report.tables import Ask, make_table
from barograph.report.verify import verify_report


def rows(path):
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_kinds_enter_by_the_entry_points():
    """Built-in kinds come through the strangers' door, and are what the protocol says."""
    names = plugins.names("barograph.reports")
    assert {"single_run", "sweep", "comparison"} <= set(names)
    kinds = [load_kind(name) for name in names]
    assert [kind.name for kind in kinds] == names
    assert all(isinstance(kind, ReportKind) for kind in kinds)
    with pytest.raises(PluginNotFoundError, match="no installed distribution offers 'nobody'"):
        load_kind("nobody")


def test_the_losses_are_what_a_report_is_about(facts):
    """Validation first; the same loss by two names once."""
    assert [metric.label for metric in choose_metrics(facts, [])] == ["val_loss", "train_loss"]
    assert [metric.label for metric in choose_metrics(facts, ["loss", "mse"])] == ["train/loss", "mse"]


def test_a_loss_whose_name_repeats_its_split_is_the_same_loss(new_run, tmp_path):
    """``val_loss`` logged on split ``val`` and again by the epochs is one metric, as people see it."""
    with new_run(dir=tmp_path / "one") as run:
        run.log({"val_loss": 0.5}, step=0, split="val")
        run.epoch_end(0, train_loss=0.25, val_loss=0.5)
    found = choose_metrics(Facts(load_runs(tmp_path)), [])
    assert [metric.label for metric in found] == ["val_loss", "train_loss"]


@pytest.fixture
def single(tmp_path):
    """Make a report of one run."""

    def single(run):
        cfg = {"inputs": {"runs": [str(run)]}, "outputs": {"dir": str(tmp_path / "reports")}}
        return run_report(cfg, kind="single_run")

    return single


def test_one_run_with_what_it_promised(sweep_dir, single):
    """Hypothesis, truth about its end, criteria with evidence, checks, alerts, attempts, cost."""
    run = sorted(sweep_dir.glob("*lr0.2*"))[2]
    path = single(run)
    text = (path / "report.md").read_text(encoding="utf-8")
    reader = RunReader(run)
    evidence = reader.success()[0]["evidence"]["value"]
    for line in (
        "Hypothesis: a larger step learns faster",
        "The run finished.",
        "2 of 2 success criteria hold.",
        f"| lr0.2 | pass | val\\_loss \\< 0.1 by epoch 3 | {evidence:.4g} |  |  |",
        "| lr0.2 | pass | weights | 2 | 2 |",
        "| lr0.2 | warning | slow | it took a while |",
        "| optim.lr | 0.2 |",
    ):
        assert line in text
    numbers = {it["id"]: it["value"] for it in yaml.safe_load((path / "manifest.yaml").read_bytes())["numbers"]}
    assert numbers["criteria.0.value"] == evidence
    assert numbers["lead.total_time_s"] == reader.exit_record().total_time_s
    assert verify_report(path).ok


def test_one_run_that_was_killed(sweep_dir, single):
    """A run without an end may be reported alone; the page says what became of it."""
    run = next(run for run in sweep_dir.iterdir() if RunReader(run).exit_record() is None)
    text = (single(run) / "report.md").read_text(encoding="utf-8")
    assert "The run killed (the process is gone without an exit record: SIGKILL, out of memory or power)" in text


def test_one_run_s_summary_is_of_every_metric(sweep_dir, single):
    """``training/summary.csv``: each metric with last, extremes and their steps, as ``RunReader.metrics`` has them."""
    run = min(sweep_dir.glob("*lr0.2*"))
    found = {(row["metric"], row["split"]): row for row in rows(single(run) / "training" / "summary.csv")}
    for metric in RunReader(run).metrics():
        row = found[metric.name, metric.split]
        assert [row["last"], row["min"], row["max"]] == [repr(metric.last), repr(metric.min), repr(metric.max)]
        assert [float(row["min_step"]), float(row["last_step"])] == [metric.min_step, metric.last_step]
        assert int(row["count"]) == metric.count


def test_one_run_means_one(sweep_dir, tmp_path):
    """Several are refused, with the kind to use."""
    cfg = {"inputs": {"sweep_dir": str(sweep_dir)}, "outputs": {"dir": str(tmp_path)}}
    with pytest.raises(ReportError, match="about one run, not 8; name it with"):
        run_report(cfg, kind="single_run")


def test_a_run_that_failed_is_shown_and_in_no_mean(make):
    """Its numbers stand in the table of runs; n is three."""
    path = make(metrics=["mse"])
    states = [row["status"] for row in rows(path / "training" / "runs.csv")]
    assert (states.count("finished"), states.count("failed")) == (6, 1)
    assert {row["n"] for row in rows(path / "training" / "summary.csv")} == {"3"}
    assert "Not finished, so shown but part of no mean: lr0.2 (seed 3)." in (path / "report.md").read_text()


def test_configurations_are_compared(make, trained):
    """Difference, n and p are those of the plain procedures; three pairs cannot tell, and it says how many would."""
    path = make(kind="comparison", metrics=["val_loss"], options={"reduce": "best", "impact": False})
    (row,) = rows(path / "training" / "comparisons.csv")
    best = {}
    for run in trained.iterdir():
        reader = RunReader(run)
        if reader.status().state == "finished":
            value = min(epoch.val_loss for epoch in reader.epochs())
            best[reader.config["optim"]["lr"], reader.identity.seed] = value
    a, b = (np.array([best[lr, seed] for seed in range(3)]) for lr in (0.05, 0.2))
    assert (row["a"], row["b"], row["n_a"], row["n_b"]) == ("lr=0.2", "lr=0.05", "3", "3")
    assert float(row["difference"]) == pytest.approx(float((b - a).mean()), rel=1e-12)
    exact = stats.permutation_test((a - b,), np.mean, permutation_type="samples", alternative="two-sided")
    assert float(row["p"]) == pytest.approx(exact.pvalue, abs=1e-12)
    assert row["verdict"] == "cannot tell"
    assert "pairs cannot give a p below 0.25" in row["words"]
    summary = json.loads((path / "training" / "summary.json").read_bytes())
    assert summary["verdicts"] == [
        {"metric": "best val_loss (epoch)", "a": "lr=0.2", "b": "lr=0.05", "verdict": "cannot tell"}
    ]
    assert verify_report(path).ok


def test_a_clear_difference_is_told(tmp_path, new_run):
    """Seven seeds of two configurations, far apart: better, and verification computes the same."""
    generator = np.random.default_rng(0)
    for lr, mean in ((0.1, 1.0), (0.2, 3.0)):
        for seed in range(8):
            with new_run(root=tmp_path / "runs", name=f"lr{lr}", config={"lr": lr}, seed=seed) as run:
                run.log({"loss": mean + generator.normal(0, 0.1)}, step=0, split="val")
    cfg = {"inputs": {"sweep_dir": str(tmp_path / "runs")}, "outputs": {"dir": str(tmp_path / "reports")}}
    path = run_report({**cfg, "options": {"baseline": "lr=0.2"}}, kind="comparison")
    (row,) = rows(path / "training" / "comparisons.csv")
    assert (row["a"], row["b"], row["verdict"]) == ("lr=0.1", "lr=0.2", "better")
    assert float(row["p_corrected"]) < 0.05
    assert float(row["probability_of_improvement"]) == 1.0
    assert "lr=0.1 is better than lr=0.2 in final loss (val)" in (path / "report.md").read_text(encoding="utf-8")
    assert verify_report(path).findings == []


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"options": {"base": "x"}}, "no options.base; there are reduce, mode, baseline, group_by, ignore, impact"),
        (
            {"options": {"baseline": "lr=9"}},
            "'lr=9' means no group or run; give the label of a group: 'lr=0.05'",
        ),
        ({"options": {"reduce": "smallest"}}, "options of the comparison cannot be used"),
        ({"select": "optim.lr > 0.1"}, "nothing to compare"),
    ],
)
def test_a_comparison_that_cannot_be_made(make, sweep_dir, cfg, message):
    """Before anything is written."""
    inputs = {"sweep_dir": str(sweep_dir), "select": cfg.pop("select", None)}
    with pytest.raises(ReportError, match=message):
        make(kind="comparison", inputs=inputs, **cfg)


class Counting:
    """A stranger's kind."""

    name = "counting"
    allow_unended = True

    def build(self, facts, cfg):
        """How many events each run recorded."""
        columns = [Column(name="run", title="run"), Column(name="num_events", title="events", is_number=True)]
        table = make_table(
            facts,
            "events",
            columns,
            [[facts.label(key), Ask(Query(of="run", name="num_events"), key)] for key in facts.keys],
            is_file=True,
        )
        return Document(title=cfg.title or "Events", lead=[Prose(["Counted."])], sections=[Section("Events", [table])])


@pytest.mark.spec("S3.57", "S3.64")
def test_a_kind_of_ones_own(make, sweep_dir):
    """A new report needs one class: its numbers have addresses and can be verified; no run is trained again."""
    path = make(kind=Counting())
    found = {row["run"]: int(row["num_events"]) for row in rows(path / "training" / "events.csv")}
    runs = gather(Inputs(sweep_dir=str(sweep_dir)), allow_unended=True).readers
    assert sorted(found.values()) == sorted(sum(1 for _ in reader.events()) for reader in runs)
    assert verify_report(path).ok


@pytest.fixture
def compared(tmp_path, new_run):
    """Make a comparison of twelve configurations with two seeds each; one more failed: ``compared(impact=True)``."""
    generator = np.random.default_rng(1)
    for lr in (0.1, 0.2, 0.4, 0.8):
        for width in (8, 16, 32):
            for seed in range(2):
                with new_run(root=tmp_path / "runs", name="r", config={"lr": lr, "width": width}, seed=seed) as run:
                    run.log({"loss": 10 * lr + generator.normal(0, 0.01)}, step=0, split="val")
    with pytest.raises(ValueError, match="broken"), new_run(root=tmp_path / "runs", name="f", config={"lr": 9.0}):
        raise ValueError("broken")
    cfg = {"inputs": {"sweep_dir": str(tmp_path / "runs")}, "outputs": {"dir": str(tmp_path / "reports")}}
    return lambda *, impact: run_report({**cfg, "figures": False, "options": {"impact": impact}}, kind="comparison")


def test_a_comparison_says_what_its_runs_support(compared, tmp_path):
    """Insights and the best configuration are the comparator's, each under its own address; no run is lost."""
    path = compared(impact=False)
    expected = ExperimentComparator(tmp_path / "runs").compare(impact=False)
    insights = rows(path / "training" / "insights.csv")
    told = [it for it in expected.insights if it.kind != "failures"]
    assert [row["text"] for row in insights] == [it.text for it in told]
    assert [int(row["n"]) for row in insights] == [it.n for it in told]
    numbers = {it["id"]: it for it in yaml.safe_load((path / "manifest.yaml").read_bytes())["numbers"]}
    best = expected.as_dict()["best"]
    assert (numbers["best.mean"]["value"], numbers["best.n"]["value"]) == (best["value"], best["n"])
    assert numbers["insights.0.text"]["query"]["reduce"] == "insight"
    assert [row["run"] for row in rows(path / "training" / "not_compared.csv")] == ["f"]


def test_the_impact_of_parameters_can_be_computed_again(compared):
    """What decides the metric is shown, what does nothing is not; verification comes to the same shares."""
    path = compared(impact=True)
    impact = {row["parameter"]: row for row in rows(path / "training" / "impact.csv")}
    assert impact["lr"]["verdict"] == "yes"
    assert impact["width"]["verdict"] == "not told from chance"
    assert float(impact["lr"]["low"]) > 0 >= float(impact["width"]["low"])
    found = verify_report(path)
    assert found.findings == []
    assert found.num_computed == found.num_numbers


def test_sentences_that_do_not_hold_any_more_are_found(compared, tmp_path):
    """Another value of a run of the best configuration changes what the comparison says."""
    path = compared(impact=False)
    best = ExperimentComparator(tmp_path / "runs").compare(impact=False).as_dict()["best"]
    stream = RunReader(tmp_path / "runs" / best["runs"][0]).directory.facts / "metrics.000.rows"
    data = bytearray(stream.read_bytes())
    struct.pack_into("<d", data, 4096 + 8, 77.0)
    stream.write_bytes(data)
    stale = {it.where for it in verify_report(path).findings if it.code == "number"}
    assert any(where.startswith("insights.") and where.endswith(".text") for where in stale)


def test_figures_may_be_left_out(make):
    """``figures: false``: no picture is drawn, and none is spoken of."""
    path = make(figures=False)
    assert list(path.rglob("*.png")) == []
    assert "![" not in (path / "report.md").read_text(encoding="utf-8")


def test_a_renamed_run_has_the_same_numbers(make, sweep_dir):
    """Names, tags and notes are edits over the facts: they are told, and no number changes."""
    path = make(kind="comparison", metrics=["val_loss"], options={"impact": False}, figures=False)
    run = min(sweep_dir.glob("*lr0.2*"))
    rename(run, "another")
    found = verify_report(path)
    assert found.ok
    assert [(it.code, it.where.rpartition("/")[2]) for it in found.findings] == [("edited", "edits.jsonl")]


def test_one_run_shows_what_the_families_of_figures_find(sweep_dir, single):
    """The family ``losses`` is among them, with its points as CSV."""
    run = min(sweep_dir.glob("*lr0.2*"))
    path = single(run)
    drawn = rows(path / "training" / "figures" / "figure-losses.csv")
    curve = RunReader(run).series("loss").effective()
    assert [float(row["value"]) for row in drawn if row["name"] == "loss"] == curve.values.tolist()
    assert (path / "training" / "figures" / "figure-losses.png").stat().st_size > 10_000
    assert verify_report(path).ok
