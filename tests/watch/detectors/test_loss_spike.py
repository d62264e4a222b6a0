"""Spikes are told when they have come back, with what to do; levels, restarts and rare values of the run are not."""

from __future__ import annotations

import math
import random

import pytest
from tests.watch.loss_runs import HEALTHY, healthy, losses, train, types, watch

from barograph.watch.detectors.exploding_gradient import ExplodingGradient
from barograph.watch.detectors.loss_spike import LOOKS, LossSpike


def decay(num_records=600, *, seed=0, noise=0.1):
    """Losses that fall, with noise."""
    rng = random.Random(seed)
    return [(2.0 * math.exp(-place / 200) + 0.3) * math.exp(rng.gauss(0, noise)) for place in range(num_records)]


@pytest.mark.spec("S2.41", "S2.42")
def test_garbage_in_two_batches_of_a_real_training_is_told_when_the_loss_is_back():
    """The alert names the two steps, comes two records after them, and says which batches to look at."""
    events = [(250, "on_checkpoint", {"step": 250, "path": "last.pt"})]
    ((stage, alert),) = watch([LossSpike()], train("garbage", at=300, num_steps=400), events=events)
    assert (stage, alert.type, alert.severity) == ("opened", "loss_spike", "warning")
    assert (alert.since_step, alert.step) == (300, 303)
    assert alert.evidence[0].value > alert.evidence[0].threshold
    assert alert.evidence[0].last_step == 301
    assert "300 to 301" in alert.remedies[0].text
    assert [it.change for it in alert.remedies if "last.pt" in it.text] == [{"resume_step": 250}]
    assert next(it.change["grad_clip"] for it in alert.remedies if "clip" in it.text) > 0


def test_the_healthy_twin_of_that_training_is_silent():
    """The runs are the same up to the garbage, and without it nothing is told."""
    twin, faulty = train(num_steps=400), train("garbage", at=300, num_steps=400)
    before = [it for it in twin if it[1] < 300]
    assert [it for it in faulty if it[1] < 300] == before
    assert watch([LossSpike()], twin) == []


@pytest.mark.parametrize("kind", HEALTHY)
@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_losses_are_silent(kind, seed):
    """Nothing is told about a healthy run of this kind."""
    assert watch([LossSpike()], healthy(kind, seed=seed)) == []


@pytest.mark.parametrize("num_up", [2, 3, 8, LOOKS[0] - 4])
def test_what_comes_back_within_twenty_records_is_a_spike(num_up):
    """However long it was up there, the alert is dated to its first record."""
    values = decay()
    values[400 : 400 + num_up] = [8 * it for it in values[400 : 400 + num_up]]
    ((_, alert),) = watch([LossSpike()], losses(values))
    assert (alert.since_step, alert.step) == (400, 400 + num_up + 1)


def test_what_stays_up_is_none():
    """A level is another matter, and told by other detectors."""
    values = decay()
    assert watch([LossSpike()], losses(values[:400] + [8 * it for it in values[400:]])) == []


def test_what_the_run_itself_has_shown_to_be_usual_is_none():
    """A factor of six every forty records is told no more once it is part of the run."""
    values = decay(1200, noise=0.05)
    for place in range(60, 1200, 40):
        values[place] *= 6
    told = watch([LossSpike()], losses(values))
    assert all(alert.since_step < 300 for _, alert in told)


def test_the_bump_after_a_resume_is_none():
    """For thirty records after a resume the loss may be anything."""
    values = decay()
    values[400] *= 8
    records = losses(values)
    assert types(watch([LossSpike()], records)) == ["loss_spike"]
    resumed = [(split, step, {**it, "attempt": int(step >= 390)}) for split, step, it in records]
    assert watch([LossSpike()], resumed) == []


def test_a_jump_of_the_learning_rate_is_the_first_cause():
    """What changed at the onset is named before batches are suspected."""
    values = decay()
    values[401:404] = [8.0] * 3
    records = [(split, step, {**it, "lr": 0.1 if step >= 400 else 0.01}) for split, step, it in losses(values)]
    ((_, alert),) = watch([LossSpike()], records)
    assert alert.causes[0] == "the learning rate went from 0.01 to 0.1 there"


def test_a_loss_that_is_negative_can_spike():
    """Without logarithms a spike is one of differences."""
    rng = random.Random(0)
    values = [-3 + 2 * math.exp(-place / 100) + rng.gauss(0, 0.1) for place in range(600)]
    values[400] += 3
    ((_, alert),) = watch([LossSpike()], losses(values))
    assert alert.since_step == 400


def test_a_loss_that_becomes_nan_on_its_way_is_left_to_non_finite():
    """It has not come back, so it is no spike."""
    values = decay()
    values[400:403] = [9.0, math.nan, math.nan]
    assert watch([LossSpike()], losses(values)) == []


def test_a_spike_of_a_loss_that_falls_fast_is_told():
    """Three orders of magnitude within 150 records are no noise: two bad batches stand out there as elsewhere."""
    rng = random.Random(4)
    values = [3.0 * math.exp(-place / 22 + rng.gauss(0, 0.25)) for place in range(240)]
    assert watch([LossSpike()], losses(values)) == []
    values[150:152] = [6.4, 6.1]
    assert types(watch([LossSpike()], losses(values))) == ["loss_spike"]


@pytest.mark.parametrize("seed", range(6))
def test_the_rare_values_of_heavy_tails_are_no_spikes(seed):
    """Squares of Student's t with two degrees of freedom have no mean: batches of them jump by factors of hundreds."""
    rng = random.Random(seed)
    values = [sum(student(rng, 2) ** 2 for _ in range(32)) / 32 * math.exp(-place / 400) for place in range(1200)]
    assert max(values) > 20 * sorted(values)[600]
    assert watch([LossSpike()], losses(values)) == []


def test_two_bad_batches_stand_out_of_a_noise_of_a_factor_of_two():
    """Alone neither is beyond what the run does now and then; two running are."""
    rng = random.Random(3)
    values = [0.05 * math.exp(rng.gauss(0, 0.7)) for _ in range(500)]
    values[400] = 5.6
    assert watch([LossSpike()], losses(values)) == []
    values[401] = 5.6
    assert types(watch([LossSpike()], losses(values))) == ["loss_spike"]


def test_a_burst_of_smaller_heights_adds_up():
    """Six records at four times the noise are told, two of them are not."""
    rng = random.Random(5)
    values = [math.exp(rng.gauss(0, 0.3)) for _ in range(500)]
    burst = [math.exp(1.5)] * 6
    assert watch([LossSpike()], losses([*values[:400], *burst[:2], *values[402:]])) == []
    assert types(watch([LossSpike()], losses([*values[:400], *burst, *values[406:]]))) == ["loss_spike"]


def test_losses_that_were_smoothed_count_less():
    """A running mean carries one rare batch on over many records: those are one, not many."""
    rng = random.Random(12)
    values = [math.exp(rng.gauss(0, 0.5)) for _ in range(600)]
    values[400] = 14.0
    mean, smoothed = values[0], []
    for value in values:
        mean += 0.1 * (value - mean)
        smoothed.append(mean)
    assert watch([LossSpike()], losses(smoothed)) == []
    independent = [1.4 * math.exp(rng.gauss(0, 0.1)) for _ in range(400)]
    ((_, alert),) = watch([LossSpike()], losses([*independent, *smoothed[400:]]))
    assert alert.since_step == 400


def test_a_loss_that_comes_back_slowly_is_told_on_its_way():
    """After twenty records most of the rise is gone, and more goes: it is a spike, not a divergence."""
    values = decay(noise=0.05)
    for place in range(400, 600):
        values[place] += 8.0 * math.exp(-(place - 400) / 15)
    ((_, alert),) = watch([LossSpike()], losses(values))
    assert (alert.since_step, alert.step) == (400, 400 + LOOKS[0] - 1)
    assert alert.text.endswith("and is coming back")


def test_bumps_after_a_planned_restart_are_none_until_the_learning_rate_is_down_again():
    """The same bump is told at the end of the cycle, and without a restart."""

    def with_bump(place):
        values = decay()
        values[place : place + 4] = [6.0] * 4
        rates = [1e-3 * (0.5 + 0.5 * math.cos(math.pi * (it % 200) / 200)) + 1e-6 for it in range(600)]
        return [(split, step, {**it, "lr": rates[step]}) for split, step, it in losses(values)]

    assert watch([LossSpike()], with_bump(445)) == []
    assert types(watch([LossSpike()], with_bump(550))) == ["loss_spike"]
    assert types(watch([LossSpike()], losses([it["loss"] for _, _, it in with_bump(445)]))) == ["loss_spike"]


def student(rng, freedom):
    """One value of Student's t."""
    return rng.gauss(0, 1) / math.sqrt(sum(rng.gauss(0, 1) ** 2 for _ in range(freedom)) / freedom)


def test_a_hump_that_takes_as_long_to_climb_as_to_come_down_is_none():
    """A jump is made by one record or two; a codebook that is found, or a slow swing, climbs for twenty."""
    values = decay(noise=0.02)
    for place in range(-20, 21):
        values[300 + place] *= math.exp(2.0 * (1.0 - abs(place) / 20))
    assert watch([LossSpike()], losses(values)) == []


@pytest.mark.parametrize(("role", "expected"), [("reward", []), ("entropy", []), ("accuracy", ["loss_spike"])])
def test_the_surrogate_of_a_policy_has_no_level_to_spike_from(role, expected):
    """It is negative as often as not, and jumps with each change of its terms; another negative loss can spike."""
    rng = random.Random(0)
    values = [-1.0 + rng.gauss(0, 0.02) for _ in range(400)]
    values[300:303] = [1.0, 1.1, 0.9]
    rows = [("train", step, {"loss": value, role: 0.5 + rng.gauss(0, 0.01)}) for step, value in enumerate(values)]
    assert types(watch([LossSpike()], rows)) == expected


def with_norms(values, norms):
    """Losses and gradient norms as records."""
    return [("train", step, {"loss": a, "grad_norm": b}) for step, (a, b) in enumerate(zip(values, norms, strict=True))]


@pytest.mark.parametrize(("num_high", "expected"), [(2, ["loss_spike"]), (60, [])])
def test_while_the_gradient_norm_stays_high_the_loss_is_not_back(num_high, expected):
    """A bad batch is gone with its gradient; what stays is another matter, though the loss be low for two records."""
    rng = random.Random(1)
    values, norms = decay(), [math.exp(rng.gauss(0, 0.2)) for _ in range(600)]
    values[400:402] = [30 * it for it in values[400:402]]
    norms[400 : 400 + num_high] = [20 * it for it in norms[400 : 400 + num_high]]
    assert types(watch([LossSpike()], with_norms(values, norms))) == expected


def test_a_spike_that_left_the_norm_high_is_told_in_place_of_the_norm():
    """The norm is told as what it is a trace of, dated to the jump of the loss."""
    rng = random.Random(1)
    values, norms = decay(), [math.exp(rng.gauss(0, 0.2)) for _ in range(600)]
    for place in range(400, 600):
        values[place] *= 300 if place < 402 else 6
        norms[place] *= 20
    told = watch([LossSpike(), ExplodingGradient()], with_norms(values, norms))
    assert types(told)[0] == "loss_spike"
    assert told[0][1].since_step == 400
