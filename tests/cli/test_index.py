"""``barograph index``."""

from __future__ import annotations

import json
import os
import time

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An index of the test's own, and runs that have come to rest."""
    monkeypatch.setenv("BAROGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_says_where_it_is_and_what_it_holds(cli, root, cache):
    """After a rest of two seconds no run is read again."""
    time.sleep(2.1)
    first = json.loads(cli("index", root, "--json").stdout)
    second = json.loads(cli("index", root, "--json").stdout)
    assert (first["num_runs"], first["num_read"], second["num_read"]) == (5, 5, 0)
    (file,) = cache.iterdir()
    assert (second["path"], second["state"], second["size_bytes"]) == (str(file), "up to date", file.stat().st_size)
    assert json.loads(cli("index", root, "--rebuild", "--json").stdout)["num_read"] == 5
    lines = dict(line.split(maxsplit=1) for line in cli("index", root).stdout.splitlines())
    assert lines["runs"] == "5 runs, 0 of them read anew"
    assert lines["index"] == str(file)


def test_a_list_is_the_same_with_and_without_it(cli, root):
    """Cold, warm, and damaged."""
    plain = cli("list", root, "--no-index").stdout
    assert plain == cli("list", root).stdout == cli("list", root).stdout


def test_a_cache_that_cannot_be_written_is_passed_over_with_a_note(cli, root, tmp_path):
    """The list is there; standard error says why it was slow."""
    (tmp_path / "file").write_text("")
    done = cli("list", root, env={"BAROGRAPH_CACHE": str(tmp_path / "file" / "x")})
    assert done.stdout == cli("list", root, "--no-index").stdout
    assert done.stderr.startswith("barograph: without the index: ")
    assert "Not a directory" in done.stderr
    state = json.loads(cli("index", root, "--json", env={"BAROGRAPH_CACHE": str(tmp_path / "file" / "x")}).stdout)
    assert "Not a directory" in state["state"]


def test_nothing_is_written_beside_the_runs(cli, root):
    """Neither by a list nor by the index itself."""
    before = sorted(os.fspath(path) for path in root.rglob("*"))
    cli("index", root)
    cli("list", root)
    assert before == sorted(os.fspath(path) for path in root.rglob("*"))
