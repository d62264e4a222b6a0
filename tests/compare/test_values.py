"""One number, or one curve, per recorded run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from barograph.compare.groups import find_groups
from barograph.compare.values import NonFinite, Sample, collect, infer_mode, match_seeds, worst_as_infinite
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.read.frames import Skipped, load_runs
from barograph.read.run import RunReader


@pytest.fixture
def record_curves(new_run, tmp_path):
    """Record runs that log the given values of ``loss``; returns their readers."""

    def record_curves(*curves, split="train", steps=None, metric="loss", **options):
        paths = []
        for seed, values in enumerate(curves):
            path = tmp_path / "runs" / f"{metric}-{split}-{seed}"
            run = new_run(dir=path, name=f"r{seed}", seed=seed, **options)
            for step, value in zip(steps[seed] if steps else range(len(values)), values, strict=True):
                run.log({metric: value}, step=step, split=split)
            run.finish()
            paths.append(path)
        return [RunReader(path) for path in paths]

    return record_curves


def test_final_is_the_value_at_the_last_step(record_curves):
    """Each run's last recorded value, its seed and its directory."""
    readers = record_curves([3.0, 1.0, 2.0], [5.0, 4.0])
    sample = collect(readers, "loss")
    assert sample.values.tolist() == [2.0, 4.0]
    assert list(sample.seeds) == [0, 1]
    assert list(sample.run_dirs) == [str(reader.path) for reader in readers]
    assert (sample.metric, sample.split, sample.reduce, sample.mode) == ("loss", "train", "final", "min")
    assert (list(sample.nonfinite), list(sample.skipped)) == ([], [])


@pytest.mark.parametrize(("mode", "expected"), [(None, [1.0, 4.0]), ("max", [3.0, 5.0])])
def test_best_follows_the_mode(record_curves, mode, expected):
    """The lowest loss, or the highest when it is asked for."""
    readers = record_curves([3.0, 1.0, 2.0], [5.0, 4.0, math.nan])
    assert collect(readers, "loss", reduce="best", mode=mode).values.tolist() == expected


def test_curves_stand_at_the_steps_that_all_runs_recorded(record_curves):
    """No value is interpolated: three of six different steps are common, and both numbers are told."""
    steps = [[0, 10, 20, 30], [0, 10, 15, 30, 40]]
    sample = collect(
        record_curves([4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0, 4.0], steps=steps), "loss", reduce="curve"
    )
    assert sample.steps.tolist() == [0.0, 10.0, 30.0]
    assert sample.values.tolist() == [[4.0, 3.0, 1.0], [8.0, 7.0, 5.0]]
    assert sample.num_steps_recorded == 6


def test_a_step_that_repeats_counts_with_its_last_value(record_curves):
    """What was recorded last at a step is the curve there."""
    sample = collect(record_curves([4.0, 3.0, 2.5], steps=[[0, 1, 1]]), "loss", reduce="curve")
    assert (sample.steps.tolist(), sample.values.tolist()) == ([0.0, 1.0], [[4.0, 2.5]])


def test_a_resumed_run_counts_with_its_latest_attempt(new_run, tmp_path):
    """The effective curve: the second attempt's values where it recorded the step again."""
    for values, first, resume in [([3.0, 2.0, math.nan], 0, "never"), ([1.5, 1.0], 2, "must")]:
        run = new_run(resume=resume)
        for step, value in enumerate(values, start=first):
            run.log({"loss": value}, step=step)
        run.finish()
    sample = collect([RunReader(tmp_path / "run")], "loss", reduce="curve")
    assert sample.values.tolist() == [[3.0, 2.0, 1.5, 1.0]]


def test_runs_that_diverged_stay_and_are_named(record_curves):
    """NaN and infinities are values; the result says which run, which kind, at which step."""
    readers = record_curves([3.0, 1.0], [3.0, math.nan], [3.0, math.inf])
    sample = collect(readers, "loss")
    assert len(sample) == 3
    assert list(sample.nonfinite) == [
        NonFinite(run_dir=str(readers[1].path), kind="nan", step=1.0),
        NonFinite(run_dir=str(readers[2].path), kind="inf", step=1.0),
    ]
    curves = collect(readers, "loss", reduce="curve")
    assert [(it.kind, it.step) for it in curves.nonfinite] == [("nan", 1.0), ("inf", 1.0)]
    assert worst_as_infinite(sample.values, mode="min").tolist() == [1.0, math.inf, math.inf]
    assert worst_as_infinite(sample.values, mode="max").tolist() == [1.0, -math.inf, -math.inf]


def test_runs_without_the_metric_are_listed(record_curves):
    """A run that never logged it is no value, and the reason says so."""
    with_it, without = record_curves([1.0])[0], record_curves([1.0], metric="accuracy")[0]
    sample = collect([with_it, without], "loss")
    assert list(sample.run_dirs) == [str(with_it.path)]
    assert list(sample.skipped) == [Skipped(path=str(without.path), reason="it has no 'loss' on 'train'")]


def test_the_split_is_found(record_curves):
    """Validation comes before training when a metric was logged on both; a split may be named."""
    readers = record_curves([1.0]) + record_curves([2.0], split="val")
    assert (collect(readers, "loss").split, collect(readers, "loss").values.tolist()) == ("val", [2.0])
    assert collect(readers, "loss", split="train").values.tolist() == [1.0]


def test_an_unclear_split_is_asked_for(record_curves):
    """Two splits of no known kind: the message names them."""
    readers = record_curves([1.0], split="east") + record_curves([2.0], split="west")
    with pytest.raises(MisuseError, match="east, west; say which with split="):
        collect(readers, "loss")


def test_values_of_epochs_and_of_the_summary_count(new_run, tmp_path):
    """A loop that only reports epochs has curves too; results of ``run.summary`` are values without a step."""
    run = new_run()
    run.event("on_epoch_end", epoch=0, train_loss=0.5, val_loss=0.75)
    run.event("on_epoch_end", epoch=1, train_loss=0.25, val_loss=0.5)
    run.summary["accuracy"] = 0.875
    run.finish()
    reader = RunReader(tmp_path / "run")
    epochs = collect([reader], "val_loss", reduce="curve")
    assert (epochs.split, epochs.steps.tolist(), epochs.values.tolist()) == ("epoch", [0.0, 1.0], [[0.75, 0.5]])
    for name in ("accuracy", "summary.accuracy"):
        found = collect([reader], name)
        assert (found.split, found.values.tolist(), found.mode) == ("summary", [0.875], "max")


def test_an_unknown_metric_lists_what_there_is(record_curves):
    """The error names every metric with its split."""
    with pytest.raises(MetricNotFoundError, match=r"none of the 1 runs has 'error'; what they have: loss \(train\)"):
        collect(record_curves([1.0]), "error")
    with pytest.raises(MetricNotFoundError, match="there are no runs"):
        collect([], "loss")


def test_groups_and_loaded_runs_are_collected_alike(record_curves, tmp_path):
    """A group hands its label on; a root's runs give the same values as their readers."""
    readers = record_curves([1.0], [2.0], config={"lr": 0.1})
    (group,) = find_groups(readers)
    runs = load_runs(tmp_path / "runs")
    assert collect(group, "loss").label == "all runs"
    assert collect(group, "loss").values.tolist() == collect(runs, "loss").values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "min") for name in ("loss", "val_loss", "eval/perplexity", "valMSE", "word-error")),
        *((name, "max") for name in ("acc", "testAccuracy", "macro.F1", "episode_reward", "top1")),
    ],
)
def test_the_mode_is_told_by_the_name(name, expected):
    """Whole words decide, whatever joins them."""
    assert infer_mode(name) == expected


@pytest.mark.parametrize("name", ["lr", "x", "glossy", "error_score", "accident"])
def test_an_unclear_mode_is_asked_for(name):
    """No word, words of both kinds, or words inside of words: the caller has to say."""
    with pytest.raises(MisuseError, match=r"say which with mode= \(--mode\): 'min' or 'max'"):
        infer_mode(name)


@pytest.mark.parametrize("given", [{"reduce": "last"}, {"mode": "up"}])
def test_what_is_not_offered_is_refused(given):
    """The message lists what is."""
    with pytest.raises(MisuseError, match=r"give 'final', 'best' or 'curve'|give 'min' or 'max'"):
        collect([], "loss", **given)


def test_seeds_match_when_both_sides_have_each_once():
    """The second sample comes in the order of the first one's seeds, runs and all."""
    a = Sample(values=[1.0, 2.0, 3.0], seeds=[7, 8, 9])
    b = Sample(values=[6.0, math.nan, 4.0], seeds=[9, 8, 7], run_dirs=["x", "y", "z"])
    matched = match_seeds(a, b)
    np.testing.assert_equal(matched.values, [4.0, math.nan, 6.0])
    assert (list(matched.run_dirs), [it.run_dir for it in matched.nonfinite]) == (["z", "y", "x"], ["y"])


@pytest.mark.parametrize("seeds", [[7, 8, 10], [7, 8, 8], [7, 8, None], [7, 8]])
def test_seeds_that_do_not_match_are_not_paired(seeds):
    """Another seed, one twice, one unknown, one missing."""
    assert (
        match_seeds(Sample(values=[1.0, 2.0, 3.0], seeds=[7, 8, 9]), Sample(values=range(len(seeds)), seeds=seeds))
        is None
    )


def test_a_sample_has_one_of_each_per_run():
    """Two values and one seed are refused."""
    with pytest.raises(MisuseError, match="2 values, 1 seeds"):
        Sample(values=[1.0, 2.0], seeds=[1])


@pytest.mark.parametrize("metric", ["neg_log_likelihood", "negative_log_likelihood", "val/neg-log-likelihood"])
def test_a_negative_likelihood_is_minimised(metric):
    """Its word "likelihood" alone would say the opposite."""
    assert infer_mode(metric) == "min"


@pytest.mark.parametrize("metric", ["neg_mean_squared_error", "negative_accuracy", "acc_drop", "loss_delta"])
def test_a_word_that_may_turn_the_others_round_is_not_guessed(metric):
    """Sklearn's neg_mean_squared_error is better when high: the caller has to say."""
    with pytest.raises(MisuseError, match=r"round; say which with mode= \(--mode\): 'min' or 'max'"):
        infer_mode(metric)
