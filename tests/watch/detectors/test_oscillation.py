"""Swings are told by their size and shape; noise, which turns at two of three records, is not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch

from barograph.watch.detectors.oscillation import Oscillation, neighbours, turns_of


def swinging(period, *, amplitude=0.6, at=200, num_records=600, noise=0.03):
    """Losses that fall, and swing from a step on."""
    rng = random.Random(period)
    values = []
    for place in range(num_records):
        level = math.log(0.8 + 1.5 * math.exp(-place / 100))
        swing = amplitude * math.sin(2 * math.pi * (place + 0.25) / period) * (place >= at)
        values.append(math.exp(level + swing + rng.gauss(0, noise)))
    return values


def edge_of_stability(lr, *, at=150, num_steps=300, seed=0):
    """A real descent: the likelihood of a Poisson rate, whose curvature is 1 where it is best.

    Beyond a learning rate of 2 the steps jump from one side of the valley to the other, for ever.
    """
    rng = random.Random(seed)
    x, values = -2.0, []
    for step in range(num_steps):
        values.append(0.2 + math.exp(x) - x - 1 + abs(rng.gauss(0, 0.01)))
        x -= (lr if step >= at else 0.05) * (math.exp(x) - 1) + rng.gauss(0, 0.01)
    return values


@pytest.mark.spec("S2.41", "S2.42")
def test_gradient_descent_beyond_the_edge_of_stability_is_told():
    """The loss jumps from wall to wall; a lower learning rate and less momentum are advised with their numbers."""
    config = {"lr": 2.4, "momentum": 0.9, "batch_size": 32}
    ((_, alert),) = watch([Oscillation()], losses(edge_of_stability(2.4), lr=2.4), config=config)
    assert alert.type == "oscillation"
    assert 100 <= alert.since_step <= 220
    changes = [it.change for it in alert.remedies if it.change]
    assert changes == [{"lr": 0.72}, {"momentum": 0.8}, {"batch_size": 64}]


def test_its_twin_within_the_edge_is_silent():
    """At a learning rate of 1.5 the same descent converges."""
    assert watch([Oscillation()], losses(edge_of_stability(1.5), lr=1.5)) == []


def test_a_real_healthy_training_is_silent():
    """Noise of batches of eight is no swing."""
    assert watch([Oscillation()], train(batch=8, lr=0.005, num_steps=500)) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([Oscillation()], healthy(kind, seed=seed)) == []


@pytest.mark.parametrize("period", [2, 16, 24, 32])
def test_swings_of_many_periods_are_told_once(period):
    """From record to record, and as waves."""
    told = watch([Oscillation()], losses(swinging(period)))
    assert types(told) == ["oscillation"]
    assert told[0][1].step <= 200 + 5 * max(period, 24)


def test_white_noise_is_silent_however_strong():
    """A factor of two to both sides at every record."""
    rng = random.Random(9)
    assert watch([Oscillation()], losses([math.exp(rng.gauss(0, 0.7)) for _ in range(4000)])) == []


def test_a_level_that_changes_is_no_swing():
    """The older half of the window and the newer one differ: that is a step."""
    rng = random.Random(10)
    values = [(0.3 if place < 300 else 2.0) * math.exp(rng.gauss(0, 0.2)) for place in range(600)]
    assert watch([Oscillation()], losses(values)) == []


def test_games_may_swing():
    """The same swings are told where there is no game."""
    values = swinging(24)
    assert types(watch([Oscillation()], losses(values))) == ["oscillation"]
    assert watch([Oscillation()], losses(values, d_loss=0.6)) == []


def test_turns_are_counted_by_their_size():
    """Against a dull count of local extremes further apart than the swing."""
    rng = random.Random(11)
    wave = [math.sin(place / 3) + rng.gauss(0, 0.05) for place in range(200)]
    extremes = int(200 / (3 * math.pi))
    assert turns_of(wave, 1.0) in {extremes - 1, extremes}
    assert turns_of(wave, 2.5) == 0


def test_neighbours_of_noise_are_unlike():
    """Near zero for noise, near one for a slow wave, whatever the trend."""
    rng = random.Random(12)
    noise = [rng.gauss(0, 1) + 0.3 * place for place in range(400)]
    assert abs(neighbours(noise)) < 0.15
    assert neighbours([math.sin(place / 8) for place in range(400)]) > 0.9
