"""Parts hold what the runs hold, once, whatever came, changed or went; other engines read them as they are."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from tests.read.archive.making import Maker

from barograph.errors import FormatError, MisuseError, RunBusyError
from barograph.facts.state import this_process, write_process
from barograph.read.archive import pack as packing
from barograph.read.archive.lock import alone
from barograph.read.archive.pack import pack, read_parts
from barograph.read.archive.seal import seal
from barograph.read.arrays import as_float
from barograph.read.flat import iterate_columns


@pytest.fixture
def runs(tmp_path):
    """Three ended runs with different metrics."""
    made = [Maker(tmp_path / "runs" / name) for name in "abc"]
    made[0].log([(step, {"loss": 1.0 / (step + 1), "lr": 0.1}) for step in range(100)])
    made[1].log([(step, {"loss": math.nan if step % 3 else -math.inf}) for step in range(50)])
    made[1].log([(step, {"loss": 0.5}) for step in range(40, 60)], attempt=1, rank=2)
    made[2].log([(0.5, {"acc": 0.25, "run": 7.0})], split="val")
    made[2].log([(1, {"big": 2**60 + 1}), (2, {"big": 10**400})], split="val")
    for run in made:
        run.end()
    return made


def test_a_metric_that_is_called_like_a_column_is_told_apart(tmp_path):
    """``run`` beside ``metric.run``: two columns, each with its own numbers."""
    run = Maker(tmp_path / "run")
    run.log([(0, {"run": 1.0, "metric.run": 2.0})])
    run.end()
    pack([run.path], tmp_path / "parts")
    frame = pl.read_parquet(read_parts(tmp_path / "parts"))
    assert frame.select("metric.run", "metric.metric.run").rows() == [(1.0, 2.0)]


def test_runs_that_have_no_metric_in_common_go_to_parts_of_their_own(tmp_path, monkeypatch):
    """A part does not get a column for every name of every run; nothing is lost, and packing again writes nothing."""
    monkeypatch.setattr(packing, "MAX_COLUMNS", 5)
    runs = [Maker(tmp_path / "runs" / str(number)) for number in range(5)]
    for number, run in enumerate(runs):
        run.log([(step, {f"m{number}/{place}": 0.5 for place in range(2)}) for step in range(3)])
        run.end()
    done = pack(paths(runs), tmp_path / "parts")
    parts = read_parts(tmp_path / "parts")
    assert (done.num_runs, done.num_parts) == (5, 3)
    assert max(len(pq.read_schema(part)) for part in parts) == 7 + 4
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 15
    assert pack(paths(runs), tmp_path / "parts").num_written == 0


def paths(runs):
    """Their directories."""
    return [run.path for run in runs]


def expected(runs):
    """Every number of the runs, one by one, as plain readers give them."""
    found = []
    for run in runs:
        for columns in iterate_columns(run.directory, []):
            for name, values in columns.values.items():  # noqa: PD011 - no frame
                for step, t, value in zip(columns.steps, columns.t, values, strict=True):
                    name_there = "metric.run" if name == "run" else name
                    origin = (str(run.path), columns.split, columns.attempt, columns.rank)
                    found.append((*origin, float(step), float(t), name_there, repr(as_float(value))))
    return sorted(found)


def packed(directory):
    """The same from the parts."""
    found = []
    for path in read_parts(directory):
        for row in pq.read_table(path).to_pylist():
            origin = [row.pop(name) for name in ("run", "split", "attempt", "rank", "step", "t")]
            del row["run_id"]
            found += [(*origin, name, repr(value)) for name, value in row.items() if value is not None]
    return sorted(found)


@pytest.mark.parametrize("part_bytes", [1, 128 << 20], ids=["a part per run", "one part"])
def test_parts_hold_every_number_of_every_run(runs, tmp_path, part_bytes):
    """Null where a record lacks a metric; NaN and infinities are values; integers beyond the floats are counted."""
    done = pack(paths(runs), tmp_path / "parts", part_bytes=part_bytes)
    assert (done.num_runs, done.num_parts, done.num_written, done.left) == (
        3,
        3 if part_bytes == 1 else 1,
        done.num_parts,
        {},
    )
    assert expected(runs) == packed(tmp_path / "parts")
    index = json.loads((tmp_path / "parts" / "parts.json").read_text())
    told = {run["path"]: (run["num_rows"], run["num_rounded"]) for part in index["parts"] for run in part["runs"]}
    assert told == dict(zip(map(str, paths(runs)), [(100, 0), (70, 0), (3, 2)], strict=True))


def test_row_groups_are_long(runs, tmp_path, monkeypatch):
    """Records of many runs share a group; a group ends when it is full."""
    monkeypatch.setattr(packing, "GROUP_ROWS", 60)
    pack(paths(runs), tmp_path / "parts")
    (path,) = read_parts(tmp_path / "parts")
    told = pq.ParquetFile(path).metadata
    assert [told.row_group(group).num_rows for group in range(told.num_row_groups)] == [73, 100]
    assert expected(runs) == packed(tmp_path / "parts")


def test_what_was_packed_is_packed_again_only_when_it_changed(runs, tmp_path):
    """New, changed, vanished and sealed runs, one after the other; each time the parts are what the runs are."""
    out = tmp_path / "parts"
    pack(paths(runs[:2]), out, part_bytes=1)
    files = {path: path.stat().st_mtime_ns for path in read_parts(out)}

    def again(chosen, **numbers):
        done = pack(paths(chosen), out, part_bytes=1)
        counts = {"num_new": 0, "num_changed": 0, "num_gone": 0, "num_written": 0, **numbers}
        assert counts == {name: getattr(done, name) for name in counts}
        assert expected(chosen) == packed(out)
        assert {path.name for path in read_parts(out)} == {path.name for path in out.glob("*.parquet")}

    again(runs[:2])
    again(runs, num_new=1, num_written=1)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    runs[0].stream(5, [(1.0, 2.0, 3.0)], columns=("step", "loss", "t"), attempt=1)
    runs[0].end(attempt=1)
    again(runs, num_changed=1, num_written=1)
    seal(runs[1].reader)
    again(runs)
    again(runs[1:], num_gone=1)


def test_small_parts_grow_together(runs, tmp_path):
    """Parts that are far from whole are written again with new runs, so that there are few of them."""
    out = tmp_path / "parts"
    for last in (1, 2, 3):
        done = pack(paths(runs[:last]), out)
        assert (done.num_parts, done.num_written, done.num_new) == (1, 1, 1)
    assert expected(runs) == packed(out)
    assert len(list(out.glob("*.parquet"))) == 1


def test_a_part_that_was_cut_or_removed_is_written_again(runs, tmp_path):
    """The index says how long it was."""
    out = tmp_path / "parts"
    pack(paths(runs), out)
    for damage in (lambda path: path.unlink(), lambda path: os.truncate(path, 100)):
        damage(read_parts(out)[0])
        assert pack(paths(runs), out).num_written == 1
        assert expected(runs) == packed(out)


def test_a_living_run_is_left_out_until_it_ends(runs, tmp_path):
    """With the reason; packed before, it goes until then."""
    write_process(runs[1].directory.process(), this_process(attempt=7))
    done = pack(paths(runs), tmp_path / "parts")
    assert list(done.left) == [str(runs[1].path)]
    assert "process" in done.left[str(runs[1].path)]
    assert expected([runs[0], runs[2]]) == packed(tmp_path / "parts")
    runs[1].end(attempt=7)
    pack(paths(runs), tmp_path / "parts")
    assert expected(runs) == packed(tmp_path / "parts")


def test_other_engines_read_the_parts(runs, tmp_path):
    """polars, DuckDB and pandas, of a pattern of names, also where parts have other columns."""
    out = tmp_path / "parts"
    pack(paths(runs), out, part_bytes=1)
    names = [str(path) for path in read_parts(out)]
    frame = pl.concat([pl.scan_parquet(name) for name in names], how="diagonal").collect()
    assert frame.height == 173
    assert frame.filter(pl.col("acc").is_not_null())["acc"].to_list() == [0.25]
    query = (
        f"select run, count(loss), count(*) from read_parquet('{out}/part-*.parquet', union_by_name=true) group by run"
    )
    counts = {run: tuple(numbers) for run, *numbers in duckdb.sql(query).fetchall()}
    assert counts == dict(zip(map(str, paths(runs)), [(100, 100), (70, 70), (0, 3)], strict=True))
    table = pd.concat([pd.read_parquet(name) for name in names])
    assert len(table) == 173
    assert table["loss"].min() == -math.inf


def test_a_query_for_large_values_finds_them_beside_nan(tmp_path):
    """Extremes of metrics are not written down: an engine that skips by them would lose rows of a NaN's group."""
    made = Maker(tmp_path / "run")
    made.log([(step, {"loss": math.nan if step else 1.0}) for step in range(10)])
    made.end()
    pack([made.path], tmp_path / "parts")
    (path,) = read_parts(tmp_path / "parts")
    told = pq.ParquetFile(path).metadata.row_group(0)
    names = [told.column(place).path_in_schema for place in range(told.num_columns)]
    has_extremes = {name: told.column(place).statistics is not None for place, name in enumerate(names)}
    assert (has_extremes["loss"], has_extremes["step"], has_extremes["run"]) == (False, True, True)
    assert duckdb.sql(f"select count(*) from '{path}' where loss > 10").fetchall() == [(9,)]  # NaN is the largest there


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from barograph.read.archive.pack import pack

out, *runs = map(Path, sys.argv[1:])
pack(runs[:2], Path(f"{out}-warm"))
for number in range(100):
    child = os.fork()
    if child == 0:
        counter = itertools.count()
        def kill(event, args):
            if event in {"open", "os.rename", "os.remove", "os.mkdir"} and next(counter) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill)
        pack(runs, Path(f"{out}-{number}"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_at_any_file_operation_the_parts_hold_each_run_once(runs, tmp_path):
    """By the index; packing again finishes and removes what was left behind."""
    out = tmp_path / "parts"
    pack(paths(runs[:2]), out)
    before = expected(runs[:2])
    for number in range(100):
        shutil.copytree(out, f"{out}-{number}")
    command = [sys.executable, "-c", KILLED, out, *paths(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=170)
    codes = [int(line) for line in done.stdout.split()]
    assert set(codes) == {-9, 0}
    num_killed = codes.count(-9)
    assert num_killed > 15
    after, seen = expected(runs), set()
    for number in range(num_killed + 1):
        copy = tmp_path / f"parts-{number}"
        held = packed(copy)
        assert held in (before, after)
        seen.add(len(held))
        pack(paths(runs), copy)
        assert packed(copy) == after
        assert len(list(copy.iterdir())) == 2
    assert seen == {len(before), len(after)}


def test_one_process_at_a_time(runs, tmp_path):
    """Of two that pack into one directory, one would remove what the other has written."""
    out = tmp_path / "parts"
    pack(paths(runs[:1]), out)
    message = r"another process packs runs into .*parts just now"
    with alone(out / ".pack.lock", what="packs runs into"), pytest.raises(RunBusyError, match=message):
        pack(paths(runs), out)
    assert pack(paths(runs), out).num_runs == 3


def test_a_damaged_index_is_an_error(runs, tmp_path):
    """It tells the next step, and nothing is removed."""
    out = tmp_path / "parts"
    pack(paths(runs), out)
    (out / "parts.json").write_text("{")
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(FormatError, match="remove its directory and pack again"):
        pack(paths(runs), out)
    (out / "parts.json").write_text('{"format": "barograph-parts/9", "parts": []}')
    with pytest.raises(FormatError, match="use the release that wrote it"):
        pack(paths(runs), out)
    (out / "parts.json").unlink()
    with pytest.raises(MisuseError, match="no directory of parts"):
        pack(paths(runs), out)
    assert [name for name in before if name != "parts.json"] == [path.name for path in out.iterdir()]
