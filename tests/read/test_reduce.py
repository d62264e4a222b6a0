"""Fewer points that show the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.errors import MisuseError
from barograph.read.reduce import grid, reduce

STEPS = st.lists(st.integers(0, 400), min_size=1, max_size=120).map(sorted)
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(steps=STEPS, data=st.data(), num_buckets=st.integers(2, 12))
def test_every_bucket_keeps_its_first_smallest_largest_and_last(steps, data, num_buckets):
    """Computed again bucket by bucket in plain Python; what is not finite is there whole."""
    values = data.draw(st.lists(VALUES, min_size=len(steps), max_size=len(steps)))
    x, y = np.array(steps, dtype=float), np.array(values)
    found = reduce(x, y, num_buckets=num_buckets)
    finite = [(a, b) for a, b in zip(steps, values, strict=True) if np.isfinite(b)]
    assert len(values) == found.num_points
    assert len(values) - len(finite) == len(found.nonfinite_y)
    np.testing.assert_array_equal(y[~np.isfinite(y)], found.nonfinite_y)
    if not found.is_reduced:
        assert finite == list(zip(found.x.tolist(), found.y.tolist(), strict=True))
        return
    edges = grid(finite[0][0], finite[-1][0], num_buckets)
    shown = list(zip(found.x.tolist(), found.y.tolist(), strict=True))
    for low, high in itertools.pairwise(edges):
        is_last = high == edges[-1]
        mine = [v for s, v in finite if low <= s and (s < high or is_last)]
        kept = [v for s, v in shown if low <= s and (s < high or is_last)]
        if mine:
            assert (mine[0], min(mine), max(mine), mine[-1]) == (kept[0], min(kept), max(kept), kept[-1])
        assert len(kept) <= 4 or low == high


def test_the_window_comes_before_the_reduction():
    """A narrow window of many points shows every point in it."""
    x = np.arange(100_000.0)
    y = np.sin(x)
    found = reduce(x, y, num_buckets=100, window=(500, 600))
    np.testing.assert_array_equal(x[500:601], found.x)
    assert (found.num_points, found.is_reduced, found.words()) == (101, False, "")


def test_it_says_how_many_points_it_stands_for():
    """``n of m points``, marks that are not finite among them."""
    y = np.random.default_rng(0).normal(size=50_000)
    y[[10, 20]] = [np.nan, -np.inf]
    found = reduce(np.arange(50_000.0), y, num_buckets=50)
    assert f"{found.num_shown} of 50,000 points" == found.words()
    assert 100 < found.num_shown <= 202
    assert found.nonfinite_x.tolist() == [10.0, 20.0]


def test_two_calls_give_the_same():
    """Nothing is drawn at random."""
    x, y = np.arange(10_000.0), np.random.default_rng(1).normal(size=10_000)
    first, second = (reduce(x, y, num_buckets=20) for _ in range(2))
    assert (first.x.tobytes(), first.y.tobytes()) == (second.x.tobytes(), second.y.tobytes())


def test_x_out_of_order_is_refused():
    """Buckets would be wrong in silence; the message says what to do."""
    with pytest.raises(MisuseError, match=r"Series\.effective\(\)"):
        reduce(np.array([1.0, 0.0]), np.zeros(2), num_buckets=2)
    with pytest.raises(MisuseError, match="num_buckets=1"):
        reduce(np.zeros(2), np.zeros(2), num_buckets=1)
