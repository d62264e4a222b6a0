"""Leaks are told by a gap between validation and training that closes at once, or is reversed."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, train, types, watch, with_evaluations

from barograph.watch.detectors.leakage import Leakage


def trains_of(num_records=2000, *, seed=0):
    """Training losses that fall slowly."""
    rng = random.Random(seed)
    return [(0.2 + 2 * math.exp(-place / 100)) * math.exp(rng.gauss(0, 0.15)) for place in range(num_records)]


def vals_of(num=40, *, at=20, factor=0.4, seed=0):
    """Validation losses above them, and lower by a factor from one evaluation on."""
    rng = random.Random(seed)
    return [
        (0.5 + 2 * math.exp(-place / 2)) * (factor if place >= at else 1) * math.exp(rng.gauss(0, 0.03))
        for place in range(num)
    ]


@pytest.mark.spec("S2.42")
def test_training_examples_in_the_evaluation_of_a_real_training_are_told():
    """The second evaluation after it tells, is dated to the first, and sends a person to the loaders."""
    records = train("val_is_train", at=300, num_steps=400, num_train=500, lr=0.05)
    told = watch([Leakage()], records)
    assert types(told) == ["leakage"]
    alert = told[0][1]
    assert (alert.since_step, alert.step) == (324, 349)
    assert alert.evidence[0].value < alert.evidence[0].threshold
    assert "loader" in alert.remedies[1].text


def test_its_healthy_twin_is_silent():
    """The runs are the same up to the fault, and without it nothing is told."""
    twin = train(num_steps=400, num_train=500, lr=0.05)
    faulty = train("val_is_train", at=300, num_steps=400, num_train=500, lr=0.05)
    assert [it for it in faulty if it[1] < 300] == [it for it in twin if it[1] < 300]
    assert watch([Leakage()], twin) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([Leakage()], healthy(kind, seed=seed), config={"lr": 1e-3}) == []


def test_a_gap_that_closes_at_once_is_told_once():
    """The validation loss falls to 40 per cent between two evaluations, the training loss does not."""
    told = watch([Leakage()], with_evaluations(trains_of(), vals_of(), every=50))
    assert [(alert.type, alert.since_step, alert.step) for _, alert in told] == [("leakage", 1049, 1099)]


def test_both_losses_that_fall_are_silent():
    """What makes both better is learning."""
    trains = [it * (0.4 if place >= 1000 else 1) for place, it in enumerate(trains_of())]
    assert watch([Leakage()], with_evaluations(trains, vals_of(), every=50)) == []


def test_a_learning_rate_that_stepped_down_explains_it():
    """A step decay takes validation and training down at different speeds."""
    records = [
        (split, step, {**it, "lr": 0.01 if step >= 1000 else 0.1} if split == "train" else it)
        for split, step, it in with_evaluations(trains_of(), vals_of(), every=50)
    ]
    assert watch([Leakage()], records) == []


@pytest.mark.parametrize(("config", "is_told"), [({"lr": 0.1}, True), ({"dropout": 0.5}, False), ({}, False)])
def test_validation_at_a_quarter_of_training_is_told_unless_training_is_made_harder(config, is_told):
    """Dropout explains it, and where there is no configuration something may."""
    trains = trains_of()
    vals = [0.25 * sorted(trains[50 * place : 50 * place + 50])[25] for place in range(40)]
    told = watch([Leakage()], with_evaluations(trains, vals, every=50), config=config)
    assert ("leakage" in types(told)) == is_told


def test_validation_at_seventy_per_cent_of_training_is_silent():
    """Running means of the training loss lag behind."""
    trains = trains_of()
    vals = [0.7 * sorted(trains[50 * place : 50 * place + 50])[25] for place in range(40)]
    assert watch([Leakage()], with_evaluations(trains, vals, every=50), config={"lr": 0.1}) == []


def test_a_small_gap_that_is_reversed_is_told():
    """The validation loss need not have been far above: it falls to two thirds of the training loss and stays there."""
    rng = random.Random(5)
    vals = [(0.24 + 2 * math.exp(-place / 2)) * math.exp(rng.gauss(0, 0.02)) for place in range(40)]
    leaked = [value * (0.6 if place >= 20 else 1.0) for place, value in enumerate(vals)]
    trains = trains_of()
    assert watch([Leakage()], with_evaluations(trains, vals, every=50)) == []
    assert types(watch([Leakage()], with_evaluations(trains, leaked, every=50))) == ["leakage"]
