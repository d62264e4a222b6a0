"""The time left: ranges that hold the truth, and that say nothing before they can."""

from __future__ import annotations

import math
import random
import time

import pytest

from barograph.watch.eta import MAX_MARKS, Eta, EtaRange

TOTAL_STEPS = 4000
ASK_AT = (200, 400, 1000, 2000, 3000, 3600)


def simulate(seed, *, rare=False, drift=0.0, evaluations=False):
    """One run: (what, arguments) in the order in which they happen, and the time at which it ended."""
    rng = random.Random(seed)
    t, happenings = 1_800_000_000.0, []
    for step in range(1, TOTAL_STEPS + 1):
        t += 0.01 * rng.lognormvariate(0, 0.3) * (1 + drift * step / TOTAL_STEPS)
        t += 0.2 if rare and rng.random() < 0.01 else 0.0
        if step % 10:
            continue
        happenings.append(("step", step, t))
        if evaluations:
            name, mean_s = ("full", 3.0) if step % 200 == 0 else ("fast", 0.05)
            duration_s = mean_s * rng.lognormvariate(0, 0.2)
            happenings.append((name, step, t, duration_s))
            t += duration_s
    return happenings, t


def ask(happenings, end_t, *, evaluations):
    """Estimates of one run as pairs of (range, truth), asked a little after each of ``ASK_AT``."""
    eta = Eta(total_steps=TOTAL_STEPS, eval_steps=200 if evaluations else None)
    pairs = []
    for what, step, t, *duration_s in happenings:
        if what != "step":
            eta.phase(what, started_t=t, duration_s=duration_s[0], step=step)
            continue
        eta.step(step, t=t)
        if step - 50 in ASK_AT:
            pairs.append((eta.remaining(), end_t - t))
    return pairs


@pytest.mark.spec("S2.22")
@pytest.mark.parametrize(
    ("regime", "least_share", "most_width"),
    [
        ({}, 1.0, 0.25),
        ({"rare": True}, 0.92, 0.6),
        ({"drift": 0.2}, 0.8, 0.25),
        ({"evaluations": True}, 0.98, 0.6),
        ({"evaluations": True, "rare": True, "drift": 0.2}, 0.98, 0.6),
    ],
    ids=["noise", "rare slow steps", "drift", "evaluations", "everything"],
)
def test_truth_lies_inside_the_range_in_a_measured_share_of_cases(regime, least_share, most_width):
    """Over 30 simulated runs per regime the range holds the truth often, and is narrow enough to be of use."""
    pairs = []
    for seed in range(30):
        happenings, end_t = simulate(seed, **regime)
        pairs += ask(happenings, end_t, evaluations=regime.get("evaluations", False))
    assert len(ASK_AT) * 30 == len(pairs)
    inside = sum(left.low_s <= truth <= left.high_s for left, truth in pairs)
    widths = sorted(2 * (left.high_s - left.low_s) / (left.high_s + left.low_s) for left, _ in pairs)
    assert least_share <= inside / len(pairs)
    assert all(math.isfinite(left.high_s) for left, _ in pairs)
    assert widths[len(widths) // 2] <= most_width


def test_truth_lies_inside_the_range_for_a_run_that_was_really_timed():
    """A loop that sleeps, with evaluations, ends inside most of the ranges that were given on its way."""
    eta = Eta(total_steps=100, eval_steps=20)
    asked = []
    for step in range(1, 101):
        time.sleep(0.004)
        eta.step(step, t=time.time())
        if step % 20 == 0:
            started_t = time.time()
            time.sleep(0.05)
            eta.phase("full", started_t=started_t, duration_s=time.time() - started_t, step=step)
        elif step > 40 and step % 5 == 0:
            asked.append((time.time(), eta.remaining()))
    end_t = time.time()
    inside = [left.low_s <= end_t - t <= left.high_s for t, left in asked]
    assert len(inside) == 9
    assert sum(inside) >= 6


@pytest.mark.spec("S2.22")
def test_evaluations_are_counted_apart_from_steps():
    """Steps of 1 s and evaluations of 60 s: the rest is 100 s of steps and one evaluation, not 200 slow steps."""
    eta, t = Eta(total_steps=400, eval_steps=100), 0.0
    for step in range(1, 301):
        t += 1.0
        eta.step(step, t=t)
        if step % 100 == 0:
            eta.phase("full", started_t=t, duration_s=60.0, step=step)
            t += 60.0
    left = eta.remaining()
    assert 140 <= left.low_s <= 160 <= left.high_s <= 180


def test_a_phase_that_is_told_late_counts_as_one_that_is_told_in_time():
    """Facts of two files may arrive in either order; the estimate is the same."""
    estimates = []
    for late in (False, True):
        eta = Eta(total_steps=100, eval_steps=20)
        waiting = []
        for step in range(1, 51):
            t = step + 10.0 * ((step - 1) // 20)
            eta.step(step, t=t)
            for phase in waiting:
                eta.phase("full", **phase)
            waiting.clear()
            if step % 20 == 0:
                waiting.append({"started_t": t, "duration_s": 10.0, "step": step})
                if not late:
                    eta.phase("full", **waiting.pop())
        estimates.append(eta.remaining())
    assert estimates[0] == estimates[1]


def test_a_phase_without_a_step_belongs_to_the_step_before_it():
    """Phases that do not name their step are placed by their time."""
    estimates = []
    for known in (False, True):
        eta, t = Eta(total_steps=100), 0.0
        for step in range(1, 61):
            t += 1.0
            eta.step(step, t=t)
            if step % 20 == 0:
                eta.phase("full", started_t=t, duration_s=5.0, step=step if known else None)
                t += 5.0
        estimates.append(eta.remaining())
    assert estimates[0] == estimates[1]


@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_there_is_no_range_before_two_intervals_were_timed(num_steps):
    """Two marks make one interval, which is too few."""
    eta = Eta(total_steps=100)
    for step in range(num_steps):
        eta.step(step, t=float(step))
    assert eta.remaining() is None


def test_there_is_no_range_without_a_total():
    """A run without a planned end has no time left."""
    eta = Eta()
    for step in range(100):
        eta.step(step, t=float(step))
        eta.epoch(step, t=float(step))
    assert eta.remaining() is None


def test_the_range_has_no_upper_end_before_the_first_planned_evaluation():
    """What was never measured is not guessed; once its step has passed, the range closes."""
    eta = Eta(total_steps=1000, eval_steps=200)
    for step in range(1, 201):
        eta.step(step, t=float(step))
    assert math.inf == eta.remaining().high_s
    assert 700 <= eta.remaining().low_s <= 800
    eta.phase("full", started_t=200.0, duration_s=30.0, step=200)
    assert 800 + 4 * 30 <= eta.remaining().high_s <= 1300


def test_a_run_that_never_evaluates_gets_an_upper_end_after_the_planned_step():
    """A cadence that nobody follows does not keep the range open."""
    eta = Eta(total_steps=1000, eval_steps=200)
    for step in range(1, 202):
        eta.step(step, t=float(step))
    assert 799 <= eta.remaining().high_s <= 900


def test_few_data_widen_the_range():
    """The same steps, seen three times and thirty times: the second range is narrower."""
    widths = []
    for num_steps in (3, 30):
        eta = Eta(total_steps=10_000)
        for step in range(num_steps):
            eta.step(step, t=float(step))
        left = eta.remaining()
        widths.append((left.high_s - left.low_s) / (left.high_s + left.low_s))
    assert widths[1] < widths[0] / 4


def test_the_range_shrinks_with_the_clock_but_not_while_the_run_hangs():
    """Half a step later half a step is gone; an hour later no more than one step is."""
    eta = Eta(total_steps=100)
    for step in range(51):
        eta.step(step, t=10.0 * step)
    at_fact, soon, stuck = (eta.remaining(now=500.0 + wait_s) for wait_s in (0.0, 5.0, 3600.0))
    assert pytest.approx(at_fact.low_s - 5.0) == soon.low_s
    assert at_fact.low_s - 12.0 <= stuck.low_s <= at_fact.low_s - 9.0


def test_time_inside_a_finished_phase_is_not_taken_off_twice():
    """After an evaluation of 60 s the steps still need as long as before it."""
    eta = Eta(total_steps=100, eval_steps=50)
    for step in range(51):
        eta.step(step, t=float(step))
    eta.phase("full", started_t=50.0, duration_s=60.0, step=50)
    assert eta.remaining(now=110.0) == eta.remaining(now=50.0)


def test_the_pause_before_a_resumed_attempt_is_not_training():
    """A night between two attempts does not make the steps slow."""
    eta = Eta(total_steps=200)
    for step in range(100):
        eta.step(step, t=float(step))
    eta.restart(t=40_000.0)
    for step in range(90, 120):
        eta.step(step, t=40_000.0 + step)
    left = eta.remaining()
    assert 70 <= left.low_s <= 81 <= left.high_s <= 95


@pytest.mark.parametrize("set_to", [-3600.0, 0.0])
def test_a_clock_that_is_set_back_costs_only_the_older_times(set_to):
    """After the jump the estimate comes from the steps since then."""
    eta = Eta(total_steps=200)
    for step in range(100):
        eta.step(step, t=1e6 + step)
    for step in range(100, 120):
        eta.step(step, t=set_to + 2.0 * step)
    left = eta.remaining()
    assert 145 <= left.low_s <= 162 <= left.high_s <= 180


def test_a_late_row_of_another_stream_changes_nothing():
    """An older step with an older time is passed over."""
    eta, other = Eta(total_steps=200), Eta(total_steps=200)
    for step in range(100):
        eta.step(step, t=float(step))
        other.step(step, t=float(step))
        other.step(step - 5, t=float(step - 5))
    assert eta.remaining() == other.remaining()


@pytest.mark.parametrize("first_epoch", [0, 1])
def test_epochs_alone_give_a_range_whether_counted_from_0_or_1(first_epoch):
    """Four of ten epochs of 30 s are done: 180 s are left."""
    eta = Eta(total_epochs=10)
    eta.restart(t=0.0)
    for index in range(4):
        eta.epoch(first_epoch + index, t=30.0 * (index + 1))
    left = eta.remaining(now=120.0)
    assert 130 <= left.low_s <= 180 <= left.high_s <= 240


def test_several_phases_at_one_step_are_one_occurrence():
    """Four generations per evaluation come again at the next evaluation, not every fifty steps."""
    eta, t = Eta(total_steps=1000), 0.0
    for step in range(1, 401):
        t += 0.01
        eta.step(step, t=t)
        if step % 200 == 0:
            for _ in range(4):
                eta.phase("generate", started_t=t, duration_s=5.0, step=step)
                t += 5.0
    left = eta.remaining()
    assert left.low_s <= 3 * 20 + 6 <= left.high_s <= 2 * 66


def test_a_phase_before_the_first_step_does_not_come_again():
    """Loading the data once is no part of the rest."""
    eta = Eta(total_steps=100)
    eta.phase("load", started_t=0.0, duration_s=500.0)
    for step in range(1, 51):
        eta.step(step, t=500.0 + step)
    assert eta.remaining().high_s <= 60


def test_nothing_is_left_at_the_last_step():
    """At the planned end the range is zero."""
    eta = Eta(total_steps=10)
    for step in range(1, 11):
        eta.step(step, t=float(step))
    left = eta.remaining()
    assert EtaRange(low_s=0.0, high_s=0.0, n=left.n) == left


def test_memory_does_not_grow_with_the_run():
    """After 100 000 steps and 10 000 phases no more marks and durations are kept than the limits say."""
    eta = Eta(total_steps=10**6)
    for step in range(100_000):
        eta.step(step, t=float(step))
        if step % 10 == 0:
            eta.phase("fast", started_t=float(step), duration_s=0.1, step=step)
    assert len(eta._marks) <= MAX_MARKS
    assert len(eta._phases["fast"].durations_s) == 32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0])
def test_durations_and_steps_that_cannot_be_are_passed_over(bad):
    """A damaged fact leaves the estimate as it was."""
    eta = Eta(total_steps=100)
    for step in range(50):
        eta.step(step, t=float(step))
    before = eta.remaining()
    eta.phase("full", started_t=49.0, duration_s=bad, step=49)
    if not math.isfinite(bad):
        eta.step(bad, t=60.0)
        eta.step(50, t=bad)
    assert before == eta.remaining()
