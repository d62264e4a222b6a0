"""Runs that are the same except for chance, found among recorded ones."""

from __future__ import annotations

import itertools
import math

import pytest

from barograph.compare.groups import find_groups, is_ignored, new_in_every_run, seed_of, seeds_of
from barograph.errors import MisuseError
from barograph.read.frames import load_runs
from barograph.read.run import RunReader


@pytest.fixture
def record_configs(new_run, tmp_path):
    """Record runs with these configurations; returns their readers."""
    numbers = itertools.count()

    def record_configs(*configs, **options):
        readers = []
        for number, config in enumerate(configs):
            mine = {key: value[number] if isinstance(value, list) else value for key, value in options.items()}
            path = tmp_path / "runs" / f"run-{next(numbers)}"
            new_run(**{"dir": path, "name": "mlp", "config": config, **mine}).finish()
            readers.append(RunReader(path))
        return readers

    return record_configs


def names(groups):
    """Each group's label, and the directories of its runs."""
    return {group.label: [run.path.name for run in group.runs] for group in groups}


@pytest.mark.spec("S2.8", "S2.17")
def test_runs_that_differ_in_the_seed_are_one_group(record_configs):
    """Four runs, two learning rates: two groups, labelled by what differs, with their seeds."""
    readers = record_configs(
        *({"optim": {"lr": lr, "momentum": 0.9}, "seed": seed} for seed in (1, 2) for lr in (0.1, 0.01))
    )
    groups = find_groups(readers)
    assert names(groups) == {"lr=0.1": ["run-0", "run-2"], "lr=0.01": ["run-1", "run-3"]}
    assert [group.seeds for group in groups] == [[1, 2], [1, 2]]
    assert groups[0].config == {"optim.lr": 0.1, "optim.momentum": 0.9}
    assert groups[0].differing == ("optim.lr",)


@pytest.mark.parametrize(
    "key",
    [
        *("seed", "trainer.seed", "data.shuffle_seed", "model.random_state", "run_name", "name", "hydra.job.num"),
        *("output_dir", "train.save_dir", "logging.log_dir", "notes", "trainer.default_root_dir"),
    ],
)
def test_what_names_a_run_is_ignored(key):
    """Seeds, names, places of output and Hydra's own keys do not set runs apart."""
    assert is_ignored(key)


@pytest.mark.parametrize("key", ["lr", "model.name", "data_dir", "seedling", "dataset.path", "optimizer", "epochs"])
def test_what_a_run_computes_with_counts(key):
    """Everything else does, the name of a model and the place of the data among it."""
    assert not is_ignored(key)


def test_texts_that_name_the_runs_own_directory_are_ignored(record_configs, tmp_path):
    """A path inside the run, or of the run's name, is where output goes, whatever its key is called."""
    readers = record_configs(
        {"lr": 0.1, "dump": str(tmp_path / "runs" / "run-0" / "dump")}, {"lr": 0.1, "dump": "elsewhere/run-1/dump"}
    )
    assert names(find_groups(readers)) == {"all runs": ["run-0", "run-1"]}


def test_labels_have_whole_keys_where_last_words_are_the_same(record_configs):
    """``encoder.width`` and ``decoder.width`` stay what they are; a key that a run lacks reads none."""
    groups = find_groups(record_configs({"encoder": {"width": 8}, "decoder": {"width": 8}}, {"encoder": {"width": 4}}))
    assert [group.label for group in groups] == [
        "encoder.width=8 decoder.width=8",
        "encoder.width=4 decoder.width=none",
    ]


def test_numbers_are_equal_by_value_and_texts_by_type(record_configs):
    """1 is 1.0, but not "1" and not true."""
    groups = find_groups(record_configs({"k": 1}, {"k": 1.0}, {"k": "1"}, {"k": True}))
    assert sorted(len(group) for group in groups) == [1, 1, 2]


def test_project_group_and_tier_count(record_configs):
    """A quick run and a full one are not averaged."""
    groups = find_groups(record_configs({"k": 1}, {"k": 1}, {"k": 1}, tier=["quick", "full", "full"]))
    assert names(groups) == {"tier=quick": ["run-0"], "tier=full": ["run-1", "run-2"]}


def test_runs_without_a_configuration_are_told_apart_by_name(record_configs):
    """There is nothing else to go by."""
    groups = find_groups(record_configs({}, {}, {}, name=["mlp", "cnn", "mlp"]))
    assert names(groups) == {"name=mlp": ["run-0", "run-2"], "name=cnn": ["run-1"]}


def test_keys_to_group_by_may_be_named(record_configs):
    """By one key alone, by a pattern, or by all but some; a word that several keys end in is refused."""
    readers = record_configs(*({"a": {"lr": lr, "wd": wd}, "b": {"wd": wd}} for lr in (1, 2) for wd in (3, 4)))
    assert [group.label for group in find_groups(readers, by=["lr"])] == ["lr=1", "lr=2"]
    assert [len(group) for group in find_groups(readers, by=["a.*"])] == [1, 1, 1, 1]
    assert [group.label for group in find_groups(readers, ignore=["*.wd"])] == ["lr=1", "lr=2"]
    with pytest.raises(MisuseError, match=r"'wd': it may be a\.wd, b\.wd"):
        find_groups(readers, by=["wd"])
    with pytest.raises(MisuseError, match=r"'momentum': there are a\.lr"):
        find_groups(readers, ignore=["momentum"])


def test_a_seed_may_be_grouped_by_when_asked(record_configs):
    """What is ignored by itself counts when it is named."""
    groups = find_groups(record_configs({"k": 1, "seed": 1}, {"k": 1, "seed": 2}), by=["seed"])
    assert [group.label for group in groups] == ["seed=1", "seed=2"]


def test_seeds_are_found(record_configs):
    """From the configuration at any depth, else from ``init``; several that disagree are one text."""
    readers = record_configs(
        {"train": {"seed": 5}},
        {"lr": 1},
        {"seed": 1, "data": {"seed": 1}},
        {"seed": 1, "data": {"seed": 2}},
        seed=[None, 9, None, None],
    )
    assert [seed_of(reader) for reader in readers] == [5, 9, 1, "data.seed=2 seed=1"]


def test_keys_that_are_new_in_every_run_are_pointed_out(record_configs):
    """A key that leaves every run alone is named, so that a person may ignore it."""
    readers = record_configs(*({"lr": 0.1, "ticket": f"T{number}"} for number in range(3)))
    groups = find_groups(readers)
    assert [len(group) for group in groups] == [1, 1, 1]
    assert new_in_every_run(groups) == ["ticket"]
    assert names(find_groups(readers, ignore=["ticket"])) == {"all runs": ["run-0", "run-1", "run-2"]}


def test_loaded_runs_are_grouped_alike(record_configs, tmp_path):
    """A root's runs give the groups of their readers; no runs give none."""
    readers = record_configs({"k": 1}, {"k": 2})
    assert names(find_groups(load_runs(tmp_path / "runs"))) == names(find_groups(readers))
    assert find_groups([]) == []


def test_a_seed_that_all_runs_share_is_no_part_of_their_seeds(record_configs):
    """The seed of the split is 0 everywhere, so the runs' seeds are 0, 1 and 2, in every group and every sample."""
    readers = record_configs(*({"lr": lr, "seed": seed, "split_seed": 0} for lr in (1, 2) for seed in (0, 1, 2)))
    groups = find_groups(readers)
    assert [group.seeds for group in groups] == [[0, 1, 2], [0, 1, 2]]
    assert seeds_of(readers) == [0, 1, 2, 0, 1, 2]
    varied = record_configs(*({"seed": seed, "split_seed": 7 - seed} for seed in (0, 1)))
    assert seeds_of(varied) == ["seed=0 split_seed=7", "seed=1 split_seed=6"]


def test_no_two_groups_share_a_label(record_configs):
    """A text that reads like a number, a truth value or nothing stands in quotes."""
    groups = find_groups(
        record_configs(*({"k": value} for value in ("1", 1, "true", True, "none", None, "", "[1]", [1])))
    )
    labels = [group.label for group in groups]
    assert labels == ["k='1'", "k=1", "k='true'", "k=true", "k='none'", "k=none", "k=''", "k='[1]'", "k=[1]"]


def test_numbers_in_lists_are_equal_by_value_and_nan_equals_nan(record_configs):
    """[64, 1] is [64.0, 1.0] and keys in a list have no order; NaN has a plain label."""
    readers = record_configs({"k": [64, {"a": 1, "b": 2}]}, {"k": [64.0, {"b": 2.0, "a": 1.0}]})
    assert [len(group) for group in find_groups(readers)] == [2]
    (nans, one) = find_groups(record_configs({"k": math.nan}, {"k": -math.nan}, {"k": 1}))
    assert (nans.label, len(nans), one.label) == ("k=nan", 2, "k=1")


def test_the_runs_own_group_is_told_only_where_the_configuration_does_not_tell(record_configs):
    """``group="mlp"`` beside ``hidden=64`` adds nothing; beside equal configurations it is all there is."""
    told = find_groups(record_configs({"hidden": 64}, {"hidden": 0}, group=["mlp", "linear"]))
    assert [(group.label, group.differing) for group in told] == [("hidden=64", ("hidden",)), ("hidden=0", ("hidden",))]
    alone = find_groups(record_configs({"hidden": 0}, {"hidden": 0}, group=["mlp", "linear"]))
    assert [group.label for group in alone] == ["group=mlp", "group=linear"]
