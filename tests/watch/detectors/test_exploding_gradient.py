"""Gradients that explode are told with their usual size; outliers, sharp learning and heavy tails are not."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.watch.shown import at, noisy, then
from tests.watch.symptoms import scattered, told_first

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.exploding_gradient import ExplodingGradient
from barograph.watch.monitor import Monitor

ONSET = 300


def watched(rows, *, columns=("loss", "grad_norm", "lr"), config=None, checkpoint_step=None):
    """What is told of rows of (step, *columns, t), ends left out."""
    monitor = Monitor([ExplodingGradient()], config=config)
    if checkpoint_step is not None:
        monitor.take(Event(moment="on_checkpoint", seq=0, t=0.0, payload={"path": "last.pt", "step": checkpoint_step}))
    header = StreamHeader(run_id="a", columns=["step", *columns, "t"])
    return [told for told in monitor.take((header, rows)) if told.stage != "ended"]


def healthy(num_records=600, *, seed=0, spread=0.3):
    """Loss and gradient norm of a training that goes well."""
    rng = random.Random(seed)
    return [
        [float(step), 2.0 * math.exp(-step / 200) + 0.3, math.exp(rng.gauss(0.0, spread)), 1e-3, 1000.0 + step]
        for step in range(num_records)
    ]


@pytest.mark.spec("S2.41")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("factor", "within"), [(12.0, 12), (100.0, 2)])
def test_a_norm_that_jumps_and_stays_is_told_within_a_few_records(seed, factor, within):
    """The alert names the step at which it began and the usual size of the norm."""
    rows = healthy(seed=seed)
    for row in rows[ONSET:]:
        row[2] *= factor
    (told,) = watched(rows)
    assert told.alert.type == "exploding_gradient"
    assert told.alert.severity == "critical"
    assert ONSET <= told.alert.since_step <= told.alert.step <= ONSET + within
    assert 0.6 < told.alert.remedies[0].change["grad_clip"] < 1.6


@pytest.mark.spec("S2.42")
def test_the_advice_names_the_newest_checkpoint_and_the_batches_to_skip():
    """Clipping, half the learning rate, and going on from before it are offered as changes with this run's numbers."""
    rows = healthy()
    for row in rows[ONSET:]:
        row[2] *= 50.0
    (told,) = watched(rows, checkpoint_step=280)
    remedies = told.alert.remedies
    assert {"lr": 5e-4} in [remedy.change for remedy in remedies]
    assert "go on from last.pt (step 280), and skip the batches from 300 to 301" in [remedy.text for remedy in remedies]


@pytest.mark.parametrize("seed", range(10))
def test_a_healthy_norm_is_silent(seed):
    """Neither noise nor single records of a hundred times the size are an explosion."""
    rows = healthy(2000, seed=seed, spread=(0.05, 0.3, 0.8)[seed % 3])
    for row in rows[100::97]:
        row[2] *= 100.0
    assert watched(rows) == []


@pytest.mark.parametrize("seed", range(5))
def test_heavy_tails_are_silent(seed):
    """A norm with the tails of a policy gradient has seen its large values before."""
    rng = random.Random(seed)
    rows = healthy(3000, seed=seed)
    for row in rows:
        row[2] = math.exp(rng.gauss(0.0, 0.5) / math.sqrt(max(rng.gammavariate(1.5, 0.67), 1e-3)))
    assert watched(rows) == []


def test_a_norm_that_grows_while_the_loss_falls_is_silent():
    """Leaving a flat start makes gradients grow ten times and more; that is learning."""
    rows = healthy()
    for step, row in enumerate(rows):
        row[1] = 2.0 if step < 200 else 2.0 * math.exp(-(step - 200) / 60)
        row[2] *= 0.1 * min(math.exp(max(step - 200, 0) / 15), 30.0)
    assert watched(rows) == []


def test_infinite_norms_of_a_live_loss_scale_are_silent():
    """A norm that is not finite belongs to another detector, and does not move what is usual."""
    rows = healthy()
    for row in rows[50::40]:
        row[2] = math.inf
    assert watched(rows) == []


def test_the_incident_ends_when_the_norm_is_back():
    """It is one incident, with an end, although the norm stays high for a while."""
    rows = healthy(900)
    for row in rows[ONSET : ONSET + 20]:
        row[2] *= 50.0
    monitor = Monitor([ExplodingGradient()])
    told = monitor.take((StreamHeader(run_id="a", columns=["step", "loss", "grad_norm", "lr", "t"]), rows))
    assert [it.stage for it in told] == ["opened", "ended"]
    assert told[1].step < ONSET + 120


def descend(lr, *, num_steps=400, seed=0):
    """Rows of a real linear regression by gradient descent on batches; above the stable rate it explodes."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(256, 4))
    targets = inputs @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1 * rng.normal(size=256)
    weights, rows = np.zeros(4), []
    for step in range(num_steps):
        batch = rng.integers(0, 256, size=32)
        errors = inputs[batch] @ weights - targets[batch]
        gradient = 2 * inputs[batch].T @ errors / 32
        rate = lr(step)
        weights -= rate * gradient
        loss, norm = float(np.mean(errors**2)), float(np.linalg.norm(gradient))
        if not math.isfinite(loss) or loss > 1e200:
            break
        rows.append((float(step), loss, norm, rate, 1000.0 + step))
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_descent_whose_rate_becomes_too_large_is_told():
    """Gradient descent above its stable rate: told within 25 steps, with the learning rate as the first cause."""
    (told,) = watched(descend(lambda step: 0.05 if step < 200 else 5.0))
    assert told.alert.type == "exploding_gradient"
    assert 200 <= told.alert.step <= 225
    assert "learning rate went from 0.05 to 5" in told.alert.causes[0]


def test_a_real_descent_at_a_good_rate_is_silent():
    """The twin without the jump of the rate."""
    assert watched(descend(lambda _: 0.05)) == []


def test_a_real_descent_that_explodes_from_the_first_step_is_told():
    """There is no usual size yet, but fifty times the first norm with a loss that grows is an explosion."""
    (told,) = watched(descend(lambda _: 3.0))
    assert told.alert.step < 25


def test_a_first_loss_far_above_guessing_is_told_when_the_number_of_classes_is_known():
    """Forty times ln 10 in the first records is the initial weights' doing; one and a half times is not."""
    for level, expected in ((92.0, ["exploding_gradient"]), (3.4, [])):
        rows = healthy()
        for row in rows:
            row[1] *= level / 2.3
        assert [told.alert.type for told in watched(rows, config={"model": {"num_classes": 10}})] == expected


def with_loss(num_high, *, delay=0):
    """Norms fifty times as large, with a loss ten times as large that jumps in the same record, or so much later."""
    rows = healthy()
    for row in rows[ONSET : ONSET + num_high]:
        row[2] *= 50.0
    for row in rows[ONSET + delay : ONSET + num_high]:
        row[1] *= 10.0
    return rows


def test_a_bad_batch_is_left_to_the_detectors_that_know_it():
    """Three records with another loss and gradient, by weights that did well before, are not its business."""
    assert watched(with_loss(3)) == []


def test_what_came_with_the_loss_and_stays_is_told_later():
    """Other data are told by others within twelve records; the gradient is told after these, dated to its onset."""
    (told,) = watched(with_loss(300))
    assert told.alert.since_step == ONSET
    assert ONSET + 12 <= told.alert.step <= ONSET + 14
    assert "0.9835 to 50" in told.alert.text


@pytest.mark.parametrize(("delay", "factor", "expected"), [(0, 10.0, 12), (1, 10.0, 12), (1, 50.0, 1), (0, 200.0, 1)])
def test_what_moved_first_decides_whether_it_waits(delay, factor, expected):
    """A loss that comes with the norm or a record later is waited for, unless it explains too little of the norm."""
    rows = healthy()
    for row in rows[ONSET:]:
        row[2] *= factor
    for row in rows[ONSET + delay :]:
        row[1] *= 8.0
    (told,) = watched(rows)
    assert ONSET + expected <= told.alert.step <= ONSET + expected + 2


def test_a_gradient_that_was_there_before_the_loss_is_told_at_once():
    """Steps that are too large show in the gradient first; then there is nothing to wait for."""
    (told,) = watched(with_loss(300, delay=3))
    assert told.alert.step <= ONSET + 2


def test_in_a_game_it_waits_for_what_the_other_player_does():
    """The gradient of a generator follows the discriminator: a rise of twenty records is part of the game."""
    rows = healthy()
    for row in rows[ONSET : ONSET + 20]:
        row[2] *= 50.0
    assert len(watched(rows)) == 1
    assert watched(rows, columns=("d_loss", "grad_norm", "lr")) == []


def rows_of(loss, norm, *, num_records=500, lr=lambda _: 1e-3):
    """Rows of curves."""
    return [[float(step), loss(step), norm(step), lr(step), 1000.0 + step] for step in range(num_records)]


@pytest.mark.parametrize("seed", range(5))
def test_a_norm_out_of_proportion_to_its_loss_is_told(seed):
    """Six times what it was for such a loss, as of one that is summed, in batches that scatter both by 2.5."""
    loss, norm = scattered(at(0.2), then(at(1.0), ONSET, at(6.0)), sigma=0.9, seed=seed)
    (told,) = watched(rows_of(loss, noisy(norm, sigma=0.15, seed=seed)))
    assert told.alert.type == "exploding_gradient"
    assert ONSET <= told.alert.step <= ONSET + 15
    assert abs(told.alert.since_step - ONSET) <= 8


@pytest.mark.parametrize("seed", range(5))
def test_a_norm_that_scatters_with_its_loss_is_silent(seed):
    """The twin, and one whose ratio changes slowly, as that of a squared error does while it falls."""
    loss, norm = scattered(lambda step: 2.0 * math.exp(-step / 150), at(1.0), sigma=0.9, seed=seed)
    slow = lambda step: norm(step) * math.exp(-step / 300)  # noqa: E731 - a curve
    assert watched(rows_of(loss, noisy(slow, sigma=0.15, seed=seed), num_records=1000)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_new_level_that_no_single_record_shows_is_told(seed):
    """Ten times as large, among norms that scatter by a factor of two."""
    rising = then(at(0.7), ONSET, at(7.0))
    norm = noisy(rising, sigma=0.65, seed=seed)
    (told,) = watched(rows_of(noisy(at(0.3), sigma=0.3, seed=seed + 50), norm))
    assert told.alert.type == "exploding_gradient"
    assert ONSET <= told.alert.step <= ONSET + 32
    assert watched(rows_of(noisy(at(0.3), sigma=0.3, seed=seed + 50), noisy(at(0.7), sigma=0.65, seed=seed))) == []


def test_the_largest_norms_tell_where_most_are_next_to_nothing():
    """Weights that grow make a net sure of itself: most losses are none at all, those that are not grow and grow."""
    rng = random.Random(0)
    is_known = [rng.random() < 0.6 for _ in range(600)]

    def of(step, level, growth):
        grown = level * math.exp(rng.gauss(0, 0.3) + growth * max(step - ONSET, 0))
        return 1e-7 * grown if is_known[step] and step >= ONSET else grown

    rows = rows_of(lambda step: of(step, 0.2, 0.03), lambda step: of(step, 1.0, 0.04), num_records=600)
    (told, *_) = watched(rows)
    assert ONSET + 20 <= told.alert.step <= ONSET + 120


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_start_that_is_left_early_is_silent(seed):
    """Norms that grow ten times within some records of the first hundred, shortly before the loss begins to fall."""
    norm = noisy(then(at(0.2), 45, lambda num: 0.2 * min(10.0, math.exp(num / 1.5))), sigma=0.1, seed=seed)
    loss = noisy(then(at(2.3), 50, lambda num: 0.4 + 1.9 * math.exp(-num / 20)), sigma=0.02, seed=seed + 9)
    assert watched(rows_of(loss, norm)) == []
    stuck = noisy(at(2.3), sigma=0.02, seed=seed)
    assert [told.alert.type for told in watched(rows_of(stuck, norm))] == ["exploding_gradient"]


def test_growth_that_began_with_a_restart_of_the_schedule_is_silent():
    """A planned restart, whose high rate throws gradient and loss up for a while; without one the same is told."""
    norm = noisy(then(at(0.15), 290, lambda num: 0.15 * min(15.0, math.exp(num / 18))), sigma=0.1)
    loss = noisy(then(at(0.01), 290, lambda num: 0.01 * min(8.0, math.exp(num / 25))), sigma=0.1, seed=1)

    def restarted(step):
        return 4e-3 * (0.02 + 0.98 * (1 + math.cos(math.pi * (step % 145) / 145)) / 2)

    assert watched(rows_of(loss, norm, lr=restarted, num_records=400)) == []
    assert len(watched(rows_of(loss, norm, num_records=400))) == 1


def test_a_norm_that_was_high_before_the_loss_spiked_is_told_in_its_place():
    """Four times its size six records before the loss spikes: dated to then. In the same record it is the batch."""
    loss = noisy(then(at(0.3), ONSET + 6, at(3.0)), sigma=0.1)
    norm = noisy(then(at(1.0), ONSET, at(4.0)), sigma=0.3, seed=1)
    late = noisy(then(at(1.0), ONSET + 6, at(4.0)), sigma=0.3, seed=1)
    found = [
        told_first(
            ExplodingGradient(),
            {"loss": loss, "grad_norm": it},
            symptom="loss_spike",
            at_step=ONSET + 11,
            since=ONSET + 6,
        )
        for it in (norm, late)
    ]
    assert [it.type for it in found] == ["exploding_gradient", "loss_spike"]
    assert ONSET <= found[0].since_step <= ONSET + 2
