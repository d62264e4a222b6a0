"""A loss that rises and stays up is told with its best level; bumps that are planned, and noise, are not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch

from barograph.watch.detectors.data_shift import DataShift
from barograph.watch.detectors.divergence import ABRUPT_HOLD, Divergence
from barograph.watch.detectors.exploding_gradient import ExplodingGradient


def rising(*, at=400, factor=1.02, num_records=600, noise=0.05, top=50.0):
    """Losses that fall, and grow by a factor per record from a step on."""
    rng = random.Random(1)
    values = []
    for place in range(num_records):
        level = 2.0 * math.exp(-place / 150) + 0.3
        level = min(level * factor ** max(place - at, 0), top)
        values.append(level * math.exp(rng.gauss(0, noise)))
    return values


@pytest.mark.spec("S2.41", "S2.42")
def test_steps_uphill_in_a_real_training_are_told_within_25_steps():
    """The alert is dated near the fault, and says where to go back to and with which learning rate."""
    events = [(280, "on_checkpoint", {"step": 280, "path": "last.pt"})]
    told = watch([Divergence()], train("uphill", at=300, num_steps=400), config={"optim.lr": 0.02}, events=events)
    assert types(told) == ["divergence"]
    alert = told[0][1]
    assert alert.severity == "critical"
    assert 300 <= alert.since_step <= 320
    assert alert.step <= 325
    assert alert.evidence[0].value > alert.evidence[0].threshold
    changes = [it.change for it in alert.remedies]
    assert changes[:2] == [{"resume_step": 280}, {"optim.lr": 0.006}]


def test_the_healthy_twin_of_that_training_is_silent():
    """The runs are the same up to the fault, and without it nothing is told."""
    twin, faulty = train(num_steps=400), train("uphill", at=300, num_steps=400)
    before = [it for it in twin if it[1] <= 300]
    assert [it for it in faulty if it[1] <= 300] == before
    assert watch([Divergence()], twin) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([Divergence()], healthy(kind, seed=seed)) == []


@pytest.mark.parametrize("factor", [1.01, 1.05, 1.2])
def test_slow_and_fast_rises_are_told_once(factor):
    """One alert, and the incident goes on while the loss is up."""
    told = watch([Divergence()], losses(rising(factor=factor)))
    assert types(told) == ["divergence"]
    assert 400 <= told[0][1].since_step <= 400 + math.log(1.8) / math.log(factor) + 12


def test_it_is_active_until_the_loss_is_back():
    """``is_active`` follows the loss."""
    values = rising(factor=1.05, num_records=900)
    for place in range(600, 900):
        values[place] = values[399]
    found = Divergence()
    assert types(watch([found], losses(values[:590]))) == ["divergence"]
    assert found.is_active
    found = Divergence()
    watch([found], losses(values))
    assert not found.is_active


def test_a_rise_at_once_is_left_to_data_shift_until_it_has_stayed():
    """The weights cannot do that within one record, so other data are told first."""
    values = rising(factor=1.0)
    values[400:] = [4 * it for it in values[400:]]
    told = watch([Divergence(), DataShift()], losses(values))
    assert types(told) == ["data_shift", "divergence"]
    assert told[1][1].step == 400 + ABRUPT_HOLD - 1


def test_a_rise_at_once_after_a_jump_of_the_learning_rate_is_a_divergence():
    """The jump is named as the first cause."""
    values = rising(factor=1.0)
    values[401:] = [4 * it for it in values[401:]]
    records = [(split, step, {**it, "lr": 0.3 if step >= 400 else 0.01}) for split, step, it in losses(values)]
    told = watch([Divergence(), DataShift()], records)
    assert types(told) == ["divergence"]
    assert told[0][1].causes[0] == "the learning rate went from 0.01 to 0.3 there"
    assert told[0][1].step <= 425


def test_losses_of_games_may_rise_by_a_factor_of_two():
    """The same rise is told where there is no game."""
    values = [2.5 * it if place >= 400 else it for place, it in enumerate(rising(factor=1.0))]
    values[398:400] = [1.4 * values[398], 2 * values[399]]
    assert types(watch([Divergence()], losses(values))) == ["divergence"]
    assert watch([Divergence()], losses(values, d_loss=0.6, g_loss=0.9)) == []


def test_a_loss_that_crosses_zero_is_no_divergence():
    """What was learnt as logarithms is forgotten when it cannot be one any more."""
    rng = random.Random(0)
    values = [-3 + 4 * math.exp(-place / 240) + rng.gauss(0, 0.1) for place in range(800)]
    assert watch([Divergence()], losses(values)) == []
    values[600:] = [it + 0.05 * place for place, it in enumerate(values[600:])]
    assert types(watch([Divergence()], losses(values))) == ["divergence"]


def on_its_way_back(*, until=500, num_records=600):
    """Losses that leap by a factor of twenty at step 400 and come down evenly to their level until a step."""
    rng, values = random.Random(3), []
    for place in range(num_records):
        share = max(1 - (place - 400) / (until - 400), 0.0) if place >= 400 else 0.0
        values.append((2.0 * math.exp(-place / 150) + 0.3) * math.exp(3.0 * share + rng.gauss(0, 0.05)))
    return values


def test_a_loss_on_its_way_back_does_not_stay_up():
    """A leap that is undone step by step is silent; it is told where it stays at half of its way."""
    values = on_its_way_back(until=430)
    stays = [*values[:415], *(4.5 * value for value in on_its_way_back(until=401)[415:])]
    assert watch([Divergence()], losses(values)) == []
    assert types(watch([Divergence()], losses(stays))) == ["divergence"]


@pytest.mark.parametrize("detector", [Divergence, DataShift])
def test_a_penalty_that_is_given_more_weight_explains_the_loss(detector):
    """A loss that steps up while its divergence from the prior is being pushed down is not told; else it is."""
    values = [value if place < 400 else value * 6.0 for place, value in enumerate(on_its_way_back(until=401))]
    pushed = [3.0 if place < 400 else max(3.0 * math.exp(-(place - 400) / 4), 0.01) for place in range(600)]
    rows = [
        [("train", place, {"loss": loss, "kl": kl if is_pushed else 3.0})]
        for is_pushed in (True, False)
        for place, (loss, kl) in enumerate(zip(values[:450], pushed, strict=False))
    ]
    told = [watch([detector()], [row for (row,) in rows[start : start + 430]]) for start in (0, 450)]
    assert [len(it) for it in told] == [0, 1]


@pytest.mark.parametrize(("sigma", "expected"), [(0.05, "data_shift"), (1.0, "divergence")])
def test_a_norm_that_rose_with_its_loss_is_told_as_what_the_loss_did(sigma, expected):
    """Told by the norm twelve records later: a clean step is other data, one that scatters is no level to step to."""
    rng = random.Random(3)
    rows = []
    for step in range(420):
        level, norm, noise = (3.0, 9.0, sigma) if step >= 400 else (0.3, 1.0, 0.05)
        values = {"loss": level * math.exp(rng.gauss(0, noise)), "grad_norm": norm * math.exp(rng.gauss(0, 0.1))}
        rows.append(("train", step, values))
    found = watch([Divergence(), DataShift(), ExplodingGradient()], rows)
    assert types(found)[0] == expected
    assert found[0][1].step <= 415


@pytest.mark.parametrize(("tail", "earliest", "latest"), [(2.2, 411, 430), (0.5, 422, 430)])
def test_a_loss_that_has_lost_most_of_its_rise_is_left_to_loss_spike(tail, earliest, latest):
    """For twenty-two records; where it is back at its first level, there is nothing to wait for."""
    rng = random.Random(2)
    values = [2.3] * 60 + [2.3 * 0.97**it for it in range(100)] + [0.11] * 240 + [2.0, 8.0, 20.0, 30.0] + [tail] * 60
    found = watch([Divergence()], losses([it * math.exp(rng.gauss(0, 0.03)) for it in values]))
    assert types(found) == ["divergence"]
    assert earliest <= found[0][1].step <= latest
