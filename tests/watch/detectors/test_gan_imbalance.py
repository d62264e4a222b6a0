"""A discriminator that wins, and losses that only hover."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import alerts, at, noisy, then
from tests.watch.symptoms import told_first

from barograph.watch.alert import Remedy
from barograph.watch.detectors.gan_imbalance import GanImbalance

LOSSES = {
    "d_loss": then(noisy(at(1.2)), 150, noisy(lambda n: 0.02 + 1.2 * math.exp(-n / 10))),
    "g_loss": then(noisy(at(0.9)), 150, noisy(lambda n: 6.0 - 5.0 * math.exp(-n / 15))),
}
OPINIONS = {
    "d_real": then(at(0.65), 150, lambda n: 0.99 - 0.3 * math.exp(-n / 10)),
    "d_fake": then(at(0.35), 150, lambda n: 0.01 + 0.3 * math.exp(-n / 10)),
}
ACCURACIES = {"d_real": OPINIONS["d_real"], "d_fake": lambda step: 1.0 - OPINIONS["d_fake"](step)}


def test_a_discriminator_that_wins_is_told():
    """Its loss near zero, the generator's rising and its verdicts certain: told once, with its learning rate."""
    (alert,) = alerts(GanImbalance(), {**LOSSES, **OPINIONS}, 400, config={"d_lr": 4e-4})
    assert 150 < alert.since_step < alert.step < 215
    assert [it.name for it in alert.evidence] == ["level of d_loss", "level of g_loss", "real against fake"]
    assert alert.remedies[0] == Remedy(
        text="lower the discriminator's learning rate to 0.0001", change={"d_lr": 0.0001}
    )
    assert "the discriminator wins: d_loss is 0." in alert.text


def test_accuracies_are_no_opinions():
    """A high accuracy on fake samples means what a low opinion of them does, under whatever name."""
    (by_opinion,) = alerts(GanImbalance(), {**LOSSES, **OPINIONS}, 400)
    (by_accuracy,) = alerts(GanImbalance(), {**LOSSES, **ACCURACIES}, 400)
    assert by_opinion.step == by_accuracy.step


def test_the_losses_alone_have_to_say_more():
    """Without verdicts the same is told later, when the discriminator's loss is all but zero."""
    (alert,) = alerts(GanImbalance(), LOSSES, 400)
    assert 150 < alert.step < 240
    assert alert.evidence[0].value < 0.15


def test_verdicts_that_do_not_agree_keep_it_silent():
    """A low loss with verdicts that stay unsure is another way of scaling the loss."""
    verdicts = {"d_real": at(0.6), "d_fake": at(0.4)}
    assert alerts(GanImbalance(), {**LOSSES, **verdicts}, 400) == []


def test_losses_that_hover_are_left_alone():
    """Swings by half around the equilibrium are what such training looks like."""
    curves = {
        "d_loss": noisy(lambda step: 1.0 + 0.4 * math.sin(step / 30), sigma=0.2),
        "g_loss": noisy(lambda step: 1.2 - 0.5 * math.sin(step / 30), sigma=0.2),
        "d_real": noisy(lambda step: 0.6 + 0.15 * math.sin(step / 30), sigma=0.1, seed=1),
        "d_fake": noisy(lambda step: 0.4 - 0.15 * math.sin(step / 30), sigma=0.1, seed=2),
    }
    assert alerts(GanImbalance(), curves, 5000) == []


def test_losses_below_zero_are_left_alone():
    """Of a Wasserstein loss zero says nothing."""
    curves = {"d_loss": math.sin, "g_loss": then(at(1.0), 150, at(9.0))}
    assert alerts(GanImbalance(), curves, 400) == []


def test_a_generator_that_has_clearly_lost_needs_no_certain_verdicts():
    """Where its loss is three times its best, verdicts of nine in ten are enough; where it is twice, they are not."""
    curves = {"d_loss": then(at(0.7), 150, at(0.2)), "d_real": at(0.9), "d_fake": at(0.1)}
    tripled, doubled = ({**curves, "g_loss": then(at(1.0), 150, at(level))} for level in (4.0, 2.2))
    assert [len(alerts(GanImbalance(), it, 400)) for it in (tripled, doubled)] == [1, 0]


GAME = {
    "d_loss": noisy(then(at(0.7), 150, lambda num: 0.7 * math.exp(num / 4)), sigma=0.05),
    "g_loss": noisy(then(at(1.0), 150, at(8.0)), sigma=0.05, seed=1),
}


@pytest.mark.parametrize("symptom", GanImbalance.explains)
def test_a_game_that_comes_apart_is_told_in_place_of_what_follows(symptom):
    """Losses that left their range three records before samples became alike, or a gradient grew."""
    curves = {**GAME, "sample_diversity": noisy(then(at(0.25), 153, at(0.1)), sigma=0.05, seed=2)}
    alert = told_first(GanImbalance(), curves, symptom=symptom, at_step=166, since=153)
    assert (alert.type, alert.since_step) == ("gan_imbalance", 150)
    assert "come apart: g_loss left its usual range at step 150" in alert.text


def test_samples_that_were_alike_before_the_losses_moved_are_told_as_that():
    """A generator whose samples are alike is beaten soon after."""
    curves = {**GAME, "sample_diversity": noisy(then(at(0.25), 148, at(0.1)), sigma=0.05, seed=2)}
    assert told_first(GanImbalance(), curves, symptom="mode_collapse", at_step=166, since=148).type == "mode_collapse"


def test_a_game_that_hovers_explains_nothing():
    """Nor does one whose losses have no logarithm."""
    hovering = {name: noisy(at(level), seed=len(name)) for name, level in (("d_loss", 0.7), ("g_loss", 1.0))}
    signed = {"d_loss": math.sin, "g_loss": then(math.cos, 150, at(90.0))}
    for curves in (hovering, signed):
        alert = told_first(GanImbalance(), curves, symptom="mode_collapse", at_step=166, since=153)
        assert alert.type == "mode_collapse"
