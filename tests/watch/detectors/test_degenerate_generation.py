"""Samples of a language model that begin to repeat themselves, and those of one that still learns to speak."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import alerts, at, noisy, then

from barograph.watch.alert import Remedy
from barograph.watch.detectors.degenerate_generation import DegenerateGeneration

SPEAKING = noisy(lambda step: 0.05 + 0.4 * math.exp(-step / 100))


def test_repetition_that_begins_is_told_at_the_second_look():
    """Samples every ten steps that repeat themselves from step 400 on are told at step 410, with where to go back."""
    (alert,) = alerts(
        DegenerateGeneration(),
        {"gen_repetition": then(SPEAKING, 400, noisy(at(0.7)))},
        60,
        every=10,
        checkpoint_step=350,
    )
    assert (alert.since_step, alert.step) == (400.0, 410.0)
    assert alert.remedies[0] == Remedy(
        text="go on from last.pt (step 350), before it began", change={"resume_step": 350.0}
    )
    assert alert.evidence[0].threshold == 0.25 or alert.evidence[0].threshold > 0.25
    assert "gen_repetition went from 0.0" in alert.text


def test_entropy_that_halves_is_told():
    """The other sign of the same."""
    (alert,) = alerts(
        DegenerateGeneration(), {"gen_entropy": then(noisy(at(4.0), sigma=0.05), 400, at(1.0))}, 60, every=10
    )
    assert (alert.step, alert.metrics) == (410.0, ["gen_entropy"])


def test_a_model_that_learns_to_speak_is_left_alone():
    """Repetition that is high at first and falls is what learning looks like."""
    assert alerts(DegenerateGeneration(), {"gen_repetition": noisy(SPEAKING, sigma=0.3)}, 2000) == []


def test_one_bad_look_is_left_alone():
    """A single sample that repeats itself is chance."""
    once = then(SPEAKING, 400, then(at(0.9), 10, at(0.06)))
    assert alerts(DegenerateGeneration(), {"gen_repetition": once}, 100, every=10) == []


def test_it_is_over_when_samples_are_good_again():
    """A second time is told again, because the first one had an end."""
    twice = then(SPEAKING, 400, then(at(0.7), 100, then(at(0.05), 400, at(0.8))))
    found = alerts(DegenerateGeneration(), {"gen_repetition": twice}, 1200)
    assert [alert.since_step for alert in found] == [400.0, 900.0]


def test_a_value_that_is_missing_is_no_second_look():
    """A look that gave no number neither confirms nor clears one that was bad."""
    gap = then(SPEAKING, 400, then(at(0.7), 1, then(at(math.nan), 5, at(0.06))))
    assert alerts(DegenerateGeneration(), {"gen_repetition": gap}, 500) == []


def test_a_model_whose_loss_has_gone_up_is_left_to_others():
    """Repetition after a divergence is one sign of many: the same samples with a loss that stays are told."""
    repetition = then(at(0.05), 400, at(0.9))
    lost = {"gen_repetition": repetition, "loss": then(noisy(at(1.0)), 380, noisy(at(5.0)))}
    kept = {"gen_repetition": repetition, "loss": noisy(at(1.0))}
    assert [len(alerts(DegenerateGeneration(), curves, 600)) for curves in (lost, kept)] == [0, 1]


@pytest.mark.parametrize(
    ("judge", "before", "since", "num_told"),
    [
        ("val_loss", 0.1, 0.2, 1),
        ("val_loss", 0.1, 0.09, 0),
        ("quality", 0.9, 0.7, 1),
        ("quality", 0.9, 0.92, 0),
        ("val_accuracy", 0.9, 0.7, 1),
        ("val_loss", -1.0, -1.1, 0),
        ("quality", -1.0, -0.9, 0),
        ("zeta", 0.9, 0.1, 0),
    ],
)
def test_a_smaller_rise_is_told_where_the_evaluation_says_the_same(
    judge: str, before: float, since: float, num_told: int
):
    """From a tenth to two tenths of repetition: told when the model has become worse too, else how it now speaks."""
    curves = {"gen_repetition": noisy(then(at(0.1), 400, at(0.2))), judge: then(at(before), 400, at(since))}
    found = alerts(DegenerateGeneration(), curves, 60, every=10)
    assert [alert.step for alert in found] == [410.0] * num_told


def test_what_it_was_before_it_learnt_to_speak_hides_nothing():
    """A third at first, a tenth of late, two tenths since step 400, and a loss that had just come down goes up."""
    repetition = then(noisy(at(0.35), sigma=0.05), 340, then(noisy(at(0.1)), 60, noisy(at(0.2), sigma=0.05)))
    loss = then(at(1.0), 350, then(at(0.05), 50, at(0.5)))
    (alert,) = alerts(DegenerateGeneration(), {"gen_repetition": repetition, "val_loss": loss}, 60, every=10)
    assert (alert.since_step, alert.step) == (400.0, 410.0)
