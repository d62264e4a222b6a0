"""A model that learns nothing is told when guessing can be proved; flat losses that may be an optimum are not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch

from barograph.watch.detectors.underfitting import Underfitting


def flat(level, *, num_records=400, noise=0.02, seed=0):
    """Losses that stay where they are."""
    rng = random.Random(seed)
    return [level * math.exp(rng.gauss(0, noise)) for _ in range(num_records)]


@pytest.mark.spec("S2.41", "S2.42")
def test_a_real_training_whose_optimizer_does_nothing_is_told_after_30_per_cent():
    """The accuracy is the evidence, and ten times the learning rate is among the advice."""
    records = train("no_optimizer", num_steps=300)
    ((_, alert),) = watch([Underfitting()], records, total_steps=300, config={"learning_rate": 0.02})
    assert (alert.type, alert.severity, alert.since_step) == ("underfitting", "critical", 0)
    assert 90 <= alert.step <= 105
    assert alert.evidence[1].name == "accuracy"
    assert alert.evidence[1].value < 0.3
    changes = [it.change for it in alert.remedies if it.change]
    assert changes == [{"learning_rate": 0.2}, {"learning_rate": 0.002}]


def test_its_twin_that_learns_is_silent():
    """With the optimiser at work nothing is told."""
    assert watch([Underfitting()], train(num_steps=300), total_steps=300) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("is_planned", [True, False])
def test_healthy_losses_are_silent(kind, seed, is_planned):
    """Nothing is told about a healthy run of this kind, whether its length is known or not."""
    records = healthy(kind, seed=seed)
    assert watch([Underfitting()], records, total_steps=records[-1][1] if is_planned else None) == []


@pytest.mark.parametrize(
    ("level", "config", "others", "is_told"),
    [
        (math.log(32), {"vocab_size": 32}, {}, True),
        (math.log(10), {}, {}, True),
        (math.log(10), {}, {"accuracy": 0.11}, True),
        (1.4, {}, {"accuracy": 0.62}, False),
        (1.4, {}, {}, False),
        (2.1, {"vocab_size": 50000}, {}, False),
        (math.log(10), {"init_from": "base.pt"}, {}, False),
        (math.log(10), {}, {"reward": 1.0}, False),
    ],
    ids=["ln C", "ln 10", "accuracy", "accurate", "unknown", "fine-tune", "declared fine-tune", "policy"],
)
def test_flat_losses_are_told_only_where_guessing_can_be_proved(level, config, others, is_told):
    """Accuracy, the number of classes, or the loss of a usual number of classes."""
    told = watch([Underfitting()], losses(flat(level), **others), config=config, total_steps=400)
    assert types(told) == ["underfitting"] * is_told


def test_without_a_plan_it_waits_for_256_records():
    """A run of unknown length may be a long one."""
    told = watch([Underfitting()], losses(flat(math.log(10))))
    assert [alert.step for _, alert in told] == [255]


def test_a_warm_up_is_waited_for():
    """While the learning rate is still on its way up nothing is expected."""
    records = [(split, step, {**it, "lr": 1e-6 * (step + 1)}) for split, step, it in losses(flat(math.log(10)))]
    assert watch([Underfitting()], records, total_steps=1000) == []


def test_a_model_that_learnt_only_how_often_answers_come_is_told_at_half_of_the_run():
    """It fell a little long ago, stands still, and its accuracy is that of guessing."""
    rng = random.Random(3)
    values = [(2.3 - 0.35 * min(place / 100, 1)) * math.exp(rng.gauss(0, 0.02)) for place in range(600)]
    told = watch([Underfitting()], losses(values, accuracy=0.19), total_steps=600)
    assert types(told) == ["underfitting"]
    assert 300 <= told[0][1].step <= 320


def test_a_loss_that_starts_to_fall_ends_it():
    """A late start clears the alarm."""
    values = flat(math.log(10), num_records=200) + [2.3 * math.exp(-place / 50) for place in range(200)]
    found = Underfitting()
    assert types(watch([found], losses(values), total_steps=400)) == ["underfitting"]
    assert not found.is_active
