"""Finding sources, and the account of what was kept: with importers that entry points offer."""

from __future__ import annotations

import shutil

import pytest

from barograph import plugins
from barograph.errors import PluginNotFoundError, RunNotFoundError
from barograph.facts.log import Damage
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import GROUP, ForeignMetrics, Importer, find_foreign, importers, read_foreign


@pytest.fixture
def mixed(written, tmp_path):
    """A tree with event files, a W&B run, and a run of ours that holds event files itself."""
    (tmp_path / "tb").symlink_to(written("tensorboard") / "tb")
    shutil.copytree(written("tensorboard") / "tb", tmp_path / "logs" / "tb")
    shutil.copytree(written("tensorboard") / "purged", tmp_path / ".hidden" / "purged")
    shutil.copytree(written("tensorboard") / "purged", tmp_path / "ours" / "tb")
    (tmp_path / "ours" / "run.json").write_text('{"run_id": "x"}')
    (source,) = written("wandb").glob("wandb/offline-run-*")
    shutil.copytree(source, tmp_path / "wandb" / source.name)
    return tmp_path


@pytest.mark.parametrize("name", plugins.names(GROUP))
def test_every_importer_is_one(name, tmp_path):
    """What an entry point offers has the protocol's names, is called as it is found, and never raises at a look."""
    importer = plugins.load(GROUP, name)
    assert isinstance(importer, Importer)
    assert name == importer.name
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.log").write_bytes(b"\0\xff")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "empty", tmp_path / "file.log", tmp_path / "link", tmp_path / "missing"):
        assert importer.recognises(path) is False


def test_the_built_in_ones_are_offered():
    """Eleven, by the door that strangers use."""
    assert {"tfevents", "wandb", "mlflow", "trackio", "lightning_csv", "hf_trainer"} <= set(plugins.names(GROUP))


def test_a_tree_is_searched(mixed):
    """Event files and W&B runs wherever they lie; not behind links, in hidden directories, or in runs of ours."""
    (wandb,) = (mixed / "wandb").iterdir()
    expected = [("tfevents", mixed / "logs" / "tb"), ("tfevents", mixed / "logs" / "tb" / "trial"), ("wandb", wandb)]
    assert expected == find_foreign(mixed, tools=["tfevents", "wandb"])


def test_only_the_named_tools_are_asked(mixed):
    """Others are not even loaded; a name that nobody offers is an error that lists what there is."""
    assert [name for name, _ in find_foreign(mixed, tools=["wandb"])] == ["wandb"]
    assert [importer.name for importer in importers(["mlflow"])] == ["mlflow"]
    with pytest.raises(PluginNotFoundError, match="tfevents"):
        find_foreign(mixed, tools=["neverheard"])


def test_all_runs_of_a_tree_are_read(mixed):
    """Each with its tool and its name, in the order of paths."""
    found = [(run.tool, run.name) for run in read_foreign(mixed, tools=["tfevents", "wandb"])]
    assert found == [("tfevents", "tb"), ("tfevents", "trial"), ("wandb", "finish")]


def test_nothing_found_is_an_error(tmp_path):
    """It says what was looked for; so is a path that does not exist."""
    with pytest.raises(RunNotFoundError, match=r"holds nothing that an importer knows \(tfevents, wandb\)"):
        next(read_foreign(tmp_path, tools=["tfevents", "wandb"]))
    with pytest.raises(RunNotFoundError, match="does not exist"):
        find_foreign(tmp_path / "missing")


def test_the_account_in_words():
    """Equal entries are added up; damage and notes stand below."""
    account = Fidelity()
    for _ in range(2):
        account.keep("numbers", 3)
        account.lose("images", "no images")
        account.change("times", "set back", 2)
        account.note("as it was")
    account.keep("texts", 0)
    account.damage.append(Damage(path="f", offset=5, size_bytes=7, reason="torn"))
    expected = [
        "kept: 6 numbers",
        "changed: 4 times (set back)",
        "lost: 2 images (no images)",
        "damaged: f: 7 bytes at 5 (torn)",
        "note: as it was",
    ]
    assert expected == account.lines()
    assert not account.is_complete
    assert Fidelity().lines() == ["kept: nothing"]


def test_joined_accounts_leave_both_as_they_were():
    """What stands in either, once."""
    first, second = Fidelity(), Fidelity()
    first.keep("numbers", 1)
    second.keep("numbers", 2)
    second.lose("images", "no images")
    both = first.joined(second)
    assert both.lines() == ["kept: 3 numbers", "lost: 1 image (no images)"]
    assert first.lines() == ["kept: 1 number"]


def test_numbers_of_a_block():
    """Steps and times are none."""
    block = ForeignMetrics(columns={"a": [1.0, 2.0], "b": [3.0, 4.0]}, steps=[0, 1], t=[5.0, 6.0])
    assert block.num_numbers == 4
