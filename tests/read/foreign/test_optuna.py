"""Optuna's studies, made by Optuna in a process of its own; in SQLite and in a journal."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from tests.read.foreign.once import once

from barograph.errors import FormatError
from barograph.read.foreign.optuna import importer

STUDY = """
import json, math, sys, optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
folder = sys.argv[1]
storages = {"study.db": RDBStorage(f"sqlite:///{folder}/study.db"),
            "study.log": JournalStorage(JournalFileBackend(f"{folder}/study.log"))}

def objective(trial):
    x = trial.suggest_float("x", 1e-4, 1.0, log=True)
    trial.suggest_int("layers", 1, 3)
    trial.suggest_categorical("kind", ["adam", "sgd", None])
    trial.set_user_attr("notes", {"k": [1, 2]})
    for step in range(4):
        trial.report(math.nan if (trial.number, step) == (1, 2) else math.inf if step == 3 else x + step, step)
        if trial.number == 2 and step == 1:
            raise optuna.TrialPruned
    if trial.number == 3:
        raise ValueError("no such layer")
    return x * x

for name, storage in storages.items():
    study = optuna.create_study(study_name="tune", storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    study.set_user_attr("who", "me")
    study.optimize(objective, n_trials=5, catch=(ValueError,))
    study.ask()
    both = optuna.create_study(study_name="two", storage=storage, directions=["minimize", "maximize"])
    both.set_metric_names(["loss", "accuracy"])
    both.optimize(lambda trial: (trial.suggest_float("y", 0, 1), 2.0), n_trials=2)
    told = [[trial.number, trial.state.name, trial.params, trial.values,
             sorted((step, repr(value)) for step, value in trial.intermediate_values.items()),
             trial.datetime_start.timestamp(),
             trial.datetime_complete and trial.datetime_complete.timestamp()]
            for each in (study, both) for trial in each.get_trials()]
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump(told, file)
    if name == "study.db":
        storage.engine.dispose()
"""
STATUS = {"COMPLETE": "finished", "PRUNED": "finished", "FAIL": "failed", "RUNNING": "unknown"}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A folder with both storages and what Optuna itself says about them; it must not be changed."""

    def study(directory):
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", STUDY, directory]
        subprocess.run(command, check=True, capture_output=True, timeout=170, env=environment)

    return once(tmp_path_factory, "optuna", study)


def points(run):
    """The intermediate values by step."""
    return [
        (step, repr(value))
        for block in run.metrics
        for step, value in zip(block.steps, block.columns["intermediate_value"], strict=True)
    ]


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_every_trial_is_a_run_with_its_own_values(studied, name):
    """Numbers, states, parameters, final and intermediate values, and times are those that Optuna gives."""
    told = json.loads((studied / f"{name}.json").read_text())
    runs = list(importer.read(studied / name))
    assert [run.key for run in runs] == [*(f"tune/{n}" for n in range(6)), "two/0", "two/1"]
    for run, (_, state, params, values, intermediate, started, completed) in zip(runs, told, strict=True):
        assert (run.summary["state"], run.status) == (state, STATUS[state])
        assert run.config == params
        assert points(run) == [tuple(pair) for pair in intermediate]
        assert [run.summary[each] for each in ("value", "loss", "accuracy") if each in run.summary] == (values or [])
        assert (run.created_t, run.ended_t) == (started, completed)
        assert run.fidelity.kept.get("numbers", 0) == len(intermediate)


def test_groups_objectives_and_attributes(studied):
    """A study is a group; objectives have their names; user attributes are kept; pruning is a tag and said."""
    runs = {run.key: run for run in importer.read(studied / "study.db")}
    assert {run.group for run in runs.values()} == {"tune", "two"}
    assert runs["two/1"].summary["accuracy"] == 2.0
    assert runs["tune/0"].summary["user_attrs"] == {"notes": {"k": [1, 2]}}
    assert runs["tune/0"].provenance["study_attrs"] == {"who": "me"}
    assert runs["two/0"].provenance["directions"] == ["minimize", "maximize"]
    assert runs["tune/2"].tags == ["pruned"]
    assert [change.what for change in runs["tune/2"].fidelity.changed] == ["states"]
    assert [value for step, value in points(runs["tune/1"]) if step in (2, 3)] == ["nan", "inf"]


def test_reading_leaves_no_trace(studied):
    """No lock, no upgrade, no file beside the storages; a bare copy is as it was."""
    before = {path.name: path.read_bytes() for path in studied.iterdir()}
    for name in ("study.db", "study.log"):
        assert importer.recognises(studied / name)
        list(importer.read(studied / name))
    assert {path.name: path.read_bytes() for path in studied.iterdir()} == before


def test_a_torn_journal_gives_what_is_before_the_tear(studied, tmp_path):
    """Cut in the last line, a journal is one operation shorter; the damage is counted."""
    whole = (studied / "study.log").read_bytes()
    (tmp_path / "study.log").write_bytes(whole[:-5])
    runs = list(importer.read(tmp_path / "study.log"))
    last = whole.rindex(b"\n", 0, -1) + 1
    assert {(place.offset, place.size_bytes) for run in runs for place in run.fidelity.damage} == {
        (last, len(whole) - 5 - last)
    }
    assert [run.key for run in runs][-1] == "two/1"


def test_nothing_after_a_damaged_line_of_a_journal_is_believed(studied, tmp_path):
    """Trials are numbered by replaying, so what comes later might be told of another trial."""
    lines = (studied / "study.log").read_bytes().splitlines(keepends=True)
    place = [n for n, line in enumerate(lines) if b'"op_code":4' in line][1]
    damaged = b"".join(lines[:place]) + b"{\n" + b"".join(lines[place + 1 :])
    (tmp_path / "study.log").write_bytes(damaged)
    runs = list(importer.read(tmp_path / "study.log"))
    assert [run.key for run in runs] == ["tune/0"]
    assert runs[0].fidelity.damage[0].size_bytes == len(damaged) - len(b"".join(lines[:place]))


def test_a_storage_of_another_version_says_what_to_do(studied, tmp_path):
    """Optuna refuses its own older schema; the error tells the command that lifts a copy."""
    shutil.copy(studied / "study.db", tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
    database.close()
    with pytest.raises(FormatError, match=r"study\.db cannot be read as an Optuna storage .*`optuna storage upgrade`"):
        list(importer.read(tmp_path / "study.db"))


def test_other_files_are_not_ours(studied, tmp_path):
    """Neither a JSON-lines file of something else nor a missing one."""
    (tmp_path / "events.jsonl").write_text('{"moment": "on_start"}\n')
    assert not importer.recognises(tmp_path / "events.jsonl")
    assert not importer.recognises(tmp_path / "missing.db")
    assert not importer.recognises(studied)
    assert math.isfinite(next(importer.read(studied / "study.db")).created_t)
