"""What varies over runs."""

from __future__ import annotations

import math

import pytest

from barograph.compare.factors import find_factors, level, make_factor, read_columns
from barograph.read.run import RunReader


def found(**columns):
    """The keys of each factor."""
    return [factor.keys for factor in find_factors(columns)]


def test_what_is_the_same_in_every_run_is_no_factor():
    """A key without variation is left out; 8 and 8.0 are the same, 1 and True are not."""
    assert found(batch=[8, 8.0, 8], flag=[1, True, 1], name=["a", "a", "a"]) == [("flag",)]


def test_keys_that_always_change_together_are_one_factor():
    """No run tells them apart; a key that some runs lack has an absence as its value."""
    assert found(optimizer=["adam", "sgd", "adam", "sgd"], beta=[0.9, None, 0.9, None], lr=[1, 1, 2, 2]) == [
        ("optimizer", "beta"),
        ("lr",),
    ]


def test_numbers_of_a_random_search_do_not_change_together():
    """Each run has new values of both; only the same order, or the reverse, makes them one."""
    lr, width = [0.1, 0.5, 0.3, 0.2, 0.4, 0.6], [3, 1, 6, 5, 2, 4]
    assert found(lr=lr, width=width) == [("lr",), ("width",)]
    assert found(lr=lr, decay=[1 / value for value in lr]) == [("lr", "decay")]


def test_many_numbers_are_a_scale_and_few_are_levels():
    """More than five different numbers are a scale, logarithmic when they span a factor of ten; five are levels."""
    assert make_factor(("k",), [1, 2, 3, 4, 5, 5]).numbers is None
    assert make_factor(("k",), [1, 2, 3, 4, 5, 6]).numbers == (1, 2, 3, 4, 5, 6)
    powers = [10.0**power for power in range(6)]
    assert make_factor(("k",), powers).numbers == pytest.approx([power * math.log(10) for power in range(6)])
    assert make_factor(("k",), [-1, *powers[1:]]).numbers == (-1, *powers[1:])
    assert make_factor(("k",), [*powers[1:], "x"]).numbers is None
    assert make_factor(("k",), [*powers[1:], math.inf]).numbers is None
    assert make_factor(("k",), [1, 2, 3, 4, 5, 10**400]).numbers is None


def test_a_name_for_what_changes_is_no_cause():
    """A commit before every run says nothing; an optimizer out of eight that is crossed with something does."""
    lr = find_factors({"lr": [1, 1, 1, 2, 2, 2]})
    assert make_factor(("commit",), list("abcdef")).names_what_differs(lr)
    assert not make_factor(("commit",), list("abcdea")).names_what_differs(lr)
    assert not make_factor(("optimizer",), list("abcdef")).names_what_differs([])
    assert not make_factor(("width",), [1, 2, 3, 4, 5, 6]).names_what_differs(lr)


def test_levels_are_equal_by_what_they_say():
    """Numbers by value, NaN as itself, lists and mappings by content, the rest by type."""
    assert level(1) == level(1.0)
    assert level(math.nan) == level(-math.nan)
    assert level([1, {"a": 2}]) == level([1, {"a": 2}])
    assert len({level(value) for value in (1, True, "1", None, "", [1], {"a": 1}, "nan", math.nan)}) == 9


def test_columns_come_from_the_runs(new_run, tmp_path):
    """Keys of the configuration by dotted name, others with their section; ignored keys are not read."""
    for name, lr in (("a", 0.1), ("b", 0.2)):
        with new_run(dir=tmp_path / name, config={"optim": {"lr": lr}, "seed": 3}, name=name) as run:
            run.artifact("data", {"lr": lr})
            run.log({"loss": lr}, step=0)
    readers = [RunReader(tmp_path / name) for name in "ab"]
    columns = read_columns(readers, ["config", "data", "packages"], is_ignored=lambda key: key == "seed")
    assert columns["optim.lr"] == [0.1, 0.2]
    assert "seed" not in columns
    first, second = columns["data data"]
    assert first != second
    assert len(set(columns["packages numpy"])) == 1
    assert found(**columns) == [("optim.lr", "data data")]
