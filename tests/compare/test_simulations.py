"""The statistics keep their promises: thousands of simulated experiments whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from tests.compare.tables import best_of

from barograph.compare.correction import holm
from barograph.compare.effect import hedges_g, paired_dz, superiority
from barograph.compare.intervals import difference_interval, iqm_interval, mean_interval, median_interval
from barograph.compare.power import predicted_power, seeds_needed
from barograph.compare.values import Sample
from barograph.compare.verdict import compare

NORMAL = stats.norm()
SKEWED = stats.lognorm(s=0.5)
HEAVY = stats.t(df=3)
NUM_QUICK = 40
ABOUT_FIVE_PERCENT = stats.binom.ppf(0.999, NUM_QUICK, 0.05) / NUM_QUICK


def sample(values, *, paired=False):
    """A sample of these values; with the same seeds as any other when paired."""
    return Sample(values=values, seeds=list(range(len(values))) if paired else (), mode="max")


def false_verdicts(*, num_experiments, n, paired, distribution, spread=1.0, num_comparisons=20):
    """The share of experiments, each of one baseline and 20 candidates that are no different, with a verdict."""
    generator = np.random.default_rng(20261120 + n)
    num_false = 0
    for _ in range(num_experiments):
        runs = distribution.rvs(size=(num_comparisons + 1, n), random_state=generator) - distribution.mean()
        runs[1:] *= spread
        if paired:
            runs += distribution.rvs(size=n, random_state=generator)  # what a seed does to every configuration
        baseline = sample(runs[0], paired=paired)
        made = holm([compare(sample(run, paired=paired), baseline) for run in runs[1:]])
        num_false += any(it.verdict != "cannot tell" for it in made)
    return num_false / num_experiments


@pytest.mark.spec("S2.44")
@pytest.mark.parametrize("distribution", [NORMAL, SKEWED], ids=["normal", "skewed"])
def test_experiments_without_a_difference_seldom_show_one(distribution):
    """Of 40 experiments with 20 comparisons of equal groups each, about 2 have a verdict; uncorrected, most would."""
    assert false_verdicts(num_experiments=NUM_QUICK, n=6, paired=False, distribution=distribution) <= ABOUT_FIVE_PERCENT


@pytest.mark.spec("S2.44")
def test_pairs_without_a_difference_seldom_show_one():
    """The same of paired comparisons, whose seeds matter as much as chance does."""
    assert false_verdicts(num_experiments=NUM_QUICK, n=10, paired=True, distribution=NORMAL) <= ABOUT_FIVE_PERCENT


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.spec("S2.44")
@pytest.mark.parametrize(
    ("n", "paired", "distribution"),
    [(6, False, NORMAL), (6, False, SKEWED), (10, True, NORMAL)],
    ids=["normal", "skewed", "pairs"],
)
def test_ten_thousand_experiments_without_a_difference(n, paired, distribution):
    """Of 10 000 experiments with 20 comparisons of equal groups each, at most 5 % have a single verdict."""
    assert false_verdicts(num_experiments=10_000, n=n, paired=paired, distribution=distribution) <= 0.05


def false_curves(*, num_experiments, n_a, n_b, spread, num_steps=20):
    """How often curves that differ in their spread alone are called better or worse, unpaired."""
    generator = np.random.default_rng(n_a)
    num_false = 0
    for _ in range(num_experiments):
        a, b = spread * generator.normal(size=(n_a, num_steps)), generator.normal(size=(n_b, num_steps))
        steps = {"steps": np.arange(float(num_steps)), "reduce": "curve"}
        (made,) = holm([compare(Sample(values=a, **steps), Sample(values=b, **steps))])
        num_false += made.verdict != "cannot tell"
    return num_false / num_experiments


@pytest.mark.spec("S2.44")
@pytest.mark.parametrize(("n_a", "n_b", "spread"), [(3, 10, 5.0), (5, 5, 3.0)])
def test_curves_of_unequal_spread_seldom_differ(n_a, n_b, spread):
    """Over 20 steps, 40 experiments; the permutation alone calls 3 against 10 runs different in two thirds."""
    assert false_curves(num_experiments=40, n_a=n_a, n_b=n_b, spread=spread) <= stats.binom.ppf(0.999, 40, 0.06) / 40


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("n_a", "n_b", "spread"), [(3, 10, 5.0), (5, 20, 5.0), (4, 8, 3.0), (5, 5, 3.0)])
def test_curves_of_unequal_spread_differ_in_six_percent_at_most(n_a, n_b, spread):
    """The same over 1 000 experiments: 6 % at most, give or take chance."""
    found = false_curves(num_experiments=1_000, n_a=n_a, n_b=n_b, spread=spread)
    assert found <= stats.binom.ppf(0.999, 1_000, 0.06) / 1_000


def false_bests(*, num_experiments, num_groups, n):
    """How often the best of groups that differ in nothing is called better than any other."""
    generator = np.random.default_rng(num_groups)
    num_false = 0
    for _ in range(num_experiments):
        values = generator.normal(size=(num_groups, n))
        num_false += (
            len(best_of(**{f"g{place}": row for place, row in enumerate(values)}).not_told_from) < num_groups - 1
        )
    return num_false / num_experiments


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.spec("S2.47")
@pytest.mark.parametrize(("num_groups", "n"), [(4, 8), (10, 8), (20, 8)])
def test_the_best_of_equal_groups_is_called_better_in_5_percent_at_most(num_groups, n):
    """Over 400 studies; corrected for the rivals alone, 12 to 16 % of those of 10 and 20 groups say so."""
    found = false_bests(num_experiments=400, num_groups=num_groups, n=n)
    assert found <= stats.binom.ppf(0.999, 400, 0.05) / 400


def coverage(interval, truth, *, n, distribution, num_samples):
    """The share of samples whose interval contains the truth."""
    generator = np.random.default_rng(n)
    draws = distribution.rvs(size=(num_samples, n), random_state=generator)
    return np.mean([truth in interval(values) for values in draws])


def slack(num_samples):
    """Three standard errors of a coverage of 95 %."""
    return 3 * math.sqrt(0.95 * 0.05 / num_samples)


INTERVALS = {"mean": (mean_interval, 0.0), "median": (median_interval, 0.0), "iqm": (iqm_interval, 0.0)}


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_cover(name, n):
    """Over 400 samples of a normal distribution, 95 % intervals cover as often as they say, give or take chance."""
    interval, truth = INTERVALS[name]
    num_samples = 400
    found = coverage(interval, truth, n=n, distribution=NORMAL, num_samples=num_samples)
    assert 0.93 - slack(num_samples) <= found <= 0.97 + slack(num_samples)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 10, 12, 15, 20, 30])
@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_cover_between_93_and_97_percent(name, n):
    """Over 10 000 samples of a normal distribution, coverage lies between 93 and 97 %."""
    interval, truth = INTERVALS[name]
    assert 0.93 <= coverage(interval, truth, n=n, distribution=NORMAL, num_samples=10_000) <= 0.97


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n", [5, 10, 20])
def test_skewed_runs_cost_the_mean_little_coverage(n):
    """Over 10 000 lognormal samples the mean's interval covers 91 % or more; the percentile bootstrap 81 %."""
    assert coverage(mean_interval, SKEWED.mean(), n=n, distribution=SKEWED, num_samples=10_000) >= 0.91


def difference_coverage(make, truth, *, n, num_samples, shift=0.0, spread=1.0, common=0.0):
    """The share of experiments whose interval of ``a`` against ``b`` contains the truth."""
    generator = np.random.default_rng(n)
    found = 0
    for _ in range(num_samples):
        shared = common * generator.normal(size=n)
        a, b = shift + spread * generator.normal(size=n) + shared, generator.normal(size=n) + shared
        found += truth in make(a, b)
    return found / num_samples


DIFFERENCES = {
    "difference": (lambda a, b: difference_interval(a, b, paired=False), 1.0, {}),
    "difference of unequal spreads": (lambda a, b: difference_interval(a, b, paired=False), 1.0, {"spread": 3.0}),
    "difference of pairs": (lambda a, b: difference_interval(a, b, paired=True), 1.0, {"common": 2.0}),
    "Hedges g": (lambda a, b: hedges_g(a, b)[1], 1.0, {}),
    "d_z": (lambda a, b: paired_dz(a, b)[1], 1 / math.sqrt(2), {"common": 2.0}),
    "probability": (lambda a, b: superiority(a, b, paired=False)[1], special.ndtr(1 / math.sqrt(2)), {}),
}


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_intervals_of_differences_cover(name, n):
    """Over 400 experiments with a true difference of one standard deviation, 95 % intervals keep their promise."""
    make, truth, options = DIFFERENCES[name]
    num_samples = 400
    found = difference_coverage(make, truth, n=n, num_samples=num_samples, shift=1.0, **options)
    assert 0.93 - slack(num_samples) <= found <= 0.97 + slack(num_samples)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_intervals_of_differences_cover_between_93_and_97_percent(name, n):
    """The same over 10 000 experiments, between 93 and 97 %."""
    make, truth, options = DIFFERENCES[name]
    assert 0.93 <= difference_coverage(make, truth, n=n, num_samples=10_000, shift=1.0, **options) <= 0.97


def simulated_power(*, n, difference, num_experiments, paired, common=0.0):
    """How often ``compare`` and ``holm`` call a true difference better."""
    generator = np.random.default_rng(n)
    seen = 0
    for _ in range(num_experiments):
        shared = common * generator.normal(size=n)
        a = sample(difference + generator.normal(size=n) + shared, paired=paired)
        b = sample(generator.normal(size=n) + shared, paired=paired)
        (made,) = holm([compare(a, b)])
        seen += made.verdict == "better"
    return seen / num_experiments


def pilot(n, *, paired):
    """Two groups of runs whose residuals have the quantiles of a standard normal distribution."""
    residuals = stats.norm.ppf((np.arange(n) + 0.5) / n)
    residuals /= residuals.std(ddof=1)
    mixed = np.random.default_rng(0).permutation(residuals) if paired else residuals
    return sample(residuals, paired=paired), sample(mixed, paired=paired)


@pytest.mark.parametrize(("n", "difference"), [(5, 2.0), (8, 1.5), (6, 1.0)])
def test_power_is_as_predicted(n, difference):
    """For a known effect the verdict "better" comes as often as predicted, within 6 points (400 experiments)."""
    predicted = predicted_power(*pilot(200, paired=False), n=n, difference=difference)
    assert simulated_power(n=n, difference=difference, num_experiments=400, paired=False) == pytest.approx(
        predicted, abs=0.06
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("paired", [False, True], ids=["unpaired", "pairs"])
@pytest.mark.parametrize("difference", [2.5, 1.5, 1.0])
def test_so_many_seeds_have_that_power(difference, paired):
    """With the number of seeds that are said to see a difference in 80 %, ``compare`` sees it in 76 to 88 %."""
    a, b = pilot(200, paired=paired)
    spread = (a.values - b.values).std(ddof=1) / math.sqrt(2) if paired else 1.0
    needed = seeds_needed(a, b, difference=difference * spread)
    found = simulated_power(
        n=needed.n, difference=difference, num_experiments=2_000, paired=paired, common=1.0 if paired else 0.0
    )
    assert 0.76 <= found <= (0.88 if needed.n > 6 else 1.0)  # few runs: one more or less is many points


def share_of_pilots_with_the_truth(num_pilots, *, n=5, difference=1.5):
    """How often the interval of the seeds needed, from small pilots, contains what a large one says."""
    truth = seeds_needed(*pilot(200, paired=False), difference=difference).n
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(num_pilots):
        a, b = sample(generator.normal(size=n)), sample(generator.normal(size=n))
        needed = seeds_needed(a, b, difference=difference)
        high = math.inf if needed.high is None else needed.high
        found += (needed.low or 0) <= truth <= high
    return found / num_pilots


def test_the_interval_of_the_seeds_needed_contains_the_truth():
    """From 20 pilots of five runs each, the interval contains the true number in 95 %, give or take chance."""
    assert share_of_pilots_with_the_truth(20) >= stats.binom.ppf(0.001, 20, 0.95) / 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_interval_of_the_seeds_needed_contains_the_truth_in_1000_pilots():
    """The same over 1 000 pilots, in 93 % or more."""
    assert share_of_pilots_with_the_truth(1_000) >= 0.93
