"""How many seeds a difference takes, beside the noncentral t and beside brute force. As predicted: test_simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from barograph.compare import power
from barograph.compare.power import SeedsNeeded, predicted_power, seeds_needed
from barograph.compare.significance import means_differ, means_differ_guarded
from barograph.compare.values import Sample
from barograph.errors import MisuseError


def sample(values, seeds=()):
    """A sample of these values."""
    return Sample(values=values, seeds=seeds)


def normal_pilot(n=400, *, spread=1.0):
    """A group whose residuals are a normal distribution's quantiles."""
    quantiles = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return sample(spread * quantiles / quantiles.std(ddof=1))


def power_of_t(n, effect, alpha=0.05):
    """The power of the two-sample t test, from the noncentral t."""
    df, shift = 2 * n - 2, effect * math.sqrt(n / 2)
    return stats.nct.sf(stats.t.ppf(1 - alpha / 2, df), df, shift)


@pytest.mark.parametrize(("difference", "expected"), [(1.0, 17), (0.5, 64), (1.5, 9)])
def test_seeds_as_in_cohens_tables(difference, expected):
    """17 runs per group for one deviation, 64 for half of it (Cohen 1988, table 2.4.1), within 10 % of simulation."""
    assert power_of_t(expected, difference) >= 0.8 > power_of_t(expected - 1, difference)
    found = seeds_needed(normal_pilot(), normal_pilot(), difference=difference)
    assert found.n == pytest.approx(expected, rel=0.10, abs=1)


def test_power_beside_the_noncentral_t():
    """Predicted power of 20 runs per group lies within 4 points of the noncentral t's."""
    found = predicted_power(normal_pilot(), normal_pilot(), n=20, difference=0.8)
    assert found == pytest.approx(power_of_t(20, 0.8), abs=0.04)


def test_few_runs_are_permuted():
    """The p of simulated experiments is that of the real test, where the real one tries all arrangements."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(30, 5)) + 1, generator.normal(size=(30, 5))
    tested = [means_differ_guarded(x, y, paired=False) for x, y in zip(a, b, strict=True)]
    expected = [it.p if it.direction > 0 else 1.0 for it in tested]
    assert power._p_unpaired(a, b) == pytest.approx(expected)
    tested = [means_differ(x, y, paired=True) for x, y in zip(a, b, strict=True)]
    expected = [it.p if it.direction > 0 else 1.0 for it in tested]
    assert power._p_paired(a - b) == pytest.approx(expected)


def test_many_runs_have_the_t_test_that_permutations_come_near():
    """With 12 runs each the simulation's p is Welch's, and the permutation test's within two hundredths."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(10, 12)) + 0.9, generator.normal(size=(10, 12))
    expected = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue
    found = power._p_unpaired(a, b)
    assert found == pytest.approx(np.where(a.mean(axis=1) > b.mean(axis=1), expected, 1.0))
    exact = [means_differ(x, y, paired=False).p for x, y in zip(a, b, strict=True)]
    assert np.abs(found - exact).max() < 0.02


def test_pairs_need_fewer_seeds_when_seeds_matter():
    """Groups that share what their seeds do: pairing removes it."""
    generator = np.random.default_rng(2)
    shared = 3 * generator.normal(size=20)
    seeds = list(range(20))
    a, b = (sample(shared + generator.normal(size=20), seeds) for _ in range(2))
    paired, unpaired = seeds_needed(a, b, difference=1.5), seeds_needed(a, b, difference=1.5, paired=False)
    assert (paired.paired, unpaired.paired) == (True, False)
    assert paired.n < unpaired.n / 3


def test_the_interval_is_of_the_spread():
    """From five runs each the number is known within a wide interval, from 50 within a narrow one."""
    generator = np.random.default_rng(4)
    few, many = ([sample(generator.normal(size=n)) for _ in range(2)] for n in (5, 50))
    small, large = seeds_needed(*few, difference=1.0), seeds_needed(*many, difference=1.0)
    assert small.low <= small.n <= (small.high or 201)
    assert (small.high or 201) / small.low > 3 > large.high / large.low


def test_equal_groups_need_more_than_can_be_told():
    """A difference of a hundredth of a deviation takes more than 200, and the words say so."""
    found = seeds_needed(normal_pilot(6), normal_pilot(6), difference=0.01)
    assert (found.n, found.more, found.high) == (None, None, None)
    assert found.words() == "more than 200 seeds each to see a difference of 0.01"


def test_runs_without_spread_need_what_any_test_needs():
    """Deterministic runs: four against four, since three can never reach 5 %."""
    found = seeds_needed(sample([1.0, 1.0, 1.0]), sample([2.0, 2.0, 2.0]))
    assert (found.n, found.low, found.high, found.more, found.difference) == (4, 4, 4, 1, 1.0)
    assert found.words() == "about 1 more seed each (1 to 1) to see a difference of 1"


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1.0], [2.0, 3.0], "1 and 2 runs show no spread; record at least two of each"),
        ([1.0, math.nan], [2.0, 3.0], "a run has no finite value"),
        ([1.0, 2.0], [2.0, 1.0], "the groups do not differ at all"),
    ],
)
def test_what_cannot_be_planned_says_why(a, b, reason):
    """There is no number, and a reason."""
    found = seeds_needed(sample(a), sample(b))
    assert (found.n, found.reason) == (None, reason)
    assert found.words().endswith(reason)


def test_the_same_runs_give_the_same_plan():
    """Nothing depends on when or where it is asked."""
    a, b = normal_pilot(7), normal_pilot(5, spread=2.0)
    assert seeds_needed(a, b, difference=1.0) == seeds_needed(a, b, difference=1.0)


def test_curves_count_with_their_means():
    """A plan for curves is that for their means over the steps."""
    curves = Sample(values=[[1.0, 3.0], [2.0, 4.0], [0.0, 2.0]], steps=np.arange(2.0), reduce="curve")
    other = Sample(values=[[5.0, 5.0], [6.0, 6.0], [4.0, 4.0]], steps=np.arange(2.0), reduce="curve")
    expected = seeds_needed(sample([2.0, 3.0, 1.0]), sample([5.0, 6.0, 4.0]))
    assert seeds_needed(curves, other) == expected
    assert isinstance(expected, SeedsNeeded)


def test_levels_are_probabilities():
    """A power of 80 is not one of 0.8."""
    with pytest.raises(MisuseError, match="power is 80"):
        seeds_needed(normal_pilot(5), normal_pilot(5), power=80)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0, math.nan], [2.0, 3.0], "how many more seeds would tell is not known: a run has no finite value"),
        ([1.0, 2.0], [2.0, 1.0], "how many more seeds would tell is not known: the groups do not differ at all"),
    ],
)
def test_words_name_no_difference_where_there_is_none(a, b, words):
    """Nothing is said of "a difference of nan" or of 0."""
    assert seeds_needed(sample(a), sample(b)).words() == words


def test_numbers_whose_squares_overflow_are_planned_alike():
    """2e200 takes as many seeds as 2."""
    a, b = np.array([1.0, 1.1, 1.3]), np.array([1.2, 1.5, 1.6])
    plain, huge = seeds_needed(sample(a), sample(b)), seeds_needed(sample(a * 2.0**600), sample(b * 2.0**600))
    assert (plain.n, plain.low, plain.high) == (huge.n, huge.low, huge.high)
    assert huge.difference == plain.difference * 2.0**600
