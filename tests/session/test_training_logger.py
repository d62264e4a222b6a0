"""``TrainingLogger``: the all-in-one logger's calls, from the documented example to what they leave on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from tests.recorded import Recorded

import barograph
from barograph.errors import InvalidMetricError, MisuseError, RecordingWarning

# The documented example, word for word but for the import path.
EXAMPLE = """
from pathlib import Path
from barograph import EnhancedTrainingLogger

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
QUIET = {"terminal": "off", "text_log": None, "console": False, "host_s": None}


@pytest.fixture
def new_logger(tmp_path, monkeypatch):
    """Make a logger that has not started; its run is ended when the test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py"])
    loggers = []

    def new_logger(**options):
        loggers.append(barograph.TrainingLogger("music", tmp_path, **{**QUIET, **options}))
        return loggers[-1]

    yield new_logger
    for logger in loggers:
        if logger._run is not None:
            logger.run.finish()


@pytest.mark.spec("S2.13", "S2.25", "S2.26", "S2.27", "S2.28", "S2.29", "S2.30", "S2.31", "S2.32")
def test_documented_example(record, tmp_path):
    """The documented example runs as it stands: all of it is recorded, and mirrors of later days are warned about."""
    _, stderr = record(EXAMPLE)
    (directory,) = (tmp_path / "training_runs").iterdir()
    run = Recorded(directory)
    (row,) = run.records
    t = row.pop("t")
    assert row.pop("pid") > 0
    assert t > 1.7e9
    assert row == {
        "step": 25,
        "reconstruction": 0.45,
        "kl_divergence": 0.12,
        "adversarial": 0.08,
        "total_loss": 0.45 + 0.12 + 0.08,
        "learning_rate": 1e-4,
        "gradient_norm": 1.5,
        "samples_per_second": 128,
        "memory/gpu_allocated": 3.2,
        "memory/cpu_rss": 8.5,
        "epoch": 0,
        "split": "train",
        "attempt": 0,
        "rank": 0,
    }
    assert yaml.safe_load((directory / "config.yaml").read_text()) == {
        "model": {"d_model": 512, "n_layers": 12},
        "training": {"batch_size": 32, "learning_rate": 1e-4},
        "data": {"dataset_size": 10000},
    }
    assert json.loads((directory / "run.json").read_text())["name"] == "my_music_experiment"
    assert run.only("on_start")["total_epochs"] == 100
    assert run.exit.status == "finished"
    for name in ("tensorboard", "wandb"):
        assert f"mirror '{name}' is left out: no installed distribution offers '{name}'" in stderr


@pytest.mark.spec("S2.25")
def test_both_names_are_one_class():
    """The documented name stays importable."""
    assert barograph.EnhancedTrainingLogger is barograph.TrainingLogger


@pytest.mark.spec("S2.26", "S2.48")
def test_mirrors_of_a_later_day(new_logger):
    """A mirror that is not installed is warned about when training starts, where it starts; the run is recorded."""
    logger = new_logger(enable_wandb=True, mirrors=["mlflow"])
    with pytest.warns(RecordingWarning) as caught:
        run = logger.start_training()
    assert [str(warning.message).split(": ")[0] for warning in caught] == [
        "mirror 'mlflow' is left out",
        "mirror 'wandb' is left out",
    ]
    logger.log_batch(0, {"loss": 0.5})
    logger.end_training()
    assert Recorded(run.dir).column("loss") == [0.5]


@pytest.mark.spec("S2.13")
def test_epochs_become_events_and_a_table(new_logger):
    """An epoch is an event with the total losses of both sets, their parts, and how long it took."""
    logger = new_logger()
    run = logger.start_training(total_epochs=2)
    for epoch in range(2):
        for batch in range(3):
            logger.log_batch(batch, {"reconstruction": 0.5, "kl": 0.25})
        logger.log_epoch(epoch, {"reconstruction": 0.5, "kl": 0.25}, {"total": 0.8, "kl": 0.3}, {"f1": 0.9})
    logger.end_training(final_metrics={"best_val_loss": 0.8})
    found = Recorded(run.dir)
    ends = found.of("on_epoch_end")
    assert [end["epoch"] for end in ends] == [0, 1]
    assert [(end["train_loss"], end["val_loss"]) for end in ends] == [(0.75, 0.8)] * 2
    assert ends[0]["metrics"] == {
        "train/reconstruction": 0.5,
        "train/kl": 0.25,
        "val/total": 0.8,
        "val/kl": 0.3,
        "f1": 0.9,
    }
    assert all(0 <= end["epoch_time_s"] < 10 for end in ends)
    assert [(record["step"], record["epoch"]) for record in found.records] == [(step, step // 3) for step in range(6)]
    assert found.exit.summary == {"best_val_loss": 0.8}
    assert (run.dir / "facts/scalars.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        ([(0, 0), (0, 1), (1, 0), (1, 1)], [0, 1, 2, 3]),
        ([(0, 0), (1, 0), (2, 0)], [0, 1, 2]),
        ([(0, 25), (0, 50), (1, 25), (1, 50)], [25, 50, 76, 101]),
        ([(0, 0), (0, 1), (1, 2), (1, 3)], [0, 1, 2, 3]),
        ([(0, 1), (0, 2), (1, 1), (1, 2)], [1, 2, 4, 5]),
    ],
)
def test_steps_go_on_over_epochs(new_logger, batches, steps):
    """Batches that are counted anew in each epoch make steps that go on; batches counted over all are the steps."""
    logger = new_logger()
    run = logger.start_training()
    for epoch, batch in batches:
        logger.log_batch(batch, {"loss": 0.5}, epoch=epoch)
    assert [record["step"] for record in Recorded(run.dir).records] == steps


@pytest.mark.spec("S2.39")
def test_data_usage_is_counted(new_logger):
    """Files, augmentations and transpositions are counted up and recorded at epoch ends and at the end."""
    logger = new_logger()
    run = logger.start_training()
    logger.log_data_usage(files=["a.mid", "b.mid"], augmentations=["flip"], transpositions=[-3, 2])
    logger.log_data_usage(files=["a.mid"], augmentations={"flip": 4, "noise": 1}, transpositions={"2": 5})
    logger.log_epoch(0, {"loss": 0.5})
    logger.log_data_usage(files=["c.mid"])
    logger.end_training()
    first, last = Recorded(run.dir).custom("data_usage")
    assert (first["epoch"], last["total"]) == (0, True)
    assert first["files"] == {"a.mid": 2, "b.mid": 1}
    assert first["augmentations"] == {"flip": 5, "noise": 1}
    assert first["transpositions"] == {"-3": 1, "2": 6}
    assert last["files"] == {"a.mid": 2, "b.mid": 1, "c.mid": 1}


def test_without_data_usage_nothing_is_recorded(new_logger):
    """A logger that was told of no data records none."""
    logger = new_logger()
    run = logger.start_training()
    logger.log_epoch(0)
    logger.end_training()
    assert Recorded(run.dir).custom("data_usage") == []


@pytest.mark.spec("S1.36", "S2.27")
def test_cadence_of_the_training_config(new_logger):
    """``log_steps`` and ``eval_steps`` of the training config set the tiers; an option wins."""
    assert new_logger(training_config={"log_steps": 5, "eval_steps": 50}).start_training().cadence.eval_steps == 50
    run = new_logger(training_config={"log_steps": 5, "eval_steps": 50}, log_steps=25).start_training()
    assert (run.cadence.log_steps, run.cadence.eval_steps) == (25, 50)


@pytest.mark.spec("S2.30")
def test_total_loss_is_not_added_twice(new_logger):
    """The sum of the losses is recorded beside them, unless one of them is the total already."""
    logger = new_logger()
    run = logger.start_training()
    logger.log_batch(0, {"a": torch.tensor(0.25), "b": 0.5})
    logger.log_batch(1, {"a": 0.25, "loss": 0.75})
    found = Recorded(run.dir).records
    assert found[0]["total_loss"] == 0.75
    assert "total_loss" not in found[1]


def test_order_of_calls(new_logger):
    """Logging before the start, and a second start, are refused with what to do."""
    logger = new_logger()
    with pytest.raises(MisuseError, match=r"'music' has not started; call start_training\(total_epochs=\.\.\.\)"):
        logger.log_batch(0, {"loss": 0.5})
    logger.start_training()
    with pytest.raises(MisuseError, match="experiment 'music' has started already; make another TrainingLogger"):
        logger.start_training()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ({"batch": "first", "losses": {"loss": 0.5}}, MisuseError, "batch must be an integer, not 'first'"),
        ({"batch": 0, "losses": 0.5}, InvalidMetricError, "a mapping of names to numbers, not a float (0.5)"),
        ({"batch": 0, "losses": {"a": "0.5"}}, InvalidMetricError, "metric 'a' is a str ('0.5')"),
        ({"batch": 0, "losses": {"a": 0.5}, "learning_rate": "1e-4"}, InvalidMetricError, "'learning_rate' is a str"),
    ],
)
def test_bad_batches(new_logger, call, error, text):
    """A batch that cannot be recorded is refused with its value, nothing is written, and the next one works."""
    logger = new_logger()
    run = logger.start_training()
    with pytest.raises(error) as caught:
        logger.log_batch(**call)
    assert text in str(caught.value)
    logger.log_batch(0, {"loss": 0.5})
    assert [(record["step"], record["loss"]) for record in Recorded(run.dir).records] == [(0, 0.5)]


def test_as_a_context_manager(new_logger):
    """An exception in the block ends the run as failed, with its story."""
    with pytest.raises(ZeroDivisionError), new_logger() as logger:  # noqa: PT012 - the block is what is tested
        run = logger.start_training()
        logger.log_batch(0, {"loss": 1 / 0})
    found = Recorded(run.dir)
    assert found.exit.status == "failed"
    assert found.only("on_exception")["type"] == "ZeroDivisionError"


def test_root_is_the_save_dir(new_logger, tmp_path):
    """Runs lie below ``save_dir``, named after the experiment."""
    run = new_logger().start_training()
    assert run.dir.parent == Path(tmp_path)
    assert "_music_job0" in run.dir.name


@pytest.mark.parametrize("batches", [(0, 1), (3, 4)])
def test_steps_go_on_after_a_resume(new_logger, batches):
    """Batches that start again, as those that count over all, go on after the last attempt's steps."""
    logger = new_logger()
    first = logger.start_training()
    for batch in range(3):
        logger.log_batch(batch, {"loss": 1.0})
    logger.end_training()
    logger = barograph.TrainingLogger("music", dir=first.dir, resume="must", **QUIET)
    logger.start_training()
    for batch in batches:
        logger.log_batch(batch, {"loss": 1.0})
    logger.end_training()
    assert [record["step"] for record in Recorded(first.dir).records] == [0, 1, 2, 3, 4]
