"""Folders as neptune-exporter leaves them.

The exporter downloads from Neptune's server, which was shut down, so it cannot run here: these files are written with
pyarrow in the schema of its ``model.py``, with the conversions of its ``exporters/neptune3.py`` (steps quantised to six
decimals, tables through pandas' "from_pandas", which turns NaN into an empty value) and the names of its
``storage/parquet_writer.py``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from barograph.errors import FormatError
from barograph.read.foreign.neptune import importer, is_exact, number

SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)
START = dt.datetime(2025, 11, 20, 12, 0, 0, 123_000, tzinfo=dt.UTC)
COLUMN = {
    "float_series": "float_value",
    "string_series": "string_value",
    "histogram_series": "histogram_value",
    "file": "file_value",
    "file_series": "file_value",
}


def sanitised(name):
    """A name as the exporter makes it fit for a file."""
    safe = "".join(each if each.isalnum() or each in "_-" else "_" for each in name)
    return f"{safe}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def row(path, kind, value, step=None, seconds=None):
    """One value."""
    return {
        "attribute_path": path,
        "attribute_type": kind,
        COLUMN.get(kind, f"{kind}_value"): value,
        "step": None if step is None else Decimal(step).quantize(Decimal("1.000000")),
        "timestamp": None if seconds is None else START + dt.timedelta(seconds=seconds),
    }


def export(root, run_id, *parts, project="me/digits"):
    """Write a run's parts; returns the project's folder."""
    folder = root / "data" / sanitised(project)
    folder.mkdir(parents=True, exist_ok=True)
    for place, rows in enumerate(parts):
        full = [{"project_id": project, "run_id": run_id, **each} for each in rows]
        table = pa.Table.from_pylist(full, schema=SCHEMA)
        pq.write_table(table, folder / f"{sanitised(run_id)}_part_{place}.parquet", compression="snappy")
    return folder


def series(path, pairs):
    """A series of numbers, a second apart."""
    return [row(path, "float_series", value, step, place) for place, (step, value) in enumerate(pairs)]


def points(run, name, attempt=0):
    """A metric's steps and values."""
    found = []
    for block in run.metrics:
        if block.attempt == attempt and name in block.columns:
            found += zip(block.steps, block.columns[name], strict=True)
    return found


def read(folder):
    """The runs of a folder by their name."""
    return {run.name: run for run in importer.read(folder)}


@pytest.fixture
def folder(tmp_path):
    """One run with something of each type, in two parts."""
    (tmp_path / "files" / "weights").mkdir(parents=True)
    (tmp_path / "files" / "weights" / "final.pt").write_bytes(b"weights")
    first = [
        row("sys/custom_run_id", "string", "RUN-1"),
        row("sys/name", "string", "baseline"),
        row("sys/tags", "string_set", ["small", "first"]),
        row("sys/creation_time", "datetime", START),
        row("sys/state", "string", "Inactive"),
        row("sys/failed", "bool", value=False),
        row("optim/lr", "float", 0.1),
        row("optim", "string", "adam"),
        row("seed", "int", 7),
        row("amp", "bool", value=True),
        row("unset", "float", None),
        *series("loss", [(f"{step / 10}", 1 / (step + 3)) for step in range(20)]),
        *series("accuracy", [(f"{step / 10}", step * 0.1) for step in range(20)]),
    ]
    second = [
        *series("grad", [("0.000001", -math.inf), ("3", None), ("999999999999.999999", 1.0)]),
        row("log", "string_series", "hello", "1", 0),
        row("log", "string_series", "wörld", "2.5", 1),
        row("dist", "histogram_series", {"type": "COUNTING", "edges": [0.0, 1.0], "values": [3.0]}, "1", 0),
        row("model", "file", {"path": "weights/final.pt"}),
        row("images", "file_series", {"path": "images/gone.png"}, "3", 0),
    ]
    return export(tmp_path, "RUN-1", first, second)


def test_decimal_steps_and_values_are_exact(folder):
    """Each step reads back as the same decimal; whole ones are integers; those beyond a float64 are counted."""
    run = read(folder)["RUN-1"]
    assert points(run, "loss") == [(step / 10, 1 / (step + 3)) for step in range(20)]
    assert points(run, "accuracy") == [(step / 10, step * 0.1) for step in range(20)]
    assert [type(step) for step, _ in points(run, "loss") if step % 1 == 0] == [int, int]
    (small, down), (whole, missing), (large, one) = points(run, "grad")
    assert (small, down, whole, large, one) == (1e-06, -math.inf, 3, 999999999999.999999, 1.0)
    assert math.isnan(missing)
    assert run.fidelity.kept["numbers"] == 43
    assert [(change.what, change.count) for change in run.fidelity.changed] == [("steps", 1), ("numbers", 1)]


def test_series_with_the_same_steps_and_times_are_one_block(folder):
    """What was logged in one call is one record again; times are to the millisecond."""
    run = read(folder)["RUN-1"]
    assert sorted(sorted(block.columns) for block in run.metrics) == [["accuracy", "loss"], ["grad"]]
    block = next(block for block in run.metrics if "loss" in block.columns)
    assert list(block.t) == [START.timestamp() + place for place in range(20)]


def test_a_second_reader_finds_the_same_numbers(folder):
    """polars, asked for the column alone, gives the same values in the order of steps."""
    run = read(folder)["RUN-1"]
    table = pl.read_parquet(folder / "*.parquet").filter(pl.col("attribute_path") == "loss").sort("step")
    assert [value for _, value in points(run, "loss")] == table["float_value"].to_list()
    assert [Decimal(repr(step)) for step, _ in points(run, "loss")] == table["step"].to_list()


def test_identity_config_texts_and_files(folder):
    """sys/ tells who the run is; other single values are the config, nested; texts and files are kept or counted."""
    run = read(folder)["RUN-1"]
    assert (run.project, run.group, run.tags, run.seed) == ("me/digits", "baseline", ["small", "first"], 7)
    assert (run.status, run.created_t) == ("finished", START.timestamp())
    assert run.config == {"optim": {"lr": 0.1}, "optim/": "adam", "seed": 7, "amp": True}
    assert [(text.text, text.step, text.t) for text in run.texts] == [
        ("hello", 1, START.timestamp()),
        ("wörld", 2.5, START.timestamp() + 1),
    ]
    assert [(file.name, file.path.read_bytes()) for file in run.files] == [("model", b"weights")]
    assert {loss.what: loss.count for loss in run.fidelity.lost} == {"histograms": 1, "files": 1}


def test_a_forked_run_has_its_ancestors_points_as_earlier_attempts(tmp_path):
    """Up to the fork, and no further: the grandparent's to the least fork on the way; the run's own are the latest."""
    export(tmp_path, "a", series("loss", [(str(step), float(step)) for step in range(10)]))
    fork = [row("sys/forking/parent", "string", "a"), row("sys/forking/step", "int", 5)]
    export(tmp_path, "b", [*fork, *series("loss", [(str(step), step + 0.5) for step in range(6, 9)])])
    fork = [row("sys/forking/parent", "string", "b"), row("sys/forking/step", "float", 7.0)]
    folder = export(tmp_path, "c", [*fork, *series("loss", [("8", 80.0)])])
    run = read(folder)["c"]
    assert points(run, "loss", 0) == [(step, float(step)) for step in range(6)]
    assert points(run, "loss", 1) == [(6, 6.5), (7, 7.5)]
    assert points(run, "loss", 2) == [(8, 80.0)]
    assert (run.fidelity.kept["numbers"], run.fidelity.kept["inherited numbers"]) == (1, 8)
    assert [(change.what, change.count) for change in run.fidelity.changed] == [("forks", 2)]


def test_a_missing_or_circular_parent_is_said_and_not_followed(tmp_path):
    """The run's own points are there; the account names the parent and the step."""
    step = row("sys/forking/step", "int", 5)
    export(tmp_path, "child", [row("sys/forking/parent", "string", "gone"), step, *series("loss", [("6", 1.0)])])
    loop = [row("sys/forking/parent", "string", "me"), step, *series("loss", [("6", 2.0)])]
    runs = read(export(tmp_path, "me", loop))
    assert points(runs["child"], "loss") == [(6, 1.0)]
    assert points(runs["me"], "loss") == [(6, 2.0)]
    told = "the parent gone is not in the export: its points up to step 5 are missing"
    assert told in runs["child"].fidelity.notes


def test_runs_of_two_projects_with_one_name_have_keys_of_their_own(tmp_path):
    """A run's identifier is unique within its project only."""
    folders = [export(tmp_path, "a", series("loss", [("0", 1.0)]), project=project) for project in ("me/x", "me/y")]
    assert [run.key for folder in folders for run in importer.read(folder)] == ["me/x/a", "me/y/a"]


def test_a_torn_part_is_damage_and_the_others_are_read(folder):
    """A part without its footer cannot be read by anybody; a folder of nothing else is an error."""
    first, second = sorted(folder.iterdir())
    second.write_bytes(second.read_bytes()[:-9])
    run = read(folder)["RUN-1"]
    assert len(points(run, "loss")) == 20
    assert [place.path for place in run.fidelity.damage] == [str(second)]
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"has no readable part .*; export the project anew"):
        read(folder)


def test_only_folders_with_parts_are_ours(folder, tmp_path):
    """Not the folder above; not one whose parts are no Parquet."""
    assert importer.recognises(folder)
    assert not importer.recognises(folder.parent)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part_0.parquet").write_text("no")
    assert not importer.recognises(tmp_path / "other")


@pytest.mark.parametrize("text", ["0.000001", "123456789.123456", "0.1", "12345678.900000"])
def test_steps_of_up_to_fifteen_digits_are_exact(text):
    """And those that are not say so."""
    assert is_exact(Decimal(text))
    assert Decimal(repr(number(Decimal(text)))) == Decimal(text)
    assert not is_exact(Decimal("999999999999.999999") - Decimal("0.000088"))
