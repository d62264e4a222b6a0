"""What the detectors of the loss share: noise of few values, what comes at once, and advice in the run's own words."""

from __future__ import annotations

import math
import random

import pytest

from barograph.watch.advice import lower_lr, setting_name
from barograph.watch.context import Context, Schedule
from barograph.watch.detector import Sample
from barograph.watch.losses import Evaluations, is_abrupt, is_disturbed, noise_of
from barograph.watch.roles import ROLES
from barograph.watch.signal import Signal


def signal_of(values, role="loss"):
    """A signal that has taken these values, one per step."""
    signal = Signal.of("loss", "train", ROLES[role])
    for step, value in enumerate(values):
        signal.take(value, float(step))
    return signal


def test_noise_is_that_around_a_trend():
    """A hundred noisy values on a slope, against the standard deviation they were made with."""
    rng = random.Random(0)
    values = [0.3 * place + rng.gauss(0, 0.2) for place in range(400)]
    assert noise_of(values) == pytest.approx(0.2, rel=0.2)
    assert noise_of([1.0]) == 0.0


def test_noise_of_evaluations_is_not_the_curve_they_lie_on():
    """A steep descent of twenty evaluations without noise has the least noise that is assumed."""
    known = Evaluations()
    for place in range(20):
        known.take(signal_of([0.5 + 2 * math.exp(-place / 3)], "val_loss"), None)
    assert known.noise() == 0.01
    assert all(math.isnan(it) for it in known.trains)


def test_evaluations_keep_the_training_loss_of_their_time_and_forget_old_ones():
    """The median of the training losses since the one before; at most twice 32 of them are kept."""
    known, train = Evaluations(), Signal.of("loss", "train", ROLES["loss"])
    for place in range(100):
        for value in (1.0, 2.0, 90.0):
            train.take(value * (place + 1), float(place))
        known.take(signal_of([1.0], "val_loss"), train)
    assert known.num == 100
    assert 32 <= len(known.vals) == len(known.trains) <= 64
    assert known.trains[-1] == pytest.approx(math.log(200.0))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([3.0] * 12, True),
        ([3.0 * 0.97**place for place in range(12)], True),
        ([1.0 * 1.15**place for place in range(1, 13)], False),
        ([2.0, 8.0, 12.0] + [9.0] * 9, False),
        ([1.0] * 12, False),
    ],
    ids=["a step", "a step that falls back", "growth", "growth within three", "nothing"],
)
def test_what_comes_at_once_is_told_from_what_grows(after, expected):
    """By the first record, and by what follows."""
    rng = random.Random(1)
    values = [math.exp(rng.gauss(0, 0.03)) for _ in range(40)] + after
    assert is_abrupt(signal_of(values), len(after)) is expected


def test_a_planned_restart_disturbs_and_a_new_peak_does_not():
    """A learning rate that goes back up to where it was is a schedule; one that goes above is none."""
    loss = signal_of([1.0] * 40)
    for top, expected in ((0.1, True), (0.5, False)):
        schedule = Schedule()
        for step, lr in enumerate([0.1, 0.05, 0.01, top]):
            schedule.take(lr, float(step))
        sample = Sample(Context(schedule=schedule, step=10.0))
        sample.step = 10.0
        assert is_disturbed(sample, loss, records=30) is expected


def test_advice_uses_the_names_of_the_configuration():
    """``optim.learning_rate`` is what the user has to change."""
    context = Context(config={"optim.learning_rate": 0.5}, schedule=Schedule(lr=0.5))
    assert setting_name(context, "lr", "learning_rate") == "optim.learning_rate"
    assert lower_lr(Sample(context), 0.3)[0].change == {"optim.learning_rate": 0.15}
    assert lower_lr(Sample(Context()), 0.3)[0].change == {}
