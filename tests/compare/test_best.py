"""The best configuration, from samples whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from barograph.compare.best import MAX_RIVALS, find_best
from barograph.compare.groups import Group
from barograph.compare.stats import summarise
from barograph.compare.table import MetricTable, Row
from barograph.compare.values import Sample


def best_of(mode="min", **groups):
    """The best of groups that have these values, one per seed."""
    rows = []
    for label, values in groups.items():
        sample = Sample(
            values=values, seeds=list(range(len(values))), metric="loss", split="val", label=label, mode=mode
        )
        rows.append(Row(label=label, sample=sample, summary=summarise(sample)))
    table = MetricTable(metric="loss", split="val", reduce="final", mode=mode, baseline="", rows=rows)
    found = [Group(label=label, config={"key": label}, runs=[], seeds=[], differing=("key",)) for label in groups]
    return find_best(table, found)


@pytest.mark.spec("S2.47")
@pytest.mark.parametrize(("mode", "best", "second"), [("min", "low", "middle"), ("max", "high", "middle")])
def test_the_best_mean_wins_and_is_told_from_the_runner_up(mode, best, second):
    """Eight pairs that all differ: it is the best, and shown to be better than each other, corrected for both."""
    values = np.random.default_rng(0).normal(size=8)
    found = best_of(mode, middle=values + 5, low=values, high=values + 10)
    assert (found.row.label, found.runner_up.b.label) == (best, second)
    assert found.config == {"key": best}
    assert found.is_distinguishable is True
    assert found.not_told_from == []
    assert found.runner_up.p_corrected == pytest.approx(2 * 2 / 256)
    assert found.reason == ""


@pytest.mark.spec("S2.47")
def test_a_lucky_mean_is_not_called_the_best_for_sure():
    """Groups of equal spread: the lowest mean is named, with the groups that it cannot be told from."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = best_of(first=values, second=values[::-1] - 0.1, third=values + 0.1)
    assert found.row.label == "second"
    assert found.is_distinguishable is False
    assert found.not_told_from == ["first", "third"]
    assert found.reason.startswith("cannot tell yet: ")
    assert found.as_dict()["distinguishable"] is False


def test_a_group_with_a_run_that_diverged_cannot_be_the_best():
    """It has no mean; it is named with the reason, and does not win by its survivors."""
    found = best_of(good=[0.1, 0.1, float("nan")], safe=[1.0, 1.1, 1.2])
    assert found.row.label == "safe"
    assert found.excluded == {"good": "1 of 3 runs have no finite value, so there is no mean; they count as the worst"}
    nobody = best_of(good=[float("nan")], bad=[float("inf"), 1.0])
    assert (nobody.row, nobody.is_distinguishable) == (None, None)
    assert nobody.reason == "no group has a finite value in each of its runs"
    assert nobody.as_dict()["value"] is None


def test_single_runs_are_ranked_and_never_told_apart():
    """One run each: the best one is named, with n = 1, without an interval, and nothing is claimed."""
    found = best_of(a=[1.0], b=[2.0], c=[3.0]).as_dict()
    assert (found["label"], found["n"], found["interval"], found["distinguishable"]) == ("a", 1, None, False)
    assert found["not_told_from"] == ["b", "c"]


def test_of_very_many_groups_the_nearest_are_compared():
    """How many were not is said."""
    found = best_of(**{f"g{place:03d}": [float(place)] for place in range(MAX_RIVALS + 11)})
    assert len(found.comparisons) == MAX_RIVALS
    assert found.num_not_compared == 10
    assert [it.b.label for it in found.comparisons[:2]] == ["g001", "g002"]


def test_under_the_null_the_best_is_seldom_called_distinguishable():
    """Four groups of eight runs that differ in nothing: told apart in at most 5 of 100 studies, within error."""
    random = np.random.default_rng(4)
    false = sum(best_of(**{name: random.normal(size=8) for name in "abcd"}).not_told_from == [] for _ in range(100))
    assert false <= 9
