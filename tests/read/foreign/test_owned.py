"""What tools write beside their own files of the same training: one training is one run."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.read.foreign.test_mlflow import stores  # noqa: F401 - a fixture: MLflow's real database and file store
from tests.read.foreign.test_tfevents import torch_logs  # noqa: F401 - a fixture: real event files

from barograph.read.foreign import hf_trainer, wandb
from barograph.read.foreign.protocol import find_foreign


@pytest.fixture(scope="module")
def synced(written):
    """The directory of a W&B run that read event files along, and of event files that none did."""
    return written("wandb_synced")


def test_event_files_that_wandb_read_along_are_no_run_of_their_own(synced):
    """Neither the links in its directory nor the files themselves; the run says so, and has their numbers."""
    (run_dir,) = synced.glob("wandb/offline-run-*")
    assert [link for link in run_dir.rglob("*tfevents*") if link.is_symlink()]
    assert find_foreign(synced) == [("tfevents", synced / "events" / "alone"), ("wandb", run_dir)]
    (run,) = wandb.importer.read(run_dir)
    assert any("event files" in note and "synced" in note for note in run.fidelity.notes)
    losses = [value for block in run.metrics for value in block.columns.get("loss", ())]
    assert len(losses) == 10


def test_they_are_read_where_they_are_named(synced):
    """Whoever names their directory, or their tool, means them."""
    place = synced / "events" / "synced"
    assert find_foreign(place) == [("tfevents", place)]
    assert ("tfevents", place) in find_foreign(synced, tools=["tfevents"])


@pytest.mark.parametrize(("max_steps", "expected"), [(8, ["hf_trainer"]), (20, ["hf_trainer", "tfevents"])])
def test_event_files_of_a_trainer(torch_logs, tmp_path, max_steps, expected):  # noqa: F811 - the fixture
    """They are the same training's: left out when its state is whole, read when they may go on after it."""
    out = tmp_path / "out"
    shutil.copytree(torch_logs / "resumed", out / "runs" / "Nov20_host")
    state = {"log_history": [{"loss": 0.5, "step": 8}], "global_step": 8, "max_steps": max_steps}
    (out / "trainer_state.json").write_text(json.dumps(state))
    assert expected == [name for name, _ in find_foreign(tmp_path)]
    (run,) = hf_trainer.importer.read(out)
    assert any("as event files" in note for note in run.fidelity.notes)


def test_artifacts_are_no_runs(stores, torch_logs, tmp_path):  # noqa: F811 - the fixtures
    """What was logged as a file of an MLflow run belongs to it, whatever wrote it; of either store."""
    shutil.copytree(stores / "mlruns", tmp_path / "file" / "mlruns")
    (tmp_path / "database").mkdir()
    shutil.copy(stores / "mlflow.db", tmp_path / "database")
    recorded = next((tmp_path / "file" / "mlruns").glob("*/*/metrics")).parent
    for run_dir in (recorded, tmp_path / "database" / "mlruns" / "1" / "ab12"):
        shutil.copytree(torch_logs / "tb", run_dir / "artifacts" / "tb")
    expected = [("mlflow", tmp_path / "database" / "mlflow.db"), ("mlflow", tmp_path / "file" / "mlruns")]
    assert expected == find_foreign(tmp_path)


def test_two_loggers_in_one_directory(torch_logs, tmp_path):  # noqa: F811 - the fixture
    """Lightning's table and event files of one version are one run: the one with the times."""
    version = tmp_path / "version_0"
    shutil.copytree(torch_logs / "resumed", version)
    (version / "metrics.csv").write_text("step,loss\n1,2\n")
    assert find_foreign(tmp_path) == [("tfevents", version)]
    assert find_foreign(tmp_path, tools=["lightning_csv"]) == [("lightning_csv", version)]
