"""What a kill kept from the table of epochs is there after the next attempt has begun."""

from __future__ import annotations

import csv

import pytest

import barograph


@pytest.mark.spec("S3.13", "S3.75")
def test_epochs_that_a_kill_kept_from_the_table_are_added_on_resume(record, tmp_path):
    """The event was on disk, the line was not: the next attempt adds it, in order, and repeats none."""
    script = """if True:
        import os, signal
        import barograph
        run = barograph.init(dir="run", resume="allow", terminal="off", console=False, host_s=None)
        run.epoch_end(0, train_loss=0.9)
        run.before_end.clear()
        companion = run.after_end[0].__self__
        companion.drain()  # the first epoch is in the table; the second one never gets there
        run.epoch_end(1, train_loss=0.8)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    record(script, exit_code=-9)
    table = tmp_path / "run" / "facts" / "scalars.csv"
    assert [row["epoch"] for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())] == ["0"]
    with barograph.init(dir=tmp_path / "run", resume="must", terminal="off", console=False, host_s=None) as run:
        run.epoch_end(2, train_loss=0.7)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [("0", "0.9"), ("1", "0.8"), ("2", "0.7")]


def test_an_epoch_whose_metrics_are_no_mapping_still_has_its_row(tmp_path):
    """An event of a stranger's making costs its odd field, not the table."""
    with barograph.init(dir=tmp_path / "run", terminal="off", console=False, host_s=None) as run:
        run.event("on_epoch_end", epoch=0, train_loss=0.5, metrics=[1, 2])
        run.epoch_end(1, train_loss=0.25, metrics={"accuracy": 0.5})
    table = (tmp_path / "run" / "facts" / "scalars.csv").read_text(encoding="utf-8")
    rows = [(row["epoch"], row["train_loss"], row["accuracy"]) for row in csv.DictReader(table.splitlines())]
    assert rows == [("0", "0.5", ""), ("1", "0.25", "0.5")]
