"""Tests by rearrangement, beside brute force by itertools, beside scipy, and beside published examples."""

from __future__ import annotations

import math
from itertools import combinations, product
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from barograph.compare.significance import curves_differ, means_differ, means_differ_guarded, ranks_differ
from barograph.errors import MisuseError

DARWIN_CROSSED = [23.5, 12, 21, 22, 19.125, 21.5, 22.125, 20.375, 18.25, 21.625, 23.25, 21, 22.125, 23, 12]
DARWIN_SELFED = [17.375, 20.375, 20, 20, 18.375, 18.625, 18.625, 15.25, 16.5, 18, 16.25, 18, 12.75, 15.5, 18]
VALUES = st.lists(st.integers(-5, 5), min_size=2, max_size=4)


def welch_t(a, b):
    """Welch's statistic, by the book."""
    gap, error = fmean(a) - fmean(b), math.sqrt(variance(a) / len(a) + variance(b) / len(b))
    return gap / error if error else math.copysign(math.inf, gap) if gap else 0.0


def brute_force_unpaired(a, b, statistic):
    """The share of splits that are at least as extreme, one after the other."""
    both, size = a + b, abs(statistic(a, b))
    places = range(len(both))
    reached = count = 0
    for chosen in combinations(places, len(a)):
        first = [both[place] for place in chosen]
        second = [both[place] for place in places if place not in chosen]
        reached += abs(statistic(first, second)) >= size * (1 - 1e-12)
        count += 1
    return reached / count


def brute_force_paired(differences, statistic):
    """The share of sign flips that are at least as extreme."""
    size = abs(statistic(differences))
    flips = [
        [s * d for s, d in zip(signs, differences, strict=True)] for signs in product([1, -1], repeat=len(differences))
    ]
    return sum(abs(statistic(flip)) >= size * (1 - 1e-12) for flip in flips) / len(flips)


@given(VALUES, VALUES)
@example([0, 0, 0, 0, 1], [0, 0, -1, 2, 0])  # equal means, up to rounding
@settings(max_examples=50)
def test_means_as_brute_force(a, b):
    """The unpaired p is the share of splits whose Welch t is as large, ties and groups without spread included."""
    a, b = [float(x) for x in a], [float(x) for x in b]
    assert means_differ(a, b, paired=False).p == pytest.approx(brute_force_unpaired(a, b, welch_t))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=6))
def test_pairs_as_brute_force(pairs):
    """The paired p is the share of sign flips whose sum is as large."""
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    expected = brute_force_paired([x - y for x, y in zip(a, b, strict=True)], sum)
    assert means_differ(a, b, paired=True).p == pytest.approx(expected)


def test_darwins_plants():
    """Fisher's own example (The Design of Experiments, 21): 1 726 of 32 768 arrangements, p = 0.0527."""
    found = means_differ(DARWIN_CROSSED, DARWIN_SELFED, paired=True, num_random=32_767)
    assert found.p == pytest.approx(1726 / 32768, abs=0.004)  # 15 pairs: more than are all tried
    differences = [x - y for x, y in zip(DARWIN_CROSSED, DARWIN_SELFED, strict=True)]
    assert brute_force_paired(differences, sum) == 1726 / 32768


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6, unique=True), st.integers(1, 3))
def test_ranks_as_scipys_mann_whitney(values, split):
    """Without ties the rank test is scipy's exact Mann-Whitney test."""
    split = min(split, len(values) - 1)
    a, b = values[:split], values[split:]
    expected = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert ranks_differ(a, b, paired=False).p == pytest.approx(expected)


def test_ranks_with_ties_as_brute_force():
    """With ties it is still exact: mean ranks, all splits."""
    a, b = [1.0, 2.0, 2.0, 5.0], [2.0, 3.0, 5.0, 6.0, 6.0]
    ranks = stats.rankdata(a + b).tolist()
    expected = brute_force_unpaired(ranks[:4], ranks[4:], lambda x, y: sum(x) - len(x) * 5.0)
    assert ranks_differ(a, b, paired=False).p == pytest.approx(expected)


def test_signed_ranks_as_scipys_wilcoxon():
    """Without ties the paired rank test is scipy's exact Wilcoxon test."""
    generator = np.random.default_rng(3)
    for n in (4, 7, 10):
        a, b = generator.normal(size=n) + 0.5, generator.normal(size=n)
        assert ranks_differ(a, b, paired=True).p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


def test_infinities_have_ranks():
    """A run that is infinitely bad is the worst; two of them in one pair do not differ."""
    bad = [math.inf, 4.0, 5.0, 6.0]
    good = [0.0, 1.0, 2.0, 3.0]
    found = ranks_differ(bad, good, paired=False)
    assert (found.p, found.direction) == (2 / 70, 1)
    paired = ranks_differ([math.inf, math.inf, 2.0, 3.0], [math.inf, 1.0, 1.5, 1.0], paired=True)
    assert (paired.p, paired.direction) == (2 / 8, 1)


def brute_force_curves(a, b):
    """Each step's p by the largest Welch t over the steps, one split after the other."""
    both = np.vstack([a, b])
    observed = [abs(welch_t(x.tolist(), y.tolist())) for x, y in zip(a.T, b.T, strict=True)]
    largest = []
    for chosen in combinations(range(len(both)), len(a)):
        first, second = both[list(chosen)], np.delete(both, chosen, axis=0)
        largest.append(max(abs(welch_t(x.tolist(), y.tolist())) for x, y in zip(first.T, second.T, strict=True)))
    return [np.mean([it >= value * (1 - 1e-12) for it in largest]) for value in observed]


def test_curves_as_brute_force():
    """The p of each step is the share of splits whose largest statistic over all steps is as large."""
    generator = np.random.default_rng(1)
    a, b = generator.normal([0.0, 1.0, 3.0], size=(4, 3)), generator.normal(size=(4, 3))
    found = curves_differ(a, b, paired=False)
    assert found.p == pytest.approx(brute_force_curves(a, b))
    assert found.overall.p == found.p.min()
    assert found.overall.test == "permutation test of means, largest statistic over the steps"


def test_paired_curves_have_one_sign_per_run():
    """Whole runs are exchanged: two steps with the same differences have the p of one."""
    a = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [3.0, 3.0]])
    found = curves_differ(a, np.zeros((4, 2)), paired=True)
    assert found.p.tolist() == [2 / 16, 2 / 16]


def test_a_curve_that_is_wrong_nowhere_is_seldom_called():
    """200 experiments of 50 equal steps each: about 5 % have a step with p below 0.05; step by step most would."""
    generator = np.random.default_rng(5)
    called = single = 0
    for _ in range(200):
        a, b = generator.normal(size=(5, 50)), generator.normal(size=(5, 50))
        called += curves_differ(a, b, paired=False).overall.p <= 0.05
        single += stats.ttest_ind(a, b).pvalue.min() <= 0.05
    assert called / 200 <= 0.10
    assert single / 200 > 0.80


def test_direction_is_the_first_groups():
    """1 when the first group is higher, -1 when it is lower, 0 when nothing differs."""
    up, down = [2.0, 3.0, 4.0], [0.0, 1.0, 1.5]
    assert [means_differ(up, down, paired=False).direction, means_differ(down, up, paired=True).direction] == [1, -1]
    same = means_differ([1.0, 1.0], [1.0, 1.0], paired=False)
    assert (same.p, same.direction) == (1.0, 0)


def test_drawn_arrangements_come_near_the_exact_p():
    """With 10 runs against 10 the p of 9 999 draws lies near that of all 184 756, and repeats itself."""
    generator = np.random.default_rng(8)
    a, b = generator.normal(size=10) + 0.8, generator.normal(size=10)
    found = means_differ(a, b, paired=False)
    both = np.concatenate([a, b])
    sums = both[np.array(list(combinations(range(20), 10)))].sum(axis=1)
    expected = np.mean(np.abs(sums - both.sum() / 2) >= abs(a.sum() - both.sum() / 2) - 1e-12)
    assert found.p == pytest.approx(expected, abs=0.01)
    assert (found.exact, found.num_arrangements, found.smallest_p) == (False, 10_000, 1e-4)
    assert means_differ(a, b, paired=False) == found


def test_the_guard_is_welchs_p():
    """Unpaired the larger of both p counts; pairs are as they are; one run shows no spread."""
    a, b = [1.0, 9.0, 5.0], [0.1, 0.2, 0.3, 0.15, 0.25, 0.1, 0.2, 0.3]
    welch = stats.ttest_ind(a, b, equal_var=False).pvalue
    found = means_differ_guarded(a, b, paired=False)
    assert found.p == pytest.approx(welch)
    assert means_differ(a, b, paired=False).p == 1 / 165 < welch
    assert means_differ_guarded([1.0], range(30), paired=False).p == 1.0
    assert means_differ_guarded(a, b[:3], paired=True) == means_differ(a, b[:3], paired=True)
    apart = means_differ_guarded([1.0] * 4, [2.0] * 4, paired=False)
    assert apart.p == 2 / 70


def test_groups_of_unequal_spread_are_seldom_called_different():
    """3 runs of five times the spread against 10, 400 times: about 5 % below 0.05; without the guard about 14 %."""
    generator = np.random.default_rng(6)
    guarded = plain = 0
    for _ in range(400):
        a, b = 5 * generator.normal(size=3), generator.normal(size=10)
        guarded += means_differ_guarded(a, b, paired=False).p <= 0.05
        plain += means_differ(a, b, paired=False).p <= 0.05
    assert guarded / 400 <= 0.08
    assert plain / 400 >= 0.10


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_offsets_and_scales_do_not_matter(offset):
    """Loss in billions or billionths gives the same p."""
    a, b = np.array([3.0, 5.0, 4.0, 6.0]), np.array([1.0, 2.0, 5.5, 3.5])
    expected = means_differ(a, b, paired=False).p
    assert means_differ(a + offset, b + offset, paired=False).p == expected
    assert means_differ(a * 1e-12, b * 1e-12, paired=False).p == expected


@pytest.mark.parametrize(
    ("a", "b", "paired", "message"),
    [
        ([1.0, math.nan], [1.0, 2.0], False, "not finite"),
        ([1.0, math.inf], [1.0, 2.0], False, "not finite"),
        ([], [1.0, 2.0], False, "0 runs against 2"),
        ([1.0], [1.0, 2.0], True, "1 runs cannot be paired with 2"),
    ],
)
def test_what_cannot_be_tested_is_refused(a, b, paired, message):
    """The error says what is wrong with the numbers."""
    with pytest.raises(MisuseError, match=message):
        means_differ(a, b, paired=paired)


def test_curves_need_the_same_steps():
    """Three steps against two are refused."""
    with pytest.raises(MisuseError, match=r"\(4, 3\) and \(4, 2\)"):
        curves_differ(np.zeros((4, 3)), np.zeros((4, 2)), paired=False)
