"""Effects of one change while the rest stays, against independent computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from barograph.compare.attribution import effect_of
from barograph.compare.factors import find_factors


def factors_of(**columns):
    """The factors by key."""
    return {factor.keys[0]: factor for factor in find_factors(columns)}


def test_one_stratum_is_students_t_test():
    """With nothing else that varies the effect is the difference of means, with Student's interval and p."""
    random = np.random.default_rng(0)
    values = random.normal(size=11)
    factors = factors_of(lr=[0.1] * 5 + [0.3] * 6)
    effect = effect_of(factors["lr"], [], values, a=0, b=5)
    dull = stats.ttest_ind(values[5:], values[:5])
    interval = dull.confidence_interval(0.95)
    assert (effect.method, effect.n, effect.freedom) == ("matched", 11, 9)
    assert effect.estimate == pytest.approx(values[5:].mean() - values[:5].mean())
    assert effect.p == pytest.approx(dull.pvalue)
    assert effect.interval == pytest.approx((interval.low, interval.high))


def test_runs_of_the_same_seed_are_paired_when_each_has_its_partner():
    """One seed on each side of each stratum is the paired t test; a seed without partner, and all is unpaired."""
    random = np.random.default_rng(9)
    values = random.normal(size=12) + np.tile(10 * random.normal(size=6), 2)
    factors = factors_of(lr=[0.1] * 6 + [0.3] * 6)
    seeds = [*range(6), *range(6)]
    effect = effect_of(factors["lr"], [], values, a=0, b=6, seeds=seeds)
    dull = stats.ttest_rel(values[6:], values[:6])
    interval = dull.confidence_interval(0.95)
    assert (effect.method, effect.n, effect.freedom) == ("paired", 12, 5)
    assert effect.p == pytest.approx(dull.pvalue)
    assert effect.interval == pytest.approx((interval.low, interval.high))
    for other in ([*range(5), 99, *range(6)], [None, *seeds[1:]]):
        unpaired = effect_of(factors["lr"], [], values, a=0, b=6, seeds=other)
        assert (unpaired.method, unpaired.freedom) == ("matched", 10)
        assert unpaired.estimate == pytest.approx(effect.estimate)


def test_a_change_that_does_nothing_at_all_has_the_effect_zero():
    """Equal values to the last digits: no effect, an interval of no width, p = 1, instead of rounding errors."""
    values = np.tile(np.random.default_rng(2).normal(size=6), 2)
    effect = effect_of(factors_of(workers=[2] * 6 + [4] * 6)["workers"], [], values, a=0, b=6, seeds=[*range(6)] * 2)
    assert (effect.method, effect.estimate, effect.interval, effect.p) == ("paired", 0.0, (0.0, 0.0), 1.0)
    exact = effect_of(factors_of(lr=[1] * 3 + [2] * 3)["lr"], [], np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]), a=0, b=3)
    assert exact.estimate == pytest.approx(1.0)
    assert exact.p < 1e-12


def test_runs_are_matched_where_everything_else_agrees():
    """The estimate weights each stratum's difference of means by n_a n_b / (n_a + n_b); others do not count."""
    lr = [1, 1, 2, 2, 1, 2, 2, 2, 1]
    batch = [8, 8, 8, 8, 4, 4, 4, 4, 2]
    values = np.array([1.0, 1.2, 2.1, 2.3, 5.0, 6.5, 6.3, 6.4, 99.0])
    factors = factors_of(lr=lr, batch=batch)
    effect = effect_of(factors["lr"], [factors["batch"]], values, a=0, b=2)
    first, second = 2.2 - 1.1, 6.4 - 5.0
    weights = 2 * 2 / 4, 1 * 3 / 4
    assert effect.estimate == pytest.approx((weights[0] * first + weights[1] * second) / sum(weights))
    assert (effect.method, effect.n, effect.freedom) == ("matched", 8, 5)


def test_a_scale_is_simple_regression():
    """A random search over one parameter: the slope times the distance, as textbook regression has it."""
    random = np.random.default_rng(1)
    x = random.random(12)
    values = 3 * x + 0.1 * random.normal(size=12)
    factors = factors_of(x=x.tolist())
    effect = effect_of(factors["x"], [], values, a=2, b=7)
    dull = stats.linregress(x, values)
    distance = x[7] - x[2]
    half = stats.t.ppf(0.975, 10) * dull.stderr * abs(distance)
    assert effect.method == "regression"
    assert effect.estimate == pytest.approx(dull.slope * distance)
    assert effect.p == pytest.approx(dull.pvalue)
    assert effect.interval == pytest.approx((effect.estimate - half, effect.estimate + half))


def test_many_factors_are_ordinary_least_squares():
    """Levels and a scale together: the coefficient that a plain solver finds."""
    random = np.random.default_rng(2)
    n = 40
    width, name, noise = random.random(n), random.integers(3, size=n), random.normal(size=n)
    values = 2 * width + np.array([0.0, 1.0, -1.0])[name] + 0.1 * noise
    factors = factors_of(width=width.tolist(), name=[f"level-{code}" for code in name])
    a, b = int(np.argmax(name == 1)), int(np.argmax(name == 2))
    effect = effect_of(factors["name"], [factors["width"]], values, a=a, b=b)
    design = np.column_stack([np.ones(n), width, name == 0, name == 2])
    solution, *_ = np.linalg.lstsq(design, values, rcond=None)
    assert effect.estimate == pytest.approx(solution[-1])
    assert effect.freedom == n - 4


def test_what_no_run_tells_apart_is_refused():
    """A change that only ever comes with another has no effect of its own."""
    lr = [1, 2, 1, 2, 1, 2, 2, 2, 2, 2]
    decay = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    values = np.arange(10.0)
    factors = factors_of(lr=lr, decay=decay, preset=[f"{rate}-{on}" for rate, on in zip(lr, decay, strict=True)])
    effect = effect_of(factors["decay"], [factors["lr"], factors["preset"]], values, a=0, b=6)
    assert effect.estimate is None
    assert effect.reason == "in these runs it never changes without other things that vary too"


def test_too_few_runs_are_refused_with_how_many_are_needed():
    """Three degrees of freedom are the least."""
    factors = factors_of(lr=[1, 2], batch=[1, 1])
    assert effect_of(factors["lr"], [], np.array([1.0, 2.0]), a=0, b=1).reason == (
        "2 runs, 2 things to estimate; 5 runs are needed"
    )
    factors = factors_of(lr=[1, 2, 1, 2, 1])
    assert effect_of(factors["lr"], [], np.arange(5.0), a=0, b=1).freedom == 3


@pytest.mark.parametrize("design", ["paired", "matched", "regression"])
def test_the_interval_covers_the_truth_and_p_is_honest(design):
    """Over 400 random studies 95 % intervals hold the true effect, and p < 0.05 where there is none, within chance."""
    held, false = _held_and_false(design, num_studies=400)
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.05) / 400
    assert low <= 1 - held <= high
    assert low <= false <= high


@pytest.mark.slow
@pytest.mark.parametrize("design", ["paired", "matched", "regression"])
def test_the_interval_covers_93_to_97_percent(design):
    """Over 2000 random studies 95 % intervals hold the true effect in 93 to 97 of 100; p < 0.05 in 3 to 7 of none."""
    held, false = _held_and_false(design, num_studies=2_000)
    assert 0.93 <= held <= 0.97
    assert 0.03 <= false <= 0.07


def _held_and_false(design, *, num_studies):
    """The shares of studies whose interval holds the truth, and that find an effect where there is none."""
    random = np.random.default_rng(3)
    held, false = 0, 0
    for _ in range(num_studies):
        columns, values, truth = _search(random) if design == "regression" else _grid(random)
        seeds = [*range(3), *range(3)] * 2 if design == "paired" else None
        if seeds is not None:
            values = values + np.tile(5 * random.normal(size=3), 4)
        factors = factors_of(**columns)
        effect = effect_of(factors["lr"], [factors["none"]], values, a=0, b=11, seeds=seeds)
        null = effect_of(factors["none"], [factors["lr"]], values, a=0, b=11, seeds=seeds)
        assert (effect.method, null.method) == (design, design)
        held += effect.interval[0] <= truth <= effect.interval[1]
        false += null.p < 0.05
    return held / num_studies, false / num_studies


def _grid(random):
    """Two by two by three seeds."""
    lr, none = np.repeat([0, 0, 1, 1], 3), np.repeat([0, 1, 0, 1], 3)
    return {"none": none.tolist(), "lr": lr.tolist()}, 0.7 * lr + random.normal(size=12), 0.7


def _search(random):
    """Twelve runs of a random search over two scales."""
    lr, none = random.random(12), random.random(12)
    values = 0.7 * lr + random.normal(size=12)
    return {"none": none.tolist(), "lr": lr.tolist()}, values, 0.7 * (lr[11] - lr[0])
