"""What changed between two runs and what it did to the metric, over studies that were really trained."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.compare.studies import job, record_study

from barograph.compare.changed import changed, explain_gap
from barograph.compare.factors import find_factors
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.read.frames import load_runs
from barograph.read.run import RunReader

SIX = {
    "lr": (0.02, 0.1),
    "noise": (0.1, 1.0),
    "print_every": (1, 5),
    "workers": (2, 4),
    "compile": (False, True),
    "backend": ("a", "b"),
}


@pytest.fixture(scope="module")
def six_keys(tmp_path_factory):
    """40 runs of a random search over six keys; the learning rate and the noise of the data matter."""
    random = np.random.default_rng(0)
    sides = [*(random.integers(2, size=len(SIX)).tolist() for _ in range(38)), [0] * len(SIX), [1] * len(SIX)]
    jobs = []
    for seed, chosen in enumerate(sides):
        config = {key: levels[side] for (key, levels), side in zip(SIX.items(), chosen, strict=True)}
        jobs.append(job(**config, seed=seed, init_scale=0.1))
    return record_study(tmp_path_factory.mktemp("six"), jobs)


@pytest.fixture(scope="module")
def two_seeded(tmp_path_factory):
    """Two learning rates, five seeds each, and a run that diverges."""
    jobs = [job(lr=lr, noise=0.5, seed=seed) for lr in (0.02, 0.1) for seed in range(5)]
    return record_study(tmp_path_factory.mktemp("two"), [*jobs, job(lr=1e9, noise=0.5, epochs=60)])


def test_the_two_of_six_keys_that_matter_come_first(six_keys):
    """Both explain a share of the gap whose interval does not hold 0; none of the other four is said to explain any."""
    runs = load_runs(six_keys)
    found = changed(*runs.readers[-2:], runs, metric="loss", split="val")
    assert found.n == 40
    assert {it.keys[0] for it in found.explanations[:2]} == {"optim.lr", "data.noise"}
    for explanation in found.explanations[:2]:
        assert explanation.verdict in ("explains", "works against")
        assert explanation.share_interval[0] * explanation.share_interval[1] > 0
        assert explanation.effect.n > 3
    rest = found.explanations[2:]
    assert {it.keys[0] for it in rest} == {"print_every", "workers", "compile", "backend"}
    assert {it.verdict for it in rest} == {"cannot tell"}
    values = {it.keys[0]: (it.a, it.b) for it in found.explanations}
    assert values["optim.lr"] == (0.02, 0.1)
    assert values["compile"] == (False, True)


def test_one_changed_key_over_the_same_seeds_is_the_paired_t_test(two_seeded):
    """A and B differ in the learning rate alone: its effect is the mean of the differences by seed, with its n."""
    runs = load_runs(two_seeded)
    finals = [reader.series("loss", split="val").values[-1] for reader in runs.readers[:10]]
    found = changed(runs.readers[0], runs.readers[7], runs, metric="loss", split="val")
    (explanation,) = found.explanations
    interval = stats.ttest_rel(finals[5:], finals[:5]).confidence_interval(0.95)
    assert explanation.keys == ["optim.lr"]
    assert (explanation.effect.method, explanation.effect.n) == ("paired", 10)
    assert explanation.effect.estimate == pytest.approx(np.mean(finals[5:]) - np.mean(finals[:5]))
    assert explanation.effect.interval == pytest.approx((interval.low, interval.high))
    assert found.gap == pytest.approx(finals[7] - finals[0])
    assert explanation.share == pytest.approx(explanation.effect.estimate / found.gap)
    assert explanation.verdict == "explains"
    assert found.unexplained == pytest.approx(1 - explanation.share)
    squares = np.var(finals[:5], ddof=1) + np.var(finals[5:], ddof=1)
    assert (found.scatter, found.num_repeats) == (pytest.approx(np.sqrt(squares / 2)), 10)


def test_a_run_that_diverged_is_left_out_with_the_reason(two_seeded):
    """It is named; and asked for as one of the two, there is no gap to explain."""
    runs = load_runs(two_seeded)
    found = changed(runs.readers[0], runs.readers[5], runs, metric="loss", split="val")
    diverged = str(runs.readers[-1].path)
    assert list(found.left_out) == [diverged]
    assert found.left_out[diverged] in ("its 'loss' is nan", "its 'loss' is inf")
    with pytest.raises(MisuseError, match=r"has no finite 'loss' \((nan|inf)\), so there is no gap to explain"):
        changed(runs.readers[0], runs.readers[-1], runs, metric="loss", split="val")


def test_runs_that_did_not_finish_say_nothing_about_effects(tmp_path):
    """A run that crashed at its second step has a high loss for another reason; it is named, unless it is A or B."""
    jobs = [job(lr=lr, seed=seed, epochs=12) for lr in (0.02, 0.1) for seed in range(4)]
    root = record_study(tmp_path, [*jobs, job(lr=0.1, seed=9, epochs=12, crash_at=2)])
    runs = load_runs(root)
    crashed = runs.readers[-1]
    found = changed(runs.readers[0], runs.readers[4], runs, metric="loss", split="val")
    assert found.n == 8
    assert found.left_out == {str(crashed.path): f"failed: {crashed.status().reason}"}
    assert changed(runs.readers[0], crashed, runs, metric="loss", split="val").n == 9


def test_two_runs_are_not_enough(two_seeded):
    """The change is listed with both values and the reason why nothing is said; no share is made up."""
    readers = load_runs(two_seeded).readers
    few = load_runs([readers[0].path, readers[5].path])
    (explanation,) = changed(readers[0], readers[5], few, metric="loss", split="val").explanations
    assert (explanation.keys, explanation.a, explanation.b) == (["optim.lr"], 0.02, 0.1)
    assert (explanation.verdict, explanation.share, explanation.p_corrected) == ("not enough runs", None, None)
    assert explanation.effect.reason == "2 runs, 2 things to estimate; 5 runs are needed"


def test_runs_that_agree_in_everything_but_the_seed_have_no_change(two_seeded):
    """The gap is what the seed makes; the scatter says how much that usually is."""
    runs = load_runs(two_seeded)
    found = changed(runs.readers[0], runs.readers[1], runs, metric="loss", split="val")
    assert found.explanations == []
    assert found.unexplained == 1.0
    assert found.scatter > 0


def test_the_two_runs_need_not_lie_in_the_root(two_seeded, six_keys):
    """They are taken along, once each."""
    runs = load_runs(two_seeded)
    outside = RunReader(next(iter(sorted(six_keys.iterdir()))))
    assert changed(outside, runs.readers[0], runs, metric="loss", split="val").n == 11
    assert changed(runs.readers[1], RunReader(runs.readers[0].path), runs, metric="loss").n == 10


def test_a_metric_that_nobody_logged_is_an_error_that_lists_what_there_is(two_seeded):
    """The usual error."""
    runs = load_runs(two_seeded)
    with pytest.raises(MetricNotFoundError, match="accuracy"):
        changed(runs.readers[0], runs.readers[1], runs, metric="nothing")


def test_a_commit_before_every_run_is_not_held_fixed():
    """It is named as such, and the effect of the rest is still estimated."""
    lr = [1, 2] * 5
    values = np.array([0.0, 1.0] * 5) + 0.01 * np.arange(10)
    factors = find_factors({"lr": lr, "code commit": list("abcdefghij")})
    explanations, not_held = explain_gap(values, factors, a=0, b=1)
    assert not_held == ["code commit"]
    assert [(it.keys[0], it.verdict) for it in explanations] == [
        ("lr", "explains"),
        ("code commit", "not enough runs"),
    ]
    assert explanations[1].effect.reason.startswith("it is new whenever anything else changes")


def test_an_effect_away_from_the_gap_works_against():
    """What pulls the other way is said to; the shares of all add up to the whole gap."""
    rows = [(first, second) for first in (0, 1) for second in (0, 1) for _ in range(3)]
    noise = 0.01 * np.tile([-1.0, 0.0, 1.0], 4)
    values = np.array([3.0 * first - 1.0 * second for first, second in rows]) + noise
    factors = find_factors({"first": [it[0] for it in rows], "second": [it[1] for it in rows]})
    explanations, _ = explain_gap(values, factors, a=1, b=10)
    assert [(it.keys[0], it.verdict) for it in explanations] == [("first", "explains"), ("second", "works against")]
    assert [it.share for it in explanations] == pytest.approx([1.5, -0.5])


def test_under_the_null_few_studies_find_an_explanation():
    """In 400 studies of four keys that do nothing, at most one in 20 says that anything explains the gap (Holm)."""
    random = np.random.default_rng(1)
    false = 0
    for _ in range(400):
        columns = {f"key{place}": random.integers(2, size=24).tolist() for place in range(4)}
        columns = {key: [0, 1, *values] for key, values in columns.items()}
        explanations, _ = explain_gap(random.normal(size=26), find_factors(columns), a=0, b=1)
        false += any(it.verdict in ("explains", "works against") for it in explanations)
    assert false / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
