"""Which metrics are compared when nobody says which."""

from __future__ import annotations

import pytest

from barograph.compare.choice import Choice, choose_metrics
from barograph.errors import MetricNotFoundError
from barograph.read.run import RunReader


@pytest.fixture
def chosen(new_run, tmp_path):
    """Record one run that logs these metrics, by split, and choose."""

    def choose(epochs=(), most=9, **splits):
        with new_run(dir=tmp_path / "run") as run:
            for split, names in splits.items():
                run.log(dict.fromkeys(names, 1.0), step=0, split=split)
            for epoch, losses in enumerate(epochs):
                run.epoch_end(epoch, **losses)
        return [(it.metric, it.split) for it in choose_metrics([RunReader(tmp_path / "run")], most=most)]

    return choose


def test_losses_of_held_out_data_come_first(chosen):
    """Then other metrics whose names tell what is better; those of train and speeds are left out."""
    found = chosen(train=["loss"], val=["accuracy", "loss", "zeta"], test=["f1"])
    assert found == [("loss", "val"), ("accuracy", "val"), ("f1", "test")]


def test_data_to_choose_by_comes_before_data_to_judge_by(chosen):
    """``val_loss`` of the epochs before ``test_loss``: the best configuration is not chosen on the test set."""
    found = chosen(test=["test_loss"], epochs=[{"train_loss": 1.0, "val_loss": 2.0}])
    assert found == [("val_loss", "epoch"), ("test_loss", "test")]


def test_the_plain_loss_comes_before_its_parts(chosen):
    """``aux_loss`` and ``kl_loss`` are parts of a loss, though they stand before it in the alphabet."""
    found = chosen(val=["aux_loss", "kl_loss", "loss", "accuracy"])
    assert found == [("loss", "val"), ("aux_loss", "val"), ("kl_loss", "val"), ("accuracy", "val")]


def test_one_is_chosen_unless_more_are_asked_for(new_run, tmp_path):
    """Each further metric makes the correction stricter."""
    with new_run(dir=tmp_path / "run") as run:
        run.log({"loss": 1.0, "accuracy": 0.5}, step=0, split="val")
    assert choose_metrics([RunReader(tmp_path / "run")]) == [Choice(metric="loss", split="val")]


def test_the_losses_of_epochs_are_held_out_too(chosen):
    """``val_loss`` of the epochs, when no step of held-out data was logged."""
    assert chosen(train=["loss"], epochs=[{"train_loss": 1.0, "val_loss": 2.0}]) == [("val_loss", "epoch")]


@pytest.mark.parametrize("name", ["val_loss", "eval/loss", "loss/val", "Validation Loss"])
def test_a_name_tells_held_out_data_where_the_split_says_train(chosen, name):
    """Lightning and TensorBoard know no splits; without this the training loss would be compared."""
    assert chosen(train=["loss", "value_loss", name, "test_acc"])[:2] == [(name, "train"), ("test_acc", "train")]


def test_a_split_says_more_than_a_name(chosen):
    """The same number logged both ways is taken from its split."""
    assert chosen(train=["val_loss"], val=["loss"])[0] == ("loss", "val")


def test_training_is_the_last_resort(chosen):
    """The training loss, when nothing else was logged."""
    assert chosen(train=["lr", "loss"]) == [("loss", "train")]


def test_names_that_tell_nothing_are_an_error_that_lists_them(chosen):
    """The next step is to name one with its mode."""
    with pytest.raises(MetricNotFoundError, match=r"name one with its mode, of: zeta \(val\)"):
        chosen(val=["zeta"])
