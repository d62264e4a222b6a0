"""One group against another: which test, which sizes, which words."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy import stats

from barograph.compare.correction import holm, plan
from barograph.compare.effect import measure_effect
from barograph.compare.intervals import difference_interval
from barograph.compare.significance import curves_differ_guarded, ranks_differ
from barograph.compare.values import Sample, collect
from barograph.compare.verdict import compare
from barograph.errors import MisuseError
from barograph.read.run import RunReader

A, B = [0.30, 0.28, 0.33, 0.29, 0.31], [0.40, 0.38, 0.45, 0.41, 0.36]


def sample(values, **options):
    """A sample of losses."""
    return Sample(values=values, metric="loss", **options)


def judge(a, b, **options):
    """The verdict of one comparison."""
    return plan(holm([compare(a, b, **options)]))[0]


@pytest.mark.spec("S2.44")
def test_lower_losses_are_better():
    """The test is the permutation test of means; sizes and intervals are those of their own functions."""
    found = judge(sample(A), sample(B))
    assert (found.verdict, found.paired, found.test) == (
        "better",
        False,
        "permutation test of means, not below Welch's t",
    )
    assert (found.p, found.smallest_p, found.exact) == (2 / 252, 2 / 252, True)
    assert found.p_rank == ranks_differ(A, B, paired=False).p
    assert found.difference == pytest.approx(np.mean(A) - np.mean(B))
    assert found.interval == difference_interval(A, B, paired=False)
    assert found.effect == measure_effect(np.array(A), np.array(B), paired=False)
    assert found.probability_of_improvement.probability == 1.0
    assert judge(sample(B), sample(A)).verdict == "worse"
    assert judge(sample(A, mode="max"), sample(B, mode="max")).verdict == "worse"


def test_words_have_the_numbers():
    """A verdict is a sentence with difference, interval, n and p."""
    assert judge(sample(A), sample(B)).words() == "better: -0.098 [-0.14, -0.0559], n = 5 and 5, p = 0.0079"
    assert compare(sample(A), sample(B)).words().startswith("not judged yet: -0.098")


@pytest.mark.spec("S2.44")
def test_runs_that_share_seeds_are_paired():
    """Sorted by seed, tested within pairs; the sizes are of pairs too."""
    a = sample([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], seeds=[1, 2, 3, 4, 5, 6])
    b = sample([6.1, 5.2, 4.3, 3.1, 2.2, 1.3], seeds=[6, 5, 4, 3, 2, 1])
    found = judge(a, b)
    assert (found.paired, found.test, found.verdict) == (True, "paired permutation test of means", "better")
    assert found.b.values.tolist() == [1.3, 2.2, 3.1, 4.3, 5.2, 6.1]
    assert (found.p, found.effect.name) == (2 / 64, "d_z")
    assert "n = 6 pairs" in found.words()
    assert judge(a, b, paired=False).verdict == "cannot tell"


def test_seeds_that_match_in_part_do_not_pair():
    """No run is left out to make pairs; the result says how many seeds are shared."""
    found = judge(sample(A, seeds=[1, 2, 3, 4, 5]), sample(B, seeds=[1, 2, 3, 4, 6]))
    assert not found.paired
    assert found.notes == ("4 seeds are on both sides, but the seeds do not match one to one, so runs were not paired",)
    with pytest.raises(MisuseError, match="do not match one to one"):
        compare(sample(A, seeds=[1, 2, 3, 4, 5]), sample(B), paired=True)


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        ((), "3 and 3 runs cannot give a p below 0.1, and 0.05 is asked for: that takes 4 and 4"),
        ([1, 2, 3], "3 pairs cannot give a p below 0.25, and 0.05 is asked for: that takes 6 pairs"),
    ],
)
def test_three_runs_cannot_tell(seeds, reason):
    """However far apart three runs are, the exact test says p = 0.1: the verdict says so, and what it would take."""
    found = judge(sample([1.0, 1.1, 1.2], seeds=seeds), sample([9.0, 9.1, 9.3], seeds=seeds))
    assert (found.verdict, found.p, found.reason) == ("cannot tell", found.smallest_p, reason)
    assert found.seeds_needed.n == (6 if seeds else 4)
    assert "cannot tell yet: -8.03" in found.words()
    assert f"about {found.seeds_needed.more} more seed" in found.words()


def test_one_run_each_tells_nothing():
    """No interval, no effect, p = 1, and the reason."""
    found = judge(sample([1.0]), sample([2.0]))
    assert (found.verdict, found.p, found.interval, found.effect.value) == ("cannot tell", 1.0, None, None)
    assert found.reason == "one run shows nothing of its spread; record at least two of each"


def test_a_margin_allows_no_difference():
    """Two one-sided t tests, as scipy computes them; a margin inside the noise does not."""
    a, b = [1.00, 1.01, 0.99, 1.02, 0.98], [1.01, 1.00, 1.00, 0.99, 1.01]
    found = judge(sample(a), sample(b), margin=0.05)
    low = stats.ttest_ind(np.add(a, 0.05), b, equal_var=False, alternative="greater").pvalue
    high = stats.ttest_ind(np.subtract(a, 0.05), b, equal_var=False, alternative="less").pvalue
    assert found.p_equivalence == pytest.approx(max(low, high))
    assert found.verdict == "no difference"
    assert found.words().startswith("no difference larger than 0.05: -0.002 [")
    assert judge(sample(a), sample(b), margin=0.001).verdict == "cannot tell"


def test_a_margin_of_pairs_is_tested_within_them():
    """As scipy's paired tests."""
    seeds = list(range(6))
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.02, 1.99, 3.01, 3.98, 5.01, 6.0]
    found = judge(sample(a, seeds=seeds), sample(b, seeds=seeds), margin=0.1)
    low = stats.ttest_rel(np.add(a, 0.1), b, alternative="greater").pvalue
    high = stats.ttest_rel(np.subtract(a, 0.1), b, alternative="less").pvalue
    assert found.p_equivalence == pytest.approx(max(low, high))
    assert found.verdict == "no difference"


def test_runs_without_spread_are_never_called_equal():
    """Five perfect scores twice: how much more runs would vary is not known."""
    found = judge(sample([1.0] * 5), sample([1.0] * 5), margin=0.1)
    assert (found.verdict, found.p, found.p_equivalence) == ("cannot tell", 1.0, None)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.inf, math.nan])
def test_a_margin_is_a_size(margin):
    """Zero, negative and infinite margins are refused."""
    with pytest.raises(MisuseError, match="the margin is"):
        compare(sample(A), sample(B), margin=margin)


def test_runs_that_diverged_count_as_the_worst():
    """No mean, no effect in deviations: ranks decide, and the notes say so."""
    found = judge(sample([0.3, 0.28, 0.33, 0.29]), sample([0.4, math.nan, 0.45, math.inf]))
    assert (found.test, found.p, found.verdict) == ("Mann-Whitney test", 2 / 70, "better")
    assert (found.difference, found.interval, found.effect.value) == (None, None, None)
    assert found.probability_of_improvement.probability == 1.0
    assert [it.kind for it in found.nonfinite] == ["nan", "inf"]
    assert found.notes == ("2 runs have no finite value and count as the worst; ranks were compared",)
    assert found.words().startswith("better: by ranks alone, n = 4 and 4, p = 0.029")
    assert judge(sample([0.3, math.nan, 0.2, 0.1]), sample([0.4, 0.5, 0.6, 0.7])).seeds_needed.reason == (
        "a run has no finite value"
    )


def curves(values, steps, **options):
    """A sample of curves."""
    return sample(values, steps=np.array(steps), num_steps_recorded=len(steps), reduce="curve", **options)


def test_curves_are_compared_at_their_common_steps():
    """Three of five steps are common: the p of each is the largest statistic's, and the numbers are told."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 4)), generator.normal([0.0, 0.0, 9.0, 9.0], size=(5, 4))
    found = judge(curves(a, [0.0, 1.0, 2.0, 3.0]), curves(b, [0.0, 1.0, 2.0, 4.0]))
    expected = curves_differ_guarded(a[:, :3], b[:, :3], paired=False)
    assert (found.curve.steps, found.curve.num_steps, found.curve.num_steps_recorded) == ([0.0, 1.0, 2.0], 3, 5)
    assert found.curve.p == expected.p.tolist()
    assert (found.verdict, found.curve.better, found.curve.worse) == ("better", [2.0], [])
    assert found.curve.differences == pytest.approx((a[:, :3] - b[:, :3]).mean(axis=0).tolist())
    assert found.notes == ("compared at the 3 steps that every run recorded, of at least 5",)


def test_curves_that_cross_are_mixed():
    """Better early and worse late is neither better nor worse."""
    generator = np.random.default_rng(1)
    a, b = generator.normal([0.0, 9.0], size=(6, 2)), generator.normal([9.0, 0.0], size=(6, 2))
    found = judge(curves(a, [1.0, 2.0]), curves(b, [1.0, 2.0]))
    assert (found.verdict, found.curve.better, found.curve.worse) == ("mixed", [1.0], [2.0])
    assert found.words().startswith("better at 1 steps, worse at 1: ")


def test_curves_with_gaps_in_the_numbers_are_ranked():
    """A curve with a NaN is compared by ranks at every step, NaN being the worst there."""
    a = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]
    b = [[5.0, math.nan], [6.0, 6.0], [7.0, 7.0], [8.0, 8.0]]
    found = judge(curves(a, [1.0, 2.0]), curves(b, [1.0, 2.0]))
    assert (found.test, found.verdict) == ("Mann-Whitney test, largest statistic over the steps", "better")
    assert (found.difference, found.curve.differences) == (None, [None, None])


def test_steps_are_corrected_for_the_other_comparisons_too():
    """Steps that differ are those whose p, corrected as the comparison's is, stays below the level."""
    generator = np.random.default_rng(2)
    a, b = generator.normal([0.0, 9.0], size=(5, 2)), generator.normal(size=(5, 2))
    one = compare(curves(a, [1.0, 2.0]), curves(b, [1.0, 2.0]))
    alone, among_seven = holm([one])[0], holm([one] * 7)[0]
    assert (one.p, alone.curve.worse, alone.verdict) == (2 / 252, [2.0], "worse")
    assert (among_seven.curve.worse, among_seven.verdict) == ([], "cannot tell")


def test_curves_without_a_common_step_are_refused():
    """Nothing is interpolated."""
    with pytest.raises(MisuseError, match="at no common step"):
        compare(curves([[1.0]], [1.0]), curves([[1.0]], [2.0]))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"metric": "accuracy"}, "differ in metric: 'loss' and 'accuracy'"),
        ({"mode": "max"}, "differ in mode"),
        ({"split": "val"}, "splits '' and 'val'"),
        ({"values": []}, "5 runs cannot be compared with 0"),
    ],
)
def test_what_is_not_alike_is_not_compared(other, message):
    """The error names both sides."""
    with pytest.raises(MisuseError, match=message):
        compare(sample(A), Sample(**{"values": B, "metric": "loss", **other}))


def test_a_comparison_is_plain_data():
    """``as_dict`` holds everything a report needs, and survives JSON."""
    found = judge(sample(A, label="lr=0.1", seeds=[1, 2, 3, 4, 5]), sample(B, label="lr=0.2")).as_dict()
    again = msgspec.json.decode(msgspec.json.encode(found))
    assert again == found
    assert (found["a"]["label"], found["a"]["seeds"], found["b"]["values"]) == ("lr=0.1", [1, 2, 3, 4, 5], B)
    assert (found["metric"], found["verdict"], found["words"][:7]) == ("loss", "better", "better:")


@pytest.mark.spec("S2.8", "S2.17", "S2.44")
def test_recorded_experiments_are_compared(new_run, tmp_path):
    """Gradient descent on a quadratic, recorded over six seeds: the larger learning rate is better, in every pair."""
    samples = []
    for lr in (0.2, 0.05):
        readers = []
        for seed in range(6):
            generator = np.random.default_rng(seed)
            run = new_run(dir=tmp_path / f"lr{lr}-{seed}", config={"lr": lr}, seed=seed)
            x = generator.normal(size=20)
            for step in range(20):
                x -= lr * (x + 0.1 * generator.normal(size=20))
                run.log({"loss": float(x @ x / 2)}, step=step)
            run.finish()
            readers.append(RunReader(tmp_path / f"lr{lr}-{seed}"))
        samples.append(collect(readers, "loss"))
    found = judge(*samples)
    assert (found.verdict, found.paired, found.p) == ("better", True, 2 / 64)
    differences = samples[0].values - samples[1].values
    assert found.difference == pytest.approx(differences.mean())
    assert (differences < 0).all()


@pytest.mark.parametrize("factor", [2.0**600, 2.0**-600])
@pytest.mark.parametrize("paired", [False, True])
def test_a_scale_beyond_squares_changes_nothing(factor, paired):
    """Losses of 1e180 on the way to infinity, and of 1e-180: the same p, effect and verdict, the interval in scale."""
    seeds = list(range(6)) if paired else ()
    a, b = np.array([1.0, 2.0, 1.5, 1.2, 0.8, 1.1]), np.array([3.0, 5.0, 4.5, 3.5, 2.5, 6.0])
    plain = judge(sample(a, seeds=seeds), sample(b, seeds=seeds))
    scaled = judge(sample(a * factor, seeds=seeds), sample(b * factor, seeds=seeds))
    assert (scaled.verdict, scaled.p, scaled.effect) == (plain.verdict, plain.p, plain.effect)
    assert scaled.difference == pytest.approx(plain.difference * factor)
    assert (scaled.interval.low, scaled.interval.high) == pytest.approx(
        (plain.interval.low * factor, plain.interval.high * factor)
    )


def test_runs_that_share_a_seed_are_said_to():
    """Six runs of three seeds: the note says that they are fewer than they look."""
    found = judge(sample([1, 2, 3, 4, 5, 6.5], seeds=[0, 0, 1, 1, 2, 2], label="a"), sample([7, 8, 9, 9.5, 9.7, 9.9]))
    assert "6 runs of a have 3 seeds: what a seed makes may be underestimated" in found.notes
