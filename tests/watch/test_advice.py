"""Advice that detectors share: with the run's numbers, under the names of its configuration, and nothing unknown."""

from __future__ import annotations

import pytest

from barograph.watch.advice import clip, go_back, halve_lr, lower_lr, setting_name, skip_batches
from barograph.watch.alert import Remedy
from barograph.watch.context import Context
from barograph.watch.detector import Sample
from barograph.watch.roles import ROLES
from barograph.watch.signal import Signal


def sample_of(*, config=None, lr=None, norms=(), checkpoints=()):
    """A record at step 100 of a run that has shown these."""
    context = Context(config=config or {}, checkpoints=list(checkpoints))
    if lr is not None:
        context.schedule.take(lr, 0.0)
    if norms:
        context.signals["grad_norm"] = Signal.of("grad_norm", "train", ROLES["grad_norm"])
    for step, norm in enumerate(norms):
        context.signals["grad_norm"].take(norm, float(step))
    sample = Sample(context)
    sample.step = 100.0
    return sample


@pytest.mark.spec("S2.42")
def test_a_learning_rate_is_lowered_under_its_own_name():
    """The change can be put into the configuration of this very run as it stands."""
    sample = sample_of(config={"optim.learning_rate": 0.02}, lr=0.02)
    expected = Remedy(text="lower the learning rate from 0.02 to 0.006", change={"optim.learning_rate": 0.006})
    assert [expected] == lower_lr(sample, 0.3)
    half = Remedy(text="halve the learning rate to 0.01, or more", change={"optim.learning_rate": 0.01})
    assert [half] == halve_lr(sample, more=", or more")


def test_what_is_not_known_is_no_number():
    """Without a learning rate, a norm or a checkpoint there is no change to make."""
    sample = sample_of()
    assert [Remedy(text="lower the learning rate to 0.3 of what it is")] == lower_lr(sample, 0.3)
    assert halve_lr(sample) + clip(sample) + clip(sample, norm=0.0) + go_back(sample, 50.0, why="x") == []


def test_gradients_are_clipped_at_their_usual_norm():
    """Of the window, unless the caller knows it better."""
    sample = sample_of(config={"max_grad_norm": 5.0}, norms=[0.8] * 48)
    assert [
        clip(sample)[0].change,
        clip(sample, norm=2.4999)[0].change,
    ] == [{"max_grad_norm": 0.8}, {"max_grad_norm": 2.5}]


def test_a_norm_that_has_been_rising_is_clipped_at_what_it_began_with():
    """The level of a window in which it exploded is no usual norm."""
    sample = sample_of(norms=[1.1**step for step in range(48)])
    assert 1.0 < clip(sample)[0].change["grad_clip"] < 2.0


def test_one_goes_back_to_before_the_first_wrong_step():
    """A checkpoint of that step holds it already."""
    sample = sample_of(checkpoints=[(40.0, "a.pt"), (60.0, "b.pt"), (80.0, "c.pt")])
    back = Remedy(text="go on from b.pt (step 60), with care", change={"resume_step": 60.0})
    assert [back] == go_back(sample, 80.0, why="with care")
    (skip,) = skip_batches(sample, 80.0)
    assert skip.text == "go on from b.pt (step 60), and skip the batches from 80 to 100"


def test_a_setting_without_a_name_gets_the_first():
    """Names at any depth are found; where there is none the first offered is used."""
    context = Context(config={"train.bs": 4, "lr": 1.0})
    assert (
        setting_name(context, "batch_size", "bs"),
        setting_name(context, "lr"),
        setting_name(context, "momentum", "beta1"),
    ) == ("train.bs", "lr", "momentum")
