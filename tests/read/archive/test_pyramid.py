"""What a pyramid says is what a direct look at every point says, at its resolution; it is never older than the run."""

from __future__ import annotations

import math
import shutil
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.archive.making import Maker

from barograph.facts.metrics import MetricsLog
from barograph.facts.state import this_process, write_process
from barograph.read.archive.curves import BUCKET_POINTS, MAX_BUCKETS
from barograph.read.archive.pyramid import overview_curves, pyramid
from barograph.read.archive.pyramid_file import FILE
from barograph.read.archive.seal import seal, unseal
from barograph.read.reduce import reduce

VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])


def noisy(num_points, seed=0):
    """A curve with noise, spikes and a few values that are not finite."""
    generator = np.random.default_rng(seed)
    values = np.exp(-np.arange(num_points) / 3000) + 0.05 * generator.standard_normal(num_points)
    values[:: max(1, num_points // 7)] = [math.nan, math.inf, -math.inf, 30.0, -30.0, math.nan, 5.0, math.nan][
        : len(values[:: max(1, num_points // 7)])
    ]
    return [(float(step), float(value), 1000.0 + step) for step, value in enumerate(values)]


def check(curve, series):
    """Each bucket of a curve against the points that it stands for, one by one."""
    steps, values = series.steps.tolist(), series.values.tolist()
    size = max(BUCKET_POINTS, -(-len(values) // MAX_BUCKETS))
    assert len(curve.mean) == -(-len(values) // size)
    for bucket in range(len(curve.mean)):
        mine = list(zip(steps, values, strict=True))[bucket * size : (bucket + 1) * size]
        finite = [(step, value) for step, value in mine if math.isfinite(value)]
        assert (curve.x_low[bucket], curve.x_high[bucket]) == (mine[0][0], mine[-1][0])
        counts = [
            len(finite),
            sum(math.isnan(value) for _, value in mine),
            sum(value == math.inf for _, value in mine),
            sum(value == -math.inf for _, value in mine),
        ]
        assert curve.counts[bucket].tolist() == counts
        shown = slice(curve.starts[bucket], curve.starts[bucket + 1])
        points = list(zip(curve.x[shown].tolist(), curve.y[shown].tolist(), strict=True))
        if not finite:
            assert points == []
            assert all(math.isnan(it[bucket]) for it in (curve.first, curve.min, curve.max, curve.last, curve.mean))
            continue
        assert set(points) <= set(finite)
        assert (points[0], points[-1]) == (finite[0], finite[-1])
        low, high = min(value for _, value in finite), max(value for _, value in finite)
        assert [curve.first[bucket], curve.last[bucket]] == [finite[0][1], finite[-1][1]]
        assert [curve.min[bucket], curve.max[bucket]] == [low, high]
        mean = math.fsum(value / len(finite) for _, value in finite)
        assert curve.mean[bucket] == pytest.approx(mean, rel=1e-9, abs=1e-9 * max(abs(low), abs(high)))


@settings(max_examples=40)
@given(values=st.lists(VALUES, min_size=1, max_size=60), repeat=st.sampled_from([1, 5, 12]))
def test_every_bucket_is_what_its_points_are(tmp_path_factory, values, repeat):
    """Any values, short and long curves: first, smallest, largest, last, mean, counts by kind, range of steps."""
    made = Maker(tmp_path_factory.mktemp("run") / "run")
    values = values * repeat
    made.stream(0, [(step, value, 1000.0) for step, value in enumerate(values)], columns=("step", "m", "t"))
    made.end()
    for _ in ("made", "read"):
        found = pyramid(made.reader)
        check(found.find("m"), made.reader.series("m").effective())


def test_the_envelope_is_that_of_every_point(made):
    """Where buckets of a chart hold whole buckets of the pyramid, minima and maxima are those of a direct reduction."""
    num_points = 4096 * BUCKET_POINTS // 16
    made.stream(0, noisy(num_points), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective()
    edges = np.arange(0, num_points + 1, 4 * BUCKET_POINTS).astype(float)
    (curve,) = overview_curves([made.path], "loss", num_buckets=500)
    assert (curve.num_points, curve.num_nonfinite) == (num_points, 5)
    direct = reduce(series.steps, series.values, num_buckets=len(edges) - 1, edges=edges)
    ours = reduce(curve.x, curve.y, num_buckets=len(edges) - 1, edges=edges)
    assert (direct.is_reduced, ours.is_reduced) == (True, True)
    assert (direct.x.tolist(), direct.y.tolist()) == (ours.x.tolist(), ours.y.tolist())


def test_fewer_buckets_than_the_pyramid_has_are_reduced_further(made):
    """Extremes of the whole curve stay exact, points are recorded ones in the order of steps."""
    made.stream(0, noisy(20_000), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective().finite()
    (curve,) = overview_curves([made.path], "loss", num_buckets=20)
    assert 20 < len(curve.x) <= 80
    assert (curve.y.min(), curve.y.max()) == (series.values.min(), series.values.max())
    assert np.all(np.diff(curve.x) > 0)
    recorded = dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
    assert all(recorded[step] == value for step, value in zip(curve.x.tolist(), curve.y.tolist(), strict=True))


def test_a_long_curve_has_a_bounded_number_of_buckets(made):
    """Three hundred thousand points: the file is a small part of the run."""
    path = made.stream(0, noisy(300_000), columns=("step", "loss", "t"))
    made.end()
    curve = pyramid(made.reader).find("loss")
    assert (len(curve.mean), curve.num_points) == (2041, 300_000)
    assert (made.path / FILE).stat().st_size < path.stat().st_size / 25


def test_it_is_of_the_effective_curve(made):
    """What a later attempt recorded again is left out, streams of one metric are joined, splits and ranks are apart."""
    made.log([(step, {"loss": 1.0}) for step in range(300)])
    made.log([(step, {"loss": 2.0, "lr": 0.1}) for step in range(200, 400)], attempt=1)
    made.log([(5, {"loss": 7.0})], split="val")
    made.log([(5, {"loss": 9.0})], rank=2)
    made.log([(6, {"big": 2**60 + 1})], rank=2)
    made.end(attempt=1)
    found = pyramid(made.reader)
    assert [(curve.name, curve.split, curve.rank) for curve in found.curves] == [
        ("loss", "train", 0),
        ("lr", "train", 0),
        ("big", "train", 2),
        ("loss", "train", 2),
        ("loss", "val", 0),
    ]
    loss = found.find("loss")
    assert (loss.num_points, loss.x[0], loss.x[-1], loss.y[0], loss.y[-1]) == (400, 0.0, 399.0, 1.0, 2.0)
    assert found.find("loss", rank=2).y.tolist() == [9.0]
    assert found.find("nothing") is None


@pytest.fixture
def ended(made):
    """A run of a thousand points that has ended and has a pyramid."""
    made.stream(0, noisy(1000), columns=("step", "loss", "t"))
    made.end()
    pyramid(made.reader)
    return made


def num_points(made):
    """By both ways of reading."""
    (curve,) = overview_curves([made.path], "loss")
    found = pyramid(made.reader)
    assert found is None or found.find("loss").num_points == curve.num_points
    return curve.num_points


def test_it_is_read_while_the_run_is_what_it_was(ended, monkeypatch):
    """Nothing else is opened; deleted, it is made again."""
    (ended.path / FILE).unlink()
    assert num_points(ended) == 1000
    with monkeypatch.context() as patch:
        patch.setattr("barograph.read.archive.pyramid.RunReader", None)
        (curve,) = overview_curves([ended.path], "loss")
    assert curve.num_points == 1000


@pytest.mark.parametrize("change", ["appended", "new stream", "sealed", "unsealed", "copied", "irregular"])
def test_it_is_made_again_when_the_run_has_changed(ended, tmp_path, change):
    """A pyramid that is older than a file of metrics is not believed."""
    expected = 1000
    if change == "appended":
        with ended.directory.rows(0).open("ab") as file:
            file.write(np.array([1000.0, 1.0, 1.0]).tobytes())
        expected = 1001
    elif change == "new stream":
        ended.stream(1, [(2000.0, 1.0, 1.0)], columns=("step", "loss", "t"), attempt=1)
        ended.end(attempt=1)
        expected = 1001
    elif change == "irregular":
        ended.log([(5000, {"loss": 2**60 + 1})])
        expected = 1001
    elif change == "copied":
        ended.path = shutil.copytree(ended.path, tmp_path / "copy", copy_function=shutil.copyfile)
    else:
        seal(ended.reader)
        if change == "unsealed":
            num_points(ended)
            unseal(ended.reader)
    before = (ended.path / FILE).read_bytes()
    assert num_points(ended) == expected
    assert (ended.path / FILE).read_bytes() != before


@pytest.mark.parametrize("damage", [b"", b"x", b"BAROPYR1" + b"\xff" * 100, b"BAROPYR1" + bytes(100), None])
def test_a_damaged_file_counts_as_none(ended, damage):
    """It is made again, and says what it said."""
    whole = (ended.path / FILE).read_bytes()
    (ended.path / FILE).write_bytes(whole[:-2000] if damage is None else damage)
    if damage is None:
        assert pyramid(ended.reader).find("loss").num_points == 1000
    assert num_points(ended) == 1000
    assert (ended.path / FILE).read_bytes() == whole


def test_a_living_run_has_none_and_is_reduced_directly(made):
    """Its newest point is in the chart."""
    log = MetricsLog(made.directory, run_id="r1")
    write_process(made.directory.process(), this_process(attempt=0))
    for step in range(5000):
        log.append({"loss": float(step)}, step=step, split="train", t=1000.0)
        if step in (3999, 4999):
            assert pyramid(made.reader) is None
            (curve,) = overview_curves([made.path], "loss", num_buckets=50)
            assert (curve.x[-1], curve.num_points, curve.num_nonfinite) == (step, step + 1, 0)
            assert len(curve.x) <= 200
    log.close()
    assert not (made.path / FILE).exists()
    (curve,) = overview_curves([made.path], "nothing")
    assert (len(curve.x), curve.num_points) == (0, 0)


def test_runs_that_did_not_log_it_are_empty_and_in_their_place(ended, tmp_path):
    """One curve per path, in their order; a run without a stream, and one whose stream has no row yet."""
    empty, headed = Maker(tmp_path / "empty"), Maker(tmp_path / "headed")
    headed.stream(0, [], columns=("step", "loss", "t"))
    empty.end()
    headed.end()
    for _ in ("made", "read"):
        curves = overview_curves([empty.path, ended.path, headed.path], "loss")
        assert [curve.path for curve in curves] == [empty.path, ended.path, headed.path]
        assert [curve.num_points for curve in curves] == [0, 1000, 0]
        assert [len(curve.x) > 0 for curve in curves] == [False, True, False]


def test_where_nothing_may_be_written_it_is_made_each_time(ended, without_privileges, record):
    """A shared archive that others own."""
    (ended.path / FILE).unlink()
    script = """
    import sys
    from pathlib import Path
    from barograph.read.archive.pyramid import overview_curves
    print([curve.num_points for curve in overview_curves([Path(sys.argv[1])], "loss")])
    """
    ended.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    stdout, _ = record(script, ended.path, prefix=without_privileges, env={"PYTHONDONTWRITEBYTECODE": "1"})
    ended.path.chmod(0o755)
    assert stdout == "[1000]\n"
    assert not (ended.path / FILE).exists()
