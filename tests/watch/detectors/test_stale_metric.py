"""Measured values that repeat themselves are told; what the program sets, rounds or finishes is not."""

from __future__ import annotations

import math
import random

import pytest

from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.stale_metric import StaleMetric
from barograph.watch.monitor import Monitor

ONSET = 300


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


def watched(*, num_records=600, **columns):
    """What is told of columns, each a function of the step and a random generator."""
    rng = random.Random(0)
    rows = [
        (float(step), *(make(step, rng) for make in columns.values()), 1000.0 + step) for step in range(num_records)
    ]
    return opened(Monitor([StaleMetric()]).take((StreamHeader(run_id="a", columns=["step", *columns, "t"]), rows)))


def noisy(_step, rng):
    """A measured value."""
    return 1.0 + rng.gauss(0, 0.1)


@pytest.mark.parametrize("name", ["loss", "grad_norm", "entropy", "zeta", "accuracy"])
def test_a_measured_value_that_is_repeated_is_told(name):
    """Whatever its role; within two blocks, and since about the first repetition."""
    stuck = lambda step, rng: noisy(step, rng) if step < ONSET else 0.73219  # noqa: E731 - a column
    (told,) = watched(other=noisy, **{name: stuck})
    assert ("stale_metric", "warning", [name]) == (told.alert.type, told.alert.severity, told.alert.metrics)
    assert ONSET < told.alert.step <= ONSET + 16
    assert abs(told.alert.since_step - ONSET) <= 2


PROGRAMMED = {
    "lr": lambda step, _: 1e-3 * max(1.0 - step / 300, 0.1),
    "lr_of_the_head": lambda step, _: 1.234567e-3 * max(1.0 - step / 300, 0.1),
    "loss_scale": lambda step, _: 65536.0,
    "epoch": lambda step, _: float(step // 100),
    "batch_size": lambda step, _: 32.0 if step < 300 else 64.0,
    "is_training": lambda step, _: float(step % 50 == 0),
    "kl_weight": lambda step, _: min(step / 317, 1.0),
    "temperature": lambda step, _: max(0.123456, 1.0 - step / 317),
    "tokens_seen": lambda step, _: 32.0 * step,
    "never_filled": lambda step, _: 0.0,
    "constant": lambda step, _: 0.7312345,
}


@pytest.mark.parametrize("name", PROGRAMMED)
def test_what_the_program_sets_is_silent(name):
    """Rates, weights of a schedule that are done, counters, flags, constants."""
    assert watched(loss=noisy, num_records=2000, **{name: PROGRAMMED[name]}) == []


MEASURED = {
    "accuracy_that_saturates": lambda step, rng: min(1.0, 0.9 + step / 3000 + rng.gauss(0, 0.02)),
    "hinge": lambda step, rng: max(0.0, 1.0 - step / 300 + rng.gauss(0, 0.1)),
    "rounded": lambda step, rng: round(0.5 + rng.gauss(0, 0.01), 2),
    "hits": lambda step, rng: float(rng.randrange(0, 3)),
    "clipped_norm": lambda step, rng: min(0.5, abs(rng.gauss(0, 0.3)) + step / 400),
    "carried_along": lambda step, _: random.Random(step // 40).gauss(0, 1),
    "converged": lambda step, rng: 0.3123456789 + (rng.gauss(0, 1) * math.exp(-step / 8) if step < 250 else 0.0),
}


@pytest.mark.parametrize("name", MEASURED)
def test_measurements_that_repeat_themselves_by_nature_are_silent(name):
    """Saturated, rounded, clipped, carried from one evaluation to the next, or come to rest."""
    assert watched(loss=noisy, num_records=2000, **{name: MEASURED[name]}) == []


def test_the_incident_ends_when_the_value_moves_again():
    """Stuck for a hundred records, then not."""
    rng = random.Random(0)
    rows = [
        (float(step), noisy(step, rng) if not ONSET <= step < ONSET + 100 else 0.73219, 1000.0 + step)
        for step in range(800)
    ]
    told = Monitor([StaleMetric()]).take((StreamHeader(run_id="a", columns=["step", "loss", "t"]), rows))
    assert [it.stage for it in told] == ["opened", "ended"]


def evaluated(is_due, *, num_records=2000, val_step=float):
    """What is told of a training with evaluations when they are due."""
    rng, monitor, told = random.Random(0), Monitor([StaleMetric()]), []
    train = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    val = StreamHeader(run_id="a", columns=["step", "loss", "t"], split="val")
    for step in range(num_records):
        told += monitor.take((train, [(float(step), noisy(step, rng), 1000.0 + step)]))
        if is_due(step):
            told += monitor.take((val, [(val_step(step), noisy(step, rng), 1000.5 + step)]))
    return opened(told)


@pytest.mark.parametrize("val_step", [float, lambda step: step // 50], ids=["steps", "epochs"])
def test_evaluations_that_stop_coming_are_told(val_step):
    """Every fifty steps until step 500, then never: told after 3.2 intervals, whatever their steps count."""
    (told,) = evaluated(lambda step: step % 50 == 0 and step <= 500, val_step=val_step)
    assert "there was no loss" in told.alert.text
    assert 650 <= told.alert.step <= 700
    assert abs(told.alert.since_step - 550) < 12


@pytest.mark.parametrize(
    "is_due",
    [
        lambda step: step % 50 == 0,
        lambda step: step % 50 == 0 if step < 1000 else step % 150 == 0,
        lambda step: step in (10, 20, 40, 80, 160, 320, 640, 1280),
        lambda step: step in (100, 200),
    ],
    ids=["even", "rarer", "doubling", "two"],
)
def test_evaluations_that_come_more_rarely_are_silent(is_due):
    """Three times rarer, at twice the step each time, or hardly ever."""
    assert evaluated(is_due) == []


@pytest.mark.spec("S2.24")
def test_a_real_loop_that_logs_the_loss_of_an_old_batch_is_told_and_its_twin_is_not():
    """The classic: the logged variable is no longer the one that is computed."""
    for logs_old, expected in ((True, 1), (False, 0)):
        rng, weight, logged, rows = random.Random(0), 0.0, 0.0, []
        for step in range(400):
            x = rng.gauss(0, 1)
            error = weight * x - 3.0 * x + rng.gauss(0, 0.5)
            weight -= 0.01 * 2 * error * x
            if not (logs_old and step >= 200):
                logged = error * error
            rows.append((float(step), logged, 1000.0 + step))
        told = Monitor([StaleMetric()]).take((StreamHeader(run_id="a", columns=["step", "loss", "t"]), rows))
        assert expected == len(opened(told))


@pytest.mark.parametrize(("num_examples", "expected"), [(1000, 0), (None, 1)], ids=["share_of_few", "measured"])
def test_a_share_of_few_examples_may_stay_the_same(num_examples, expected):
    """A model that changes no more gets the same ones right; a measure that never came back to a value does not."""

    def quality(step, rng):
        value = 0.6 + 0.37 * min(step / ONSET, 1.0) + rng.gauss(0, 0.02)
        return round(value * num_examples) / num_examples if num_examples else value

    kept = lambda step, rng: quality(step, rng) if step < ONSET else 0.97280966767  # noqa: E731 - a column
    told = watched(loss=noisy, val_quality=kept)
    assert expected == len(told)
