"""Weights that do not move are told; rates of zero, frozen layers and skipped steps are not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.frozen import Frozen
from barograph.watch.monitor import Monitor

ONSET = 200


def watched(rows, *, columns):
    """What is told of rows of (step, *columns, t), ends left out."""
    header = StreamHeader(run_id="a", columns=["step", *columns, "t"])
    return opened(Monitor([Frozen()]).take((header, rows)))


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


def with_ratio(ratio, *, num_records=400, lr=lambda _: 1e-3, seed=0):
    """Rows of loss, learning rate and update ratio."""
    rng = random.Random(seed)
    return [
        (float(step), 1.0 + rng.gauss(0, 0.1), lr(step), ratio(step) * math.exp(rng.gauss(0, 0.3)), 1000.0 + step)
        for step in range(num_records)
    ]


@pytest.mark.parametrize("stuck", [0.0, 1e-12, 1e-7])
def test_updates_that_become_nothing_are_told_within_two_blocks(stuck):
    """Zero, below what float32 can hold, or ten thousand times less than before."""
    rows = with_ratio(lambda step: 1e-3 if step < ONSET else stuck)
    (told,) = watched(rows, columns=("loss", "lr", "update_ratio"))
    assert (told.alert.type, told.alert.severity) == ("frozen", "critical")
    assert (told.alert.since_step, told.alert.step) == (ONSET - 1.0, ONSET + 7.0)


def test_updates_that_shrink_with_the_learning_rate_are_silent():
    """A rate that goes to zero takes the updates with it."""
    lr = lambda step: max(1e-3 * (1 - step / 300), 0.0)  # noqa: E731 - one curve for both
    assert watched(with_ratio(lr, lr=lr), columns=("loss", "lr", "update_ratio")) == []


def test_steps_that_a_loss_scale_skips_are_silent():
    """While the scale is halved from record to record nothing is updated, on purpose."""
    rows = [
        (float(step), 1.0, 2.0 ** max(24 - step, 10), 0.0 if step < 14 else 1e-3, 1000.0 + step) for step in range(300)
    ]
    assert watched(rows, columns=("loss", "loss_scale", "update_ratio")) == []


@pytest.mark.parametrize(("first", "expected"), [(0.3, 1), (0.0, 0)])
def test_a_layer_whose_gradient_goes_to_exactly_zero_is_told_one_that_never_had_any_is_not(first, expected):
    """Layers that are frozen from the start are meant to be."""
    rows = [(float(step), 1.0, 1.0, first if step < ONSET else 0.0, 1000.0 + step) for step in range(400)]
    assert expected == len(watched(rows, columns=("loss", "grad_norm_last", "grad_norm_first")))


def evaluated(val, *, num_evals=40, seed=0):
    """What is told of a run that is evaluated every ten records."""
    rng = random.Random(seed)
    monitor, told = Monitor([Frozen()]), []
    train = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    split = StreamHeader(run_id="a", columns=["step", "loss", "t"], split="val")
    for place in range(num_evals):
        steps = range(10 * place, 10 * place + 10)
        told += monitor.take((train, [(float(step), 1.0 + rng.gauss(0, 0.2), 1000.0 + step) for step in steps]))
        told += monitor.take((split, [(float(steps[-1]), val(place, rng), 1000.5 + steps[-1])]))
    return opened(told)


def test_five_evaluations_alike_are_told_while_the_training_loss_varies():
    """The weights that are evaluated are not the ones that are trained."""
    (told,) = evaluated(lambda place, rng: 0.8 + rng.gauss(0, 0.01) if place < 20 else 0.7321)
    assert "0.7321 in 5 evaluations" in told.alert.text
    assert 200 <= told.alert.since_step <= told.alert.step <= 264


@pytest.mark.parametrize("seed", range(5))
def test_evaluations_that_vary_are_silent(seed):
    """Also when they are rounded, so that two in a row are the same now and then."""
    assert evaluated(lambda _, rng: round(0.8 + rng.gauss(0, 0.02), 2), seed=seed) == []


def train(*, stops_at, num_steps=300, batch_size=None, seed=0):
    """Rows of a real least-squares training whose optimizer is no longer called from a step on."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(64, 8))
    targets = inputs @ rng.normal(size=8) + 0.5 * rng.normal(size=64)
    weights, rows = np.zeros(8), []
    for step in range(num_steps):
        batch = np.arange(64) if batch_size is None else rng.integers(0, 64, size=batch_size)
        errors = inputs[batch] @ weights - targets[batch]
        gradient = 2 * inputs[batch].T @ errors / len(batch)
        update = 1e-3 * gradient if step < stops_at else np.zeros(8)
        ratio = float(np.linalg.norm(update) / (np.linalg.norm(weights) + 1e-12))
        weights = weights - update
        norm = float(np.linalg.norm(gradient))
        rows.append((float(step), float(np.mean(errors**2)), norm, ratio, 1000.0 + step))
    return rows


@pytest.mark.spec("S4.8")
@pytest.mark.parametrize("has_ratio", [True, False])
def test_a_real_training_without_its_optimizer_is_told(has_ratio):
    """By the update ratio; and on the full batch by a loss that repeats itself although there is a gradient."""
    rows = train(stops_at=150)
    columns = ("loss", "grad_norm", "update_ratio")
    if not has_ratio:
        rows, columns = [(*row[:3], row[4]) for row in rows], ("loss", "grad_norm")
    (told,) = watched(rows, columns=columns)
    assert 142 <= told.alert.since_step <= told.alert.step <= 167
    assert "optimizer" in told.alert.causes[0]


@pytest.mark.parametrize("batch_size", [None, 16])
def test_its_healthy_twin_is_silent(batch_size):
    """With the optimizer called, on the full batch and on small ones."""
    columns = ("loss", "grad_norm", "update_ratio")
    assert watched(train(stops_at=10_000, batch_size=batch_size), columns=columns) == []


def test_an_alert_without_an_earlier_record_is_dated_to_its_own():
    """Evaluations that have always been the same have no first one that was: the step is that of the alert."""
    header = StreamHeader(run_id="a", columns=["step", "val_loss", "t"], split="val")
    monitor = Monitor([Frozen()])
    for step in range(5):
        monitor.take((header, [(float(step), 0.7, 1000.0 + step)]))
    rng = random.Random(0)
    rows = [(float(step), 1.0 + rng.gauss(0, 0.1), 1010.0 + step) for step in range(5, 69)]
    (told,) = opened(monitor.take((StreamHeader(run_id="a", columns=["step", "loss", "t"]), rows)))
    assert told.alert.since_step == told.alert.step
