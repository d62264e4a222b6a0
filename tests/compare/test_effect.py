"""Sizes of differences, beside published values and definitions written out."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from barograph.compare import effect

A, B = [5.1, 4.8, 6.0, 5.5, 5.9], [4.0, 4.4, 5.1, 4.9]
VALUES = st.lists(st.integers(-4, 4), min_size=2, max_size=6)


def gamma_correction(df):
    """Hedges' exact correction."""
    return math.gamma(df / 2) / (math.sqrt(df / 2) * math.gamma((df - 1) / 2))


def test_hedges_g_by_its_definition():
    """The difference over the pooled deviation, times the gamma correction (0.8882 for 7 degrees of freedom)."""
    pooled = math.sqrt((4 * stdev(A) ** 2 + 3 * stdev(B) ** 2) / 7)
    value, _ = effect.hedges_g(A, B)
    assert value == pytest.approx((fmean(A) - fmean(B)) / pooled * gamma_correction(7))
    assert gamma_correction(7) == pytest.approx(0.8882, abs=1e-4)


def test_the_interval_of_hedges_g_inverts_the_noncentral_t():
    """At its ends the observed t stands at the 97.5th and the 2.5th percentile of scipy's noncentral t."""
    _, interval = effect.hedges_g(A, B)
    root = math.sqrt(1 / 5 + 1 / 4)
    t = stats.ttest_ind(A, B).statistic
    found = [stats.nct.cdf(t, 7, end / root) for end in (interval.low, interval.high)]
    assert found == pytest.approx([0.975, 0.025], abs=1e-5)


def test_dz_by_its_definition():
    """The mean of the differences over their deviation, corrected; its interval inverts the noncentral t."""
    differences = [x - y for x, y in zip(A[:4], B, strict=True)]
    value, interval = effect.paired_dz(A[:4], B)
    assert value == pytest.approx(fmean(differences) / stdev(differences) * gamma_correction(3))
    t = stats.ttest_rel(A[:4], B).statistic
    found = [stats.nct.cdf(t, 3, end * math.sqrt(4)) for end in (interval.low, interval.high)]
    assert found == pytest.approx([0.975, 0.025], abs=1e-5)


@pytest.mark.parametrize("gap", [-50.0, -8.0, 0.0, 1.0, 24.0, 26.0, 1000.0])
def test_effects_of_any_size_have_an_interval(gap):
    """From nothing to a thousand deviations the interval holds the effect, mirrored for the mirrored effect."""
    value, interval = effect.hedges_g(np.array(A) + gap, A)
    mirrored_value, mirrored = effect.hedges_g(A, np.array(A) + gap)
    assert interval.low < value < interval.high
    assert [mirrored_value, mirrored.low, mirrored.high] == pytest.approx(
        [-value, -interval.high, -interval.low], abs=1e-5
    )


def test_the_interval_goes_on_where_scipys_distribution_ends():
    """At the place where another formula takes over, the ends move by less than 3 %."""
    below, above = (effect._standardised(t, 1.0, 8, 1.0)[1] for t in (24.99, 25.01))
    assert [above.low, above.high] == pytest.approx([below.low, below.high], rel=0.03)


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_without_spread_there_is_no_standardised_effect(a, b):
    """Nothing to measure the difference by."""
    assert effect.hedges_g(a, b) is None
    assert effect.paired_dz(a, b) is None


@given(VALUES, VALUES)
def test_superiority_is_mann_whitneys_u(a, b):
    """The share of pairs of runs that the first wins, ties one half: U over its largest value."""
    expected = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) if len({*a, *b}) > 1 else 0.5
    assert effect.superiority(a, b, paired=False)[0] == pytest.approx(expected)


def test_superiority_within_pairs_counts_pairs():
    """Two of four pairs are won, one is a tie."""
    share, interval = effect.superiority([3.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 5.0], paired=True)
    assert share == 2.5 / 4
    assert interval.method == "Wilson"


def test_improvement_follows_the_mode():
    """For a loss the lower run is the better one; an infinite loss never is."""
    a, b = np.array([0.1, 0.2, 0.3]), np.array([0.25, 0.35, math.inf])
    lower = effect.probability_of_improvement(a, b, mode="min", paired=False)
    higher = effect.probability_of_improvement(a, b, mode="max", paired=False)
    assert lower.probability == 8 / 9
    assert higher.probability == pytest.approx(1 / 9)
    assert [higher.interval.low, higher.interval.high] == pytest.approx(
        [1 - lower.interval.high, 1 - lower.interval.low]
    )


def test_an_effect_has_both_sizes():
    """Hedges g and Cliff's delta, the latter with the interval of the probability stretched to -1..1."""
    found = effect.measure_effect(np.array(A), np.array(B), paired=False)
    share, interval = effect.superiority(A, B, paired=False)
    assert (found.name, found.value, found.interval) == ("Hedges g", *effect.hedges_g(A, B))
    assert found.cliffs_delta == pytest.approx(np.sign(np.subtract.outer(A, B)).mean())
    assert found.cliffs_delta == pytest.approx(2 * share - 1)
    ends = [found.cliffs_delta_interval.low, found.cliffs_delta_interval.high]
    assert ends == pytest.approx([2 * interval.low - 1, 2 * interval.high - 1])


def test_infinite_runs_leave_the_ranks():
    """With an infinite value there is no standardised effect, but Cliff's delta."""
    found = effect.measure_effect(np.array([1.0, math.inf]), np.array([0.0, 0.5]), paired=True)
    assert (found.name, found.value, found.interval, found.cliffs_delta) == ("d_z", None, None, 1.0)
