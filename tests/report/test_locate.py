"""Whether the runs of a report are found wherever they went, and none is taken for another."""

from __future__ import annotations

import shutil

import pytest

from barograph.read.edits import delete
from barograph.report.run import run_report
from barograph.report.verify import verify_report


@pytest.fixture
def moved(new_run, tmp_path):
    """A report of a run that has moved since, alone."""
    with new_run(root=tmp_path / "runs", name="one") as run:
        run.log({"loss": 1.0}, step=0)
    cfg = {"inputs": {"sweep_dir": str(tmp_path / "runs")}, "outputs": {"dir": str(tmp_path / "reports")}}
    path = run_report({**cfg, "figures": False}, kind="sweep")
    shutil.move(run.dir, tmp_path / "archive" / "b" / run.dir.name)
    return path, tmp_path / "archive"


def test_of_two_copies_the_one_with_the_same_facts_is_meant(moved):
    """Both have the id; one was changed after it was copied."""
    path, archive = moved
    (kept,) = (archive / "b").iterdir()
    other = shutil.copytree(kept, archive / "a" / kept.name)
    (other / "config.yaml").write_text("lr: 2\n", encoding="utf-8")
    found = verify_report(path, root=archive)
    assert found.ok
    assert [(it.code, it.message) for it in found.findings] == [("moved", f"the run was found in {kept}")]


def test_a_run_that_was_deleted_is_still_found(moved):
    """Deleting hides a run; its facts are there."""
    path, archive = moved
    (run,) = (archive / "b").iterdir()
    delete(run)
    found = verify_report(path, root=archive)
    assert found.ok
    assert {it.code for it in found.findings} == {"moved", "edited"}


def test_two_runs_of_one_id_are_two(new_run, tmp_path):
    """A run and its copy are both in the report; moved together, each is found once."""
    with new_run(root=tmp_path / "runs" / "a", name="one") as run:
        run.log({"loss": 1.0}, step=0)
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "runs" / "b")
    cfg = {"inputs": {"sweep_dir": str(tmp_path / "runs")}, "outputs": {"dir": str(tmp_path / "reports")}}
    path = run_report({**cfg, "figures": False}, kind="sweep")
    shutil.move(tmp_path / "runs", tmp_path / "archive")
    found = verify_report(path, root=tmp_path / "archive")
    assert found.ok
    assert len({it.message for it in found.findings}) == 2
