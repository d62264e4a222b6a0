"""Units that die are told; networks that are sparse and learn are not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.watch.shown import at, noisy, then
from tests.watch.symptoms import told_first

from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.dead_units import DeadUnits
from barograph.watch.monitor import Monitor

ONSET = 200


def watched(rows):
    """What is told of rows of (step, loss, dead fraction, learning rate, t), ends left out."""
    header = StreamHeader(run_id="a", columns=["step", "loss", "dead_fraction", "lr", "t"])
    return opened(Monitor([DeadUnits()]).take((header, rows)))


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


def synthetic(dead, *, loss=lambda _: 2.3, num_records=400, seed=0):
    """Rows whose dead fraction is told by the step."""
    rng = random.Random(seed)
    return [
        (float(step), loss(step) + rng.gauss(0, 0.02), max(dead(step) + rng.gauss(0, 0.02), 0), 0.1, 1000.0 + step)
        for step in range(num_records)
    ]


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_units_that_die_are_told_within_two_blocks(unit):
    """As a share or in per cent; the alert says what it was at first."""
    (told,) = watched(synthetic(lambda step: unit * (0.1 if step < ONSET else 0.8)))
    assert (told.alert.type, told.alert.severity) == ("dead_units", "critical")
    assert (told.alert.since_step, told.alert.step) == (ONSET - 1.0, ONSET + 7.0)
    assert "10% at first" in told.alert.text
    assert told.alert.remedies[0].change == {"lr": 0.01}


def test_units_that_are_dead_from_the_start_are_told_when_the_loss_does_not_fall():
    """Seven of ten and nothing learned after some thirty records."""
    (told,) = watched(synthetic(lambda _: 0.7))
    assert told.alert.step < 40


def test_a_sparse_network_that_learns_is_silent():
    """The same share with a loss that falls."""
    assert watched(synthetic(lambda _: 0.7, loss=lambda step: 2.3 * math.exp(-step / 10) + 0.1)) == []


@pytest.mark.parametrize(("rises", "expected"), [(True, 1), (False, 0)])
def test_a_share_that_doubles_is_told_when_the_loss_rises_with_it(rises, expected):
    """From 6 % to 25 %, with a loss that was at a tenth and goes back up, or does not."""
    loss = lambda step: 0.1 + 2.0 * math.exp(-step / 40) + (rises and step > 300) * (step - 300) / 300  # noqa: E731
    found = watched(synthetic(lambda step: 0.06 + max(step - 300, 0) * 0.001, loss=loss, num_records=490))
    assert len(found) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_share_that_drifts_a_little_is_silent(seed):
    """From 5 % to 25 % over a run is usual."""
    assert watched(synthetic(lambda step: 0.05 + 0.2 * step / 2000, num_records=2000, seed=seed)) == []


def train(*, bad_batch_at, num_steps=300, seed=0):
    """Rows of a real ReLU layer under a fixed sum; one batch of corrupted targets kills its units for good."""
    rng = np.random.default_rng(seed)
    inputs = np.abs(rng.normal(size=(128, 8)))  # like the brightness of pixels
    targets = inputs[:, 0] + inputs[:, 1]
    first, bias, last = rng.normal(size=(8, 32)) * 0.5, np.zeros(32), np.abs(rng.normal(size=32)) * 0.2
    rows = []
    for step in range(num_steps):
        hidden = np.maximum(inputs @ first + bias, 0.0)
        errors = hidden @ last - (targets - 3000.0 if step == bad_batch_at else targets)
        back = errors[:, None] * last[None, :] * (hidden > 0) * 2 / 128
        gradients = (inputs.T @ back, back.sum(0))
        norm = math.sqrt(sum(float(np.sum(it * it)) for it in gradients))
        rows.append((float(step), float(np.mean(errors**2)), float(np.mean(hidden.max(0) == 0)), norm, 1e3 + step))
        first, bias = first - 0.02 * gradients[0], bias - 0.02 * gradients[1]
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_network_killed_by_one_bad_batch_is_told_and_its_twin_is_not():
    """The step after it is named, and that there was a large gradient before."""
    header = StreamHeader(run_id="a", columns=["step", "loss", "dead_fraction", "grad_norm", "t"])
    (told,) = opened(Monitor([DeadUnits()]).take((header, train(bad_batch_at=150))))
    assert told.alert.since_step == 151.0
    assert "there was a large gradient before" in told.alert.causes[0]
    assert opened(Monitor([DeadUnits()]).take((header, train(bad_batch_at=10_000)))) == []


DYING = then(at(0.1), ONSET, lambda num: 0.1 + 0.006 * num)


def test_a_loss_that_rises_with_dying_units_is_told_as_them():
    """A divergence at a fifth of dead units, too few by themselves, is dated to when they began to die."""
    rising = noisy(then(at(0.3), ONSET, lambda num: 0.3 * math.exp(num / 12)))
    curves = {"loss": rising, "dead_fraction": DYING}
    alert = told_first(DeadUnits(), curves, symptom="divergence", at_step=ONSET + 18)
    assert (alert.type, alert.severity) == ("dead_units", "critical")
    assert ONSET <= alert.since_step <= ONSET + 12
    assert "10% at first" in alert.text


def test_units_that_die_of_a_loss_that_was_thrown_up_are_no_cause():
    """One step that throws the loss to forty times its size kills units as well: that is the step's doing."""
    curves = {"loss": noisy(then(at(0.3), ONSET, at(12.0))), "dead_fraction": DYING}
    assert told_first(DeadUnits(), curves, symptom="divergence", at_step=ONSET + 18).type == "divergence"


def test_a_share_that_is_what_it_was_explains_nothing():
    """Whatever the loss does."""
    curves = {"loss": noisy(then(at(0.3), ONSET, lambda num: 0.3 * math.exp(num / 12))), "dead_fraction": at(0.1)}
    assert told_first(DeadUnits(), curves, symptom="divergence", at_step=ONSET + 18).type == "divergence"
