"""The best configuration, from samples whose order is known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.compare.tables import best_of

from barograph.compare.best import MAX_RIVALS


@pytest.mark.spec("S2.47")
@pytest.mark.parametrize(("mode", "best", "second"), [("min", "low", "middle"), ("max", "high", "middle")])
def test_the_best_mean_wins_and_is_told_from_the_runner_up(mode, best, second):
    """Eight pairs that all differ: it is the best, and shown to be better than each other, corrected for both."""
    values = np.random.default_rng(0).normal(size=8)
    found = best_of(mode, baseline="middle", paired=True, middle=values + 5, low=values, high=values + 10)
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
    found = best_of(paired=True, first=values, second=values[::-1] - 0.1, third=values + 0.1)
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


def test_the_verdict_against_the_baseline_is_the_tables():
    """It was planned, so it is corrected for those alone; it is told from the best's side when that is the baseline."""
    values = np.random.default_rng(0).normal(size=8)
    for baseline in ("low", "high"):
        found = best_of(baseline=baseline, paired=True, low=values, middle=values + 5, high=values + 9)
        by_label = {it.b.label: it for it in found.comparisons}
        assert (by_label["high"].verdict, by_label["high"].num_comparisons) == ("better", 2)
        assert by_label["high"].difference == pytest.approx(-9)


def test_the_other_rivals_are_corrected_for_every_pair_that_might_have_been_chosen():
    """Five groups, one of them the baseline: six pairs are left, and the nearest rival's p counts six times."""
    values = np.random.default_rng(0).normal(size=12)
    groups = {f"g{place}": values + 9 * place for place in range(5)}
    found = best_of(baseline="g4", paired=True, **groups)
    assert [it.num_comparisons for it in found.comparisons] == [6, 6, 6, 4]
    assert found.comparisons[0].p_corrected == pytest.approx(6 * 2 / 2**12)
