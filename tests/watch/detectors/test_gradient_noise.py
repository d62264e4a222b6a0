"""Gradient norms that become erratic are told; slow changes, learning and new learning rates are not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.gradient_noise import GradientNoise
from barograph.watch.monitor import Monitor

ONSET = 400


def watched(rows, *, columns=("loss", "grad_norm", "lr")):
    """What is told of rows of (step, *columns, t), ends left out."""
    header = StreamHeader(run_id="a", columns=["step", *columns, "t"])
    return [told for told in Monitor([GradientNoise()]).take((header, rows)) if told.stage != "ended"]


def synthetic(spread, *, num_records=800, seed=0, level=lambda _: 1.0, loss=lambda _: 1.0, lr=lambda _: 1e-3):
    """Norms whose spread is told by the step."""
    rng = random.Random(seed)
    rows = []
    for step in range(num_records):
        norm = level(step) * math.exp(rng.gauss(0.0, spread(step)))
        rows.append((float(step), loss(step) * math.exp(rng.gauss(0, 0.05)), norm, lr(step), 1000.0 + step))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_norm_that_varies_five_times_as_much_is_told(seed):
    """Within 32 records: two blocks have to show it."""
    (told,) = watched(synthetic(lambda step: 0.15 if step < ONSET else 0.75, seed=seed))
    assert (told.alert.type, told.alert.severity) == ("gradient_noise", "warning")
    assert ONSET <= told.alert.step <= ONSET + 32
    assert abs(told.alert.since_step - ONSET) <= 16


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("spread", [0.1, 0.4, 1.0])
def test_steady_noise_is_silent(seed, spread):
    """However large it is."""
    assert watched(synthetic(lambda _: spread, num_records=3000, seed=seed)) == []


def test_noise_that_grows_slowly_is_silent():
    """Near the end of a training the mean gradient is small and its norm is mostly noise."""
    assert watched(synthetic(lambda step: 0.1 + 0.5 * step / 3000, num_records=3000)) == []


def test_another_learning_rate_is_another_regime():
    """What is usual with it has to be seen first."""
    rows = synthetic(
        lambda step: 0.15 if step < ONSET else 0.75, lr=lambda step: 1e-3 if step < ONSET else 1e-4, num_records=700
    )
    assert watched(rows) == []


def test_a_loss_that_falls_is_silent():
    """A norm that rises and varies while the model gets better is a phase of learning."""
    rows = synthetic(
        lambda step: 0.15 if step < ONSET else 0.75,
        loss=lambda step: 2.0 if step < ONSET else 2.0 * math.exp(-(step - ONSET) / 40),
        num_records=500,
    )
    assert watched(rows) == []


def train(batch_size, *, num_steps=800, seed=0):
    """Rows of a real logistic regression on noisy labels, with a batch size that is told by the step."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(2000, 20))
    truth = rng.normal(size=20)
    targets = (inputs @ truth + 2.0 * rng.normal(size=2000) > 0).astype(float)
    weights, rows = np.zeros(20), []
    for step in range(num_steps):
        batch = rng.integers(0, 2000, size=batch_size(step))
        shares = 1.0 / (1.0 + np.exp(-inputs[batch] @ weights))
        gradient = inputs[batch].T @ (shares - targets[batch]) / len(batch)
        weights -= 0.05 * gradient
        losses = np.log1p(np.exp(-np.where(targets[batch] > 0, 1, -1) * (inputs[batch] @ weights)))
        rows.append((float(step), float(np.mean(losses)), float(np.linalg.norm(gradient)), 0.05, 1000.0 + step))
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_training_whose_batches_shrink_is_told_and_its_twin_is_not():
    """A batch of one in place of 512: the gradient is one sample's."""
    (told,) = watched(train(lambda step: 512 if step < ONSET else 1))
    assert told.alert.type == "gradient_noise"
    assert ONSET <= told.alert.step <= ONSET + 32
    assert "batch" in told.alert.remedies[0].text
    assert watched(train(lambda _: 512)) == []


def test_a_norm_that_goes_on_rising_is_no_noise():
    """An explosion scatters as well; what multiplies from block to block is told as that, by another."""
    rows = synthetic(lambda step: 0.15 if step < ONSET else 0.75, level=lambda step: math.exp(max(step - ONSET, 0) / 5))
    assert watched(rows[: ONSET + 200]) == []


def test_norms_next_to_nothing_are_no_noise():
    """Every third batch is known by heart and has no gradient: that varies, and says nothing about its size."""
    rows = [list(row) for row in synthetic(lambda _: 0.15)]
    for row in rows[ONSET::3]:
        row[2] *= 1e-6
    assert watched(rows) == []


@pytest.mark.parametrize("with_loss", [True, False])
def test_a_norm_that_scatters_as_its_loss_does_is_no_noise(with_loss):
    """Batches that differ have other losses and other gradients; the same norms with an even loss are told."""
    rows = [list(row) for row in synthetic(lambda _: 0.15)]
    rng = random.Random(1)
    for row in rows[ONSET:]:
        batch = math.exp(rng.gauss(0.0, 0.75))
        row[2] *= batch
        row[1] *= batch if with_loss else 1.0
    assert [told.alert.type for told in watched(rows)] == ([] if with_loss else ["gradient_noise"])
