"""Which points a figure is about."""

from __future__ import annotations

import math

import numpy as np
import pytest

from barograph.plot.curves import Scope, find_curves, host_curves, logged_names
from barograph.plot.family import Named
from barograph.read.run import RunReader


def points(curves):
    """The points of curves, by name and split."""
    return {(curve.name, curve.split, curve.axis): list(zip(curve.x, curve.values, strict=True)) for curve in curves}


def every(names):
    """A rule that takes every name."""
    return names


def test_rows_stand_over_steps_and_epochs_over_epochs(new_run, tmp_path):
    """Metrics of rows, of epochs and of validations are found, each over the x that it was logged with."""
    run = new_run()
    run.log({"loss": 0.5}, step=3)
    run.log({"loss": 0.25}, step=4, split="val")
    run.epoch_end(1, train_loss=0.75, metrics={"f1": 1})
    run.event("on_validation_end", step=9, split="test", metrics={"wer": 0.125})
    run.finish()
    assert points(find_curves(RunReader(run.dir), every, scope=Scope())) == {
        ("loss", "train", "step"): [(3.0, 0.5)],
        ("loss", "val", "step"): [(4.0, 0.25)],
        ("train_loss", "epoch", "epoch"): [(1.0, 0.75)],
        ("f1", "epoch", "epoch"): [(1.0, 1.0)],
        ("wer", "test", "step"): [(9.0, 0.125)],
    }


def test_over_epochs_only_what_has_one(new_run):
    """The epoch that was logged in the same record is the x; a record without one is not drawn over epochs."""
    run = new_run()
    run.log({"loss": 3.0}, step=0, epoch=0)
    run.log({"loss": 2.0}, step=1)
    run.log({"loss": 1.0}, step=2, epoch=1)
    run.finish()
    found = points(find_curves(RunReader(run.dir), lambda _: {"loss"}, scope=Scope(x="epoch")))
    assert found == {("loss", "train", "epoch"): [(0.0, 3.0), (1.0, 1.0)]}


def test_over_time_since_the_run_began(new_run):
    """Seconds are those between the run's beginning and each record, as they were recorded."""
    run = new_run()
    run.log({"loss": 3.0}, step=0)
    run.finish()
    reader = RunReader(run.dir)
    (curve,) = find_curves(reader, every, scope=Scope(x="time"))
    assert curve.x.tolist() == [reader.series("loss").t[0] - reader.identity.created_t]


def test_an_epoch_that_was_repeated_is_superseded(resumed, new_run):
    """Epochs of the two attempts are both there; the older one of the same number is marked."""
    curves = {curve.name: curve for curve in find_curves(resumed, every, scope=Scope())}
    assert curves["train_loss"].superseded.tolist() == [False, False]
    run = new_run(dir=resumed.path, resume="must")
    run.epoch_end(1, train_loss=9.0)
    run.finish()
    curves = {curve.name: curve for curve in find_curves(RunReader(resumed.path), every, scope=Scope())}
    assert curves["train_loss"].values.tolist() == [1.0, 2.0, 9.0]
    assert curves["train_loss"].superseded.tolist() == [False, True, False]


def test_only_what_was_recorded_up_to_the_moment(new_run):
    """A figure that is drawn late shows what it would have shown in time: rows, epochs, and no more."""
    run = new_run()
    run.log({"loss": 3.0}, step=0)
    moment = run.epoch_end(0, train_loss=1.0)
    run.log({"loss": 2.0}, step=1)
    run.epoch_end(1, train_loss=0.5)
    run.finish()
    found = points(find_curves(RunReader(run.dir), every, scope=Scope(until_t=moment.t)))
    assert found == {("loss", "train", "step"): [(0.0, 3.0)], ("train_loss", "epoch", "epoch"): [(0.0, 1.0)]}


def test_splits_and_ranks_are_chosen(logged):
    """Only the split that is asked for; the machine's samples are no training's split."""
    run = logged(loss=[1.0], val={"loss": [2.0]})
    assert list(points(find_curves(run, every, scope=Scope(splits=("val",))))) == [("loss", "val", "step")]
    assert find_curves(run, every, scope=Scope(rank=1)) == []
    assert logged_names(run) == ["train/loss", "val/loss"]


def test_samples_of_the_machine(everything):
    """Host samples are found by name, over seconds, and are in no other curve."""
    (curve,) = host_curves(everything, lambda name: name == "rss_gb", scope=Scope())
    assert (curve.split, curve.axis) == ("host", "time")
    assert np.all(curve.values > 0)
    assert logged_names(everything)[-1].startswith("host/")
    named = Named(["rss_gb", "lr"]).select(everything, scope=Scope())
    assert [(panel.title, panel.axis) for panel in named.panels] == [("lr", "step"), ("rss_gb", "time")]
    assert "host" not in {curve.split for curve in find_curves(everything, every, scope=Scope())}


@pytest.mark.spec("S3.60")
def test_what_other_hands_wrote_is_tolerated(new_run):
    """Epochs without a number, and values that are none, are left out; the others are there."""
    run = new_run()
    run.event("on_epoch_end", metrics={"f1": 1.0})
    run.event("on_epoch_end", epoch=2, train_loss="high")
    run.event("on_epoch_end", epoch=3, train_loss=10**400, metrics={"f1": True, "em": None})
    run.finish()
    found = points(find_curves(RunReader(run.dir), every, scope=Scope()))
    assert found == {("train_loss", "epoch", "epoch"): [(3.0, math.inf)]}
