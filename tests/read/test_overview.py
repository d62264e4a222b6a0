"""One line per run."""

from __future__ import annotations

import math

import pytest

from barograph.facts.events import EventLog
from barograph.facts.metrics import MetricsLog
from barograph.facts.state import this_process, write_process
from barograph.read.overview import LastValue, overview


def test_a_finished_run(recorded):
    """Every field, from files that were really recorded."""
    line = overview(recorded)
    assert (line.name, line.project, line.group, line.seed) == ("mlp", "digits", "g", 7)
    assert (line.status.state, line.step, line.num_attempts) == ("finished", 39.0, 1)
    assert line.loss == LastValue(name="loss", value=0.025, split="train", step=39.0)
    assert line.val_loss == LastValue(name="loss", value=0.75, split="val", step=39.0)
    assert (line.num_criteria, line.num_met) == (2, 1)
    assert (line.num_alerts, line.num_checks, line.num_checks_failed) == (1, 2, 1)
    assert line.nonfinite_counts == {"nan": 1, "inf": 1}
    assert (line.num_lost, line.num_damaged) == (0, 0)
    assert 0.0 < line.duration_s < 60.0


def test_a_running_run_has_lasted_until_now(run_dir):
    """And its criteria are not judged yet, its lost facts not known."""
    write_process(run_dir.process(), this_process(attempt=0, t=1000.0))
    line = overview(run_dir.path, now=lambda: 1090.0)
    assert (line.duration_s, line.num_met, line.num_lost) == (90.0, None, None)


def values(directory, *records):
    """Record metrics: pairs of split and numbers."""
    log = MetricsLog(directory, run_id="r1")
    for step, (split, numbers) in enumerate(records):
        log.append(numbers, step=step, split=split, t=1000.0 + step)
    log.close()
    return overview(directory.path)


@pytest.mark.parametrize(
    ("records", "loss", "val_loss"),
    [
        ([("train", {"loss": 0.5, "val_loss": 0.7})], "loss", "val_loss"),
        ([("train", {"train_loss": 0.5})], "train_loss", None),
        ([("train", {"reconstruction_loss": 0.5}), ("eval", {"loss": 0.7})], "reconstruction_loss", "loss"),
        ([("train", {"accuracy": 0.5}), ("test", {"loss": 0.7})], None, None),
        ([("host", {"loss": 0.5})], None, None),
    ],
)
def test_which_metric_is_the_loss(run_dir, records, loss, val_loss):
    """By name and split; what is no training or validation loss is not taken for one."""
    line = values(run_dir, *records)
    assert (loss, val_loss) == (line.loss and line.loss.name, line.val_loss and line.val_loss.name)


def test_losses_of_epochs_stand_in_where_nothing_was_logged(run_dir):
    """A loop that records epochs only."""
    log = EventLog(run_dir.events())
    for epoch in range(3):
        log.append("on_epoch_end", {"epoch": epoch, "train_loss": 1.0 / (epoch + 1), "val_loss": math.nan})
    log.close()
    line = overview(run_dir.path)
    assert line.loss == LastValue(name="train_loss", value=1 / 3, epoch=2)
    assert (line.val_loss.name, line.val_loss.epoch, math.isnan(line.val_loss.value)) == ("val_loss", 2, True)
    assert line.nonfinite_counts == {"nan": 3}


def test_the_latest_attempt_is_shown(run_dir):
    """Its newest step, though an older one came further."""
    for attempt, steps in ((0, 100), (1, 10)):
        log = MetricsLog(run_dir, run_id="r1", attempt=attempt)
        for step in range(steps):
            log.append({"loss": float(step)}, step=step, split="train", t=1000.0 + 100 * attempt + step)
        log.close()
    line = overview(run_dir.path)
    assert (line.step, line.loss.value) == (9.0, 9.0)


def test_damaged_files_are_counted(copy):
    """The line is there all the same."""
    stream = copy / "facts" / "metrics.000.rows"
    stream.write_bytes(b"X" + stream.read_bytes()[1:])
    (copy / "facts" / "exit.json").write_bytes(b"{")
    line = overview(copy)
    assert (line.name, line.num_damaged) == ("mlp", 2)


def test_an_empty_directory_has_a_line(tmp_path):
    """Unknown is None."""
    line = overview(tmp_path)
    assert (line.name, line.step, line.loss, line.started_t, line.duration_s) == (tmp_path.name, None, None, None, None)
