from __future__ import annotations

import hashlib
import itertools
import math

import pytest
from scipy import stats

from barograph.errors import ReportError
from barograph.report.number import Facts
from barograph.report.query import Query

BEST = Query(of="epoch", name="val_loss", reduce="min")


def best_of(facts, keys):
    """The lowest validation loss of each run, by a second computation."""
    return [min(epoch.val_loss for epoch in facts.readers[key].epochs()) for key in keys]


def test_a_number_knows_where_it_is_from(facts):
    """Value, query, runs, n, and the hash of exactly those runs' facts."""
    number = facts.number("here", BEST, "r1")
    assert number.value == best_of(facts, ["r1"])[0]
    assert (number.query, number.runs, number.n) == (BEST, ["r1"], 1)
    assert number.content_sha256 == hashlib.sha256(f"{facts.contents['r1'].sha256}\n".encode()).hexdigest()
    assert facts.numbers == {"here": number}


def test_statistics_over_runs(facts):
    """Mean, deviation and the t interval are those of the textbook, over the runs that were asked."""
    keys = facts.keys[:3]
    values = best_of(facts, keys)
    found = {
        name: facts.number(name, Query(of="epoch", name="val_loss", reduce="min", statistic=name), keys).value
        for name in ("n", "num_nonfinite", "mean", "std", "median", "min", "max", "low", "high", "sum")
    }
    mean = sum(values) / 3
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    half = stats.t.ppf(0.975, df=2) * std / math.sqrt(3)
    expected = [3, 0, mean, std, sorted(values)[1], min(values), max(values), mean - half, mean + half, sum(values)]
    assert list(found.values()) == pytest.approx(expected, rel=1e-12)


def test_no_runs_no_statistic(facts):
    """Of no values there is a count and nothing else."""
    query = Query(of="epoch", name="nobody logged it", reduce="min", statistic="mean")
    assert facts.evaluate(query, facts.keys) == (None, 0)
    assert facts.evaluate(Query(of="run", name="run", statistic="n"), []) == (0, 0)


def test_an_id_is_used_once(facts):
    """Two numbers of one id would make one of them unfindable."""
    facts.number("one", BEST, "r0")
    with pytest.raises(ReportError, match="two numbers of the report are called 'one'"):
        facts.number("one", BEST, "r1")


def test_several_runs_need_a_statistic(facts):
    """A value of three runs is not one number."""
    with pytest.raises(ReportError, match="of 3 runs is not one number"):
        facts.evaluate(BEST, facts.keys[:3])


def test_labels_tell_runs_apart(facts):
    """Runs of one name are told apart by their seed."""
    labels = [facts.label(key) for key in facts.keys]
    assert labels[:4] == ["lr0.05 (seed 0)", "lr0.05 (seed 1)", "lr0.05 (seed 2)", "lr0.2 (seed 0)"]
    assert all(one != other for one, other in itertools.combinations(labels, 2))


def test_the_same_facts_give_the_same_numbers(runs):
    """Twice computed, twice equal, bit for bit."""
    one, other = Facts(runs), Facts(runs)
    for statistic in ("mean", "low", "iqm"):
        query = Query(of="epoch", name="val_loss", reduce="min", statistic=statistic)
        assert one.number(statistic, query, one.keys) == other.number(statistic, query, other.keys)
