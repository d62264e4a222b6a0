"""The two tiers: which step asks for what, and what that costs."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.errors import CadenceWarning, MisuseError
from barograph.record.cadence import SAMPLE_SIZE, Cadence, TierCosts

S1_CONFIG = """{
  "log_steps": 10,      // Fast logging frequency
  "eval_steps": 200,    // Full evaluation frequency
  "model": "qwen"       // among others, with a // in "a://b" text
}
"""


@pytest.mark.spec("S1.1", "S1.2", "S1.7", "S1.37")
def test_defaults_are_ten_and_two_hundred():
    """A fast log falls on every tenth step, a full evaluation on every two hundredth, and on no other."""
    cadence = Cadence()
    steps = range(401)
    fast = [step for step in steps if cadence.fast(step)]
    full = [step for step in steps if cadence.full(step)]
    assert [step for step in range(10, 401, 10) if step not in (200, 400)] == fast
    assert full == [200, 400]


@given(log_steps=st.integers(1, 60), factor=st.integers(1, 40), step=st.integers(-10, 5000))
def test_tiers_exclude_each_other(log_steps, factor, step):
    """At any step at most one tier is asked for, and the full one wins."""
    cadence = Cadence(log_steps=log_steps, eval_steps=log_steps * factor)
    assert not (cadence.fast(step) and cadence.full(step))
    assert (step > 0 and step % cadence.eval_steps == 0) == cadence.full(step)
    assert (step > 0 and step % log_steps == 0) == (cadence.kind(step) is not None)


@pytest.mark.parametrize("step", [0, -10, -200, 0.0, 10.5, 199.999, math.nan, math.inf, False])
def test_no_tier_at_step_zero_or_between_steps(step):
    """Step 0, negative, fractional and non-finite steps belong to no tier."""
    assert Cadence().kind(step) is None


@pytest.mark.parametrize("step", [200, 200.0, np.int64(200), np.float32(200), np.array(200)])
def test_whole_steps_of_any_number_type(step):
    """A whole step counts whatever type holds it, and the answers are Python booleans."""
    assert Cadence().full(step) is True
    assert Cadence().fast(step) is False


@pytest.mark.parametrize("step", ["10", None, [10]])
def test_a_step_that_is_no_number_is_refused(step):
    """The message names the value and what to pass."""
    with pytest.raises(MisuseError, match=r"step must be a number.*pass the loop's step counter"):
        Cadence().kind(step)


@pytest.mark.parametrize("value", [0, -1, 2.5, 10.0, "10", None, True, np.bool_(True), math.nan])
@pytest.mark.parametrize("name", ["log_steps", "eval_steps"])
def test_settings_must_be_positive_integers(name, value):
    """A setting that is no positive integer is refused by name and value."""
    with pytest.raises(MisuseError, match=f"{name} must be a positive integer"):
        Cadence(**{name: value})


def test_numpy_integers_become_integers():
    """A setting from numpy is kept as a plain int, so that it can be recorded."""
    cadence = Cadence(log_steps=np.int64(5), eval_steps=np.int32(50))
    assert (int, int) == (type(cadence.log_steps), type(cadence.eval_steps))


@pytest.mark.spec("S1.20")
def test_misaligned_settings_warn_once_at_birth_with_the_nearest_aligned():
    """The warning stands at the caller's line and names the values to choose from; asking for steps is silent."""
    with pytest.warns(CadenceWarning, match=r"use eval_steps=200 or eval_steps=210") as caught:
        cadence = Cadence(log_steps=10, eval_steps=205)
    assert [__file__] == [warning.filename for warning in caught]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [cadence.kind(step) for step in (200, 205)] == ["fast", "full"]


@pytest.mark.spec("S1.20")
def test_evaluating_more_often_than_logging_warns():
    """``eval_steps`` below ``log_steps`` is misaligned too; 0 is not offered."""
    with pytest.warns(CadenceWarning, match=r"eval_steps=20 .* log_steps=50.*; use eval_steps=50$"):
        Cadence(log_steps=50, eval_steps=20)


@pytest.mark.spec("S1.20")
@given(log_steps=st.integers(1, 100), factor=st.integers(1, 50))
def test_aligned_settings_are_silent(log_steps, factor):
    """A multiple never warns (warnings are errors in these tests)."""
    assert log_steps * factor == Cadence(log_steps=log_steps, eval_steps=log_steps * factor).eval_steps


@pytest.mark.spec("S1.18", "S1.19")
def test_advice_outside_the_recommended_ranges():
    """10 to 50 and 100 to 500 are silent at both ends; outside, the advice names the setting and the range."""
    assert Cadence(log_steps=10, eval_steps=100).advice() == []
    assert Cadence(log_steps=50, eval_steps=500).advice() == []
    low, high = Cadence(log_steps=9, eval_steps=99).advice()
    assert low.startswith("log_steps=9 is outside the recommended 10 to 50")
    assert high.startswith("eval_steps=99 is outside the recommended 100 to 500")
    assert len(Cadence(log_steps=51, eval_steps=510).advice()) == 2


@pytest.mark.spec("S1.17", "S1.30")
def test_config_json_with_comments(tmp_path):
    """S1's ``config.json`` is read as it is shown, comments included, and as plain JSON."""
    path = tmp_path / "config.json"
    path.write_text(S1_CONFIG, encoding="utf-8")
    assert Cadence(log_steps=10, eval_steps=200) == Cadence.from_config(path)
    path.write_text(json.dumps({"log_steps": 5, "eval_steps": 50}), encoding="utf-8")
    assert Cadence(log_steps=5, eval_steps=50) == Cadence.from_config(str(path))


@pytest.mark.spec("S1.37", "S1.40")
@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ({}, (10, 200)),
        ({"lr": 1e-4}, (10, 200)),
        ({"eval_steps": 400}, (10, 400)),
        ({"log_steps": 20}, (20, 200)),
        ({"log_steps": None, "eval_steps": None}, (10, 200)),
    ],
)
def test_old_configs_work_without_action(old, expected):
    """Missing keys have their defaults, so a configuration from before the two tiers runs with both."""
    cadence = Cadence.from_config(old)
    assert expected == (cadence.log_steps, cadence.eval_steps)


@pytest.mark.spec("S1.40")
def test_the_setting_from_before_is_kept_and_advised_against():
    """``eval_steps: 10`` still means a full evaluation at every log; the advice says what to set instead."""
    cadence = Cadence.from_config({"eval_steps": 10})
    assert {"full"} == {cadence.kind(step) for step in range(10, 500, 10)}
    assert any("every log is a full evaluation; raise eval_steps, e.g. to 200" in line for line in cadence.advice())


@pytest.mark.parametrize("config", [None, 10, [("log_steps", 10)]])
def test_a_config_that_is_no_mapping_is_refused(config):
    """The message says what to pass."""
    with pytest.raises(MisuseError, match=r"read from a mapping or a JSON file.*vars\(args\)"):
        Cadence.from_config(config)


@given(log_steps=st.integers(1, 30), eval_steps=st.integers(1, 90), total=st.integers(0, 1000))
@pytest.mark.filterwarnings("ignore::barograph.errors.CadenceWarning")
def test_planned_counts_what_the_steps_ask_for(log_steps, eval_steps, total):
    """The closed form equals counting step by step."""
    cadence = Cadence(log_steps=log_steps, eval_steps=eval_steps)
    kinds = [cadence.kind(step) for step in range(1, total + 1)]
    assert (kinds.count("fast"), kinds.count("full")) == cadence.planned(total)


@pytest.mark.parametrize("total", [-1, 2.5, True, "100"])
def test_planned_refuses_what_is_no_number_of_steps(total):
    """The message names the value."""
    with pytest.raises(MisuseError, match="total_steps must be an integer from 0 on"):
        Cadence().planned(total)


@pytest.mark.spec("S1.14", "S1.15")
def test_the_claimed_twentyfold_saving_is_seven_to_ten_by_its_own_figures():
    """0.5 s and 5 to 10 s give 6.9 to 10.3 times; 20 is only the limit of a fast log that costs nothing."""
    cadence = Cadence()
    by_hand = {full: 20 * full / (full + 19 * 0.5) for full in (5.0, 7.5, 10.0)}
    measured = {full: cadence.saving(fast_s=0.5, full_s=full) for full in by_hand}
    assert pytest.approx(by_hand) == measured
    assert [round(value, 1) for value in measured.values()] == [6.9, 8.8, 10.3]
    assert cadence.saving(fast_s=0.0, full_s=7.5) == 20.0


@given(
    log_steps=st.integers(1, 30),
    eval_steps=st.integers(1, 90),
    fast=st.floats(0, 100),
    full=st.floats(1e-3, 1000),
)
@pytest.mark.filterwarnings("ignore::barograph.errors.CadenceWarning")
def test_saving_equals_adding_up_every_step(log_steps, eval_steps, fast, full):
    """The formula is the cost of a full evaluation at every log step over the cost of both tiers, added up."""
    cadence = Cadence(log_steps=log_steps, eval_steps=eval_steps)
    steps = range(1, math.lcm(log_steps, eval_steps) + 1)
    before = sum(full for step in steps if step % log_steps == 0)
    after = sum({"fast": fast, "full": full, None: 0.0}[cadence.kind(step)] for step in steps)
    assert pytest.approx(before / after) == cadence.saving(fast_s=fast, full_s=full)


@pytest.mark.parametrize("seconds", [{"fast_s": 1.0, "full_s": 0.0}, {"fast_s": -1.0, "full_s": 1.0}])
def test_saving_refuses_impossible_durations(seconds):
    """A full evaluation that takes no time has no saving."""
    with pytest.raises(MisuseError, match="no durations to compare"):
        Cadence().saving(**seconds)


def _costs(fast=(), full=()):
    costs = TierCosts()
    for seconds in fast:
        costs.add("fast", seconds)
    for seconds in full:
        costs.add("full", seconds)
    return costs


@pytest.mark.spec("S1.15", "S1.41")
def test_report_of_measured_costs():
    """Counts, medians, totals, shares of the wall time and the saving come from the durations alone."""
    report = _costs(fast=[0.4, 0.5, 0.9], full=[5.0, 5.2]).report(Cadence(), wall_s=120.0)
    assert {
        "num_fast": 3,
        "num_full": 2,
        "fast_median_s": 0.5,
        "full_median_s": 5.1,
        "fast_total_s": pytest.approx(1.8),
        "full_total_s": 10.2,
        "share_of_wall": pytest.approx(0.1),
        "full_share_of_wall": pytest.approx(0.085),
        "saving_measured": pytest.approx(20 * 5.1 / (5.1 + 19 * 0.5)),
        "saving_note": None,
        "advice": [
            (
                "full evaluations took 8.5% of wall time; eval_steps=400 would make it 4.4%, "
                "and so would making each 2 times cheaper"
            )
        ],
    } == report


@pytest.mark.spec("S1.41")
def test_costs_of_really_timed_work():
    """Around real work the report finds the durations that the clock saw, and the ratio of the two tiers."""
    cadence, costs = Cadence(log_steps=1, eval_steps=4), TierCosts()
    began = time.perf_counter()
    seen = {"fast": [], "full": []}
    for step in range(1, 13):
        tier = cadence.kind(step)
        start = time.perf_counter()
        time.sleep(0.002 if tier == "fast" else 0.02)
        seen[tier].append(time.perf_counter() - start)
        costs.add(tier, seen[tier][-1])
    report = costs.report(cadence, time.perf_counter() - began)
    medians = {tier: statistics.median(durations) for tier, durations in seen.items()}
    assert (report["num_fast"], report["num_full"]) == (9, 3)
    assert (medians["fast"], medians["full"]) == (report["fast_median_s"], report["full_median_s"])
    expected = 4 * medians["full"] / (medians["full"] + 3 * medians["fast"])
    assert pytest.approx(expected) == report["saving_measured"]
    assert 0.5 < report["share_of_wall"] <= 1.0


@pytest.mark.parametrize(
    ("fast", "full", "cadence", "expected"),
    [
        ([0.1], [], Cadence(), (None, "no full evaluation was measured")),
        ([], [1.0], Cadence(), (None, "no fast log was measured")),
        ([0.0], [0.0], Cadence(), (None, "full evaluations took no measurable time")),
        ([], [1.0], Cadence(log_steps=10, eval_steps=10), (1.0, None)),
    ],
)
def test_no_saving_without_measurement(fast, full, cadence, expected):
    """A tier that was not measured gives no figure but a reason, unless the schedule does without that tier."""
    report = _costs(fast, full).report(cadence, wall_s=100.0)
    assert expected == (report["saving_measured"], report["saving_note"])


def test_no_share_without_wall_time():
    """Without a wall time there are no shares and no advice about them."""
    report = _costs([0.1], [50.0]).report(Cadence(), wall_s=0.0)
    assert (report["share_of_wall"], report["full_share_of_wall"], report["advice"]) == (None, None, [])


@given(share=st.floats(0.0, 0.99), steps=st.integers(1, 40))
def test_advice_keeps_its_promise(share, steps):
    """What the advice promises is under 5 % of the wall time, is true, and one multiple less would not be."""
    cadence = Cadence(log_steps=10, eval_steps=10 * steps)
    report = _costs(full=[100.0 * share]).report(cadence, wall_s=100.0)
    advice = [line for line in report["advice"] if line.startswith("full evaluations took")]
    assert (share > 0.05) == bool(advice)
    if advice:
        suggested = int(advice[0].split("eval_steps=")[1].split()[0])
        rarer = [100 * share / factor for factor in (suggested / (10 * steps), suggested / (10 * steps) - 1)]
        shares = [cost / (100 - 100 * share + cost) for cost in rarer]
        assert shares[0] < 0.05 + 1e-9
        assert shares[1] >= 0.05 - 1e-9
        assert f"would make it {shares[0]:.1%}" in advice[0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_medians_are_exact_for_a_sample_that_fits(durations):
    """The median equals the standard library's."""
    report = _costs(full=durations).report(Cadence(), wall_s=1.0)
    assert pytest.approx(statistics.median(durations)) == report["full_median_s"]


def test_median_of_a_long_run_covers_all_of_it():
    """Beyond the sample the median is that of the whole run (here a drift from 0 to 1), not of its end."""
    num = SAMPLE_SIZE * 9 + 17
    costs = _costs(fast=(index / num for index in range(num)))
    report = costs.report(Cadence(), wall_s=1.0)
    assert num == report["num_fast"]
    assert abs(report["fast_median_s"] - 0.5) < 0.001
    assert pytest.approx((num - 1) / 2) == report["fast_total_s"]


def test_memory_does_not_grow():
    """After the sample is full, 50 000 further durations need no memory."""
    costs = _costs(fast=itertools.repeat(0.5, 2 * SAMPLE_SIZE))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50_000):
            costs.add("fast", 0.5)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 8 * SAMPLE_SIZE + 2_000


@pytest.mark.parametrize("duration", [-0.1, math.nan, math.inf])
def test_impossible_durations_are_refused(duration):
    """A negative or non-finite duration is named and not counted."""
    costs = TierCosts()
    with pytest.raises(MisuseError, match="cannot be; measure it"):
        costs.add("fast", duration)
    assert costs.report(Cadence(), 1.0)["num_fast"] == 0


def test_an_unknown_tier_is_refused():
    """The message names the tier and the two that there are."""
    with pytest.raises(MisuseError, match="'slow' is no tier; use 'fast' or 'full'"):
        TierCosts().add("slow", 1.0)
