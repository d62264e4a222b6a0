"""Trackio's databases and exports, written by Trackio itself in an environment of its own, without a network."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from tests.read.foreign.once import once

from barograph.errors import FormatError
from barograph.read.foreign.trackio import importer

WRITER = """
import json, math, os, sys, trackio

values = {"loss": [], "acc": []}
trackio.init(project="digits", name="first", group="g", auto_log_cpu=False, auto_log_gpu=False,
             config={"lr": 0.1, "optim": {"betas": [0.9, 0.99]}, "limit": math.inf, "seed": 7})
for step in range(50):
    trackio.log({"loss": 1 / (step + 3), "acc": step, "grad": {"norm": step * 0.1}, "flag": step % 2 == 0})
trackio.log({"loss": math.nan, "up": math.inf, "down": -math.inf}, step=70)
trackio.log({"loss": 0.1 + 0.2, "big": 2**60 + 1}, step=3)
trackio.log({"note": "halfway"})
trackio.log({"hist": trackio.Histogram([1, 2, 3]), "rows": trackio.Table(columns=["a"], data=[[1]])})
trackio.log_system({"cpu": 0.5, "gpu": math.nan})
trackio.log_system({"cpu": 0.25, "gpu": 1.0})
trackio.alert("careful", "loss is nan", level=trackio.AlertLevel.WARN)
trackio.finish()
trackio.init(project="digits", name="second", config={"lr": 0.2}, auto_log_cpu=False, auto_log_gpu=False)
trackio.log({"loss": 1.5})
trackio.finish()
if sys.argv[1:] == ["parquet"]:
    from trackio.sqlite_storage import SQLiteStorage
    SQLiteStorage._dataset_import_attempted = True
    SQLiteStorage.export_to_parquet()
"""

ENDLESS = """
import itertools, time, trackio
trackio.init(project="live", name="first", auto_log_cpu=False, auto_log_gpu=False)
for step in itertools.count():
    trackio.log({"loss": 1 / (step + 1), "acc": step}, step=step)
    if step == 20:
        time.sleep(1.5)
        print("ready", flush=True)
    time.sleep(0.002)
"""


def environment(directory):
    """Trackio's, with its files in a directory and nothing of the network."""
    return {**os.environ, "TRACKIO_DIR": str(directory), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": ""}


@pytest.fixture(scope="module")
def trackio_python(tool_python):
    """Trackio's own interpreter."""
    return str(tool_python("trackio"))


@pytest.fixture(scope="module")
def project(trackio_python, tmp_path_factory):
    """A directory that Trackio wrote; it must not be changed."""

    def write(directory):
        command = [trackio_python, "-c", WRITER]
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment(directory))

    return once(tmp_path_factory, "trackio", write)


def points(run, name, split="train"):
    """A metric's steps and values."""
    found = []
    for block in run.metrics:
        if block.split == split and name in block.columns:
            found += zip(block.steps, block.columns[name], strict=True)
    return found


def contents(directory):
    """Names and bytes of a directory's files."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_every_value_is_what_was_logged(project):
    """Numbers to the bit, nested names dotted, non-finite ones with their sign, repeated steps in their order."""
    first, second = importer.read(project / "digits.db")
    losses = [(step, 1 / (step + 3)) for step in range(50)]
    assert losses == points(first, "loss")[:50]
    assert (points(first, "loss")[50][0], math.isnan(points(first, "loss")[50][1])) == (70, True)
    assert points(first, "loss")[51] == (3, 0.1 + 0.2)
    assert [(step, step) for step in range(50)] == points(first, "acc")
    assert [(step, step * 0.1) for step in range(50)] == points(first, "grad.norm")
    assert [(step, (step + 1) % 2) for step in range(50)] == points(first, "flag")
    assert ([(70, math.inf)], [(70, -math.inf)]) == (points(first, "up"), points(first, "down"))
    assert points(first, "big") == [(3, 2**60 + 1)]
    assert points(second, "loss") == [(0, 1.5)]
    assert points(first, "cpu", "host") == [(0, 0.5), (1, 0.25)]
    assert first.fidelity.kept["numbers"] == 4 * 50 + 3 + 2 + 4


def test_it_agrees_with_trackios_own_reader(project, trackio_python):
    """Trackio's API, in its own interpreter, gives the same steps, values and times."""
    script = """
import json
from trackio.sqlite_storage import SQLiteStorage
record = SQLiteStorage.get_run_records("digits")[0]
logs = SQLiteStorage.get_logs("digits", record["name"], run_id=record["id"])
print(json.dumps([[row["step"], row["timestamp"], row["loss"]] for row in logs if "loss" in row]))
"""
    done = subprocess.run(
        [trackio_python, "-c", script], check=True, capture_output=True, text=True, timeout=60, env=environment(project)
    )
    theirs = json.loads(done.stdout)
    first, _ = importer.read(project / "digits.db")
    assert sorted((step, repr(float(value))) for step, _, value in theirs) == sorted(
        (step, repr(float(value))) for step, value in points(first, "loss")
    )


def test_identity_config_and_alerts(project):
    """Names, group, config with its non-finite values, creation time, the alert as an event of ours."""
    first, second = importer.read(project / "digits.db")
    assert (first.name, first.project, first.group, first.seed) == ("first", "digits", "g", 7)
    assert {"lr": 0.1, "optim": {"betas": [0.9, 0.99]}, "limit": math.inf, "seed": 7} == first.config
    assert [(text.name, text.text) for text in first.texts] == [("note", "halfway")]
    ((t, moment, payload),) = first.events
    assert (
        moment,
        payload,
    ) == ("custom", {"kind": "alert", "title": "careful", "text": "loss is nan", "level": "warning", "step": 72})
    assert first.created_t <= t <= second.created_t + 60
    assert (first.ended_t, first.status) == (None, "unknown")
    assert len({first.key, second.key}) == 2


def test_what_is_no_number_is_counted(project):
    """Histograms and tables are named in the account; nothing is left out in silence."""
    first, _ = importer.read(project / "digits.db")
    assert {loss.what: loss.count for loss in first.fidelity.lost} == {"histogram values": 1, "table values": 1}
    assert {each.what: each.count for each in first.fidelity.changed} == {"truth values": 50, "system records": 2}
    assert first.fidelity.damage == []


def test_reading_leaves_no_trace(project):
    """Neither a byte changed nor a file beside the database."""
    before = contents(project)
    assert importer.recognises(project / "digits.db")
    list(importer.read(project / "digits.db"))
    assert before == contents(project)


def test_a_live_database_is_read_while_it_is_written_and_after_a_kill(trackio_python, tmp_path):
    """What was committed is there, as a whole prefix; reading again gives more; so does reading after SIGKILL."""
    child = subprocess.Popen(
        [trackio_python, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(tmp_path)
    )
    counts = []
    try:
        assert any(line == b"ready\n" for line in child.stdout)
        for _ in range(3):
            (run,) = importer.read(tmp_path / "live.db")
            found = points(run, "loss")
            assert [(step, 1 / (step + 1)) for step in range(len(found))] == found
            counts.append(len(found))
    finally:
        child.kill()
        child.wait(timeout=30)
        child.stdout.close()
    (run,) = importer.read(tmp_path / "live.db")
    counts.append(len(points(run, "loss")))
    assert counts[0] >= 21
    assert counts == sorted(counts)


def test_exports_to_parquet_hold_the_same(trackio_python, tmp_path):
    """Where only the export was kept, its numbers are those of the database; beside the database it is left alone."""
    packages = tmp_path / "packages"  # Trackio exports with pyarrow: this environment has it, Trackio's has not
    packages.mkdir()
    for folder in Path(pa.__file__).parent.parent.glob("pyarrow*"):
        (packages / folder.name).symlink_to(folder)
    command = [trackio_python, "-c", WRITER, "parquet"]
    directory = tmp_path / "trackio"
    names = environment(directory) | {"PYTHONPATH": str(packages)}
    subprocess.run(command, check=True, capture_output=True, timeout=120, env=names)
    assert not importer.recognises(directory / "digits.parquet")
    databases = list(importer.read(directory / "digits.db"))
    (directory / "digits.db").unlink()
    assert importer.recognises(directory / "digits.parquet")
    exports = list(importer.read(directory / "digits.parquet"))
    assert [run.key for run in exports] == [run.key for run in databases]
    for exported, expected in zip(exports, databases, strict=True):
        for name in {name for block in expected.metrics for name in block.columns}:
            for split in ("train", "host"):
                assert repr(points(exported, name, split)) == repr(points(expected, name, split)), name
        assert (exported.name, exported.group, exported.config) == (expected.name, expected.group, expected.config)


def test_a_row_that_is_no_json_is_damage(project, tmp_path):
    """The other rows of the run are read."""
    shutil.copy(project / "digits.db", tmp_path)
    with sqlite3.connect(tmp_path / "digits.db") as database:
        database.execute("UPDATE metrics SET metrics = ? WHERE id = 2", (b'{"loss": ',))
    database.close()
    first, _ = importer.read(tmp_path / "digits.db")
    assert len(points(first, "loss")) == 51
    assert [place.reason.partition(":")[0] for place in first.fidelity.damage] == ["row 2 of the table metrics"]


def test_a_damaged_database_says_what_to_do(project, tmp_path):
    """A cut file is an error with its name and the next step, not half a run."""
    whole = (project / "digits.db").read_bytes()
    (tmp_path / "digits.db").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(FormatError, match=r"digits\.db cannot be read as an SQLite database .* copy it anew"):
        list(importer.read(tmp_path / "digits.db"))


def test_other_databases_are_not_ours(tmp_path):
    """By their tables; a file that is no database, or is missing, is no error."""
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE metrics (id INTEGER)")
    database.close()
    (tmp_path / "text.db").write_text("hello")
    for name in ("other.db", "text.db", "missing.db"):
        assert not importer.recognises(tmp_path / name)
