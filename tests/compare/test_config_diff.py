"""What differs between two runs that were really recorded, in a real repository."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import barograph
from barograph.compare.config_diff import Change, diff, differences, same
from barograph.compare.described import SECTIONS
from barograph.facts.codec import decode, encode

TRAIN = """
import sys
import barograph

lr, width, seed = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
config = {"optim": {"lr": lr, "betas": [0.9, 0.99]}, "layers": [{"width": 8}, {"width": width}], "epochs": 3}
if lr > 0.2:
    config["warmup"] = 5
with barograph.init(name=sys.argv[4], config=config, seed=seed, root="runs", terminal="off", host_s=None) as run:
    run.artifact("data.json", {"seed": seed})
    run.artifact("vocabulary.json", {"words": 3})
    run.log({"loss": lr}, step=0)
"""


@pytest.fixture
def repository(tmp_path, start):
    """A repository with a training script; ``train(lr, width, seed, name)`` records a run with it."""
    git = ["git", "-c", "user.email=a@example.com", "-c", "user.name=a", "-C", str(tmp_path)]
    (tmp_path / "model.py").write_text("hidden = 3\nactivation = 'relu'\n")
    (tmp_path / "notes.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("runs/\nchild-*.py\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)

    def train(lr=0.1, width=16, seed=0, name="r", **env):
        child = start(TRAIN, lr, width, seed, name, env=env)
        out, errors = child.communicate(timeout=60)
        assert child.returncode == 0, out + errors
        return barograph.open_run(name, root=tmp_path / "runs")

    train.git = lambda *command: subprocess.run([*git, *command], check=True)
    train.directory = tmp_path
    return train


def keys(found, section):
    """What differs in a section, with both values."""
    return {change.key: (change.kind, change.a, change.b) for change in found.sections[section]}


def test_two_runs_of_the_same_differ_in_nothing(repository):
    """Names, ids, directories and times are not compared; every section is there and empty."""
    # The script's own name and the run's name are arguments: two runs by one and the same command line.
    a = repository(name="a").path
    b = shutil.copytree(a, a.parent / "copy")
    record = decode((b / "run.json").read_bytes())
    record |= {"run_id": "other", "name": "b", "created_t": record["created_t"] + 60}
    (b / "run.json").write_bytes(encode(record) + b"\n")
    found = diff(barograph.open_run(a), barograph.open_run(b))
    assert found.is_same
    assert {section: [] for section in SECTIONS} == found.sections
    assert found.notes == []
    assert (found.a.name, found.b.name, found.b.run_id) == ("a", "b", "other")


@pytest.mark.spec("S2.11")
def test_only_configuration_keys_that_differ_are_listed_nested(repository):
    """Equal keys are left out; mappings and lists of mappings are entered, lists of numbers stay whole."""
    found = diff(repository(0.1, 16, name="a"), repository(0.3, 32, name="b"))
    assert keys(found, "config") == {
        "optim.lr": ("changed", 0.1, 0.3),
        "layers[1].width": ("changed", 16, 32),
        "warmup": ("added", None, 5),
    }
    tree = found.nested("config")
    assert list(tree) == ["optim", "layers", "warmup"]
    assert (tree["optim"]["lr"].a, tree["optim"]["lr"].b) == (0.1, 0.3)
    assert tree["layers"] == {1: {"width": Change(path=("layers", 1, "width"), a=16, b=32)}}


def test_the_other_way_round_is_the_mirror_image(repository):
    """What was added is removed, and before is after."""
    a, b = repository(0.1, 16, name="a"), repository(0.3, 32, seed=1, name="b")
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    forth, back = diff(a, b), diff(b, a)
    for section in ("config", "seed", "data"):
        mirrored = {key: (turned[kind], b, a) for key, (kind, a, b) in keys(back, section).items()}
        assert mirrored == keys(forth, section)
        assert mirrored


@pytest.mark.spec("S2.11")
def test_seed_data_and_environment_are_sections(repository):
    """The seed; artifacts by the hash of their content; variables that tell how a computation runs."""
    found = diff(repository(name="a"), repository(seed=7, name="b", OMP_NUM_THREADS="3"))
    assert keys(found, "seed") == {"seed": ("changed", 0, 7)}
    ((name, (kind, a, b)),) = keys(found, "data").items()
    assert (name, kind) == ("data.json", "changed")
    assert a != b
    assert a.startswith("sha256:")
    assert keys(found, "environment")["OMP_NUM_THREADS"][2] == "3"
    assert [change.key for change in found.sections["command"]] == ["argv"]


def test_code_and_the_difference_of_uncommitted_changes(repository):
    """Commits differ by their hash; two dirty trees by a unified diff of their patches, equal files left out."""
    directory = repository.directory
    (directory / "notes.py").write_text("a = 2\n")
    (directory / "model.py").write_text("hidden = 4\nactivation = 'relu'\n")
    a = repository(name="a")
    (directory / "model.py").write_text("hidden = 5\nactivation = 'relu'\n")
    b = repository(name="b")
    found = diff(a, b)
    assert list(keys(found, "code")) == ["uncommitted"]
    assert found.patch[:2] == ["--- A, uncommitted: model.py", "+++ B, uncommitted: model.py"]
    assert [line for line in found.patch[2:] if line[0] in "+-"] == ["-+hidden = 4", "++hidden = 5"]
    repository.git("commit", "-qam", "second")
    later = diff(b, repository(name="c"))
    code = keys(later, "code")
    assert {"commit", "uncommitted"} == set(code)
    assert code["uncommitted"][2] == "none"
    assert [line for line in later.patch if line == "-+hidden = 5"]


def test_packages_are_added_removed_and_changed(repository):
    """Versions by normalised name."""
    a, b = repository(name="a"), repository(name="b")
    for reader, listed in (
        (a, ["Some_Thing==1.0", "old==1", "same==2"]),
        (b, ["new==3", "same==2", "some-thing==1.1"]),
    ):
        path = reader.path / "run.json"
        record = decode(path.read_bytes())
        record["provenance"]["packages"] = listed
        path.write_bytes(encode(record) + b"\n")
    found = diff(barograph.open_run(a.path), barograph.open_run(b.path))
    assert keys(found, "packages") == {
        "old": ("removed", "1", None),
        "some-thing": ("changed", "1.0", "1.1"),
        "new": ("added", None, "3"),
    }


def test_what_cannot_be_compared_is_said(repository):
    """A lost blob, a run without provenance, and an attempt with another configuration have a note each."""
    (repository.directory / "model.py").write_text("hidden = 4\n")
    a, b = repository(name="a"), repository(name="b")
    shutil.rmtree(a.directory.blobs)
    (b.path / "run.json").write_bytes(encode({"run_id": "b", "name": "b", "created_t": 1.0}) + b"\n")
    found = diff(barograph.open_run(a.path), barograph.open_run(b.path))
    assert not found.is_same
    assert any(note.startswith("A: its uncommitted changes cannot be read: ") for note in found.notes)
    assert any(note.startswith("B: it recorded no provenance") for note in found.notes)


def test_a_resumed_run_with_another_configuration_has_a_note(new_run, tmp_path):
    """The first attempt is compared, and that there is another configuration is said."""
    new_run(config={"lr": 1}).finish()
    new_run(config={"lr": 2}, resume="allow").finish()
    reader = barograph.open_run(tmp_path / "run")
    found = diff(reader, reader)
    assert found.is_same
    assert [note for note in found.notes if "another configuration, config.attempt001.yaml" in note]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (float("nan"), float("nan"), True),
        (10**400, 10**400, True),
        ("1", 1, False),
        (None, 0, False),
        ([1, [2]], [1.0, [2]], True),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_values_are_equal_by_what_they_say(a, b, expected):
    """Numbers by value, truth values by themselves, the rest by type and content."""
    assert expected == same(a, b)
    assert expected == (not list(differences({"x": a}, {"x": b})))


def test_lists_of_different_length_are_compared_by_place():
    """What is beyond the shorter list was added; a list of plain numbers is one value."""
    longer = [{"w": 1}, {"w": 2}]
    assert [(it.key, it.kind) for it in differences({"l": longer[:1]}, {"l": longer})] == [("l[1]", "added")]
    assert [(it.key, it.a, it.b) for it in differences({"l": [1]}, {"l": [1, 2]})] == [("l", [1], [1, 2])]
