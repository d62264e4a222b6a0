"""Swings are told by their size and shape; noise, which turns at two of three records, is not."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from tests.watch.loss_runs import HEALTHY, Network, digits, healthy, losses, train, types, watch

from barograph.watch.detector import Detector
from barograph.watch.detectors.oscillation import Oscillation, neighbours, turning


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


@pytest.mark.parametrize("period", [2, 10, 16, 24, 32, 64, 100])
def test_swings_of_many_periods_are_told_once(period):
    """From record to record, and as waves."""
    told = watch([Oscillation()], losses(swinging(period)))
    assert types(told) == ["oscillation"]
    assert told[0][1].step <= 200 + max(2 * period, 72)


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


def bumps(*places, height=1.2, width=12, num_records=600, noise=0.05, seed=0):
    """Losses that fall, with rounded bumps from some steps on, of a height each or the same."""
    rng, heights = random.Random(seed), height if isinstance(height, tuple) else (height,) * len(places)
    values = []
    for place in range(num_records):
        level = math.log(0.4 + 1.5 * math.exp(-place / 80)) + rng.gauss(0, noise)
        for at, high in zip(places, heights, strict=True):
            level += high * math.sin(math.pi * (place - at) / width) * (at <= place < at + width)
        values.append(math.exp(level))
    return values


def test_two_bumps_of_like_height_are_a_swing():
    """It is told at the second, dated to the foot of the first."""
    ((_, alert),) = watch([Oscillation()], losses(bumps(250, 310)))
    assert 316 <= alert.step <= 336
    assert abs(alert.since_step - 250) <= 12
    assert alert.evidence[0].value > alert.evidence[0].threshold


@pytest.mark.parametrize(
    ("places", "height"),
    [((300,), 1.5), ((250, 500), 1.2), ((300, 350), (1.8, 0.45)), ((250, 300), 0.35)],
    ids=["one", "far_apart", "unlike", "low"],
)
def test_what_is_no_swing_is_silent(places, height):
    """One bump alone, two that are far apart, a high and a low one, two that are hardly worth it."""
    assert watch([Oscillation()], losses(bumps(*places, height=height))) == []


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("memory", [0.8, 0.95, 0.98])
def test_a_loss_that_wanders_by_itself_is_silent(memory, seed):
    """Smoothed losses rise and fall slowly, from the beginning on."""
    rng, wander, values = random.Random(seed), 0.0, []
    for place in range(3000):
        wander = memory * wander + math.sqrt(1 - memory**2) * rng.gauss(0, 0.12)
        values.append(math.exp(wander) * (0.4 + 1.5 * math.exp(-place / 200)))
    assert watch([Oscillation()], losses(values)) == []


def blocks_of_classes(*, at=260, num_records=400, seed=0):
    """A real training whose loader no longer shuffles: from a step on each twelve batches are of one class."""
    rng, (x, y) = np.random.default_rng(seed), digits()
    network, values = Network(rng, 48), []
    for step in range(num_records):
        pool = np.arange(1300) if step < at else np.flatnonzero(y[:1300] == (step - at) // 12 % 10)
        picked = pool[rng.integers(len(pool), size=32)]
        loss, _, found = network.forward(x[picked], y[picked])
        network.step(network.gradients(x[picked], y[picked], found), 0.02, 0.9)
        values.append(loss)
    return values


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_that_take_turns_make_a_real_loss_swing(seed):
    """Each is learnt, and forgotten for the next; told within four blocks, and its twin is silent."""
    ((_, alert),) = watch([Oscillation()], losses(blocks_of_classes(seed=seed)))
    assert 260 < alert.step <= 260 + 48
    assert watch([Oscillation()], losses(blocks_of_classes(seed=seed, at=400))) == []


class SpikeAt(Detector):
    """Calls it a spike at one step."""

    name: ClassVar[str] = "loss_spike"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    at: int = 0

    def update(self, sample):
        """See ``Detector``."""
        return self.alert(sample, "a spike", severity="warning") if sample.step == self.at else None


def falls(*levels, at=160, noise=0.05):
    """Losses at 0.3 until a step, and from there on such levels of four records each, as logarithms against it."""
    rng = random.Random(6)
    values = [0.3 + 1.5 * math.exp(-place / 20) for place in range(at)]
    values += [0.3 * math.exp(level) for level in levels for _ in range(4)]
    return [value * math.exp(rng.gauss(0, noise)) for value in values]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((-1.5, -3, 2, 1, -1, -2), "oscillation"),
        ((2, 0, 2, 0), "oscillation"),
        ((2, 1, 0, 0), "loss_spike"),
        ((-0.3, 2, 0, 0), "loss_spike"),
        ((0, 0, -3, -3), "loss_spike"),
    ],
    ids=["down_up_down", "twice", "once", "once_from_a_dip", "only_down"],
)
def test_what_another_calls_a_spike_is_named_by_how_often_it_swung(levels, expected):
    """Two swings, the first of which may be one down, are told in place of the spike that the last looks like."""
    values = falls(*levels)
    told = watch([SpikeAt(at=len(values) - 1), Oscillation()], losses(values))
    assert types(told) == [expected]


def test_what_falls_by_training_is_no_swing():
    """One that fell as fast before, and jumped once, has a spike; such a fall from a steady loss is half a swing."""
    spiky = [0.02, 0.02, 3.0, 2.5, 2.0, 1.5, 0.02, 0.02, 0.02, 0.02]
    steep = [3.0 * math.exp(-place / 24) for place in range(120)] + spiky
    steady = [0.5] * 100 + [0.5 * math.exp(-place / 6) for place in range(20)] + spiky
    for values, expected in ((steep, "loss_spike"), (steady, "oscillation")):
        rng = random.Random(1)
        noisy = [value * math.exp(rng.gauss(0, 0.05)) for value in values]
        assert types(watch([SpikeAt(at=len(values) - 1), Oscillation()], losses(noisy))) == [expected]


def test_ways_are_measured_by_their_size():
    """Against the extremes of a wave that are known."""
    rng = random.Random(11)
    wave = [math.sin(place / 3) + rng.gauss(0, 0.05) for place in range(200)]
    ways = turning(wave, 1.0)
    assert all(a * b < 0 for a, b in pairwise(ways))
    assert int(200 / (3 * math.pi)) <= len(ways) <= int(200 / (3 * math.pi)) + 2
    assert all(1.8 < abs(it) < 2.4 for it in ways[1:-1])
    assert turning(wave, 2.6) == []


def test_neighbours_of_noise_are_unlike():
    """Near zero for noise, near one for a slow wave, whatever the trend."""
    rng = random.Random(12)
    noise = [rng.gauss(0, 1) + 0.3 * place for place in range(400)]
    assert abs(neighbours(noise)) < 0.15
    assert neighbours([math.sin(place / 8) for place in range(400)]) > 0.9
