"""Summaries and curves, checked against a dull second computation and by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import iterate_rows
from barograph.facts.rundir import RunDir
from barograph.read.metrics import MetricKey, points, summarise


def log(directory, steps_and_values, *, name="loss", split="train", t=1000.0, **where):
    """Record one metric at some steps, a second apart."""
    metrics = MetricsLog(directory, run_id="r1", **where)
    for number, (step, value) in enumerate(steps_and_values):
        metrics.append({name: value}, step=step, split=split, t=t + number)
    metrics.close()


def one(directory):
    """The summary of a run that has one metric."""
    (summary,) = summarise(directory, [])
    return summary


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64) | st.sampled_from([1e308, -1e308, 0.0, -0.0])


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=50))
def test_a_summary_is_what_a_plain_loop_computes(tmp_path_factory, rows):
    """Count, last, minimum and maximum with their first steps, and non-finite values, for any numbers."""
    directory = RunDir(tmp_path_factory.mktemp("run"))
    metrics = MetricsLog(directory, run_id="r1")
    for step, (a, b) in enumerate(rows):
        metrics.append({"a": a, "b": b}, step=step, split="train", t=1000.0 + step)
    metrics.close()
    for place, summary in enumerate(summarise(directory, [])):
        values = [row[1 + place] for row in iterate_rows(directory.rows(0))]
        finite = [(value, step) for step, value in enumerate(values) if math.isfinite(value)]
        low = min(finite, default=(None, None), key=lambda pair: pair[0])
        high = max(finite, default=(None, None), key=lambda pair: pair[0])
        assert (len(values), len(values) - 1) == (summary.count, summary.last_step)
        assert repr(values[-1]) == repr(summary.last)
        assert (low, high) == ((summary.min, summary.min_step), (summary.max, summary.max_step))
        assert len(values) - len(finite) == sum(summary.nonfinite_counts.values())


def test_non_finite_values_are_counted_by_kind(run_dir):
    """They are neither minimum nor maximum, and they are the last value when they are the last."""
    log(run_dir, enumerate([2.0, math.nan, math.inf, 1.0, -math.inf, -math.inf, math.nan]))
    summary = one(run_dir)
    assert summary.nonfinite_counts == {"nan": 2, "inf": 1, "-inf": 2}
    assert (summary.min, summary.min_step, summary.max, summary.max_step) == (1.0, 3.0, 2.0, 0.0)
    assert math.isnan(summary.last)
    assert summary.last_step == 6.0


def test_a_metric_without_a_finite_value_has_no_extremes(run_dir):
    """None, not infinity."""
    log(run_dir, enumerate([math.nan, math.nan]))
    assert (one(run_dir).min, one(run_dir).max, one(run_dir).nonfinite_counts) == (None, None, {"nan": 2})


def test_the_latest_attempt_counts_at_each_step(run_dir):
    """Superseded points are counted apart; what the later attempt never reached stays in the curve."""
    log(run_dir, [(0, 9.0), (1, 8.0), (2, 0.1), (3, 6.0)])
    log(run_dir, [(1, 7.0), (2, 5.0)], attempt=1, t=2000.0)
    summary = one(run_dir)
    assert (summary.count, summary.num_superseded) == (6, 2)
    assert (summary.min, summary.min_step) == (5.0, 2.0)
    assert (summary.max, summary.max_step) == (9.0, 0.0)
    assert (summary.last, summary.last_step) == (5.0, 2.0)


def test_a_curve_marks_what_was_superseded_and_drops_nothing(run_dir):
    """Every point of three attempts, oldest attempt first."""
    log(run_dir, [(0, 9.0), (1, 8.0), (2, 7.0)])
    log(run_dir, [(1, 6.0), (2, 5.0)], attempt=1, t=2000.0)
    log(run_dir, [(2, 4.0)], attempt=2, t=3000.0)
    found = points(run_dir, MetricKey("loss", "train", 0), [])
    assert [(it.attempt, it.step, it.value, it.is_effective) for it in found] == [
        (0, 0.0, 9.0, True),
        (0, 1.0, 8.0, False),
        (0, 2.0, 7.0, False),
        (1, 1.0, 6.0, True),
        (1, 2.0, 5.0, False),
        (2, 2.0, 4.0, True),
    ]


def test_steps_that_repeat_in_one_attempt_are_all_effective(run_dir):
    """Monotonicity is no law: a step may be logged twice."""
    log(run_dir, [(5, 1.0), (5, 2.0), (4, 3.0)])
    assert [it.is_effective for it in points(run_dir, MetricKey("loss", "train", 0), [])] == [True] * 3
    assert one(run_dir).num_superseded == 0


def test_only_the_same_metric_supersedes(run_dir):
    """A later attempt that logs another metric at a step leaves the first one's point effective."""
    log(run_dir, [(1, 8.0)])
    log(run_dir, [(1, 0.5)], name="accuracy", attempt=1, t=2000.0)
    assert [summary.num_superseded for summary in summarise(run_dir, [])] == [0, 0]


def test_splits_and_ranks_are_curves_of_their_own(run_dir):
    """Ordered by split, rank and name."""
    log(run_dir, [(0, 1.0)])
    log(run_dir, [(0, 2.0)], split="val")
    log(run_dir, [(0, 3.0)], rank=1)
    assert [(it.name, it.split, it.rank, it.last) for it in summarise(run_dir, [])] == [
        ("loss", "train", 0, 1.0),
        ("loss", "train", 1, 3.0),
        ("loss", "val", 0, 2.0),
    ]


def test_the_newest_of_several_streams_is_the_last(run_dir):
    """Threads and changing key sets write streams of their own; time tells which value is the newest."""
    metrics = MetricsLog(run_dir, run_id="r1")
    metrics.append({"loss": 3.0, "lr": 0.1}, step=0, split="train", t=1000.0)
    metrics.append({"loss": 2.0}, step=1, split="train", t=1001.0)
    metrics.append({"loss": 1.0, "lr": 0.1}, step=2, split="train", t=1002.0)
    metrics.close()
    loss = next(it for it in summarise(run_dir, []) if it.name == "loss")
    assert (loss.count, loss.last, loss.last_step) == (3, 1.0, 2.0)


def test_integers_beyond_the_floats_are_summarised_whole(run_dir):
    """2**63 + 1 and 10**400 come from ``metrics.jsonl``."""
    log(run_dir, [(0, 2**63 + 1), (1, 10**400), (2, 7)])
    summary = one(run_dir)
    assert (summary.count, summary.min, summary.max) == (3, 7, 10**400)
    assert summary.nonfinite_counts == {}


def test_a_sum_that_overflows_is_no_infinity(run_dir):
    """Finite numbers whose sum is not finite are counted as what they are."""
    log(run_dir, enumerate([1.7e308, 1.7e308]))
    assert (one(run_dir).nonfinite_counts, one(run_dir).max) == ({}, 1.7e308)


def test_a_long_stream_is_read_in_parts(run_dir):
    """More than one block: 200 000 numbers, the minimum near the end."""
    log(run_dir, ((step, 1.0 if step != 99_000 else -1.0) for step in range(100_000)))
    summary = one(run_dir)
    assert (summary.count, summary.min, summary.min_step, summary.last_step) == (100_000, -1.0, 99_000.0, 99_999.0)


def test_damage_is_noted_once(run_dir):
    """A damaged line of ``metrics.jsonl`` is met once per reading, however many attempts there are."""
    log(run_dir, [(0, 2**60)])
    log(run_dir, [(0, 2**60)], attempt=1)
    with run_dir.overflow().open("ab") as file:
        file.write(b"not json\n")
    damage = []
    summarise(run_dir, damage)
    assert len(damage) == 1


@pytest.mark.parametrize("key", [MetricKey("loss", "test", 0), MetricKey("f1", "train", 0)])
def test_a_curve_that_was_never_recorded_is_empty(run_dir, key):
    """No error: there is nothing."""
    log(run_dir, [(0, 1.0)])
    assert points(run_dir, key, []) == []


def test_a_clock_that_is_set_back_changes_no_order(run_dir):
    """Within a file the order of recording counts; the last value is the last that was recorded."""
    metrics = MetricsLog(run_dir, run_id="r1")
    for step, t in enumerate([100.0, 101.0, 40.0, 41.0]):
        metrics.append({"loss": 4.0 - step}, step=step, split="train", t=t)
    metrics.append({"loss": 9.0, "other": 1.0}, step=7, split="train", t=100.5)
    metrics.close()
    (loss, _) = summarise(run_dir, [])
    assert (loss.last, loss.last_step) == (1.0, 3.0)
    found = points(run_dir, MetricKey("loss", "train", 0), [])
    assert [point.step for point in found] == [0, 7, 1, 2, 3]
