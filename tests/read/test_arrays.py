"""Metrics of a run as arrays: every point, and which of them a later attempt replaced."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph.errors import MetricNotFoundError
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import RowStream, StreamHeader
from barograph.facts.rundir import RunDir
from barograph.read.arrays import read_series
from barograph.read.metrics import MetricKey
from barograph.read.run import RunReader

CALL = st.tuples(
    st.integers(0, 2),  # attempt
    st.sampled_from(["loss", "acc", "both"]),
    st.sampled_from([0.0, 1.0, 2.0, 2.5]),
    st.sampled_from([0.5, math.nan, math.inf, -math.inf, -0.0, 2**53 + 1, 7]),
)


@given(calls=st.lists(CALL, max_size=25))
@settings(max_examples=60, deadline=None)
def test_arrays_are_the_points_of_the_curve(tmp_path_factory, calls):
    """What numpy reads is what the dull reader reads, point by point, in the same order."""
    path = tmp_path_factory.mktemp("run")
    for attempt in range(3):
        log = MetricsLog(RunDir(path), run_id="r", attempt=attempt, max_streams=2)
        for place, (of, what, step, value) in enumerate(calls):
            if of == attempt:
                values = {"loss": value, "acc": value} if what == "both" else {what: value}
                log.append(values, step=step, split="train", t=1000.0 * attempt + place + 1)
        log.close()
    reader = RunReader(path)
    for name in ("loss", "acc"):
        expected = reader.curve(name)
        found = read_series(RunDir(path), damage=[], names=[name])
        if not expected:
            assert found == []
            continue
        (series,) = found
        wanted = [(p.step, float(p.value), p.t, p.attempt, not p.is_effective) for p in expected]
        arrays = (series.steps, series.values, series.t, series.attempts, series.superseded)
        np.testing.assert_array_equal(np.array(wanted, dtype=float), np.stack(arrays, axis=1).astype(float))
        assert sum(p.value == 2**53 + 1 for p in expected) == series.num_inexact
        effective = series.effective()
        assert sorted(p.step for p in expected if p.is_effective) == effective.steps.tolist()


def test_metrics_are_chosen_by_name_split_and_rank(recorded):
    """Samples of the host stay out, unless that split is asked for."""
    directory = RunDir(recorded)
    everything = [series.key for series in read_series(directory, damage=[], ranks=None)]
    assert everything[:3] == [("big", "train", 0), ("epoch", "train", 0), ("grad", "train", 0)]
    assert [tuple(key) for key in everything[-2:]] == [("accuracy", "val", 0), ("loss", "val", 0)]
    assert [series.name for series in read_series(directory, damage=[], names=["loss"])] == ["loss", "loss"]
    assert read_series(directory, damage=[], ranks=(1,)) == []
    keys = RunReader(recorded).metric_keys()
    assert MetricKey("loss", "val", 0) in keys
    assert MetricKey("big", "train", 0) in keys


def test_a_series_knows_what_is_not_finite(recorded):
    """By kind; ``finite()`` leaves it out."""
    series = RunReader(recorded).series("grad")
    assert series.num_nonfinite() == {"inf": 1}
    assert (len(series), len(series.finite())) == (40, 39)
    assert np.isposinf(series.values[5])


def test_a_metric_that_was_not_logged_is_an_error_that_lists_what_was(recorded):
    """By split."""
    with pytest.raises(MetricNotFoundError, match=r"did not log 'lss' on split 'train'; it logged .*'val': accuracy"):
        RunReader(recorded).series("lss")


def test_rows_of_zero_bytes_are_left_out_and_counted(copy):
    """A power cut leaves them; they are no facts."""
    path = next(path for path in RunDir(copy).rows_files() if b'"grad"' in path.read_bytes()[:4096])
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    reader = RunReader(copy)
    assert len(RunReader(copy).series("loss")) == len(reader.series("loss")) == 40
    assert {str(path)} == {damage.path for damage in reader.damage}


def test_a_run_whose_rows_are_gone_has_no_metrics(copy):
    """And nothing raises."""
    shutil.rmtree(copy / "facts")
    assert read_series(RunDir(copy), damage=[]) == []


def test_of_two_columns_of_one_name_the_last_counts(tmp_path):
    """As for every other reader: no point is there twice."""
    RunDir(tmp_path).ensure_facts()
    stream = RowStream(RunDir(tmp_path).rows(0), StreamHeader(run_id="r", columns=["step", "a", "a", "t"]))
    stream.append((0.0, 1.0, 2.0, 1000.0))
    stream.close()
    reader = RunReader(tmp_path)
    assert [point.value for point in reader.curve("a")] == reader.series("a").values.tolist() == [2.0]


def test_a_header_that_says_what_no_attempt_is_is_damage(tmp_path):
    """Its rows are not read, and it is told; the other streams are."""
    RunDir(tmp_path).ensure_facts()
    for number, attempt in enumerate([0, -1, 2**31]):
        header = StreamHeader(run_id="r", columns=["step", "a", "t"], attempt=attempt)
        stream = RowStream(RunDir(tmp_path).rows(number), header)
        stream.append((0.0, float(number), 1000.0))
        stream.close()
    reader = RunReader(tmp_path)
    assert reader.series("a").values.tolist() == [0.0]
    assert ["attempt -1 of" in reader.damage[0].reason, len(reader.damage)] == [True, 2]
