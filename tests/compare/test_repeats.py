"""Runs of one group that share a seed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.compare.studies import job, record_study

from barograph.compare.comparator import ExperimentComparator
from barograph.compare.repeats import shared_seeds, without_copies
from barograph.compare.values import Sample


def test_runs_of_the_same_seed_and_value_count_once():
    """The first of each is kept, the others are named; equal values of other seeds, or of none, are all kept."""
    sample = Sample(values=[1.0, 1.0, 2.0, 1.0], seeds=[0, 0, 0, 1], run_dirs=["a", "b", "c", "d"], metric="loss")
    found = without_copies(sample)
    assert (list(found.run_dirs), found.values.tolist()) == (["a", "c", "d"], [1.0, 2.0, 1.0])
    (copy,) = found.skipped
    assert (copy.path, copy.reason) == ("b", "it repeats seed 0 of a with the same 'loss', so it says nothing new")
    unknown = Sample(values=[1.0, 1.0])
    assert without_copies(unknown) is unknown


def test_curves_are_copies_when_every_point_is():
    """One point that differs is enough to be another run."""
    values = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])
    sample = Sample(values=values, seeds=[5, 5, 5], steps=np.arange(2.0), reduce="curve")
    assert without_copies(sample).values.tolist() == [[1.0, 2.0], [1.0, 3.0]]


def test_distinct_seeds_need_no_note():
    """Neither do runs without seeds."""
    assert shared_seeds(Sample(values=[1.0, 2.0], seeds=[0, 1])) == ""
    assert shared_seeds(Sample(values=[1.0, 2.0])) == ""
    assert shared_seeds(Sample(values=[1.0, 2.0], seeds=[3, 3])) == (
        "2 runs have 1 seed: what a seed makes may be underestimated"
    )


@pytest.mark.spec("S2.44")
def test_the_same_run_four_times_establishes_nothing(tmp_path):
    """Two learning rates, each run four times with one seed on one machine: one run each, and no verdict."""
    root = record_study(tmp_path, [job(lr=lr, seed=0, epochs=12) for lr in (0.1, 0.01) for _ in range(4)])
    found = ExperimentComparator(root).compare(["loss"], split="val", impact=False)
    assert [row.summary.n for row in found.tables[0].rows] == [1, 1]
    assert found.tables[0].rows[1].comparison.verdict == "cannot tell"
    assert len(found.tables[0].skipped) == 6
