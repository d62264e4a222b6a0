"""Overfitting is told by the validation loss against its best, at whatever rate it is evaluated."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, train, types, watch, with_evaluations

from barograph.facts.kinds import Event
from barograph.watch.detectors.overfitting import Overfitting
from barograph.watch.monitor import Monitor


def valley(num_evaluations, *, best, rise=0.06, noise=0.01, seed=0):
    """Validation losses that fall until one of them and rise by a share per evaluation from there."""
    rng = random.Random(seed)
    levels = [0.5 + 1.5 * math.exp(-4 * min(it, best) / best) for it in range(num_evaluations)]
    return [
        level * (1 + rise * max(place - best, 0)) * math.exp(rng.gauss(0, noise)) for place, level in enumerate(levels)
    ]


def falling(num_records, *, noise=0.1, seed=0):
    """Training losses that go on falling."""
    rng = random.Random(seed)
    return [2.3 * math.exp(-3 * place / num_records) * math.exp(rng.gauss(0, noise)) for place in range(num_records)]


@pytest.mark.spec("S2.41", "S2.42")
def test_sixty_examples_are_overfitted_in_a_real_training():
    """The alert names the best step, the gap, and changes of this run's own configuration."""
    config = {"model.dropout": 0.1, "weight_decay": 0.001}
    events = [(99, "on_checkpoint", {"step": 99, "path": "best.pt"})]
    records = train(num_train=60, lr=0.1, num_steps=500)
    ((_, alert),) = watch([Overfitting()], records, config=config, events=events)
    assert alert.type == "overfitting"
    vals = {step: it["loss"] for split, step, it in records if split == "val"}
    assert vals[alert.since_step] < 1.1 * min(vals.values())
    assert alert.evidence[0].value > alert.evidence[0].threshold
    assert alert.evidence[1].name == "validation loss over training loss"
    assert alert.evidence[1].value > 5
    assert "best.pt" in alert.remedies[0].text
    assert [it.change for it in alert.remedies[1:3]] == [{"model.dropout": 0.2}, {"weight_decay": 0.01}]


def test_its_twin_on_all_examples_is_silent():
    """With 1300 examples nothing is told."""
    assert watch([Overfitting()], train(num_steps=500)) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([Overfitting()], healthy(kind, seed=seed)) == []


@pytest.mark.spec("S1.16")
def test_full_evaluations_every_200_steps_detect_it():
    """Two rates: a training loss at each step, a validation loss at every 200th."""
    records = with_evaluations(falling(4000), valley(20, best=9), every=200)
    told = watch([Overfitting()], records)
    assert types(told) == ["overfitting"]
    assert told[0][1].since_step == 1999
    assert told[0][1].step <= 1999 + 7 * 200


@pytest.mark.spec("S1.16")
@pytest.mark.parametrize("num_epochs", [8, 12, 30])
def test_one_evaluation_per_epoch_is_enough(num_epochs):
    """Epochs alone, as events, with eight of them or thirty."""
    monitor, told = Monitor([Overfitting()]), []
    vals, trains = valley(num_epochs, best=3, rise=0.1), falling(num_epochs, noise=0.02)
    for epoch in range(num_epochs):
        payload = {"epoch": epoch, "train_loss": trains[epoch], "val_loss": vals[epoch]}
        event = Event(schema_version=1, seq=epoch, t=float(epoch), moment="on_epoch_end", payload=payload)
        told += [it.alert for it in monitor.take(event) if it.stage == "opened"]
    assert [it.type for it in told] == ["overfitting"]
    assert told[0].since_step == 3
    assert told[0].step <= 7


def test_noisy_evaluations_that_do_not_rise_are_silent():
    """Eighty evaluations with a noise of eight per cent: the best of them is luck."""
    rng = random.Random(5)
    vals = [0.5 * math.exp(rng.gauss(0, 0.08)) for _ in range(80)]
    assert watch([Overfitting()], with_evaluations(falling(4000), vals, every=50)) == []


def test_a_training_loss_that_rises_too_is_no_overfitting():
    """Both rise: something else is wrong."""
    trains = falling(2000)
    trains[1000:] = [3 * it for it in trains[1000:]]
    records = with_evaluations(trains, valley(40, best=19), every=50)
    assert watch([Overfitting()], records[:1530]) == []


def test_a_validation_loss_that_steps_up_at_once_is_left_to_data_shift():
    """A step between two evaluations, flat before and after, is other data."""
    rng = random.Random(6)
    vals = [0.5 * (3 if place >= 20 else 1) * math.exp(rng.gauss(0, 0.01)) for place in range(40)]
    assert watch([Overfitting()], with_evaluations(falling(2000), vals, every=50)) == []


def test_validation_below_training_is_silent():
    """With dropout the validation loss is the lower one, which is no sign of anything."""
    trains = falling(2000)
    vals = [0.7 * trains[50 * place + 49] for place in range(40)]
    assert watch([Overfitting()], with_evaluations(trains, vals, every=50)) == []


@pytest.mark.parametrize("slope", [-0.01, 0.02])
def test_a_jump_that_only_comes_down_again_is_none(slope):
    """After a jump of an eighth it is told where the loss rises on, and not where it falls at each evaluation."""
    vals = [2.0 * 0.6**place for place in range(5)]
    vals += [1.125 * vals[-1] * (1 + slope) ** place for place in range(6)]
    trains = [2.0 * 0.985**place for place in range(20 * len(vals))]
    told = watch([Overfitting()], with_evaluations(trains, vals, every=20))
    assert types(told) == ["overfitting"] * (slope > 0)


def test_a_small_rise_late_in_a_long_run_is_told():
    """By an eighth, from a twentieth of what the loss began with, over two hundred evaluations."""
    vals = [2.0 * math.exp(-min(place, 60) / 20) * (1 + 0.01 * max(min(place - 60, 13), 0)) for place in range(100)]
    trains = [2.0 * math.exp(-place / 500) for place in range(20 * len(vals))]
    ((_, alert),) = watch([Overfitting()], with_evaluations(trains, vals, every=20))
    assert abs(alert.since_step - 61 * 20) <= 40
    assert alert.step <= 77 * 20
