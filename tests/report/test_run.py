from __future__ import annotations

import csv
import datetime as dt
import json
import re

import pytest
import yaml
from omegaconf import OmegaConf

from barograph.errors import BarographWarning, MetricNotFoundError, ReportError
from barograph.read.run import RunReader
from barograph.read.verify import verify
from barograph.report.backlinks import add_backlink, read_backlinks
from barograph.report.run import run_report
from barograph.report.verify import verify_report

FIGURES = ("values", "vs_time", "vs_epoch", "vs_optim.lr", "grid")
WHEN = dt.datetime(2025, 11, 3, 14, 28, 13, tzinfo=dt.UTC)


def rows(path):
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.spec("S3.24", "S3.27", "S3.28", "S3.30", "S3.53", "S3.78", "S3.79", "S3.80")
def test_a_report_is_a_directory_with_those_names(sweep_dir, tmp_path):
    """``report_YYYYMMDD-HHMMSS_NAME`` with manifest, summaries and ``figure-NAME.png``, of a multirun directory."""
    assert re.fullmatch(r"exp_\d{8}-\d{6}_\w+", sweep_dir.name)
    parent = tmp_path / "outputs" / "reports"
    cfg = {"name": "compare_tokenizers", "inputs": {"sweep_dir": str(sweep_dir)}, "outputs": {"dir": str(parent)}}
    with pytest.warns(BarographWarning, match="1 of 8 runs are not in the report"):
        path = run_report({**cfg, "metrics": ["mse"]}, kind="sweep", now=lambda: WHEN)
    assert parent / "report_20251103-142813_compare_tokenizers" == path
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert files == {
        "manifest.yaml",
        "report.html",
        "report.md",
        "training/summary.csv",
        "training/summary.json",
        "training/runs.csv",
        "training/skipped.csv",
    } | {f"training/figures/figure-mse_{x}.{end}" for x in FIGURES for end in ("png", "csv")}


@pytest.mark.spec("S3.84")
def test_skipped_runs_are_warned_about_and_listed(sweep_dir, tmp_path):
    """In the warning, the manifest, the page and a table: the run and the reason."""
    cfg = {"inputs": {"sweep_dir": str(sweep_dir)}, "outputs": {"dir": str(tmp_path / "r")}, "metrics": ["mse"]}
    with pytest.warns(BarographWarning, match="no on_train_end: killed"):
        path = run_report(cfg, kind="sweep")
    (skipped,) = yaml.safe_load((path / "manifest.yaml").read_bytes())["skipped"]
    assert skipped["reason"].startswith("no on_train_end: killed")
    assert (path / skipped["dir"]).resolve().is_dir()
    assert [row["reason"] for row in rows(path / "training" / "skipped.csv")] == [skipped["reason"]]
    for page in ("report.html", "report.md"):
        assert "killed; the process is gone without an exit record" in (path / page).read_text(encoding="utf-8")


@pytest.mark.spec("S3.25", "S3.27", "S3.79")
def test_the_summary_is_of_the_runs_that_finished(make, trained):
    """Mean, deviation and extremes of each configuration, by a second computation on the events alone."""
    best: dict[str, list[float]] = {}
    for run in sorted(trained.iterdir()):
        events = [json.loads(line) for line in (run / "facts" / "events.jsonl").read_text().splitlines()]
        if events[-1].get("status") == "finished":
            lr = yaml.safe_load((run / "config.yaml").read_bytes())["optim"]["lr"]
            losses = [event["val_loss"] for event in events if event["moment"] == "on_epoch_end"]
            best.setdefault(f"lr={lr}", []).append(min(losses))
    path = make(metrics=["val_loss"])
    found = [row for row in rows(path / "training" / "summary.csv") if row["of_run"] == "min"]
    assert [row["configuration"] for row in found] == list(best) == ["lr=0.05", "lr=0.2"]
    for row, values in zip(found, best.values(), strict=True):
        assert (row["metric"], row["n"], row["num_nonfinite"]) == ("val_loss", "3", "0")
        assert float(row["mean"]) == pytest.approx(sum(values) / 3, rel=1e-12)
        assert (float(row["min"]), float(row["max"])) == (min(values), max(values))
        assert float(row["low"]) < float(row["mean"]) < float(row["high"])


@pytest.mark.spec("S3.79")
def test_the_summary_s_metadata_has_the_sweep_s_parameters(make):
    """What was varied and with which values; which runs belong together; every number by its id."""
    summary = json.loads((make(metrics=["val_loss"]) / "training" / "summary.json").read_bytes())
    assert summary["sweep_params"] == {"optim.lr": [0.05, 0.2]}
    assert [it["label"] for it in summary["configurations"]] == ["lr=0.05", "lr=0.2"]
    assert [len(it["runs"]) for it in summary["configurations"]] == [3, 4]
    assert {"report_id", "name", "kind", "created", "inputs", "runs", "skipped", "numbers"} <= summary.keys()
    assert summary["numbers"]["lead.run"] == 7


def test_every_number_of_a_table_has_an_address(made):
    """Each numeric cell of each CSV is a number of the manifest, exactly, with query, runs, n and hash."""
    path = made
    manifest = yaml.safe_load((path / "manifest.yaml").read_bytes())
    numbers = {number["id"]: number for number in manifest["numbers"]}
    count = 0
    for name in ("summary", "runs"):
        for place, row in enumerate(rows(path / "training" / f"{name}.csv")):
            for column, text in row.items():
                number = numbers.get(f"{name}.{place}.{column}")
                if number is None:
                    assert not re.fullmatch(r"-?\d+\.\d+", text), f"{name}.{place}.{column} has no address"
                elif text:
                    assert (repr(float(text)) if "." in text else text) in (repr(number["value"]), str(number["value"]))
                    assert number["query"]["of"]
                    assert len(number["content_sha256"]) == 64
                    assert set(number["runs"]) <= manifest["runs"].keys()
                    count += 1
    assert count > 100


def test_two_reports_in_one_second_do_not_collide(make):
    """The second gets a directory of its own; both are whole."""
    paths = {make(name="twice", metrics=["mse"]) for _ in range(2)}
    assert len(paths) == 2
    assert all((path / "manifest.yaml").is_file() for path in paths)


@pytest.mark.spec("S3.30", "S3.52")
def test_each_run_leads_back_to_its_reports(make, sweep_dir):
    """A line per report in ``reports.jsonl``; the run's facts, and what reads them, are as they were."""
    before = {path: path.read_bytes() for path in sweep_dir.rglob("*") if path.is_file()}
    first, second = make(name="one", metrics=["mse"]), make(name="two", metrics=["mse"])
    assert {path: path.read_bytes() for path in before} == before
    for run in sweep_dir.iterdir():
        links = read_backlinks(run)
        if RunReader(run).exit_record() is None:
            assert links == []
            continue
        assert [(run / link["path"]).resolve() for link in links] == [first, second]
        assert [link["absolute_path"] for link in links] == [str(first), str(second)]
        assert [(link["name"], link["kind"]) for link in links] == [("one", "sweep"), ("two", "sweep")]
        assert [finding for finding in verify(run) if finding.severity == "error"] == []


def test_a_backlink_is_added_once(tmp_path):
    """The same report twice is one line; a torn line before it stays torn and swallows nothing."""
    link = {"report_dir": tmp_path / "report", "report_id": "a", "name": "n", "kind": "k", "t": 1.5}
    assert add_backlink(tmp_path, **link)
    assert not add_backlink(tmp_path, **link)
    with (tmp_path / "reports.jsonl").open("ab") as file:
        file.write(b'{"report_id": "tor')
    assert add_backlink(tmp_path, **{**link, "report_id": "b"})
    lines = (tmp_path / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["report_id"] for line in (lines[0], lines[2])] == ["a", "b"]
    assert [link["report_id"] for link in read_backlinks(tmp_path)] == ["a", "b"]


@pytest.mark.spec("S3.26", "S3.49", "S3.64")
def test_the_call_of_s3(sweep_dir, tmp_path):
    """``run_report(cfg)`` with a ``DictConfig``: kind, name, inputs and selection all come from it."""
    cfg = OmegaConf.create(
        {
            "kind": "sweep",
            "name": "selected",
            "inputs": {"sweep_dir": str(sweep_dir), "select": "optim.lr > 0.1"},
            "inference": {"enabled": False},
            "outputs": {"dir": str(tmp_path / "reports")},
        }
    )
    with pytest.warns(BarographWarning, match="not selected by 'optim.lr > 0.1'"):
        path = run_report(cfg)
    manifest = yaml.safe_load((path / "manifest.yaml").read_bytes())
    assert {run["name"] for run in manifest["runs"].values()} == {"lr0.2"}
    assert not (path / "inference").exists()


@pytest.mark.spec("S3.57")
def test_reports_are_made_again_without_training(make, sweep_dir):
    """The same facts, the same numbers; nothing is run but the report."""
    first, second = (yaml.safe_load((make(name=name, metrics=["mse"]) / "manifest.yaml").read_bytes()) for name in "ab")
    values = [{number["id"]: repr(number["value"]) for number in it["numbers"]} for it in (first, second)]
    assert values[0] == values[1]
    assert first["report_id"] != second["report_id"]


def test_a_metric_that_nobody_recorded(make):
    """The error lists what there is."""
    with pytest.raises(MetricNotFoundError, match=r"no run recorded 'auc'; recorded were .*mse.*train/loss"):
        make(metrics=["auc"])


def test_a_report_of_no_kind(sweep_dir):
    """The kind is asked for."""
    with pytest.raises(ReportError, match="kind=sweep"):
        run_report({"inputs": {"sweep_dir": str(sweep_dir)}})


def test_a_run_that_cannot_be_written_to_is_reported_all_the_same(make, sweep_dir, tmp_path):
    """The report is whole, and a warning names the run that does not lead back to it."""
    run = min(sweep_dir.glob("*lr0.2*"))
    (run / "reports.jsonl").mkdir()
    given = {"inputs": {"runs": [str(run)]}, "outputs": {"dir": str(tmp_path / "r")}}
    with pytest.warns(BarographWarning, match="cannot be written to"):
        path = run_report(given, kind="single_run")
    assert (path / "manifest.yaml").is_file()


def test_a_run_that_is_written_to_meanwhile_is_warned_about(new_run, tmp_path):
    """Its numbers are of different moments; the report is made, and verification finds it."""
    run = new_run(name="alive")
    run.log({"loss": 1.0}, step=0)

    def now():
        run.log({"loss": 2.0}, step=1)
        return WHEN

    cfg = {"inputs": {"runs": [str(run.dir)]}, "outputs": {"dir": str(tmp_path / "r")}, "figures": False}
    with pytest.warns(BarographWarning, match="was written to while the report was made"):
        path = run_report(cfg, kind="single_run", now=now)
    run.finish()
    assert not verify_report(path).ok
