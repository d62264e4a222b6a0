"""Verdicts of comparisons that were made together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.compare.correction import holm, holm_adjust, plan
from barograph.compare.values import Sample
from barograph.compare.verdict import compare
from barograph.errors import MisuseError

HIGH, LOW = [5.0, 6.0, 7.0, 8.0, 5.5, 6.5], [1.0, 2.0, 3.0, 4.0, 1.5, 2.5]


def sample(values):
    """A sample of which high values are better."""
    return Sample(values=values, mode="max")


def test_holms_own_steps():
    """0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, none below the one before it."""
    assert holm_adjust([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_as_the_step_down_procedure(p):
    """A hypothesis is rejected at 5 % exactly when Holm's procedure, step by step, rejects it."""
    rejected = [False] * len(p)
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[place] * (len(p) - rank) > 0.05:
            break
        rejected[place] = True
    assert [value <= 0.05 for value in holm_adjust(p)] == rejected


@pytest.mark.spec("S2.44")
def test_the_same_difference_counts_less_among_many():
    """P = 2 / 924: alone it is better, among 20 still, among 24 no verdict, with the reason."""
    same = compare(sample(LOW), sample(LOW))
    one = compare(sample(HIGH), sample(LOW))
    assert one.p == 2 / 924
    alone, among_20, among_24 = (holm([one] + [same] * (num - 1))[0] for num in (1, 20, 24))
    assert [it.verdict for it in (alone, among_20, among_24)] == ["better", "better", "cannot tell"]
    assert [it.p_corrected for it in (alone, among_20)] == pytest.approx([2 / 924, 40 / 924])
    assert "corrected over 20 comparisons" in among_20.words()
    assert among_24.reason == (
        "6 and 6 runs cannot give a p below 0.0022, and 0.0021 is asked for over 24 comparisons: that takes 7 and 7"
    )


def test_equivalences_are_a_family_of_their_own():
    """Comparisons with a margin are corrected among themselves; those without have no such p."""
    near = [1.0, 1.1, 0.9, 1.05, 0.95]
    made = [compare(sample(near), sample(near[::-1]), margin=1.0)] * 2 + [compare(sample(HIGH), sample(LOW))]
    first, second, third = holm(made)
    assert first.p_equivalence_corrected == pytest.approx(2 * first.p_equivalence)
    assert [first.verdict, second.verdict, third.verdict] == ["no difference", "no difference", "better"]
    assert third.p_equivalence_corrected is None


def test_order_is_kept():
    """Verdicts come in the order in which the comparisons were given."""
    made = [compare(sample(LOW), sample(HIGH)), compare(sample(LOW), sample(LOW)), compare(sample(HIGH), sample(LOW))]
    assert [it.verdict for it in holm(made)] == ["worse", "cannot tell", "better"]
    assert holm([]) == []


def test_levels_are_not_mixed():
    """Comparisons of two levels are refused."""
    made = [compare(sample(HIGH), sample(LOW)), compare(sample(HIGH), sample(LOW), alpha=0.01)]
    with pytest.raises(MisuseError, match=r"levels 0\.01, 0\.05"):
        holm(made)


def test_a_plan_is_for_what_cannot_be_told():
    """Seeds are counted at the level that the correction leaves, and only where there is no verdict."""
    generator = np.random.default_rng(0)
    unclear = compare(sample(generator.normal(size=5) + 0.8), sample(generator.normal(size=5)))
    clear = compare(sample(HIGH), sample(LOW))
    planned = plan(holm([unclear, clear]))
    assert [it.verdict for it in planned] == ["cannot tell", "better"]
    assert planned[0].seeds_needed.alpha == 0.025
    assert planned[0].seeds_needed.words() in planned[0].words()
    assert planned[1].seeds_needed is None


def test_comparisons_chosen_after_looking_are_corrected_for_all_that_were_looked_at():
    """As if every p that is not given were 1, which is what Holm's own definition then gives."""
    p = [0.001, 0.02]
    assert holm_adjust(p, num_comparisons=6).tolist() == pytest.approx(holm_adjust([*p, 1, 1, 1, 1]).tolist()[:2])
    assert holm_adjust(p, num_comparisons=1).tolist() == holm_adjust(p).tolist()
