"""A noise prediction that learns nothing, or goes wrong at one noise level, and those that learn slowly."""

from __future__ import annotations

import math

from tests.watch.shown import alerts, at, noisy, then

from barograph.watch.detectors.diffusion_anomaly import DiffusionAnomaly

LEARNING = noisy(lambda step: 0.1 + 0.95 * math.exp(-step / 80))


def test_an_error_that_stays_at_one_is_told():
    """A model that still predicts zero after 150 steps is told, since the start."""
    (alert,) = alerts(DiffusionAnomaly(), {"diffusion_loss": noisy(at(1.0), sigma=0.05)}, 400)
    assert 150 <= alert.step <= 175
    assert alert.since_step == 0.0
    assert "a model that predicts zero has 1" in alert.text
    assert alert.evidence[0].value > alert.evidence[0].threshold


def test_an_error_that_returns_to_one_is_told():
    """So is one that had learnt and forgot everything."""
    (alert,) = alerts(DiffusionAnomaly(), {"diffusion_loss": then(LEARNING, 300, noisy(at(1.05)))}, 500)
    assert 300 < alert.step < 345


def test_an_error_that_falls_is_left_alone():
    """Slowly learning is learning; so is what is learnt while the learning rate is still on its way up."""
    slow = noisy(lambda step: 0.3 + 0.75 * math.exp(-step / 400))
    assert alerts(DiffusionAnomaly(), {"diffusion_loss": slow}, 2000) == []
    warming = {"diffusion_loss": noisy(at(1.0), sigma=0.05), "lr": lambda step: 1e-6 * (step + 1)}
    assert alerts(DiffusionAnomaly(), warming, 500) == []


def test_other_targets_are_left_alone():
    """A sum over pixels, which does not begin near one, says nothing by its size."""
    assert alerts(DiffusionAnomaly(), {"diffusion_loss": noisy(at(700.0), sigma=0.05)}, 500) == []


def test_one_noise_level_that_goes_wrong_is_told():
    """Its loss quadruples at step 300 while the others stay: it is named."""
    curves = {
        "diffusion_loss": noisy(at(0.3)),
        "diffusion_loss_t0": then(noisy(at(0.1), seed=1), 300, noisy(at(0.45), seed=1)),
        **{f"diffusion_loss_t{n}": noisy(at(0.1 * (n + 1)), seed=n) for n in (1, 2, 3)},
    }
    (alert,) = alerts(DiffusionAnomaly(), curves, 500)
    assert alert.metrics == ["diffusion_loss_t0"]
    assert 300 < alert.step < 350


def test_noise_levels_that_rise_together_are_left_alone():
    """Then it is the training as a whole, for which there are other detectors."""
    curves = {
        "diffusion_loss": noisy(at(0.3)),
        **{f"diffusion_loss_t{n}": then(noisy(at(0.1), seed=n), 300, noisy(at(0.45), seed=n)) for n in range(4)},
    }
    assert alerts(DiffusionAnomaly(), curves, 500) == []


def test_a_loss_is_read_where_the_configuration_names_a_diffusion_model():
    """A loss that stays at one is an error of noise in a diffusion model, and says nothing in a classifier."""
    stuck = {"loss": noisy(at(1.0), sigma=0.05)}
    assert len(alerts(DiffusionAnomaly(), stuck, 400, config={"model": {"name": "DDPM"}})) == 1
    assert alerts(DiffusionAnomaly(), stuck, 400, config={"model": {"name": "resnet"}}) == []


def test_an_error_that_goes_half_of_the_way_back_is_told():
    """Targets that are wrong for six in ten double the error at step 300: told within 25 steps, since then."""
    (alert,) = alerts(DiffusionAnomaly(), {"diffusion_loss": then(LEARNING, 300, noisy(at(0.7)))}, 500)
    assert 295 <= alert.since_step <= 300
    assert 300 < alert.step <= 325
    assert "back to 0.6" in alert.text


def test_a_restart_of_the_learning_rate_is_left_alone():
    """An error that rises by a third and comes down again is none."""
    bump = then(LEARNING, 300, noisy(lambda n: 0.12 * (1 + 0.35 * math.exp(-n / 30))))
    assert alerts(DiffusionAnomaly(), {"diffusion_loss": bump}, 600) == []
