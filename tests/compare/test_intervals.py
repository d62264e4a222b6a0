"""Intervals beside textbook values, scipy's, and a bootstrap written out by hand. Coverage: test_simulations."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from barograph.compare import intervals
from barograph.compare.intervals import Interval

FIVE = [4.2, 4.9, 5.1, 5.6, 7.3]


def ends(interval):
    """Low and high."""
    return [interval.low, interval.high]


def test_the_mean_of_few_runs_has_students_interval():
    """As scipy's t distribution gives it, and its method says so."""
    expected = stats.t.interval(0.95, 4, loc=np.mean(FIVE), scale=stats.sem(FIVE))
    found = intervals.mean_interval(FIVE)
    assert ends(found) == pytest.approx(list(expected))
    assert (found.method, found.level) == ("t", 0.95)


def test_the_mean_of_many_runs_has_a_studentised_bootstrap_interval():
    """As 20 000 draws written out by hand give it, within what draws differ."""
    values = [math.exp(number / 6) for number in range(15)]
    generator = random.Random(1)
    pivots = []
    for _ in range(20_000):
        drawn = generator.choices(values, k=15)
        pivots.append((fmean(drawn) - fmean(values)) / (stdev(drawn) / math.sqrt(15)))
    pivots.sort()
    error = stdev(values) / math.sqrt(15)
    expected = [fmean(values) - pivots[19_499] * error, fmean(values) - pivots[499] * error]
    found = intervals.mean_interval(values)
    assert found.method == "studentised bootstrap"
    assert ends(found) == pytest.approx(expected, abs=0.15 * error)
    assert found.high - fmean(values) > 1.2 * (fmean(values) - found.low)  # it follows the skew


def test_the_same_runs_have_the_same_interval():
    """Draws depend on the numbers alone."""
    values = np.linspace(0, 1, 12) ** 2
    assert intervals.mean_interval(values) == intervals.mean_interval(list(values))


@pytest.mark.parametrize("n", [0, 1])
def test_one_run_has_no_interval(n):
    """One run says nothing about spread."""
    assert intervals.mean_interval([1.0] * n) is None
    assert intervals.iqm_interval([1.0] * n) is None
    assert intervals.median_interval([1.0] * n) is None


@pytest.mark.parametrize("n", [5, 12])
def test_runs_without_spread_have_an_interval_without_length(n):
    """Equal runs: the mean is what they all are."""
    assert ends(intervals.mean_interval([0.1] * n)) == pytest.approx([0.1, 0.1])
    assert ends(intervals.iqm_interval([0.1] * n)) == pytest.approx([0.1, 0.1])


def test_too_many_ties_fall_back_to_students_interval():
    """Nine equal runs and one other: most draws have no spread to be measured by."""
    values = [1.0] * 9 + [2.0]
    assert intervals.mean_interval(values).method == "t"
    assert ends(intervals.mean_interval(values)) == pytest.approx(
        list(stats.t.interval(0.95, 9, loc=1.1, scale=stats.sem(values)))
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_iqm_is_scipys_trimmed_mean(values):
    """A quarter of the runs, rounded down, is cut at each end."""
    ordered = sorted(values)
    cut = len(values) // 4
    kept = ordered[cut : len(values) - cut]
    assert intervals.iqm(values) == pytest.approx(fmean(kept), abs=1e-6)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 9])
def test_critical_values_of_the_iqm(n):
    """The table is what simulated normal samples give, within what 200 000 of them differ."""
    samples = np.random.default_rng(n).normal(size=(200_000, n))
    pivots = np.abs(stats.trim_mean(samples, 0.25, axis=1)) / (samples.std(axis=1, ddof=1) / math.sqrt(n))
    assert intervals._IQM_CRITICAL[n] == pytest.approx(np.quantile(pivots, 0.95), abs=0.03)


def test_the_iqm_of_three_runs_is_their_mean():
    """Nothing is cut, so the interval is the mean's."""
    assert intervals.iqm_interval([1.0, 2.0, 4.0]) == intervals.mean_interval([1.0, 2.0, 4.0])


def test_one_bad_run_moves_the_mean_more_than_the_iqm():
    """The IQM's interval of twelve runs stays short beside an outlier."""
    values = [*np.linspace(0.9, 1.1, 11), 9.0]
    iqm, mean = intervals.iqm_interval(values), intervals.mean_interval(values)
    assert iqm.high - iqm.low < 0.2 * (mean.high - mean.low)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_median_of_few_runs_has_no_interval(n):
    """The range of four runs covers the median in 87.5 % only."""
    assert intervals.median_interval(range(n)) is None


def test_the_median_of_five_runs_has_their_range():
    """It covers in 1 - 2 / 32, and says so."""
    assert intervals.median_interval(FIVE) == Interval(low=4.2, high=7.3, level=0.9375, method="order statistics")


def test_the_median_lies_between_scipys_order_statistics():
    """With 12 runs the interval is shorter than scipy's exact one, which covers 96.1 %, and longer than the next."""
    values = np.arange(12.0)
    exact = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    found = intervals.median_interval(values)
    assert exact.low <= found.low < exact.low + 1
    assert exact.high - 1 < found.high <= exact.high


def test_the_interpolation_is_hettmanspergers_and_sheathers():
    """Ten runs: 97.85 % at depth 2 and 89.06 % at depth 3, weighted by their formula."""
    values = np.arange(10.0)
    share = (0.978515625 - 0.95) / (0.978515625 - 0.890625)
    weight = (10 - 2) * share / (2 + (10 - 4) * share)
    assert ends(intervals.median_interval(values)) == pytest.approx([1 + weight, 8 - weight])


def test_differences_have_welchs_interval():
    """As scipy's ttest_ind gives it."""
    a, b = [5.1, 4.8, 6.0, 5.5], [4.0, 4.4, 3.1, 4.9, 4.6, 2.0]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert ends(intervals.difference_interval(a, b, paired=False)) == pytest.approx([expected.low, expected.high])


def test_differences_of_pairs_have_the_interval_of_their_mean():
    """As scipy's ttest_rel gives it."""
    a, b = [5.1, 4.8, 6.0, 5.5], [4.0, 4.4, 5.1, 4.9]
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert ends(intervals.difference_interval(a, b, paired=True)) == pytest.approx([expected.low, expected.high])


def test_proportions_have_wilsons_interval():
    """As scipy's binomtest gives it."""
    for successes, n in [(0, 5), (3, 5), (5, 5), (7, 20)]:
        expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert ends(intervals.proportion_interval(successes, n)) == pytest.approx([expected.low, expected.high])


@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 0.84, 1.0])
@pytest.mark.parametrize(("n_a", "n_b"), [(5, 5), (3, 8), (30, 30)])
def test_superiority_has_newcombes_interval(share, n_a, n_b):
    """Between its ends, and only there, the score statistic is below 1.96 (searched on a grid)."""
    grid = np.linspace(0, 1, 200_001)[1:-1]
    half = (n_a + n_b) / 2 - 1
    spread = grid * (1 - grid) * (1 + half * (1 - grid) / (2 - grid) + half * grid / (1 + grid)) / (n_a * n_b)
    inside = grid[np.abs(grid - share) <= special.ndtri(0.975) * np.sqrt(spread)]
    found = intervals.superiority_interval(share, n_a, n_b)
    assert ends(found) == pytest.approx([inside[0], inside[-1]], abs=2e-5)


def test_groups_apart_still_leave_doubt():
    """Five runs all above five others: the probability may yet be 0.64. A bootstrap would say 1."""
    assert ends(intervals.superiority_interval(1.0, 5, 5)) == pytest.approx([0.643, 1.0], abs=0.001)


def test_an_interval_contains_and_mirrors():
    """``in`` asks for the closed interval; the mirrored one is that of the negated number."""
    interval = Interval(low=-1.0, high=2.0, level=0.95, method="t")
    assert [-1.0 in interval, 2.0 in interval, 2.1 in interval] == [True, True, False]
    assert ends(interval.mirrored()) == [-2.0, 1.0]
