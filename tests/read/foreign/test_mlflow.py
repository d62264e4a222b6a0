"""Stores that the real MLflow wrote, its database and its files, beside what MLflow's own client reads from them."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import struct
import subprocess

import pytest
from tests.read.foreign import writers
from tests.read.foreign.conftest import QUIET
from tests.read.foreign.writers import NUM_STEPS, ODD, curve

from barograph.errors import FormatError
from barograph.read.catalog import discover_runs
from barograph.read.foreign.convert import import_run, imported_runs
from barograph.read.foreign.mlflow import INFINITY_REASON, MERGED_NOTE, TEXT_REASON, importer
from barograph.read.foreign.protocol import find_foreign
from barograph.read.run import RunReader

pytestmark = pytest.mark.timeout(1800)  # on a fresh machine MLflow is installed first
STORES = ("mlflow.db", "mlruns")


@pytest.fixture(scope="session")
def stores(tool_python, written):
    """The directory in which both stores lie."""
    return written("mlflow", python=tool_python("mlflow"))


@pytest.fixture(params=STORES)
def store(stores, request):
    """One of the two stores."""
    return stores / request.param


def runs_of(store):
    """The runs of a store by name."""
    return {run.name: run for run in importer.read(store)}


def bits(values):
    """Numbers so that NaN equals itself and zeros have a sign."""
    return [struct.pack("<d", value) for value in values]


def curve_of(run, name):
    """Steps, values and times of a metric."""
    ((steps, values, times),) = [
        (list(block.steps), list(block.columns[name]), list(block.t)) for block in run.metrics if name in block.columns
    ]
    return steps, values, times


def told(store):
    """What MLflow's own client said of the runs of that store."""
    name = "told-sqli.json" if store.name == "mlflow.db" else "told-file.json"
    return json.loads((store.parent / name).read_text(encoding="utf-8"))


def test_metrics_are_what_was_logged(store):
    """Every number at its step, those with a slash in the name too; logged together they stay together."""
    run = runs_of(store)["parent"]
    steps = list(range(NUM_STEPS))
    assert (steps, [curve(step) for step in steps]) == curve_of(run, "loss")[:2]
    assert (steps, [step / 7 for step in steps]) == curve_of(run, "deep/accuracy")[:2]
    assert {"loss", "deep/accuracy"} in [set(block.columns) for block in run.metrics]
    assert curve_of(run, "repeated")[:2] == ([5, 5, -2], [1.0, 2.0, 3.0])


def test_odd_numbers(store):
    """NaN and the infinities are what was logged, in the database by undoing what MLflow does, which is reported."""
    run = runs_of(store)["parent"]
    expected = [abs(value) if value == 0 and store.name == "mlflow.db" else value for value in ODD]  # SQLite: no -0
    assert bits(expected) == bits(curve_of(run, "odd")[1])
    changes = {change.reason: change.count for change in run.fidelity.changed if change.what == "numbers"}
    assert ({INFINITY_REASON: 2} if store.name == "mlflow.db" else {}) == changes
    assert (MERGED_NOTE in run.fidelity.notes) is (store.name == "mlflow.db")


def test_the_same_as_mlflows_client_reads(store):
    """Of every run, every metric: milliseconds, steps and values; parameters, tags; infinities as it shows them."""
    largest = math.nextafter(math.inf, 0)
    runs = runs_of(store)
    assert told(store).keys() == runs.keys()
    num_numbers = 0
    for name, theirs in told(store).items():
        run = runs[name]
        assert theirs["id"] == run.run_id
        assert theirs["params"].keys() == run.config.keys()
        assert {f"{k}={v}" for k, v in theirs["tags"].items() if not k.startswith("mlflow.")} == set(run.tags)
        for metric, points in theirs["metrics"].items():
            steps, values, times = curve_of(run, metric)
            shown = [math.copysign(largest, v) if math.isinf(v) and store.name == "mlflow.db" else v for v in values]
            ours = sorted(
                (round(t * 1000), step, value.hex()) for t, step, value in zip(times, steps, shown, strict=True)
            )
            assert sorted(map(tuple, points)) == ours
            num_numbers += len(points)
    assert num_numbers == 2 * NUM_STEPS + len(ODD) + 3 + 3
    assert num_numbers == sum(run.fidelity.kept.get("numbers", 0) for run in runs.values())


def test_identity_and_configuration(store):
    """Experiment, tags, notes and seed; parameters that Python would print so are numbers again, others stay text."""
    run = runs_of(store)["parent"]
    assert (run.project, run.tags, run.notes, run.seed, run.group) == ("exp one", ["team=x"], "some notes", 7, None)
    assert math.isnan(run.config.pop("nan"))
    assert run.config == {"lr": 0.1, "deep/name": "v", "seed": 7, "flag": True, "exponent": "1e-3"}
    assert {c.reason: c.count for c in run.fidelity.changed if c.what == "settings"} == {TEXT_REASON: 4}
    assert run.created_t < run.ended_t < run.created_t + 600


def test_statuses(store):
    """Finished, failed, killed, and one that nobody ended."""
    expected = {
        "parent": "finished",
        "child": "finished",
        "failed": "failed",
        "deleted": "killed",
        "left open": "running",
    }
    assert expected == {name: run.status for name, run in runs_of(store).items()}


def test_a_nested_run_is_grouped_under_its_parent(store):
    """By the parent's name, which only one run has."""
    assert runs_of(store)["child"].group == "parent"


def test_artifacts_are_named_where_they_lie(store):
    """With their size; nothing is copied."""
    (file,) = runs_of(store)["parent"].files
    assert (file.name, file.size_bytes, file.path.read_text()) == ("notes.txt", 5, "hello")


def test_a_deleted_run_is_imported_as_deleted(store, tmp_path):
    """It is hidden from the list of runs, is among the deleted ones, and importing again does not make another."""
    for expected in ("new", "unchanged"):
        known = imported_runs(tmp_path)
        assert {expected} == {import_run(run, tmp_path, known=known).outcome for run in importer.read(store)}
    names = {RunReader(path).identity.name for path in discover_runs(tmp_path)}
    assert {"parent", "child", "failed", "left open"} == names
    assert [RunReader(path).identity.name for path in discover_runs(tmp_path, deleted=True)] == ["deleted"]


def test_native_runs_hold_the_same_numbers(store, tmp_path):
    """Rows of the imported parent are those of the source, and its status is the recorded one."""
    run = runs_of(store)["parent"]
    native = RunReader(import_run(run, tmp_path, durable=False).path)
    for block in run.metrics:
        for name, values in block.columns.items():
            assert bits(values) == bits(point.value for point in native.curve(name))
            assert list(block.steps) == [point.step for point in native.curve(name)]
    assert native.status().state == "finished"


def test_both_stores_are_found(stores):
    """The database by its tables, the directory by its experiments, and no experiment or run is a source of its own."""
    assert [("mlflow", stores / name) for name in STORES] == find_foreign(stores, tools=["mlflow"])


def test_nothing_is_changed_beside_the_source(stores, tmp_path):
    """Reading leaves names, sizes and times of all files as they were."""

    def look():
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in stores.rglob("*")}

    before = look()
    assert 5 == len(runs_of(stores / "mlflow.db")) == len(runs_of(stores / "mlruns"))
    assert before == look()


def test_an_experiment_that_was_deleted_is_read(stores, tmp_path):
    """MLflow moves it to ``.trash``; its runs come as deleted ones."""
    shutil.copytree(stores / "mlruns", tmp_path / "mlruns")
    (experiment,) = [path.parent for path in (tmp_path / "mlruns").glob("*/meta.yaml") if "exp one" in path.read_text()]
    experiment.rename(tmp_path / "mlruns" / ".trash" / experiment.name)
    runs = runs_of(tmp_path / "mlruns")
    assert len(runs) == 5
    assert all(run.is_deleted for run in runs.values())


def test_damaged_lines_are_counted(stores, tmp_path):
    """A torn last line, and one that is no point; the points around them are read."""
    shutil.copytree(stores / "mlruns", tmp_path / "mlruns")
    (path,) = (tmp_path / "mlruns").glob("*/*/metrics/loss")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[3:-1], lines[-1][:-1]]))
    run = runs_of(tmp_path / "mlruns")["parent"]
    assert list(range(NUM_STEPS - 1)) == curve_of(run, "loss")[0]
    sizes = [len(line) for line in lines]
    expected = [(sum(sizes[:3]), 8), (sum(sizes[:-1]) + 8, sizes[-1] - 1)]
    assert expected == [(place.offset, place.size_bytes) for place in run.fidelity.damage]


def test_a_damaged_database_is_an_error(stores, tmp_path):
    """It says which file, and what to do."""
    data = bytearray((stores / "mlflow.db").read_bytes())
    data[200_000:] = bytes(len(data) - 200_000)
    path = tmp_path / "mlflow.db"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"mlflow\.db cannot be read as MLflow's database .* copy it anew"):
        list(importer.read(path))


def test_other_databases_and_directories_are_not_recognised(tmp_path):
    """A database without MLflow's tables, a directory of directories; reading one says what to name."""
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE runs (a)")
    database.close()
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "meta.yaml").write_text("name: something else\n")
    assert not importer.recognises(tmp_path / "other.db")
    assert not importer.recognises(tmp_path)
    with pytest.raises(FormatError, match="name the directory `mlruns`"):
        next(importer.read(tmp_path))


def test_a_database_is_read_while_mlflow_writes_it(tool_python, tmp_path):
    """Each look sees every call that had returned before it, whole; the writer goes on, and is never refused."""
    path = tmp_path / "live.db"
    environ = {**os.environ, **QUIET, "HOME": str(tmp_path)}
    command = [tool_python("mlflow"), writers.__file__, "mlflow_writing", f"sqlite:///{path}"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as writer:
        counts = []
        for _ in range(5):
            returned = int(writer.stdout.readline())
            steps, values, _ = curve_of(runs_of(path)["live"], "loss")
            assert list(range(len(steps))) == steps
            assert steps == values
            assert len(steps) > returned
            counts.append(len(steps))
        assert writer.poll() is None
        writer.kill()
    assert sorted(counts) == counts
