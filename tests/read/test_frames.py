"""Many runs as frames."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import barograph
from barograph.errors import MetricNotFoundError, QueryError, RunNotFoundError
from barograph.facts.builders import build_event_payload
from barograph.facts.codec import encode
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.facts.writers import append_jsonl_event, append_scalars_csv
from barograph.read.flat import iterate_columns


@pytest.fixture
def root(recorded, tmp_path):
    """A recorded run, one of a loop that emits facts by itself, and one that wrote ``scalars.csv`` alone."""
    shutil.copytree(recorded, tmp_path / "run", symlinks=True)
    loop = tmp_path / "run_20301103-140953_vq_job0"
    append_jsonl_event(loop, build_event_payload("on_start", loop))
    for epoch, loss in enumerate([0.5, 0.25]):
        append_jsonl_event(loop, build_event_payload("on_epoch_end", loop, epoch=epoch, train_loss=loss, val_loss=1.0))
    append_jsonl_event(loop, build_event_payload("on_train_end", loop, total_time_s=3.5))
    (loop / ".hydra").mkdir()
    (loop / ".hydra" / "config.yaml").write_text("phase1: {trainer: {seed: 3}}\n", encoding="utf-8")
    bare = tmp_path / "run_20311103-140953_bare_job0"
    append_jsonl_event(bare, build_event_payload("on_start", bare))
    append_scalars_csv(bare, epoch=0, train_loss=math.inf, val_loss=0.5)
    append_scalars_csv(bare, epoch=1, train_loss=0.125, val_loss=math.nan)
    return tmp_path


@pytest.mark.spec("S3.25", "S3.41")
def test_load_runs_gives_runs_epochs_and_order(root):
    """``(runs_df, per_epoch, order)`` from Hydra's configuration, events and ``scalars.csv``, aggregates computed."""
    runs_df, per_epoch, order = barograph.load_runs(root)
    assert [Path(run).name for run in order] == ["run", "run_20301103-140953_vq_job0", "run_20311103-140953_bare_job0"]
    assert order == runs_df["run_dir"].to_list()
    assert runs_df["final_train_loss"].to_list() == [0.025, 0.25, 0.125]
    assert runs_df["best_val_loss"].to_list() == [0.75, 1.0, 0.5]
    assert runs_df["config.phase1.trainer.seed"].to_list() == [None, 3, None]
    assert runs_df["config.optim.lr"].to_list() == [1e-3, None, None]
    assert runs_df["config.optim.betas"][0] == "[0.9,0.99]"
    epochs = per_epoch[order[2]]
    assert ([0, 1], [math.inf, 0.125]) == (epochs["epoch"].to_list(), epochs["train_loss"].to_list())
    assert math.isnan(epochs["val_loss"][1])
    assert {"epoch": pl.Int64, "attempt": pl.Int32, "train_loss": pl.Float64} == dict(list(epochs.schema.items())[:3])


@pytest.mark.spec("S3.82")
def test_pandas_is_the_edge(root):
    """The same three, as pandas DataFrames."""
    runs_df, per_epoch, order = barograph.load_runs(root).to_pandas()
    assert (len(runs_df), runs_df.set_index("run_dir").loc[order[1], "final_train_loss"]) == (3, 0.25)
    assert per_epoch[order[1]]["train_loss"].tolist() == [0.5, 0.25]


def test_a_torn_line_of_scalars_csv_is_no_epoch(root):
    """It is cut at the last newline before anything is parsed; a damaged line in the middle is counted."""
    path = root / "run_20311103-140953_bare_job0" / "facts" / "scalars.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"x,y,z\n", *lines[1:], b"2,0.1"]))
    runs = barograph.load_runs([path.parents[1]])
    assert runs.per_epoch[str(path.parents[1])]["epoch"].to_list() == [0, 1]
    assert [(str(path), len(lines[0]), 6)] == [(it.path, it.offset, it.size_bytes) for it in runs.readers[0].damage]


@pytest.mark.parametrize("line", ['1,"0.5', "1,inf,inf", "1," + "x" * 200_000, "\0\0", "nan,1", "1.5,1", "", "²,1"])
def test_a_damaged_line_of_scalars_csv_costs_itself_alone(tmp_path, line):
    """Open quotes, infinite attempts, endless fields, zero bytes: what stands before and behind is there."""
    append_jsonl_event(tmp_path, build_event_payload("on_start", tmp_path))
    path = RunDir(tmp_path).scalars_csv
    path.write_text(f"epoch,attempt,train_loss\n0,0,0.5\n{line}\n2.0,0,0.25\n", encoding="utf-8")
    runs = barograph.load_runs([tmp_path])
    assert runs.per_epoch[str(tmp_path)].select("epoch", "train_loss").rows() == [(0, 0.5), (2, 0.25)]
    assert bool(line.strip("\0")) == len(runs.readers[0].damage)


def test_metrics_are_one_column_each(root):
    """Null where a record lacks one; NaN and infinities are values; attempts, ranks and splits are told."""
    frame = barograph.load_runs(root).metrics()
    assert frame.columns == ["run", "split", "attempt", "rank", "step", "t", "loss", "grad", "epoch", "accuracy", "big"]
    train = frame.filter(pl.col("split") == "train", pl.col("loss").is_not_null())
    assert list(range(40)) == train["step"].to_list()
    assert math.inf == train["grad"][5]
    assert 2 == frame["accuracy"].drop_nulls().len() == frame.filter(pl.col("split") == "val").height


def test_a_metric_nobody_logged_is_an_error_that_lists_what_was(root):
    """So that the next try is right."""
    with pytest.raises(MetricNotFoundError, match=r"logged 'lss' there; they logged accuracy \(val\), big \(train\)"):
        barograph.load_runs(root).metrics("lss")


def test_runs_are_selected_and_the_others_listed(root):
    """Nothing is left out in silence."""
    runs = barograph.load_runs(root, select="final_train_loss < 0.2 and name = 'mlp'")
    assert (len(runs), len(runs.skipped)) == (1, 2)
    assert "not selected by" in runs.skipped[0].reason
    with pytest.raises(QueryError, match="no column 'nope'"):
        runs.select("nope = 1")
    with pytest.raises(RunNotFoundError, match="is no directory"):
        barograph.load_runs(root / "nowhere")


def test_events_and_alerts_are_frames(root):
    """With the payload as JSON."""
    runs = barograph.load_runs(root)
    starts = runs.events("on_start")
    assert starts.height == 3
    assert pl.select(pl.lit(starts["payload"][0]).str.json_path_match("$.name")).item() == "mlp"
    assert runs.alerts()["title"].to_list() == ["loss is flat"]


def test_text_that_no_encoding_holds_is_shown_as_escapes(tmp_path):
    """Half a character, as a tokenizer or a file name may give it, does not cost the frame."""
    with barograph.init(dir=tmp_path / "run", config={"file": "a\udcff"}, terminal="off", host_s=None) as run:
        run.alert("half \ud83d", "a character")
    runs = barograph.load_runs([run.dir])
    assert runs.alerts()["title"].to_list() == ["half \\ud83d"]
    assert runs.table["config.file"].to_list() == ["a\\udcff"]


def test_numbers_of_other_hands_never_raise(tmp_path):
    """Attempts, ranks, times and sequence numbers that no column holds are as if nobody had said them."""
    directory = RunDir(tmp_path)
    directory.ensure_facts()
    odd = ["-1", "70000", "5000000000", "1" + "0" * 30, "true", '"x"']
    directory.events().write_text(
        "".join(
            f'{{"schema_version":1,"seq":{it},"t":1.0,"moment":"custom","attempt":{it},"rank":{it}}}\n' for it in odd
        )
        + f'{{"schema_version":1,"seq":9,"t":{"9" * 400},"moment":"custom"}}\n',
        encoding="utf-8",
    )
    directory.alerts.write_text(f'{{"t":{"9" * 400},"title":"a"}}\n{{"t":true,"title":"b"}}\n', encoding="utf-8")
    (directory.facts / "metrics.jsonl").write_text(
        "".join(f'{{"step":0,"t":1.0,"attempt":{it},"rank":0,"loss":0.5}}\n' for it in odd)
        + "".join(f'{{"step":1,"t":1.0,"attempt":0,"rank":{it},"loss":0.5}}\n' for it in odd),
        encoding="utf-8",
    )
    runs = barograph.load_runs([tmp_path])
    assert sorted(runs.events()["attempt"]) == [0, 0, 0, 0, 0, 0, 70_000]
    assert sorted(runs.events()["seq"]) == [-1, -1, -1, -1, -1, 9, 70_000]
    assert math.inf == runs.events()["t"].max()
    assert [math.inf, None] == runs.alerts()["t"].to_list()
    assert runs.metrics(attempt="all", rank="all").height == 12
    assert {0, 70_000} == set(runs.metrics(rank="all")["rank"]) == set(runs.metrics(attempt="all")["attempt"])
    assert runs.last_values()["attempt"].to_list() == [70_000]
    assert len(runs.readers[0].series("loss")) == 11


def test_a_metric_that_is_called_like_a_column_is_told_apart(tmp_path):
    """``run`` is no reserved name of metrics."""
    with barograph.init(dir=tmp_path / "run", terminal="off", host_s=None) as run:
        run.log({"run": 1.0, "metric.run": 2.0, "loss": 3.0}, step=0)
    frame = barograph.load_runs([run.dir]).metrics()
    assert frame.columns[6:] == ["metric.run", "metric.metric.run", "loss"]
    assert frame.row(0)[6:] == (1.0, 2.0, 3.0)
    assert barograph.load_runs([run.dir]).metrics("run")["metric.run"].to_list() == [1.0]


def test_runs_that_are_named_one_by_one(root, monkeypatch):
    """In the order of their naming, each once; what is no run is an error, never a run without facts."""
    first, second = root / "run_20311103-140953_bare_job0", root / "run"
    monkeypatch.chdir(root)
    runs = barograph.load_runs([first, second, "run", first])
    assert [str(first), str(second)] == runs.order == runs.table["run_dir"].to_list()
    assert runs.metrics("loss").height == barograph.load_runs([second]).metrics("loss").height > 0
    with pytest.raises(RunNotFoundError, match=r"'nowhere' does not exist; name the directories of runs"):
        barograph.load_runs(["nowhere"])
    with pytest.raises(RunNotFoundError, match="holds no run itself"):
        barograph.load_runs([root])


def test_an_epoch_is_not_replaced_by_a_quantity_of_its_name(tmp_path):
    """``metrics`` of an epoch may hold ``epoch`` or ``val_loss``."""
    append_jsonl_event(tmp_path, build_event_payload("on_start", tmp_path))
    measured = {"epoch": 7, "attempt": 9, "val_loss": 0.25, "train_loss": 5.0}
    append_jsonl_event(
        tmp_path, build_event_payload("on_epoch_end", tmp_path, epoch=0, train_loss=1.0, metrics=measured)
    )
    runs = barograph.load_runs([tmp_path])
    (row,) = runs.per_epoch[str(tmp_path)].to_dicts()
    assert {"epoch": 0, "attempt": 0, "train_loss": 1.0, "val_loss": 0.25}.items() <= row.items()


def test_integers_that_a_float_cannot_hold_stay_what_they_are(tmp_path):
    """A column of them is one of integers, whatever the others are."""
    append_jsonl_event(tmp_path, build_event_payload("on_start", tmp_path))
    append_scalars_csv(tmp_path, epoch=0, train_loss=1.0, tokens=2**60 + 1)
    epochs = barograph.load_runs([tmp_path]).per_epoch[str(tmp_path)]
    assert (epochs["tokens"].to_list(), epochs["train_loss"].dtype) == ([2**60 + 1], pl.Float64)


def test_the_newest_value_is_found_before_zero_bytes(tmp_path):
    """A power cut leaves rows of zeros at the end; the newest fact stands before them."""
    log = MetricsLog(RunDir(tmp_path), run_id="r")
    for step in range(5):
        log.append({"loss": float(step)}, step=step, split="train", t=100.0 + step)
    log.close()
    (path,) = RunDir(tmp_path).rows_files()
    with path.open("ab") as file:
        file.write(bytes(24 * 70))
    assert barograph.load_runs([tmp_path]).last_values()["value"].to_list() == [4.0]


def test_an_empty_directory_is_no_runs(tmp_path):
    """Frames without rows."""
    runs_df, per_epoch, order = barograph.load_runs(tmp_path)
    assert (runs_df.height, per_epoch, order) == (0, {}, [])
    assert barograph.load_runs(tmp_path).metrics().height == 0


CALL = st.tuples(
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from(["loss", "acc", "both"]),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.sampled_from([0.5, math.nan, math.inf, -0.0, 2**53 + 1]),
)


@given(calls=st.lists(CALL, max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_frame_holds_every_fact_and_nothing_else(tmp_path_factory, calls):
    """Against a dull computation in Python: all attempts as they are, and the effective values of each metric."""
    path = tmp_path_factory.mktemp("runs") / "run"
    RunDir(path).ensure_facts()
    for attempt in range(3):
        for rank in range(2):
            log = MetricsLog(RunDir(path), run_id="r", attempt=attempt, rank=rank, max_streams=2)
            for place, (of, by, what, step, value) in enumerate(calls):
                if (of, by) == (attempt, rank):
                    values = {"loss": value, "acc": value} if what == "both" else {what: value}
                    log.append(values, step=step, split="train", t=100.0 * attempt + place + 1)
            log.close()
    dull = []
    for columns in iterate_columns(RunDir(path), []):
        for name, values in columns.values.items():
            for step, t, value in zip(columns.steps, columns.t, values, strict=True):
                dull.append((columns.rank, columns.attempt, step, t, name, float(value)))
    newest = {}
    for rank, attempt, step, _, name, _ in dull:
        newest[rank, step, name] = max(attempt, newest.get((rank, step, name), 0))
    runs = barograph.load_runs([path])
    assert _points(runs.metrics(attempt="all", rank="all")) == _bits(dull)
    assert _points(runs.metrics(rank="all")) == _bits([it for it in dull if it[1] == newest[it[0], it[2], it[4]]])


def _points(frame):
    found = []
    for name in ("loss", "acc"):
        if name in frame.columns:
            rows = frame.filter(pl.col(name).is_not_null())
            found += [(*row, name, v) for *row, v in rows.select("rank", "attempt", "step", "t", name).iter_rows()]
    assert (
        frame.height
        == frame.filter(pl.any_horizontal(pl.col(set(frame.columns) & {"loss", "acc"}).is_not_null())).height
    )
    return _bits(found)


def _bits(points):
    return sorted((rank, attempt, step, t, name, np.float64(v).tobytes()) for rank, attempt, step, t, name, v in points)


def test_numbers_need_no_analysis_to_be_recorded(tmp_path):
    """Without polars and numpy, recording works and reading says what to install."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "sys.modules['polars'] = sys.modules['numpy'] = None\n"
        "import barograph\n"
        "with barograph.init(dir='run', terminal='off', host_s=None) as run: run.log({'x': 1.0}, step=0)\n"
        "print(barograph.open_run('run').curve('x')[0].value)\n"
        "try: barograph.load_runs\n"
        "except ImportError as error: print(error)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    value, message = done.stdout.splitlines()
    assert value == "1.0"
    assert "python -m pip install 'barograph[analysis]'" in message


def test_last_values_come_from_the_ends_of_files(root):
    """The same as the end of each curve, attempt by attempt; a later attempt counts as newer."""
    path = root / "run"
    log = MetricsLog(RunDir(path), run_id="r", attempt=1)
    log.append({"loss": 9.0}, step=3, split="train", t=1e10)
    log.close()
    runs = barograph.load_runs([path])
    found = {(row[1], row[2]): row[3:] for row in runs.last_values().iter_rows()}
    assert found["train", "loss"] == (1, 3.0, 1e10, 9.0)
    for (split, name), (attempt, step, t, value) in found.items():
        point = max(runs.readers[0].curve(name, split=split), key=lambda point: (point.attempt, point.t))
        assert (point.attempt, point.step, point.t, float(point.value)) == (attempt, step, t, value)
    assert runs.last_values("loss", split="train")["value"].to_list() == [9.0]


def test_events_of_ranks_are_merged_by_time_and_keep_their_own_order(tmp_path):
    """Also where the clock of a rank was set back."""
    directory = RunDir(tmp_path)
    directory.ensure_facts()
    times = {0: [10.0, 30.0, 20.0], 1: [15.0, 30.0]}
    for rank, found in times.items():
        lines = [encode({"moment": "custom", "seq": seq, "t": t, "rank": rank}) + b"\n" for seq, t in enumerate(found)]
        directory.events(rank).write_bytes(b"".join(lines))
    frame = barograph.load_runs([tmp_path]).events()
    assert list(zip(frame["rank"], frame["seq"], strict=True)) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)]
