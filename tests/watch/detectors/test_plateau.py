"""A loss that stops at once is told; one that levels off, or is as good as solved, is not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch, with_evaluations

from barograph.watch.detectors.plateau import Plateau


def kinked(*, at=300, num_records=700, rate=1 / 250, noise=0.02):
    """Losses that fall exponentially until a step, and then no more."""
    rng = random.Random(2)
    return [3.0 * math.exp(-min(place, at) * rate) * math.exp(rng.gauss(0, noise)) for place in range(num_records)]


@pytest.mark.spec("S2.41", "S2.42")
def test_a_learning_rate_that_is_gone_too_early_stops_a_real_training():
    """The alert is dated to the fall of the learning rate and advises to stretch the schedule."""
    records = train(lr=0.005, num_steps=400, rate=lambda step: 1.0 if step < 120 else 1e-3)
    events = [(110, "on_checkpoint", {"step": 110, "path": "last.pt"})]
    ((_, alert),) = watch([Plateau()], records, total_steps=400, events=events)
    assert (alert.type, alert.severity) == ("plateau", "warning")
    assert 104 <= alert.since_step <= 136
    assert alert.causes == ["the learning rate came down too early"]
    assert [it.change for it in alert.remedies[:2]] == [{"total_steps": 400}, {"resume_step": 110}]


def test_its_healthy_twin_is_silent():
    """With the learning rate kept nothing is told."""
    assert watch([Plateau()], train(lr=0.005, num_steps=400), total_steps=400) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("is_planned", [True, False])
def test_healthy_losses_are_silent(kind, seed, is_planned):
    """Nothing is told about a healthy run of this kind, whether its length is known or not."""
    records = healthy(kind, seed=seed)
    total_steps = records[-1][1] if is_planned else None
    assert watch([Plateau()], records, total_steps=total_steps) == []


def test_a_kink_at_an_unchanged_learning_rate_is_an_information():
    """Nothing explains it, so it says less, and offers learning rates to try."""
    ((_, alert),) = watch([Plateau()], losses(kinked(), lr=0.01), total_steps=700)
    assert (alert.type, alert.severity) == ("plateau", "info")
    assert 260 <= alert.since_step <= 340
    assert [it.change for it in alert.remedies[:2]] == [{"lr": 0.03}, {"lr": 0.00333}]


def test_near_the_end_of_the_run_a_loss_may_stop():
    """The same kink after three quarters of the run is none."""
    assert watch([Plateau()], losses(kinked(), lr=0.01), total_steps=450) == []


@pytest.mark.parametrize("scale", [60, 150, 400])
def test_a_loss_that_levels_off_is_none(scale):
    """Exponential approaches to a floor, fast and slow."""
    rng = random.Random(scale)
    values = [(2.5 * math.exp(-place / scale) + 0.4) * math.exp(rng.gauss(0, 0.03)) for place in range(1500)]
    assert watch([Plateau()], losses(values, lr=0.01), total_steps=3000) == []


def test_a_step_decay_whose_loss_stays_is_none_late_in_the_run():
    """A learning rate of a hundredth after two thirds of the run is a usual schedule."""
    rng = random.Random(4)
    values = [
        max(2.0 * math.exp(-place / 300), 2.0 * math.exp(-2)) * math.exp(rng.gauss(0, 0.05)) for place in range(900)
    ]
    records = [(split, step, {**it, "lr": 0.1 * 0.01 ** (step >= 600)}) for split, step, it in losses(values)]
    assert watch([Plateau()], records, total_steps=900) == []


def test_what_is_solved_may_stop():
    """A loss at a hundredth of its beginning has nowhere to go."""
    assert watch([Plateau()], losses(kinked(at=400, rate=1 / 80, num_records=900)), total_steps=900) == []


def test_it_is_over_when_the_loss_falls_again():
    """``is_active`` follows the loss."""
    values = kinked(num_records=900)
    found = Plateau()
    assert types(watch([found], losses(values[:560], lr=0.01), total_steps=2000)) == ["plateau"]
    assert found.is_active
    values[560:] = [it * math.exp(-place / 100) for place, it in enumerate(values[560:])]
    found = Plateau()
    watch([found], losses(values, lr=0.01), total_steps=2000)
    assert not found.is_active


def test_a_learning_rate_that_dies_unlogged_stops_a_real_training():
    """Neither the rate nor the updates are known, but the gradient pulls as before; the twin that goes on is silent."""

    def unlogged(rate):
        records = train(lr=0.005, num_steps=400, rate=rate, batch=128)
        return [(split, step, {key: it for key, it in at.items() if key != "lr"}) for split, step, at in records]

    ((_, alert),) = watch([Plateau()], unlogged(lambda step: 1.0 if step < 90 else 1e-3), total_steps=400)
    assert (alert.type, alert.severity) == ("plateau", "info")
    assert 80 <= alert.since_step <= 140
    assert watch([Plateau()], unlogged(lambda _: 1.0), total_steps=400) == []


def test_a_loss_that_stops_with_its_gradient_has_nothing_more_to_learn():
    """The same losses are told where the gradient goes on."""

    def records(pull):
        return [(split, step, {**it, "grad_norm": pull(step)}) for split, step, it in losses(kinked())]

    assert types(watch([Plateau()], records(lambda _: 1.0), total_steps=700)) == ["plateau"]
    assert watch([Plateau()], records(lambda step: 1.0 if step < 300 else 0.2), total_steps=700) == []


def test_without_gradient_and_learning_rate_nobody_knows_why_it_stopped():
    """A step of an unknown schedule looks the same: first a fast fall, then a flat loss."""
    assert watch([Plateau()], losses(kinked()), total_steps=700) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [12, 24, 48])
def test_a_noisy_loss_at_its_floor_is_none(scale, seed):
    """A fall of some dozen records, and then thousands at the floor, with noise that hides how it was reached."""
    rng = random.Random(seed)
    values = [(0.75 * math.exp(-place / scale) + 0.3) * math.exp(rng.gauss(0, 0.13)) for place in range(900)]
    assert watch([Plateau()], losses(values, lr=0.01, grad_norm=0.7), total_steps=4000) == []


def evaluated(vals, *, noise=0.4, pull=1.0):
    """Training losses around those of the evaluations, one after each twenty records; and a learning rate."""
    rng = random.Random(7)
    trains = [vals[place // 20] * math.exp(rng.gauss(0, noise)) for place in range(20 * len(vals))]
    return [
        (split, step, {**it, "lr": 0.01, "grad_norm": pull if step >= 80 else 1.0} if split == "train" else it)
        for split, step, it in with_evaluations(trains, vals, every=20)
    ]


def evenly(share, count):
    """Evaluations that fall by the same little."""
    return [0.3 * (1 - share) ** place for place in range(count)]


def test_validation_that_hardly_changes_says_that_the_weights_do_not():
    """Noise of the training loss hides the kink; what validation changes by is as small and even as no training's."""
    ((_, alert),) = watch([Plateau()], evaluated([2.2, 1.2, 0.6, 0.31, *evenly(0.004, 12)]), total_steps=600)
    assert (alert.type, alert.severity) == ("plateau", "info")
    assert 60 <= alert.since_step <= 100
    assert alert.step <= 200


STEPS = random.Random(5)


@pytest.mark.parametrize(
    "vals",
    [
        [2.2, 1.2, 0.6, 0.31, *(it * math.exp(STEPS.gauss(0, 0.01)) for it in evenly(0.004, 12))],
        [0.3 + 1.9 * math.exp(-0.9 * place) for place in range(16)],
        [2.0 * (1 + place) ** -0.5 for place in range(16)],
        [2.2, 8.0, 4.0, 2.1, *(2.0 * 0.996**place for place in range(12))],
    ],
    ids=["noise_of_steps", "approach", "power_law", "fell_back"],
)
def test_validation_of_a_live_training_is_silent(vals):
    """Steps leave noise in it, a floor is approached, a power law decelerates, and a rise that went back is none."""
    assert watch([Plateau()], evaluated(vals), total_steps=600) == []


def test_validation_that_stands_with_the_gradient_gone_is_at_its_floor():
    """The same evaluations, with a gradient of a fifth."""
    vals = [2.2, 1.2, 0.6, 0.31, *evenly(0.004, 12)]
    assert watch([Plateau()], evaluated(vals, pull=0.2), total_steps=600) == []
