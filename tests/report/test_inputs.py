from __future__ import annotations

import pytest

from barograph.errors import QueryError, ReportError, RunNotFoundError
from barograph.report.config import Inputs
from barograph.report.inputs import gather


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
