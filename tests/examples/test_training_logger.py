"""The documented example of the all-in-one training logger, with its import path changed and nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import yaml

DOCUMENTED = """
from src.training.enhanced_logger import EnhancedTrainingLogger

# Initialize comprehensive logging
logger = EnhancedTrainingLogger(
    experiment_name="my_music_experiment",
    save_dir=Path("./training_runs"),
    model_config={"d_model": 512, "n_layers": 12},
    training_config={"batch_size": 32, "learning_rate": 1e-4},
    data_config={"dataset_size": 10000},
    enable_tensorboard=True,
    enable_wandb=True
)

# Start training session
logger.start_training(total_epochs=100)

# Log training progress
logger.log_batch(
    batch=25,
    losses={"reconstruction": 0.45, "kl_divergence": 0.12, "adversarial": 0.08},
    learning_rate=1e-4,
    gradient_norm=1.5,
    throughput_metrics={"samples_per_second": 128},
    memory_metrics={"gpu_allocated": 3.2, "cpu_rss": 8.5}
)
"""


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """The run that the documented example makes; what it warns of is collected, not raised."""
    monkeypatch.chdir(tmp_path)
    source = DOCUMENTED.replace("src.training.enhanced_logger", "barograph")
    namespace = {"Path": Path}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(source, "documented.py", "exec"), namespace)
    named = {word for warning in caught for word in ("tensorboard", "wandb") if f"'{word}'" in str(warning.message)}
    assert {"tensorboard", "wandb"} == named
    namespace["logger"].end_training()
    (made,) = (tmp_path / "training_runs").iterdir()
    return made


@pytest.mark.spec("S2.25", "S2.26", "S2.27")
def test_the_configuration_is_recorded_in_three_parts(run_dir):
    """``config.yaml`` has the model's, the training's and the data's part, as they were given."""
    expected = {
        "model": {"d_model": 512, "n_layers": 12},
        "training": {"batch_size": 32, "learning_rate": 1e-4},
        "data": {"dataset_size": 10000},
    }
    assert expected == yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    assert "_my_music_experiment_job0" in run_dir.name


@pytest.mark.spec("S2.28")
def test_the_number_of_epochs_is_known(run_dir, read_events):
    """``total_epochs`` stands in the first event, where the estimate of the time left takes it from."""
    assert read_events(run_dir, "on_start")[0]["total_epochs"] == 100


@pytest.mark.spec("S2.29", "S2.30", "S2.31", "S2.32")
def test_one_batch_is_one_row(run_dir, read_streams):
    """Each loss under its own name, rate, norm, throughput and memory: all in one row, at the batch's number."""
    ((header, table),) = read_streams(run_dir)
    row = dict(zip(header["columns"], table[0].tolist(), strict=True))
    assert row.pop("t") > 1.7e9
    assert row == {
        "step": 25.0,
        "reconstruction": 0.45,
        "kl_divergence": 0.12,
        "adversarial": 0.08,
        "total_loss": 0.45 + 0.12 + 0.08,
        "learning_rate": 1e-4,
        "gradient_norm": 1.5,
        "samples_per_second": 128.0,
        "memory/gpu_allocated": 3.2,
        "memory/cpu_rss": 8.5,
        "epoch": 0.0,
    }
