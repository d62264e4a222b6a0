"""``barograph import``, on files that loguru, Lightning's format, Optuna and SQLite made."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from barograph.facts.codec import decode
from barograph.read.foreign.convert import ORIGIN
from barograph.read.run import RunReader

LOGGING = """
import json, math, sys
from pathlib import Path
from loguru import logger

logger.remove()
for tier, num_steps in (("quick", 3), ("full", 6)):
    (Path(sys.argv[1]) / tier).mkdir()
    sink = logger.add(Path(sys.argv[1]) / tier / "train.log",
                      format="{time:YYYY-MM-DD HH:mm:ss} | {level} | {message}")
    logger.info("{} begins", tier)
    for step in range(num_steps):
        loss = math.nan if step == 2 else 1 / (step + 3)
        logger.info("metric {}", json.dumps({"epoch": 0, "step": step, "loss": loss}))
    logger.remove(sink)
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """An experiment with a quick and a full run, logged by loguru; a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("cli-import") / "exp"
    folder.mkdir()
    command = [sys.executable, "-c", textwrap.dedent(LOGGING), str(folder)]
    subprocess.run(command, check=True, timeout=60, env=dict(os.environ))
    return folder


@pytest.fixture
def broken(tmp_path):
    """A database with Trackio's tables, cut in the middle."""
    path = tmp_path / "broken" / "digits.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for table in ("metrics", "configs", "system_metrics"):
            database.execute(
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, run_id TEXT, run_name TEXT, timestamp TEXT)"
            )
        database.executemany("INSERT INTO metrics VALUES (?, 'r', 'n', ?)", [(n, "x" * 900) for n in range(100)])
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def runs(root):
    """The runs below a root by name."""
    found = [RunReader(path) for path in sorted(root.iterdir())] if root.exists() else []
    return {run.identity.name: run for run in found}


@pytest.mark.spec("S0.18", "S0.20")
def test_each_run_is_shown_with_its_account(cli, logged, tmp_path):
    """Tool, name, numbers, steps, status; where it went; what was kept, changed and lost, in words; a total."""
    shown = cli("import", logged, "--root", tmp_path / "runs").stdout.splitlines()
    full, quick = runs(tmp_path / "runs")["full"], runs(tmp_path / "runs")["quick"]
    assert shown == [
        "imported  metric_log  full  12 numbers of 2 metrics, steps 0 to 5  unknown",
        f"  {logged}/full -> {full.path}",
        "  kept: 12 numbers, 1 file (where they lie)",
        "  changed: 6 times (the log names no time zone: taken as this machine's)",
        "  changed: 6 times (the log has them to the second)",
        "  lost: 1 text line (only metric lines hold numbers; the logs stay where they are)",
        "imported  metric_log  quick  6 numbers of 2 metrics, steps 0 to 2  unknown",
        f"  {logged}/quick -> {quick.path}",
        "  kept: 6 numbers, 1 file (where they lie)",
        "  changed: 3 times (the log names no time zone: taken as this machine's)",
        "  changed: 3 times (the log has them to the second)",
        "  lost: 1 text line (only metric lines hold numbers; the logs stay where they are)",
        f"2 runs: 2 imported; below {tmp_path}/runs",
    ]


def test_the_runs_that_are_made_hold_every_number(cli, logged, tmp_path):
    """Every verb reads them; values to the bit, NaN among them; the origin stands in the provenance."""
    cli("import", logged, "--root", tmp_path / "runs")
    full = runs(tmp_path / "runs")["full"]
    curve = [(point.step, repr(point.value)) for point in full.curve("loss")]
    assert curve == [(step, "nan" if step == 2 else repr(1 / (step + 3))) for step in range(6)]
    assert full.provenance[ORIGIN]["source"] == f"{logged}/full"
    assert full.identity.tags == ["full"]
    assert re.search(r"full +.* 5 +0\.125 ", cli("list", tmp_path / "runs").stdout)
    assert cli("check", full.path).returncode == 0


def test_a_dry_run_writes_nothing(cli, logged, tmp_path):
    """The same account, found and not imported; no root appears."""
    shown = cli("import", logged, "--root", tmp_path / "runs", "--dry-run").stdout.splitlines()
    assert shown[0] == "found  metric_log  full  12 numbers of 2 metrics, steps 0 to 5  unknown"
    assert "  kept: 12 numbers" in shown[2]
    assert shown[-1] == "2 runs: 2 found; nothing was written"
    assert not (tmp_path / "runs").exists()


def test_importing_again_makes_no_second_run_and_growth_replaces(cli, logged, tmp_path):
    """Unchanged the second time; one more line in the log, and that run is replaced where it lies."""
    source, root = tmp_path / "exp", tmp_path / "runs"
    for tier in ("full", "quick"):
        (source / tier).mkdir(parents=True)
        (source / tier / "train.log").write_bytes((logged / tier / "train.log").read_bytes())
    cli("import", source, "--root", root)
    paths = {name: run.path for name, run in runs(root).items()}
    assert cli("import", source, "--root", root).stdout.splitlines()[-1] == f"2 runs: 2 unchanged; below {root}"
    with (source / "quick" / "train.log").open("a") as file:
        file.write('2026-11-20 12:00:00 | INFO | metric {"step": 3, "loss": 0.5}\n')
    shown = cli("import", source, "--root", root).stdout.splitlines()
    assert shown[-1] == f"2 runs: 1 replaced, 1 unchanged; below {root}"
    assert {name: run.path for name, run in runs(root).items()} == paths
    assert {point.step: point.value for point in runs(root)["quick"].curve("loss")}[3] == 0.5


def test_json_tells_all_of_it(cli, logged, tmp_path):
    """Strict JSON on one line: each run's outcome, numbers, steps and account; what could not be read."""
    text = cli("import", logged, "--root", tmp_path / "runs", "--json").stdout
    document = decode(text.encode())
    assert json.loads(text, parse_constant=lambda name: 1 / 0)["dry_run"] is False
    full, quick = document["runs"]
    assert (full["outcome"], full["tool"], full["num_numbers"], full["last_step"]) == ("imported", "metric_log", 12, 5)
    assert quick["fidelity"]["kept"]["numbers"] == 6
    assert quick["account"][0].startswith("kept: 6 numbers")
    assert quick["path"] == str(runs(tmp_path / "runs")["quick"].path)
    assert (document["unread"], document["root"]) == ([], str(tmp_path / "runs"))


def test_a_recognised_source_that_cannot_be_read_is_exit_code_1(cli, broken, logged, tmp_path):
    """It is named with the reason and the next step; the others are imported all the same."""
    done = cli("import", broken.parent, logged, "--root", tmp_path / "runs", code=1)
    assert f"barograph: trackio: {broken} cannot be read as an SQLite database" in done.stderr
    assert done.stdout.splitlines()[-1] == (f"2 runs: 2 imported; below {tmp_path}/runs; 1 source could not be read")
    document = json.loads(cli("import", broken, "--dry-run", "--json", code=1).stdout)
    assert [(each["tool"], each["source"]) for each in document["unread"]] == [("trackio", str(broken))]


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch, capsys, tmp_path):
    """The source is recognised without it; reading it says what to install, and is exit code 1."""
    from barograph.cli.import_ import main

    journal = tmp_path / "study.log"
    journal.write_text('{"op_code":0,"worker_id":"w","study_name":"s","directions":[1]}\n')
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([str(journal), "--dry-run"], root=None) == 1
    told = capsys.readouterr()
    assert told.err == (
        f"barograph: optuna: {journal}: this needs optuna, which is not installed; "
        "python -m pip install 'barograph[impact]'\n"
    )
    assert told.out == "0 runs: nothing; nothing was written; 1 source could not be read\n"


def test_an_unknown_place_names_the_tools_and_what_was_looked_for(cli, tmp_path):
    """Exit code 2; every importer with what it recognises; a path that is not there says so."""
    (tmp_path / "empty").mkdir()
    told = cli("import", tmp_path / "empty", code=2).stderr
    assert f"'{tmp_path}/empty' holds nothing that an importer knows" in told
    for tool, words in (
        ("trackio", "a database with Trackio's tables"),
        ("metric_log", "a metric line"),
        ("wandb", ""),
    ):
        assert re.search(rf"^  {tool} +.*{words}", told, re.MULTILINE)
    assert told.rstrip().endswith("Name the directory that the tool wrote")
    assert "does not exist" in cli("import", tmp_path / "missing", code=2).stderr


def test_a_run_of_ours_needs_no_import(cli, root):
    """The message names the verb that shows it."""
    path = next(root.iterdir())
    assert f"'{path}' is a run already; `barograph show {path}` shows it" in cli("import", path, code=2).stderr


def test_tool_looks_for_one_tools_files_alone(cli, logged, tmp_path):
    """Others are not found; a tool that nobody offers is an error that lists those there are."""
    assert "holds nothing" in cli("import", logged, "--tool", "wandb", code=2).stderr
    shown = cli("import", logged, "--tool", "metric_log", "--root", tmp_path / "runs").stdout
    assert shown.splitlines()[-1].startswith("2 runs: 2 imported")
    told = cli("import", logged, "--tool", "tensorbord", code=2).stderr
    assert "'tensorbord'" in told
    assert "tfevents" in told


def test_copy_files_puts_them_into_the_run(cli, logged, tmp_path):
    """Without it their paths are noted; with it the run has the log's bytes among its blobs."""
    cli("import", logged / "quick", "--root", tmp_path / "noted")
    assert not runs(tmp_path / "noted")["quick"].directory.blobs.exists()
    cli("import", logged / "quick", "--root", tmp_path / "copied", "--copy-files")
    blobs = runs(tmp_path / "copied")["quick"].directory.blobs
    copies = [path.read_bytes() for path in blobs.rglob("*") if path.is_file()]
    assert copies == [(logged / "quick" / "train.log").read_bytes()]


def test_the_default_root_may_hold_what_is_imported(logged, tmp_path, cli):
    """Runs are made in it, not in the cache: torch's writer, too, writes to ``runs`` when nobody says where."""
    shutil.copytree(logged, tmp_path / "runs" / "exp")
    cli("import", "runs", cwd=tmp_path)
    assert len([path for path in (tmp_path / "runs").iterdir() if path.name.startswith("run_")]) == 2
