"""Other data are told by what weights cannot do; steps of the learning rate and divergences are not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch, with_evaluations

from barograph.watch.detectors.data_shift import DataShift


def stepping(factor, *, at=400, num_records=600, noise=0.1):
    """Losses that fall, and are higher by a factor from a step on."""
    rng = random.Random(0)
    return [
        (1.5 * math.exp(-place / 150) + 0.3) * (factor if place >= at else 1.0) * math.exp(rng.gauss(0, noise))
        for place in range(num_records)
    ]


@pytest.mark.spec("S2.42")
def test_labels_shuffled_in_a_real_training_are_told_within_25_steps():
    """The alert is dated to the very step, and sends a person to the batches before and after it."""
    told = watch([DataShift()], train("labels", at=300, num_steps=400))
    assert types(told) == ["data_shift"]
    alert = told[0][1]
    assert (alert.since_step, alert.severity) == (300, "warning")
    assert alert.step <= 325
    assert alert.evidence[0].value > alert.evidence[0].threshold
    assert "step 300" in alert.remedies[0].text


@pytest.mark.spec("S2.42")
def test_a_loader_that_is_stuck_in_a_real_training_is_told_by_the_noise_that_is_gone():
    """The loss falls smoothly, which it never did before."""
    told = watch([DataShift()], train("stuck", at=300, num_steps=400))
    assert types(told) == ["data_shift"]
    alert = told[0][1]
    assert 290 <= alert.since_step <= 315
    assert alert.causes[0] == "a loader that gives the same batch over and over"


@pytest.mark.parametrize("fault", ["labels", "stuck"])
def test_the_healthy_twin_of_these_trainings_is_silent(fault):
    """The runs are the same up to the fault, and without it nothing is told."""
    twin = train(num_steps=400)
    before = [it for it in twin if it[1] < 300]
    assert [it for it in train(fault, at=300, num_steps=400) if it[1] < 300] == before
    assert watch([DataShift()], twin) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([DataShift()], healthy(kind, seed=seed)) == []


@pytest.mark.parametrize("factor", [2.0, 6.0])
def test_a_step_of_the_training_loss_is_told_once(factor):
    """A mild one and a strong one."""
    told = watch([DataShift()], losses(stepping(factor)))
    assert [(alert.type, alert.since_step) for _, alert in told] == [("data_shift", 400)]


@pytest.mark.parametrize("change", ["lr", "resume"])
def test_a_step_that_something_else_explains_is_silent(change):
    """A learning rate that jumped, a resume."""
    records = []
    for split, step, metrics in losses(stepping(4.0)):
        more = {"lr": 0.1 if step >= 399 else 0.01} if change == "lr" else {"attempt": int(step >= 398)}
        records.append((split, step, {**metrics, **more}))
    assert watch([DataShift()], records) == []


def test_a_rise_that_grows_is_left_to_divergence():
    """Five per cent per record is what weights do."""
    values = [it * 1.05 ** max(place - 400, 0) for place, it in enumerate(stepping(1.0, num_records=480))]
    assert watch([DataShift()], losses(values)) == []


def test_steps_that_grew_before_the_loss_are_not_the_data():
    """The optimiser's steps were fifty times as large one record before."""
    rng = random.Random(3)
    records = []
    for split, step, metrics in losses(stepping(4.0)):
        ratio = 1e-3 * math.exp(rng.gauss(0, 0.1)) * (50 if step >= 399 else 1)
        records.append((split, step, {**metrics, "update_ratio": ratio}))
    assert watch([DataShift()], records) == []


def test_a_step_of_the_validation_loss_alone_is_told_at_the_second_evaluation():
    """The training loss went on as before, so the validation data have changed."""
    rng = random.Random(4)
    vals = [0.5 * (2 if place >= 20 else 1) * math.exp(rng.gauss(0, 0.02)) for place in range(30)]
    told = watch([DataShift()], with_evaluations(stepping(1.0, num_records=600), vals, every=20))
    assert [(alert.type, alert.since_step, alert.step) for _, alert in told] == [("data_shift", 419, 439)]
    assert told[0][1].metrics == ["loss"]


def test_a_validation_loss_that_is_off_once_is_silent():
    """One evaluation is no level."""
    vals = [0.5 * (3 if place == 20 else 1) for place in range(30)]
    assert watch([DataShift()], with_evaluations(stepping(1.0, num_records=600), vals, every=20)) == []


def test_full_batches_fall_smoothly_from_the_beginning():
    """Without noise before there is none that could go."""
    values = [2.0 * math.exp(-place / 80) + 0.1 for place in range(600)]
    assert watch([DataShift()], losses(values)) == []
