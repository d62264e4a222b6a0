"""What a group of runs comes to."""

from __future__ import annotations

import math
from statistics import fmean, median, stdev

import numpy as np
import pytest

from barograph.compare.intervals import iqm_interval, mean_interval, median_interval
from barograph.compare.stats import Summary, summarise, summarise_curve
from barograph.compare.values import Sample
from barograph.errors import MisuseError

VALUES = [0.31, 0.28, 0.35, 0.29, 0.90, 0.30]


@pytest.mark.spec("S2.44")
def test_a_summary_has_every_number_with_its_n():
    """Mean, median, IQM, range and deviation as the standard library computes them, intervals as promised."""
    found = summarise(Sample(values=VALUES))
    assert (found.n, found.num_nonfinite, found.min, found.max, found.reason) == (6, 0, 0.28, 0.90, "")
    assert found.mean == pytest.approx(fmean(VALUES))
    assert found.median == pytest.approx(median(VALUES))
    assert found.iqm == pytest.approx(fmean(sorted(VALUES)[1:5]))
    assert found.std == pytest.approx(stdev(VALUES))
    assert found.mean_interval == mean_interval(VALUES)
    assert found.median_interval == median_interval(VALUES)
    assert found.iqm_interval == iqm_interval(VALUES)


def test_one_run_has_no_spread():
    """Its value is there, its intervals are not, and the reason says why."""
    found = summarise(Sample(values=[0.5]))
    assert (found.mean, found.median, found.iqm, found.std) == (0.5, 0.5, 0.5, None)
    assert (found.mean_interval, found.reason) == (None, "one run says nothing about its spread")
    assert summarise(Sample(values=[])) == Summary(n=0, reason="no run has the metric")


def test_a_run_without_a_finite_value_has_no_mean_but_a_median():
    """The mean is refused with the reason; the median stands while the middle is finite, its interval may be open."""
    found = summarise(Sample(values=[0.3, math.nan, 0.1, 0.2, 0.4], mode="min"))
    assert (found.n, found.num_nonfinite) == (5, 1)
    assert (found.mean, found.mean_interval, found.iqm, found.std) == (None, None, None, None)
    assert (found.median, found.min, found.max) == (0.3, 0.1, None)
    assert (found.median_interval.low, found.median_interval.high) == (0.1, math.inf)
    assert found.reason == "1 of 5 runs have no finite value, so there is no mean; they count as the worst"


def test_the_worst_side_depends_on_the_mode():
    """Where high is better, a run that diverged is the lowest."""
    found = summarise(Sample(values=[0.3, math.inf, 0.1], mode="max"))
    assert (found.median, found.min, found.max) == (0.1, None, 0.3)


def test_too_many_bad_runs_leave_no_median():
    """When the middle run has no finite value, there is none."""
    found = summarise(Sample(values=[0.3, math.inf, math.nan]))
    assert (found.median, found.median_interval, found.min) == (None, None, 0.3)


def test_curves_are_summarised_step_by_step():
    """Each step as if it were alone; a NaN spoils its own step only."""
    values = np.array([[3.0, 2.0], [4.0, math.nan], [5.0, 4.0]])
    found = summarise_curve(Sample(values=values, steps=np.array([0.0, 10.0]), num_steps_recorded=7, reduce="curve"))
    assert (found.n, found.steps.tolist(), found.num_steps_recorded) == (3, [0.0, 10.0], 7)
    assert found.points == [summarise(Sample(values=column)) for column in values.T]
    assert (found.points[0].mean, found.points[1].mean) == (4.0, None)


def test_values_and_curves_are_not_confused():
    """Each has its function, and the error names the other."""
    curves = Sample(values=[[1.0, 2.0]], steps=np.arange(2.0), reduce="curve")
    with pytest.raises(MisuseError, match="summarise_curve"):
        summarise(curves)
    with pytest.raises(MisuseError, match="use summarise"):
        summarise_curve(Sample(values=[1.0]))
