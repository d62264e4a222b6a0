"""Other tools' files read in place, through the cache, by the verbs of runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.read.foreign.test_convert import bits

from barograph.errors import BarographWarning, RunNotFoundError
from barograph.read.catalog import discover_runs
from barograph.read.foreign.adopt import adopt, native_root
from barograph.read.foreign.convert import import_run
from barograph.read.foreign.protocol import read_foreign
from barograph.read.foreign.tfevents import importer as tfevents
from barograph.read.foreign.wandb import importer as wandb
from barograph.read.run import RunReader


@pytest.fixture
def logs(written, tmp_path):
    """A copy of real event files and a real W&B run."""
    shutil.copytree(written("tensorboard") / "tb", tmp_path / "logs" / "tb")
    (source,) = written("wandb").glob("wandb/offline-run-*")
    shutil.copytree(source, tmp_path / "logs" / source.name)
    return tmp_path / "logs"


def look(directory):
    """Names, sizes and times of everything in a directory."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.rglob("*")}


def test_foreign_directories_are_read_in_place(logs, tmp_path):
    """Native runs in the cache, nothing beside the source; the numbers are those that the importers read."""
    before = look(logs)
    root = adopt(logs, cache=tmp_path / "cache")
    assert before == look(logs)
    found = {reader.identity.name: reader for reader in map(RunReader, discover_runs(root))}
    assert {"tb", "trial", "finish"} == found.keys()
    (events,) = tfevents.read(logs / "tb")
    for each in events.metrics:
        for name, values in each.columns.items():
            assert bits(map(float, values)) == bits(float(point.value) for point in found["tb"].curve(name))
    (run,) = wandb.read(next(path for path in logs.iterdir() if path.name != "tb"))
    assert {each.name for each in found["finish"].metrics() if each.split == "train"} == {
        name for each in run.metrics if each.split == "train" for name in each.columns
    }


def test_the_cache_is_used_while_the_source_stays_the_same(logs, tmp_path):
    """A second look changes no file; a source that grew is read again, one that went away is dropped."""
    cache = tmp_path / "cache"
    root = adopt(logs, cache=cache)
    before = look(cache)
    assert root == adopt(logs, cache=cache)
    assert before == look(cache)
    shutil.copytree(logs / "tb" / "trial", logs / "more")
    shutil.rmtree(logs / "tb")
    assert root == adopt(logs, cache=cache)
    assert {"more", "finish"} == {RunReader(path).identity.name for path in discover_runs(root)}
    assert [path for path in root.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_manifest_is_made_anew(logs, tmp_path):
    """The cache is only a cache."""
    root = adopt(logs, cache=tmp_path / "cache")
    (root.parent / "adopted.json").write_text("{")
    assert root == adopt(logs, cache=tmp_path / "cache")
    assert len(discover_runs(root)) == 3
    assert str(logs) == json.loads((root.parent / "adopted.json").read_text())["path"]


def test_a_source_that_cannot_be_read_is_warned_about(logs, tmp_path):
    """Each time, also when the others come from the cache; they are there."""
    database = tmp_path / "logs" / "mlflow.db"
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(database)) as connection:
        for table in ("runs", "metrics", "params", "tags", "experiments"):
            connection.execute(f"CREATE TABLE {table} (a INTEGER)")
    for _ in range(2):
        with pytest.warns(BarographWarning, match=r"mlflow\.db was recognised as mlflow and cannot be read"):
            root = adopt(logs, cache=tmp_path / "cache")
        assert len(discover_runs(root)) == 3


def test_where_the_cache_is(logs, tmp_path):
    """``BAROGRAPH_CACHE``, else XDG's; nothing known at a path is an error that says so."""
    root = adopt(logs, environ={"BAROGRAPH_CACHE": str(tmp_path / "mine")})
    assert root.is_relative_to(tmp_path / "mine" / "adopted")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunNotFoundError, match="holds nothing that an importer knows"):
        adopt(tmp_path / "empty", cache=tmp_path / "cache")


def test_a_source_that_was_written_anew_with_less(tmp_path):
    """The cache follows what is there now; an import keeps the run that was made of more, for a copy may be old."""
    logs, line = tmp_path / "logs", '2026-11-20 12:00:00 | INFO | metric {"step": %d, "loss": %d}\n'
    logs.mkdir()
    (logs / "train.log").write_text("".join(line % (step, 1) for step in range(5)))
    runs = tmp_path / "runs"
    (kept,) = [import_run(run, runs) for run in read_foreign(logs)]
    root = adopt(logs, cache=tmp_path / "cache")
    (logs / "train.log").write_text(line % (0, 2))
    assert root == adopt(logs, cache=tmp_path / "cache")
    (path,) = discover_runs(root)
    assert [point.value for point in RunReader(path).curve("loss")] == [2]
    assert [import_run(run, runs).outcome for run in read_foreign(logs)] == ["older"]
    assert len(RunReader(kept.path).curve("loss")) == 5


def test_one_source_by_several_paths(logs, tmp_path, monkeypatch):
    """Its run is the same, and is not made anew."""
    monkeypatch.chdir(logs)
    (logs.parent / "link").symlink_to(logs)
    paths = (Path("tb"), Path("../logs/tb"), logs / "tb" / ".." / "tb")
    found = [import_run(run, tmp_path / "runs") for path in paths for run in tfevents.read(path)]
    assert [each.outcome for each in found] == ["new", "unchanged", "unchanged"]
    (linked,) = [import_run(run, tmp_path / "runs") for run in tfevents.read(logs.parent / "link" / "tb")]
    assert linked.path == found[0].path
    monkeypatch.chdir(logs / "tb")
    for path in (Path(), Path("../tb")):
        assert [run.name for run in tfevents.read(path)] == ["tb"]


def test_what_is_no_directory_of_another_tool_is_itself(logs, tmp_path):
    """A directory of runs, an empty one, one that is not there: the root is the path."""
    (tmp_path / "empty").mkdir()
    adopted = native_root(logs)
    assert adopted != logs
    for path in (adopted, tmp_path / "empty", tmp_path / "missing"):
        assert path == native_root(path)
