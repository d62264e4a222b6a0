from __future__ import annotations

import json
import math

import numpy as np
import pytest

from barograph.errors import ReportError
from barograph.read.run import RunReader
from barograph.report.query import Query
from barograph.report.values import CURVE_BUCKETS, RunValues


def dull(reader):
    """The rows of the only stream of a run, without any reader of ours."""
    path = reader.path / "facts" / "metrics.000.rows"
    with path.open("rb") as file:
        header = json.loads(file.readline())
    return np.fromfile(path, "<f8", offset=header["header_bytes"]).reshape(-1, len(header["columns"]))


@pytest.fixture
def reader(runs):
    """A finished run."""
    return runs.readers[0]


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("last", lambda rows: rows[-1, 1]),
        ("first", lambda rows: rows[0, 1]),
        ("min", lambda rows: min(rows[:, 1])),
        ("max", lambda rows: max(rows[:, 1])),
        ("mean", lambda rows: sum(rows[:, 1].tolist()) / len(rows)),
        ("count", len),
        ("last_step", lambda rows: rows[-1, 0]),
        ("min_step", lambda rows: rows[list(rows[:, 1]).index(min(rows[:, 1])), 0]),
        ("max_step", lambda rows: rows[list(rows[:, 1]).index(max(rows[:, 1])), 0]),
        ("num_nonfinite", lambda _rows: 0),
        ("num_superseded", lambda _rows: 0),
    ],
)
def test_a_curve_comes_to_what_its_rows_say(reader, reduce, expected):
    """Every reduction, by a second computation on the bytes."""
    query = Query(of="metric", name="loss", split="train", reduce=reduce)
    assert RunValues(reader).value(query) == pytest.approx(expected(dull(reader)), rel=1e-14)


def test_values_that_are_not_finite_are_counted_and_in_no_extreme(new_run):
    """NaN and infinities are facts: the last one is told, minimum and mean are of the finite ones."""
    with new_run() as run:
        for step, loss in enumerate([2.0, math.nan, 1.0, math.inf, -math.inf]):
            run.log({"loss": loss}, step=step)
    values = RunValues(RunReader(run.dir)).metrics["loss", "train", 0]
    assert (values["num_nonfinite"], values["last"], values["min"], values["max"]) == (3, -math.inf, 1.0, 2.0)
    assert (values["min_step"], values["mean"], values["count"]) == (2.0, 1.5, 5)


def test_the_latest_attempt_counts(tmp_path, new_run):
    """A resumed run's curve is the latest attempt's at each step; what it replaced is counted."""
    for attempt in range(2):
        with new_run(dir=tmp_path / "twice", resume="allow") as run:
            for step in range(5 * attempt, 10 + 5 * attempt):
                run.log({"loss": 1.0 - attempt}, step=step)
            run.epoch_end(0, train_loss=float(attempt))
    values = RunValues(RunReader(run.dir))
    assert values.metrics["loss", "train", 0]["count"] == 15
    assert values.metrics["loss", "train", 0]["num_superseded"] == 5
    assert values.epochs["train_loss"]["last"] == 1.0
    assert values.value(Query(of="run", name="num_attempts")) == 2


def test_points_that_are_shown_are_counted(new_run):
    """At most four per bucket of a long curve; the count is exact."""
    with new_run() as run:
        for step in range(5000):
            run.log({"loss": math.sin(step)}, step=step)
    values = RunValues(RunReader(run.dir)).metrics["loss", "train", 0]
    assert values["count"] == 5000
    assert CURVE_BUCKETS < values["num_shown"] <= 4 * CURVE_BUCKETS


def test_other_quantities(reader):
    """Configuration, summary, epochs, checks, criteria and the ledger answer as the run has them."""
    values = RunValues(reader)
    ended = reader.exit_record()
    assert values.value(Query(of="config", name="optim.lr")) == reader.config["optim"]["lr"]
    assert values.value(Query(of="summary", name="w")) == ended.summary["w"]
    assert values.value(Query(of="epoch", name="val_loss", reduce="last")) == reader.epochs()[-1].val_loss
    assert values.value(Query(of="check", name="weights", reduce="got")) == 2
    assert values.value(Query(of="ledger", name="accepted")) == ended.ledger["accepted"]
    criterion = Query(of="criterion", name="val_loss < 0.1 by epoch 3", reduce="value")
    assert values.value(criterion) == ended.success[0]["evidence"]["value"]
    assert values.value(Query(of="run", name="total_time_s")) == ended.total_time_s
    assert values.value(Query(of="summary", name="nobody set it")) is None


def test_a_query_about_several_runs_is_refused(reader):
    """One run cannot say what a comparison came to."""
    with pytest.raises(ReportError, match="no quantity of one run"):
        RunValues(reader).value(Query(of="comparison", name="x"))


def test_reading_values_leaves_the_run_alone(reader):
    """No file of the run is written, and none is touched."""
    before = {path: path.stat().st_mtime_ns for path in reader.path.rglob("*")}
    values = RunValues(reader)
    _ = values.properties, values.epochs, values.metrics
    assert before == {path: path.stat().st_mtime_ns for path in reader.path.rglob("*")}
