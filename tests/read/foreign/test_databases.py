"""Databases of other programs, read while real processes write them, and after those were killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from barograph.errors import FormatError
from barograph.read.foreign.databases import database_uri, has_tables, open_database

STEADY = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(f"PRAGMA journal_mode = {sys.argv[2]}")
database.execute("CREATE TABLE points (number INTEGER)")
for _ in range(50):
    database.execute("BEGIN")
    database.executemany("INSERT INTO points VALUES (?)", [(each,) for each in range(10)])
    database.execute("COMMIT")
print("ready", flush=True)
time.sleep(60)
"""

RECONNECTING = """
import contextlib, itertools, sqlite3, sys
for turn in itertools.count():
    with contextlib.closing(sqlite3.connect(sys.argv[1], timeout=30)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE IF NOT EXISTS points (number INTEGER)")
        database.executemany("INSERT INTO points VALUES (?)", [(each,) for each in range(10)])
    if turn == 5:
        print("ready", flush=True)
"""


def count(path):
    """How many rows a reader sees."""
    with open_database(path) as database:
        assert [tuple(row) for row in database.execute("PRAGMA integrity_check")] == [("ok",)]
        return database.execute("SELECT count(*) FROM points").fetchone()[0]


def names(directory):
    """What lies in a directory, with sizes."""
    return {path.name: path.stat().st_size for path in directory.iterdir() if path.suffix != ".py"}


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_an_open_database_is_read_and_nothing_is_left_beside_it(start, tmp_path, mode):
    """All that was committed is seen while the writer lives and after SIGKILL; no file is made or changed."""
    folder = tmp_path / "source"
    folder.mkdir()
    writer = start(STEADY, folder / "points.db", mode)
    assert writer.stdout.readline() == "ready\n"
    before = names(folder)
    assert ("points.db-wal" in before) == (mode == "wal")
    assert count(folder / "points.db") == 500
    assert names(folder) == before
    writer.kill()
    writer.wait(timeout=30)
    assert count(folder / "points.db") == 500
    assert names(folder) == before


def test_a_log_without_its_shared_memory_is_read(start, tmp_path):
    """As after a copy of the two files: the newest facts are in the log."""
    folder = tmp_path / "source"
    folder.mkdir()
    writer = start(STEADY, folder / "points.db", "wal")
    assert writer.stdout.readline() == "ready\n"
    writer.kill()
    writer.wait(timeout=30)
    (folder / "points.db-shm").unlink()
    before = names(folder)
    assert count(folder / "points.db") == 500
    assert names(folder) == before


def test_a_writer_that_connects_anew_each_time_never_gives_half_a_transaction(start, tmp_path):
    """It moves its log into the database at every close; forty reads see whole tens only, never fewer than before."""
    path = tmp_path / "points.db"
    writer = start(RECONNECTING, path)
    assert writer.stdout.readline() == "ready\n"
    seen = [count(path) for _ in range(40)]
    assert [each % 10 for each in seen] == [0] * 40
    assert seen == sorted(seen)
    assert writer.poll() is None


def test_a_database_that_never_holds_still_is_an_error(tmp_path, monkeypatch):
    """After a hundred copies it says so; it does not return a mixture."""
    path = tmp_path / "points.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE points (number INTEGER)")
    real, pauses = shutil.copyfile, []

    def copy_while_it_changes(source, target):
        real(source, target)
        os.utime(path, ns=(0, len(pauses)))

    monkeypatch.setattr(shutil, "copyfile", copy_while_it_changes)
    uri = database_uri(path, sleep=pauses.append)
    with pytest.raises(FormatError, match=r"changed during each of 100 copies; read it when less is written"):
        uri.__enter__()
    assert len(pauses) == 100


def test_tables_are_told_by_the_first_bytes(tmp_path):
    """Of a database, also while its tables stand in the log alone; a text that speaks of tables is no database."""
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute('CREATE TABLE IF NOT EXISTS "metrics" (id INTEGER)')
        database.execute("CREATE TABLE configs(id INTEGER)")
        database.commit()
        assert has_tables(path, "metrics", "configs")
        assert not has_tables(path, "metric")
    (tmp_path / "b.db").write_text("CREATE TABLE metrics (id)")
    assert not has_tables(tmp_path / "b.db", "metrics")
    assert not has_tables(tmp_path / "missing.db")


KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 5")
database.execute("CREATE TABLE points (number INTEGER, text TEXT)")
database.executemany("INSERT INTO points VALUES (?, 'x')", [(each,) for each in range(500)])
database.commit()
database.executemany("INSERT INTO points VALUES (?, ?)", [(each, "y" * 500) for each in range(5000)])
os.kill(os.getpid(), 9)
"""


def test_a_writer_that_was_killed_in_a_transaction(tmp_path):
    """Its journal is played back in a copy: the transaction is not there, and nothing of the source has changed."""
    path = tmp_path / "x.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {"x.db", "x.db-journal"} == before.keys()
    assert len(before["x.db"]) > 100_000  # it had begun to write
    assert count(path) == 500
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
