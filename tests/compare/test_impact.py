"""Which parameters move a metric: planted effects are found, noise is not, and few runs are refused."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from barograph.compare.factors import find_factors
from barograph.compare.impact import impact_of

NUM_DRAWS = 40


def search(n, *, seed=0, flip=False):
    """A random search: ``lr`` decides on the logarithm, ``width`` and ``dropout`` do nothing."""
    random = np.random.default_rng(seed)
    lr, width, dropout = 10 ** random.uniform(-4, -1, n), random.integers(8, 257, n), random.random(n)
    loss = 2 * np.log10(lr) + 0.3 * random.normal(size=n)
    columns = {"optim.lr": lr.tolist(), "width": width.tolist(), "dropout": dropout.tolist(), "epochs": [3] * n}
    return find_factors(columns), -loss if flip else loss


@pytest.mark.spec("S2.45")
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_planted_parameter_is_first_and_noise_is_not_told_from_zero(mode):
    """Of three parameters one matters: it is first, its interval is above 0; those of the others hold 0."""
    factors, values = search(30, flip=mode == "max")
    found = impact_of(factors, values, metric="loss", split="val", mode=mode, num_draws=NUM_DRAWS)
    assert (found.method, found.n, found.num_configs, found.reason) == ("fanova", 30, 30, "")
    first, *rest = found.parameters
    assert first.keys == ["optim.lr"]
    assert first.is_shown
    assert first.interval[0] > 0.4
    assert {tuple(it.keys) for it in rest} == {("width",), ("dropout",)}
    for parameter in rest:
        assert parameter.interval[0] <= 0.0 <= parameter.interval[1]
        assert not parameter.is_shown
        assert abs(parameter.impact) < 0.1


@pytest.mark.spec("S2.45")
def test_a_grid_with_seeds_counts_configurations():
    """Levels that are texts, three seeds each: the optimizer matters, the activation does not."""
    random = np.random.default_rng(1)
    rows = list(itertools.product(["adam", "sgd", "lion"], ["relu", "gelu"], range(3)))
    values = np.array([{"adam": 0.0, "sgd": 2.0, "lion": 1.0}[name] for name, _, _ in rows])
    values += 0.1 * random.normal(size=len(rows))
    factors = find_factors({"optimizer": [it[0] for it in rows], "activation": [it[1] for it in rows]})
    found = impact_of(factors, values, metric="loss", num_draws=NUM_DRAWS)
    assert (found.n, found.num_configs) == (18, 6)
    assert found.parameters[0].keys == ["optimizer"]
    assert found.parameters[0].num_values == 3
    assert found.parameters[1].interval[0] <= 0.0


@pytest.mark.parametrize(
    ("n", "repeats", "reason"),
    [
        (3, 1, "not enough runs: 3 with a finite value, 10 are needed"),
        (8, 2, "not enough runs: 8 different configurations of 3 parameters, 9 are needed"),
    ],
)
def test_too_few_runs_or_configurations_are_refused(n, repeats, reason):
    """Ten runs, six configurations and three configurations per parameter are the least; it says how many there are."""
    factors, values = search(n)
    factors = [factor.taken([place for place in range(n) for _ in range(repeats)]) for factor in factors]
    found = impact_of(factors, np.repeat(values, repeats), metric="loss")
    assert (found.parameters, found.method) == ([], None)
    assert reason == found.reason


def test_runs_without_a_finite_value_do_not_count():
    """They are left out of the estimate, and n says so."""
    factors, values = search(14)
    values[:5] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    assert impact_of(factors, values, metric="loss").reason == ("not enough runs: 9 with a finite value, 10 are needed")


def test_the_same_runs_give_the_same_numbers():
    """Two calls agree to the bit; another metric is another draw."""
    factors, values = search(12)
    first, second = (impact_of(factors, values, metric="loss", num_draws=5) for _ in range(2))
    assert first == second
    assert first.parameters


def test_what_cannot_be_judged_is_named():
    """Too many texts, an infinite value: left out with the reason; a metric that never changes is said."""
    factors, values = search(14)
    odd = find_factors({"name": [f"run-{place}" for place in range(14)], "limit": [*[1.0] * 7, *[float("inf")] * 7]})
    found = impact_of([*factors, *odd], values, metric="loss", num_draws=2)
    assert found.left_out == {
        "name": "it has 14 values that are no numbers, more than 12",
        "limit": "not all of its values are finite",
    }
    assert impact_of(factors, np.ones(14), metric="loss").reason == "the metric is the same in every run"
    assert impact_of([], np.ones(14), metric="loss").reason == "no parameter varies over the runs"


@pytest.mark.spec("S2.45")
def test_many_runs_are_judged_by_ped_anova():
    """Beyond 200 runs; the planted parameter is found there too, whichever end is the good one."""
    for flip, mode in ((False, "min"), (True, "max")):
        factors, values = search(201, flip=flip)
        found = impact_of(factors, values, metric="loss", mode=mode, num_draws=20)
        assert (found.method, found.parameters[0].keys) == ("ped-anova", ["optim.lr"])
        assert found.parameters[0].is_shown
        assert not found.parameters[-1].is_shown


def test_random_state_and_the_console_are_left_alone():
    """Neither generator moves, and optuna prints nothing."""
    script = """
import random, numpy as np, sklearn.ensemble  # which itself draws when it is imported
from barograph.compare.factors import find_factors
from barograph.compare.impact import impact_of
before = random.getstate(), np.random.get_state()[1].tolist()
columns = {"lr": [float(place) for place in range(12)]}
impact_of(find_factors(columns), np.arange(12.0), metric="loss", num_draws=2)
assert before == (random.getstate(), np.random.get_state()[1].tolist())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
