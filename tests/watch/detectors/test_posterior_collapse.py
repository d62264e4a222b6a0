"""A latent variable that carries nothing, and divergences that are low or fall for good reasons."""

from __future__ import annotations

import math

import pytest
from tests.watch.shown import alerts, at, noisy, then
from tests.watch.symptoms import told_first

from barograph.watch.alert import Remedy
from barograph.watch.detectors.posterior_collapse import PosteriorCollapse

CONFIG = {"model": {"latent_dim": 8}, "beta": 4.0}
RISING = noisy(lambda step: 6.0 - 5.8 * math.exp(-step / 30))


def test_a_divergence_that_vanishes_is_told():
    """Six nats that decay to a few thousandths from step 200 on are told with the peak and the weight to lower."""
    fall = then(RISING, 200, noisy(lambda n: 0.004 + 6.0 * math.exp(-n / 4)))
    (alert,) = alerts(PosteriorCollapse(), {"kl": fall}, 400, config=CONFIG)
    assert 200 < alert.step <= 225
    assert "after 6" in alert.text
    assert alert.remedies[0] == Remedy(text="lower the weight of the divergence from 4 to 0.4", change={"beta": 0.4})


def test_one_that_never_rose_is_told():
    """A divergence near zero from the start is told after sixty records, not before: it might still rise."""
    (alert,) = alerts(PosteriorCollapse(), {"kl": noisy(at(0.01))}, 300, config=CONFIG)
    assert 60 <= alert.step < 80


def test_one_that_is_still_rising_is_left_alone():
    """A slow start, below two hundredths per dimension for a hundred records but rising, is none."""
    assert alerts(PosteriorCollapse(), {"kl": noisy(lambda step: 0.02 * math.exp(step / 40))}, 250, config=CONFIG) == []


def test_a_weight_that_is_raised_is_left_alone():
    """A divergence that falls from sixty nats to five while its weight goes up keeps what it needs."""
    falling = noisy(lambda step: 5.0 + 55.0 * math.exp(-step / 100))
    assert alerts(PosteriorCollapse(), {"kl": falling}, 3000, config=CONFIG) == []


@pytest.mark.parametrize(("active", "num"), [(6.0, 0), (0.9, 0), (0.0, 1)])
def test_units_that_are_active_have_the_last_word(active, num):
    """As a number or as a share: a low divergence of a latent variable that is used is another unit of it."""
    curves = {"kl": then(RISING, 200, at(0.01)), "active_units": at(active)}
    assert len(alerts(PosteriorCollapse(), curves, 400, config=CONFIG)) == num


def test_without_a_dimension_the_whole_counts():
    """Where nobody said how many dimensions there are, half a nat in all and a tenth of what it was are the limits."""
    (alert,) = alerts(PosteriorCollapse(), {"kl": then(RISING, 200, noisy(at(0.01)))}, 400, config={"model": "vae"})
    assert 200 < alert.step < 230
    assert alerts(PosteriorCollapse(), {"kl": then(RISING, 200, noisy(at(0.8)))}, 400, config={"model": "vae"}) == []


def test_a_divergence_of_zero_is_told():
    """Exactly zero, which has no logarithm, included."""
    (alert,) = alerts(PosteriorCollapse(), {"kl": then(RISING, 200, at(0.0))}, 400, config=CONFIG)
    assert 200 < alert.step <= 225


def test_it_began_when_the_fall_began():
    """The step since when it is so is that of the fall, not that of the peak long before or of the limit after."""
    early = noisy(lambda step: 2.0 + 8.0 * math.exp(-(((step - 30) / 10) ** 2)), sigma=0.03)
    (alert,) = alerts(
        PosteriorCollapse(), {"kl": then(early, 200, noisy(lambda n: 2 * math.exp(-n / 8) + 0.002))}, 400, config=CONFIG
    )
    assert 198 <= alert.since_step <= 206


def test_the_divergence_of_a_policy_is_left_alone():
    """A run that logs how far a policy moves per update, which is next to nothing, has no latent variable."""
    small = {"kl": noisy(at(0.01)), "reward": noisy(at(3.0))}
    assert alerts(PosteriorCollapse(), small, 1000, config={"model": "ppo"}) == []
    assert len(alerts(PosteriorCollapse(), small, 300, config={"model": "beta-VAE"})) == 1
    assert len(alerts(PosteriorCollapse(), {**small, "recon_loss": at(3.0)}, 300)) == 1


@pytest.mark.parametrize("symptom", PosteriorCollapse.explains)
def test_what_rises_while_the_divergence_falls_is_told_as_it(symptom):
    """Half of it is lost within ten records, with all units still active: dated to the beginning of the fall."""
    fall = noisy(then(at(4.0), 100, lambda num: 4.0 * math.exp(-num / 8)), sigma=0.05)
    curves = {"kl": fall, "active_units": at(8.0)}
    alert = told_first(PosteriorCollapse(), curves, symptom=symptom, at_step=112, config=CONFIG)
    assert alert.type == "posterior_collapse"
    assert 100 <= alert.since_step <= 106
    assert "being emptied: kl fell from 4" in alert.text or "being emptied: kl fell from 3.9" in alert.text


@pytest.mark.parametrize(
    ("after", "config"),
    [
        (lambda _: 1.5, CONFIG),
        (lambda num: 4.0 * math.exp(-num / 40), CONFIG),
        (lambda num: 4.0 * math.exp(num / 8), CONFIG),
        (lambda num: 4.0 * math.exp(-num / 8), {"model": "ppo"}),
    ],
    ids=["at once, as of other inputs", "less than half", "rising", "of a policy"],
)
def test_other_changes_of_the_divergence_explain_nothing(after, config):
    """The alert is told as it was given."""
    curves = {"kl": noisy(then(at(4.0), 100, after), sigma=0.05)}
    alert = told_first(PosteriorCollapse(), curves, symptom="divergence", at_step=112, config=config)
    assert alert.type == "divergence"
