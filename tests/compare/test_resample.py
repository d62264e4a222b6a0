"""Rearrangements: all of them when there are few, and the same ones for the same numbers."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from barograph.compare import resample
from barograph.errors import MisuseError


def never():
    """No generator: everything is tried."""
    raise AssertionError


def test_splits_are_all_there_are():
    """Every choice of three runs out of seven occurs once, the observed one first."""
    matrix = resample.split_matrix(3, 4, draw=never)
    found = [tuple(np.flatnonzero(row)) for row in matrix]
    assert list(combinations(range(7), 3)) == found
    assert found[0] == (0, 1, 2)


def test_signs_are_all_there_are():
    """Every choice of pairs to exchange occurs once, none of them first."""
    matrix = resample.sign_matrix(4, draw=never)
    assert set(product([1.0, -1.0], repeat=4)) == {tuple(row) for row in matrix}
    assert len(matrix) == 16
    assert matrix[0].tolist() == [1.0] * 4


def test_many_arrangements_are_drawn():
    """Beyond the limit arrangements are drawn, each a split of the right sizes, the observed one first."""
    matrix = resample.split_matrix(12, 10, draw=lambda: np.random.default_rng(0), num_random=500)
    assert matrix.shape == (501, 22)
    assert set(matrix.sum(axis=1)) == {12.0}
    assert matrix[0].tolist() == [1.0] * 12 + [0.0] * 10
    assert np.abs(matrix[1:].mean(axis=0) - 12 / 22).max() < 0.1
    signs = resample.sign_matrix(20, draw=lambda: np.random.default_rng(0), num_random=500)
    assert signs.shape == (501, 20)
    assert set(signs.ravel()) == {1.0, -1.0}


@pytest.mark.parametrize(
    ("n_a", "n_b", "paired", "expected"),
    [(3, 3, False, 2 / 20), (4, 4, False, 2 / 70), (3, 4, False, 1 / 35), (5, 5, True, 2 / 32), (6, 6, True, 2 / 64)],
)
def test_few_runs_cannot_give_a_small_p(n_a, n_b, paired, expected):
    """The smallest p is the observed arrangement's share, with its mirror image where that is another."""
    assert resample.smallest_p(n_a, n_b, paired=paired) == expected


@pytest.mark.parametrize(("alpha", "paired", "expected"), [(0.05, False, 4), (0.05, True, 6), (0.0025, False, 6)])
def test_runs_to_reach_a_level(alpha, paired, expected):
    """One run less cannot reach it, this number can."""
    found = resample.runs_to_reach(alpha, paired=paired)
    assert found == expected
    assert resample.smallest_p(found, found, paired=paired) <= alpha
    assert resample.smallest_p(found - 1, found - 1, paired=paired) > alpha


def test_some_levels_are_out_of_reach():
    """Drawn arrangements end at one in their number."""
    assert resample.runs_to_reach(1e-9, paired=False) is None


def test_generators_depend_on_the_numbers_alone():
    """The same numbers draw the same, others and other purposes differ; -0.0 is 0.0 and all NaN are one."""

    def drawn(*arrays, purpose="a"):
        return resample.make_generator(*arrays, purpose=purpose).integers(2**60)

    assert drawn([1.0, 2.0]) == drawn(np.array([1, 2]))
    assert drawn([0.0, float("nan")]) == drawn([-0.0, -float("nan")])
    assert len({drawn([1.0, 2.0]), drawn([2.0, 1.0]), drawn([1.0], [2.0]), drawn([1.0, 2.0], purpose="b")}) == 4


@pytest.mark.parametrize("value", [0, 1, -0.1, 5, float("nan")])
def test_levels_are_probabilities(value):
    """A level that is no probability is refused by name."""
    with pytest.raises(MisuseError, match=r"alpha is .*; give a probability"):
        resample.check_level(value, name="alpha")
