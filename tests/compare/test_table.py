"""The groups of a comparison as plain data."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from barograph.compare.best import find_best
from barograph.compare.comparator import ExperimentComparator
from barograph.compare.correction import holm_adjust
from barograph.compare.groups import find_groups
from barograph.compare.table import choose_baseline, correct, make_table
from barograph.errors import MetricNotFoundError, MisuseError
from barograph.facts.codec import encode


@pytest.fixture(scope="module")
def groups(study):
    """The four groups of the study."""
    return ExperimentComparator(study).groups


def test_the_baseline_is_the_group_of_most_runs(groups):
    """The first of several; or the one that a label or a run names; a name that several groups have is refused."""
    assert choose_baseline(groups) is groups[0]
    assert choose_baseline([groups[3], groups[1], groups[0]]) is groups[1]
    assert choose_baseline(groups, "lr=1e+09") is groups[3]
    reader = groups[2].runs[4]
    for name in (reader.identity.run_id, reader.path.name, str(reader.path)):
        assert choose_baseline(groups, name) is groups[2]
    assert choose_baseline(groups, "too-fast") is groups[3]
    fast = groups[1]
    alone = [msgspec.structs.replace(fast, label=str(place), runs=[run]) for place, run in enumerate(fast.runs)]
    with pytest.raises(MisuseError, match=r"'lr-0\.1' means 8 groups; give the label of a group: '0', '1'"):
        choose_baseline(alone, "lr-0.1")


def test_every_group_is_compared_with_the_baseline_alone(groups):
    """The baseline has no comparison; the others are against it, and have no verdict before the correction."""
    table = make_table(groups, "loss", baseline=groups[1], split="train")
    assert [row.comparison is None for row in table.rows] == [False, True, False, False]
    assert {row.comparison.b.label for row in table.rows if row.comparison} == {"lr=0.1"}
    assert [row.comparison.verdict for row in table.rows if row.comparison] == [None, None, None]
    assert table.title == "final loss (train)"


def test_verdicts_are_corrected_over_all_tables(groups):
    """Two metrics of four groups are six comparisons; p is Holm's over all six."""
    tables = [make_table(groups, name, baseline=groups[0]) for name in ("loss", "accuracy")]
    made = [row.comparison for table in tables for row in table.rows if row.comparison]
    judged = [row.comparison for table in correct(tables) for row in table.rows if row.comparison]
    assert [it.num_comparisons for it in judged] == [6] * 6
    assert [it.p_corrected for it in judged] == pytest.approx(holm_adjust([it.p for it in made]).tolist())
    assert all(it.verdict for it in judged)
    assert [it.p_corrected for it in judged] > [it.p for it in made]


def test_all_groups_are_of_one_split_and_runs_without_it_are_named(groups, new_run, tmp_path):
    """A group whose runs lack the metric has n = 0, no comparison, and its runs are listed with the reason."""
    with new_run(dir=tmp_path / "other", config={"optim": {"lr": 7}}) as run:
        run.log({"speed": 1.0}, step=0)
    readers = [reader for group in groups[:2] for reader in group.runs]
    found = find_groups([*readers, ExperimentComparator(tmp_path).readers[0]])
    table = make_table(found, "loss", baseline=found[0])
    assert (table.split, table.rows[2].summary.n, table.rows[2].comparison) == ("val", 0, None)
    assert [skipped.reason for skipped in table.skipped] == ["it has no 'loss' on 'val'"]
    assert encode(table.as_dict())
    with pytest.raises(MetricNotFoundError):
        make_table(found, "nothing", baseline=found[0], mode="min")


def test_the_best_run_is_the_best_finite_one(groups):
    """By the mode; a group without a finite value has none."""
    table = make_table(groups, "loss", baseline=groups[0])
    row = table.row("lr=0.1")
    values = dict(zip(row.sample.run_dirs, row.sample.values, strict=True))
    assert row.best.value == min(values.values()) == values[row.best.run_dir]
    assert table.row("lr=1e+09").best is None
    upside_down = make_table(groups, "loss", baseline=groups[0], mode="max").row("lr=0.1")
    assert upside_down.best.value == max(values.values())
    best = make_table(groups[:2], "loss", baseline=groups[0], reduce="best").row("lr=0.1")
    curves = [reader.series("loss", split="val").values for reader in groups[1].runs]
    assert best.sample.values.tolist() == [float(np.min(curve)) for curve in curves]


def test_plain_data_names_each_run_with_its_value(groups):
    """Runs, seeds and values are of one order and one length."""
    document = make_table(groups, "loss", baseline=groups[0]).as_dict()
    for row, group in zip(document["rows"], groups, strict=True):
        assert row["runs"] == [str(reader.path) for reader in group.runs]
        assert (row["n"], len(row["values"]), row["seeds"]) == (len(group), len(group), list(group.seeds))
        assert row["verdict"] is None
    assert [len(row["nonfinite"]) for row in document["rows"]] == [0, 0, 0, 2]


def test_curves_are_summarised_over_steps_that_all_groups_recorded(new_run, tmp_path):
    """A group of other steps is not compared, and says so; one whose runs share no step is named; the rest goes on."""
    steps = {"same": range(4), "long": range(40), "apart": range(90, 94), "ragged": [0, 1, 2]}
    for label, numbers in steps.items():
        for seed in range(3):
            with new_run(dir=tmp_path / f"{label}-{seed}", config={"k": label}, seed=seed) as run:
                for step in [numbers[seed]] if label == "ragged" else numbers:
                    run.log({"loss": 1.0 / (step + 1) + 0.01 * seed}, step=step)
    groups = {group.label: group for group in ExperimentComparator(tmp_path).groups}
    table = make_table(list(groups.values()), "loss", baseline=groups["k=same"], reduce="curve")
    assert table.row("k=same").summary.mean == pytest.approx(table.row("k=long").summary.mean)
    assert table.row("k=long").best.value == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    apart, ragged = table.row("k=apart"), table.row("k=ragged")
    assert (apart.summary.n, apart.summary.mean, apart.comparison) == (3, None, None)
    assert apart.summary.reason.startswith("no step was recorded by all its runs")
    assert (ragged.summary.n, ragged.comparison) == (0, None)
    assert {it.reason for it in table.skipped} == {"no step of 'loss' was recorded by all runs of k=ragged"}
    assert find_best(correct([table])[0], list(groups.values())).excluded.keys() == {"k=apart", "k=ragged"}
