"""Sentences, from samples whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.compare.studies import job, record_study

from barograph.compare.best import find_best
from barograph.compare.comparator import ExperimentComparator
from barograph.compare.groups import Group, find_groups
from barograph.compare.impact import Impact, ParameterImpact
from barograph.compare.insight import find_insights
from barograph.compare.stats import summarise
from barograph.compare.table import MetricTable, Row, correct
from barograph.compare.values import Sample
from barograph.compare.verdict import compare
from barograph.read.frames import Skipped


def row(label, values, baseline=None):
    """A group with these values, one per seed, compared with another."""
    runs = [f"/runs/{label}-{place}" for place in range(len(values))]
    sample = Sample(
        values=values, seeds=list(range(len(values))), run_dirs=runs, metric="loss", split="val", label=label
    )
    comparison = None if baseline is None else compare(sample, baseline.sample)
    return Row(label=label, sample=sample, summary=summarise(sample), comparison=comparison)


def insights(rows, **changes):
    """Kind and text of the sentences about a table of these rows."""
    table = MetricTable(metric="loss", split="val", reduce="final", mode="min", baseline=rows[0].label, rows=rows)
    options = {"groups": [], "best": None, "impact": None, "unfinished": [], "num_runs": 9, "root": "/runs"} | changes
    return find_insights(tables=correct([table]), **options)


@pytest.mark.spec("S2.46")
def test_a_verdict_is_a_sentence_with_interval_n_and_links():
    """Eight pairs that all differ: better, with the interval of the difference, and links relative to the root."""
    base = row("slow", np.arange(8) + 10.0)
    (found,) = insights([base, row("fast", np.arange(8) + 9.0 + 0.01 * np.arange(8), base)])
    assert found.kind == "verdict"
    assert found.text.startswith("fast against slow in final loss (val): better: -0.965 [")
    assert "n = 8 pairs, p = 0.0078" in found.text
    assert found.interval[0] < -0.965 < found.interval[1] < 0
    assert (found.n, found.runs[0], found.runs[8]) == (16, "fast-0", "slow-0")
    assert str(found).endswith("(fast-0, fast-1, fast-2 and 13 more)")


@pytest.mark.spec("S2.46")
def test_what_the_statistics_do_not_support_is_said_as_that():
    """Three pairs cannot tell: the sentence is about seeds, with how many more it takes."""
    base = row("slow", [1.0, 2.0, 3.0])
    (found,) = insights([base, row("fast", [0.9, 2.05, 2.7], base)])
    assert found.kind == "seeds"
    assert "cannot tell yet" in found.text
    assert "more seeds" in found.text


def test_without_a_comparison_there_is_no_sentence():
    """One group of finite runs: nothing is said."""
    assert insights([row("only", [1.0, 2.0, 3.0])]) == []


def test_failures_come_first():
    """Runs that did not finish, then those without a finite value, with their numbers."""
    base = row("slow", [1.0, 2.0, 3.0])
    unfinished = [Skipped(path="/runs/x", reason="failed: ValueError: no")]
    rows = [base, row("diverged", [float("nan"), 2.0, float("inf")], base)]
    first, second, third = insights(rows, unfinished=unfinished)
    assert first.text == "1 of 9 runs did not finish and is left out: failed: ValueError: no"
    assert first.runs == ["x"]
    assert second.text == (
        "2 of 3 runs of diverged have no finite final loss (val) (inf, nan); they count as the worst"
    )
    assert second.runs == ["diverged-0", "diverged-2"]
    assert third.kind == "seeds"


def test_impact_is_said_where_it_is_told_from_chance_or_refused():
    """A parameter whose interval holds 0 gets no sentence; too few runs get one."""
    shown = ParameterImpact(keys=["lr"], impact=0.8, interval=(0.5, 0.9), is_shown=True, num_values=9)
    noise = ParameterImpact(keys=["width"], impact=0.1, interval=(-0.1, 0.3), is_shown=False, num_values=9)
    impact = Impact(metric="loss", split="val", method="fanova", n=30, num_configs=10, parameters=[shown, noise])
    (found,) = insights([row("only", [1.0])], impact=impact)
    assert found.text == (
        "lr moves loss (val): 80 % [50, 90] of the importance beyond chance, n = 30 runs of 10 configurations"
    )
    (refused,) = insights(
        [row("only", [1.0])], impact=Impact(metric="loss", split="val", n=3, reason="not enough runs")
    )
    assert refused.text == "which parameters move loss (val) cannot be told: not enough runs; n = 3 runs"


def test_the_best_is_named_with_its_rival():
    """Mean, interval and n of the best group, and the verdict against the runner-up."""
    base = row("slow", np.arange(8) + 10.0)
    rows = [base, row("fast", np.arange(8) + 9.0, base), row("middle", np.arange(8) + 9.5, base)]
    table = MetricTable(metric="loss", split="val", reduce="final", mode="min", baseline="slow", rows=rows)
    groups = [Group(label=it.label, config={}, runs=[], seeds=[]) for it in rows]
    found = insights(rows, best=find_best(table, groups))[0]
    assert found.kind == "best"
    assert found.text.startswith("fast has the best final loss (val) of 3 groups: mean 12.5 [10.45, 14.55], n = 8; ")
    assert "against the runner-up middle: better: -0.5 [" in found.text


def test_the_pair_of_the_best_is_spoken_of_once():
    """The best against the runner-up, which is the baseline: no second sentence about the two."""
    base = row("slow", np.arange(8) + 10.0)
    rows = [base, row("fast", np.arange(8) + 9.0, base)]
    table = correct([MetricTable(metric="loss", split="val", reduce="final", mode="min", baseline="slow", rows=rows)])[
        0
    ]
    groups = [Group(label=it.label, config={}, runs=[], seeds=[]) for it in rows]
    assert [it.kind for it in insights(rows, best=find_best(table, groups))] == ["best"]


def test_of_very_many_pairs_the_first_are_said_and_the_rest_counted():
    """Thirty groups that cannot be told from the baseline: five sentences, then one with a count and n."""
    random = np.random.default_rng(0)
    base = row("base", random.normal(size=4))
    found = insights([base, *(row(f"g{place}", random.normal(size=4), base) for place in range(30))])
    assert [it.kind for it in found] == ["seeds"] * 6
    assert found[-1].text == "in final loss (val) 25 more groups cannot be told from base yet; n = 104 runs"
    assert (found[-1].n, len(found[-1].runs)) == (104, 104)
    eight = row("base", random.normal(size=12))
    far = [row(f"g{place}", eight.sample.values + place + 9 + random.normal(size=12), eight) for place in range(15)]
    found = insights([eight, *far])
    assert [it.kind for it in found] == ["verdict"] * 11
    assert found[-1].text == "in final loss (val) 5 more groups against base: 5 worse; n = 72 runs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs that still get better when they end, five seeds."""
    jobs = [job(lr=0.002, seed=seed, epochs=15) for seed in range(5)]
    return record_study(tmp_path_factory.mktemp("late"), jobs)


def test_runs_that_still_get_better_at_their_end_are_said_to(trained):
    """The best loss stands in the last tenth of the steps in all five; the share has an interval above one half."""
    found = ExperimentComparator(trained).compare(["loss"], split="val", impact=False).insights
    (sentence,) = [it for it in found if it.kind == "convergence"]
    assert sentence.text == (
        "the best loss (val) stands in the last tenth of the steps in 5 of 5 runs of all runs (57 to 100 %): "
        "training longer may improve it further"
    )
    assert sentence.interval[0] > 0.5
    assert len(find_groups(ExperimentComparator(trained).readers)) == 1


def test_curves_of_few_points_say_nothing_about_convergence(tmp_path):
    """Nine points are too few."""
    root = record_study(tmp_path, [job(lr=0.002, seed=seed, epochs=9) for seed in range(5)])
    found = ExperimentComparator(root).compare(["loss"], split="val", impact=False).insights
    assert [it for it in found if it.kind == "convergence"] == []
