"""Files that mean harm, or that nobody meant: each is a run with an account, or an error of ours, and costs little."""

from __future__ import annotations

import gzip
import json
import math
import os
import resource
import subprocess
import sys

import pytest

from barograph.errors import FormatError
from barograph.read.foreign.convert import import_run
from barograph.read.foreign.protocol import find_foreign, importers, read_foreign, read_source
from barograph.read.run import RunReader

LINE = "2026-11-20 12:00:00 | INFO | metric "
HUGE = 10**400
EXPERIMENT = "artifact_location: x\nname: e\n"


def write(place, **files):
    """Files by name, in which ``__`` is a slash and ``_`` before an extension a dot."""
    for name, content in files.items():
        path = place.joinpath(*name.split("__")[:-1], name.split("__")[-1].replace("_dot_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def imported(place, root):
    """The only run of a directory, and its account in words."""
    (foreign,) = read_foreign(place)
    made = import_run(foreign, root)
    return RunReader(made.path), made.fidelity.lines()


@pytest.mark.parametrize(
    ("record", "name", "expected", "words"),
    [
        (f'{{"step": 1, "loss": {HUGE}, "b": -{HUGE}}}', "b", [-math.inf], "changed: 2 numbers (whole numbers beyond"),
        (f'{{"step": {HUGE}, "loss": 1}}', "loss", [1.0], "changed: 1 unplaced record (without a step"),
        ('{"step": 1, "a.b": 1, "a": {"b": 2}}', "a.b_", [2.0], "changed: 1 name (another value has the same dotted"),
        ('{"step": 1, "a": {"b": 2}, "a.b": 1}', "a.b_", [2.0], "changed: 1 name (another value has the same dotted"),
        ('{"step": 1, "\\ud800": 1}', "\\ud800", [1.0], "changed: 1 values of '\\ud800' (no text that UTF-8 can"),
    ],
    ids=["huge number", "huge step", "one name twice", "one name twice, nested first", "lone surrogate"],
)
def test_odd_records_of_a_log(tmp_path, record, name, expected, words):
    """Every number is there, or a line of the account says what became of it."""
    write(tmp_path / "logs", x_dot_log=f"{LINE}{record}\n")
    reader, account = imported(tmp_path / "logs", tmp_path / "runs")
    assert expected == [point.value for point in reader.curve(name)]
    assert [line for line in account if line.startswith(words)]


def test_a_split_that_is_no_utf8(tmp_path):
    """It is written as escapes."""
    write(tmp_path / "logs", x_dot_log=LINE + '{"step": 1, "loss": 1, "split": "\\ud800"}\n')
    reader, account = imported(tmp_path / "logs", tmp_path / "runs")
    assert [metric.split for metric in reader.metrics()] == ["\\ud800"]
    assert "changed: 1 split (no text that UTF-8 can hold: what it cannot is written as escapes)" in account


def test_a_log_without_one_line_that_can_be_read(tmp_path):
    """It is an error with the reasons, not nothing."""
    write(tmp_path, x_dot_log="2026-13-01 00:00:00 | INFO | metric {}\n")
    with pytest.raises(FormatError, match=r"no metric line that can be read .month must be in"):
        list(read_foreign(tmp_path))


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e9])
def test_times_in_other_units(tmp_path, unit):
    """Milliseconds and less are told by their size, as seconds, and counted."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "logs") as writer:
        writer.add_scalar("loss", 1.0, 0, walltime=1.7e9 * unit)
    reader, account = imported(tmp_path / "logs", tmp_path / "runs")
    assert [point.t for point in reader.curve("loss")] == [1.7e9]
    assert any(line.startswith("changed: 1 time (too great for seconds") for line in account)


@pytest.mark.parametrize("ms", [10**17, 10**30, -(10**17)])
def test_a_start_that_no_calendar_has(tmp_path, ms):
    """It is read as a smaller unit, or as not told; the run is there."""
    meta = f"run_id: abc\nstatus: 3\nstart_time: {ms}\n"
    write(tmp_path / "mlruns", **{"1__meta_dot_yaml": EXPERIMENT, "1__abc__meta_dot_yaml": meta})
    write(tmp_path / "mlruns", **{"1__abc__metrics__loss": f"{ms} 0.5 1\n"})
    reader, _ = imported(tmp_path / "mlruns", tmp_path / "runs")
    assert [point.value for point in reader.curve("loss")] == [0.5]
    assert 0 < reader.identity.created_t < 1e11


def test_rows_of_a_table_that_are_no_rows(tmp_path):
    """Steps that are no finite numbers are changed and counted; two columns of one name are both there."""
    rows = f"step,loss,loss\n-5,1,2\nnan,3,4\n{HUGE},5,{'9' * 5000}\n"
    write(tmp_path / "logs", version_0__metrics_dot_csv=rows)
    reader, account = imported(tmp_path / "logs", tmp_path / "runs")
    assert [(point.step, point.value) for point in reader.curve("loss")] == [(-5, 1), (-5, 3), (-5, 5)]
    assert [point.value for point in reader.curve("loss_")] == [2, 4, math.inf]
    assert any(line.startswith("changed: 2 steps (no finite number") for line in account)


@pytest.mark.parametrize("uri", ["file:///etc", "/", "/etc/abc/../../etc", "http://[::1", "file:///etc/abc/artifacts"])
def test_a_store_that_names_other_directories(tmp_path, uri):
    """Nothing of them is a file of the run."""
    meta = f"run_id: abc\nstatus: 3\nstart_time: 1\nartifact_uri: '{uri}'\n"
    write(tmp_path / "mlruns", **{"1__meta_dot_yaml": EXPERIMENT, "1__abc__meta_dot_yaml": meta})
    (run,) = read_foreign(tmp_path)
    assert run.files == []


def test_links_out_of_a_run(tmp_path):
    """Are no files of it, and are counted; those within it are."""
    write(tmp_path, secret="key")
    write(tmp_path / "mlruns", **{"1__meta_dot_yaml": EXPERIMENT, "1__abc__meta_dot_yaml": "run_id: abc\n"})
    write(tmp_path / "mlruns", **{"1__abc__artifacts__own": "x"})
    artifacts = tmp_path / "mlruns" / "1" / "abc" / "artifacts"
    (artifacts / "out").symlink_to(tmp_path / "secret")
    (artifacts / "in").symlink_to("own")
    (run,) = read_foreign(tmp_path / "mlruns")
    assert [file.name for file in run.files] == ["in", "own"]
    assert "lost: 1 file (links to what lies outside the run: it may be anything)" in run.fidelity.lines()


def test_points_of_older_and_newer_file_stores(tmp_path):
    """Without a step, and with the name and digest of a data set."""
    write(tmp_path / "mlruns", **{"1__meta_dot_yaml": EXPERIMENT, "1__abc__meta_dot_yaml": "run_id: abc\n"})
    write(tmp_path / "mlruns", **{"1__abc__metrics__loss": "1 0.5\n2 0.25 7\n3 0.125 8 data digest\n"})
    (run,) = read_foreign(tmp_path)
    (block,) = run.metrics
    assert (list(block.steps), list(block.columns["loss"])) == ([0, 7, 8], [0.5, 0.25, 0.125])
    assert run.fidelity.damage == []


def test_pipes_and_links_in_circles(tmp_path):
    """Looking does not wait for a writer, and does not fail."""
    for name in ("metrics.csv", "x_part_0.parquet", "run-a.wandb", "x.db", "x.log", "meta.yaml", "x.tfevents.1"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "sub" / "meta.yaml")
    (tmp_path / "circle").symlink_to("circle")
    assert find_foreign(tmp_path) == []


def test_a_tree_deeper_than_calls_may_be(tmp_path):
    """It is looked through."""
    place = tmp_path
    for _ in range(1200):
        place /= "a"
        place.mkdir()
    write(place, x_dot_log=LINE + '{"step": 1, "loss": 1}\n')
    try:
        assert find_foreign(tmp_path) == [("metric_log", place)]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)  # pytest's own cleaning calls itself


BOMBS = """
import sys
from pathlib import Path
from barograph.read.foreign.protocol import read_foreign
for run in read_foreign(sys.argv[1]):
    print([sum(block.num_numbers for block in run.metrics), *run.fidelity.lines()])
"""


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("x.log.gz", LINE + '{"step": 1, "loss": 1}\n', "\n" + LINE + '{"step": 2, "loss": 1}\n', "[2, "),
        ("2026-01-01/p_10-00-00_step_1.json.gz", '{"core_results": {"a": 1}, "pad": "', '"}', "unfolds to more than"),
    ],
    ids=["log", "detail"],
)
def test_small_files_that_unfold(tmp_path, name, before, after, expected):
    """In a gigabyte of memory, a line of half of one is skipped, and what follows it is read."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before.encode())
        for _ in range(40):
            file.write(b"x" * (16 << 20))
        file.write(after.encode())
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert expected in done.stdout, done.stderr


def test_an_importer_that_fails(tmp_path):
    """What a plug-in raises is an error of the source, so that the others are read; its words are in it."""
    state = {"log_history": [{"loss": 1, "step": 1}], "global_step": "x", "max_steps": "y"}
    write(tmp_path, trainer_state_dot_json=json.dumps(state))
    (importer,) = importers(["hf_trainer"])
    assert [run.fidelity.kept["numbers"] for run in read_source(importer, tmp_path)] == [1]

    class Failing:
        name = "failing"

        def recognises(self, path):
            return True

        def read(self, path):
            raise KeyError("a word")

    with pytest.raises(FormatError, match=r"more than the importer failing can make sense of .KeyError: 'a word'"):
        list(read_source(Failing(), tmp_path))
