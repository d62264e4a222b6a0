from __future__ import annotations

import shutil

import pytest
import yaml
from tensorboardX import SummaryWriter

from barograph.errors import QueryError, ReportError, RunNotFoundError
from barograph.report.config import Inputs
from barograph.report.inputs import gather
from barograph.report.run import run_report
from barograph.report.verify import verify_report


def names(runs):
    """Name and seed of each run."""
    return [(reader.identity.name, reader.identity.seed) for reader in runs.readers]


@pytest.mark.spec("S3.24", "S3.84")
def test_runs_without_an_end_are_skipped_with_the_reason(sweep_dir):
    """The killed run has no ``on_train_end``: it is not reported, and it is named."""
    runs = gather(Inputs(sweep_dir=str(sweep_dir)), allow_unended=False)
    assert len(runs) == 7
    (skipped,) = runs.skipped
    assert "lr0.05" in skipped.path
    assert skipped.reason.startswith("no on_train_end: killed; the process is gone without an exit record")


@pytest.mark.spec("S3.84")
def test_a_run_that_goes_on_is_skipped(sweep_dir, start):
    """Living runs have no end yet."""
    child = start(
        """
        import sys, time, barograph
        run = barograph.init(name="alive", root=sys.argv[1], terminal="off", host_s=None)
        run.log({"loss": 1.0}, step=0)
        print("ready", flush=True)
        time.sleep(60)
        """,
        sweep_dir,
    )
    assert child.stdout.readline() == "ready\n"
    runs = gather(Inputs(sweep_dir=str(sweep_dir)), allow_unended=False)
    reasons = {skipped.path.rpartition("/")[2]: skipped.reason for skipped in runs.skipped}
    (reason,) = [reason for name, reason in reasons.items() if "alive" in name]
    assert reason == f"still running: process {child.pid}"


def test_unended_runs_are_taken_when_asked_for(sweep_dir):
    """``inputs.allow_unended``, or a kind that says so."""
    assert len(gather(Inputs(sweep_dir=str(sweep_dir), allow_unended=True), allow_unended=False)) == 8
    assert len(gather(Inputs(sweep_dir=str(sweep_dir)), allow_unended=True)) == 8


@pytest.mark.spec("S3.84")
def test_damaged_runs_are_skipped_with_the_place(sweep_dir):
    """File, byte and what is wrong there; they can be asked for."""
    run = min(sweep_dir.glob("*lr0.2*"))
    events = run / "facts" / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join([lines[0], b"broken\n", *lines[1:]]))
    runs = gather(Inputs(sweep_dir=str(sweep_dir)), allow_unended=False)
    reasons = {skipped.path: skipped.reason for skipped in runs.skipped}
    assert reasons[str(run)].startswith(
        f"damaged: 1 place holds no fact, e.g. facts/events.jsonl at byte {len(lines[0])}"
    )
    allowed = gather(Inputs(sweep_dir=str(sweep_dir), allow_damaged=True), allow_unended=False)
    assert len(allowed) == 7


@pytest.mark.spec("S3.26")
@pytest.mark.parametrize("select", ["optim.lr > 0.1", {"optim.lr": 0.2}, {"optim.lr": [0.2]}])
def test_runs_are_selected(sweep_dir, select):
    """By a condition or a mapping; the others are listed with it."""
    runs = gather(Inputs(sweep_dir=str(sweep_dir), select=select), allow_unended=False)
    assert names(runs) == [("lr0.2", seed) for seed in range(4)]
    assert sum("not selected by" in skipped.reason for skipped in runs.skipped) == 3


def test_runs_one_by_one(sweep_dir):
    """By directory, id or name; one that is named twice counts once."""
    path = min(sweep_dir.glob("*lr0.2*"))
    runs = gather(Inputs(runs=[str(path), path.name]), allow_unended=False, root=sweep_dir)
    assert [reader.path for reader in runs.readers] == [path]


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (Inputs(sweep_dir="nowhere"), RunNotFoundError, "nowhere"),
        (Inputs(runs=["nobody"]), RunNotFoundError, "nobody"),
        (Inputs(sweep_dir="{dir}", select="nothing = 1"), QueryError, "no column 'nothing'"),
        (Inputs(sweep_dir="{dir}", select="optim.lr > 9"), ReportError, "none of the 8 runs can be reported"),
    ],
)
def test_no_runs_is_an_error_that_says_why(sweep_dir, inputs, error, message):
    """The reasons stand in the message."""
    given = Inputs(sweep_dir=str(sweep_dir), select=inputs.select) if inputs.sweep_dir == "{dir}" else inputs
    with pytest.raises(error, match=message):
        gather(given, allow_unended=False, root=sweep_dir)


@pytest.fixture
def event_files(tmp_path, monkeypatch):
    """What TensorBoard's writer left of two runs; the cache is a directory of the test's own."""
    monkeypatch.setenv("BAROGRAPH_CACHE", str(tmp_path / "cache"))
    for place in range(2):
        with SummaryWriter(str(tmp_path / "tb" / f"run{place}")) as writer:
            for step in range(5):
                writer.add_scalar("loss", place + 1.0 / (step + 1), step)
    return tmp_path / "tb"


def test_files_of_another_tool_are_reported_on(event_files, tmp_path):
    """Their runs count as ended, their numbers are part of means, and each can be computed again."""
    cfg = {"inputs": {"sweep_dir": str(event_files)}, "outputs": {"dir": str(tmp_path / "reports")}, "figures": False}
    path = run_report(cfg, kind="sweep")
    assert path.joinpath("training/summary.csv").read_text(encoding="utf-8").count(",1,0,") == 4
    assert verify_report(path).findings == []
    one = {**cfg, "inputs": {"runs": [str(event_files / "run1")]}}
    numbers = yaml.safe_load((run_report(one, kind="single_run") / "manifest.yaml").read_bytes())["numbers"]
    assert {it["id"]: it["value"] for it in numbers}["summary.0.last"] == pytest.approx(1.2)


def test_files_of_another_tool_are_read_again_when_the_cache_is_gone(event_files, tmp_path):
    """The same files hold the same facts, whenever they were imported; other files do not."""
    cfg = {"inputs": {"sweep_dir": str(event_files)}, "outputs": {"dir": str(tmp_path / "reports")}, "figures": False}
    path = run_report(cfg, kind="sweep")
    shutil.rmtree(tmp_path / "cache")
    assert verify_report(path).ok
    with SummaryWriter(str(event_files / "run0")) as writer:
        writer.add_scalar("loss", 9.0, 5)
    found = verify_report(path)
    assert not found.ok
    assert "runs.0.train/loss.last" in {it.where for it in found.findings if it.code == "number"}
