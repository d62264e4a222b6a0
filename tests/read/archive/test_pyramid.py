"""What a pyramid says is what a direct look at every point says, at its resolution; it is never older than the run."""

from __future__ import annotations

import math
import os
import shutil
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.archive.making import Maker

from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import StreamHeader, encode_header
from barograph.facts.state import this_process, write_process
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


def array_stream(made, number, steps, values):
    """A rows file of many points, written at once: a column of ``values`` per metric."""
    names = [f"m{column}" for column in range(values.shape[1])]
    header = StreamHeader(run_id="r1", columns=["step", *names, "t"])
    path = made.directory.rows(number)
    path.write_bytes(encode_header(header) + np.column_stack([steps, values, steps + 1000.0]).tobytes())
    return path


def check(curve, series):
    """Each bucket of a curve against the points that it stands for, one by one."""
    points = list(zip(series.steps.tolist(), series.values.tolist(), strict=True))
    kept = list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
    assert [points[int(place)] for place in curve.places] == kept
    assert curve.num_points == len(points)
    starts = curve.starts.tolist()
    assert len(starts) == curve.num_buckets + 1
    nonfinite = []
    for bucket in range(curve.num_buckets):
        ends = (bucket * len(points) // curve.num_buckets, (bucket + 1) * len(points) // curve.num_buckets)
        mine = points[slice(*ends)]
        finite = [(step, value) for step, value in mine if math.isfinite(value)]
        shown = kept[starts[bucket] : starts[bucket + 1]]
        assert set(shown) <= set(finite)
        assert len(shown) == len(set(shown)) <= 4
        if finite:
            low, high = min(value for _, value in finite), max(value for _, value in finite)
            first_low, first_high = (next(it for it in finite if it[1] == value) for value in (low, high))
            assert set(shown) == {finite[0], first_low, first_high, finite[-1]}
        if len(finite) < len(mine):
            values = [value for _, value in mine]
            kinds = [sum(math.isnan(value) for value in values), values.count(math.inf), values.count(-math.inf)]
            nonfinite.append([bucket, *kinds])
    assert curve.nonfinite.tolist() == nonfinite


@settings(max_examples=25, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=60), num_points=st.integers(min_value=1, max_value=4500))
def test_every_bucket_is_what_its_points_are(tmp_path_factory, values, num_points):
    """Any values, short and long curves: first, smallest, largest, last, counts of what is not finite, steps."""
    made = Maker(tmp_path_factory.mktemp("run") / "run")
    array_stream(made, 0, np.arange(float(num_points)), np.resize(values, (num_points, 1)))
    made.end()
    for _ in ("made", "read"):
        (curve,) = pyramid(made.reader).curves
        assert curve.num_buckets == (num_points if num_points <= 2000 else 500)
        check(curve, made.reader.series("m0").effective())
    assert (made.path / FILE).exists() == (num_points > 2000)


STEPS = {
    "every": np.arange(3000.0),
    "every tenth": 7 + 10 * np.arange(3000.0),
    "quarters": np.arange(3000.0) / 4 - 100,
    "tenths": np.arange(3000.0) * 0.1,
    "one": np.full(3000, 5.0),
    "one missing": np.delete(np.arange(3001.0), 1234),
    "irregular": np.cumsum(np.random.default_rng(1).integers(1, 50, 3000)).astype(float),
    "twice": np.repeat(np.arange(1500.0), 2),
    "large": 2.0**53 + 2 * np.arange(3000.0),
    "infinite": np.append(np.arange(2999.0), math.inf),
}


@pytest.mark.parametrize("steps", STEPS)
def test_steps_are_the_recorded_ones_bit_for_bit(made, steps):
    """Whether or not they are kept as start and stride."""
    array_stream(made, 0, STEPS[steps], np.random.default_rng(2).standard_normal((3000, 1)))
    made.end()
    for _ in ("made", "read"):
        (curve,) = pyramid(made.reader).curves
        assert STEPS[steps][curve.places.astype(int)].tobytes() == curve.x.tobytes()
        (shown,) = overview_curves([made.path], "m0")
        assert (shown.x.tobytes(), shown.y.tobytes()) == (curve.x.tobytes(), curve.y.tobytes())


def test_steps_of_one_stride_take_no_place(made, tmp_path):
    """Eight bytes a point is what others cost."""
    other = Maker(tmp_path / "other")
    values = np.random.default_rng(3).standard_normal((20_000, 1))
    for run, steps in ((made, 3 + 10 * np.arange(20_000.0)), (other, np.cumsum(1 + np.arange(20_000) % 7))):
        array_stream(run, 0, steps, values)
        run.end()
    regular, irregular = (pyramid(run.reader).curves[0] for run in (made, other))
    assert len(regular.x) == len(irregular.x)
    sizes = [(run.path / FILE).stat().st_size for run in (made, other)]
    assert 8 * len(regular.x) - 32 <= sizes[1] - sizes[0] <= 8 * len(regular.x) + 32


def test_the_envelope_is_that_of_every_point(made):
    """Where buckets of a chart hold whole buckets of the pyramid, minima and maxima are those of a direct reduction."""
    num_points = 40 * 500
    made.stream(0, noisy(num_points), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective()
    edges = np.arange(0, num_points + 1, 4 * 40).astype(float)
    (curve,) = overview_curves([made.path], "loss", num_buckets=500)
    assert (curve.num_points, curve.num_nonfinite) == (num_points, 5)
    direct = reduce(series.steps, series.values, num_buckets=len(edges) - 1, edges=edges)
    ours = reduce(curve.x, curve.y, num_buckets=len(edges) - 1, edges=edges)
    assert (direct.is_reduced, ours.is_reduced) == (True, True)
    assert (direct.x.tolist(), direct.y.tolist()) == (ours.x.tolist(), ours.y.tolist())


@pytest.mark.parametrize("num_points", [2001, 2499, 20_000, 127_999, 128_000])
def test_a_long_curve_has_at_least_five_hundred_buckets(made, num_points):
    """Of all of them the first, smallest, largest and last are there, without a further reduction."""
    made.stream(0, noisy(num_points), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective()
    for _ in ("made", "read"):
        (shown,) = overview_curves([made.path], "loss")
        coarse = pyramid(made.reader).find("loss", num_buckets=500)
        assert coarse.num_buckets == 500
        check(coarse, series)
        assert (shown.x.tolist(), shown.y.tolist()) == (coarse.x.tolist(), coarse.y.tolist())


def test_a_very_long_curve_is_there_in_two_resolutions(made):
    """The coarser where it is enough; more buckets than were asked for are reduced."""
    made.stream(0, noisy(128_000), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective()
    found = pyramid(made.reader)
    assert [curve.num_buckets for curve in found.curves] == [500, 2000]
    check(found.find("loss"), series)
    for _ in range(2):
        asked = [overview_curves([made.path], "loss", num_buckets=number)[0] for number in (400, 500, 501, 2000, 9000)]
        sizes = [len(curve.x) for curve in asked]
        assert sizes[0] <= 1600 < sizes[1] == len(found.curves[0].x) <= 2000
        assert found.curves[0].y.tolist() != asked[2].y.tolist()
        assert sizes[2] <= 4 * 501 < sizes[3] <= 4 * 2000
        assert sizes[3] == sizes[4] == len(found.curves[1].x)


def test_it_is_a_small_part_of_the_run(made, tmp_path):
    """Five metrics: under a tenth of twenty thousand rows, and under a twenty-fifth of three hundred thousand."""
    for num_points, share, path in ((20_000, 10, made.path), (300_000, 25, tmp_path / "longer")):
        run = Maker(path)
        values = np.random.default_rng(0).standard_normal((num_points, 5))
        rows = array_stream(run, 0, np.arange(float(num_points)), values)
        run.end()
        assert {curve.num_buckets for curve in pyramid(run.reader).curves} <= {500, 2000}
        assert (run.path / FILE).stat().st_size < rows.stat().st_size / share


def test_one_metric_is_read_without_the_others(made, monkeypatch):
    """The bytes of its numbers and the head."""
    array_stream(made, 0, np.arange(20_000.0), np.random.default_rng(0).standard_normal((20_000, 40)))
    made.end()
    whole = pyramid(made.reader)
    sizes = []

    def counting(descriptor, size_bytes, offset):
        data = pread(descriptor, size_bytes, offset)
        sizes.append(len(data))
        return data

    pread = os.pread
    monkeypatch.setattr(os, "pread", counting)
    (curve,) = overview_curves([made.path], "m17")
    assert curve.y.tobytes() == whole.find("m17").y.tobytes()
    assert 2 <= len(sizes) <= 3
    assert sum(sizes) < 32_000 < (made.path / FILE).stat().st_size / 20


def test_short_curves_need_no_file(made):
    """They are read directly, and whole where that is few enough; beside a long one they are kept whole."""
    made.stream(0, noisy(2000), columns=("step", "loss", "t"))
    made.end()
    series = made.reader.series("loss").effective()
    check(pyramid(made.reader).find("loss"), series)
    (curve,) = overview_curves([made.path], "loss")
    assert not (made.path / FILE).exists()
    expected = series.finite()
    assert (expected.steps.tolist(), expected.values.tolist()) == (curve.x.tolist(), curve.y.tolist())
    assert (curve.num_points, curve.num_nonfinite) == (2000, sum(series.num_nonfinite().values()))
    made.stream(1, noisy(2001), columns=("step", "longer", "t"))
    for name in ("longer", "loss", "loss"):
        (again,) = overview_curves([made.path], name)
    assert (made.path / FILE).exists()
    assert (again.x.tobytes(), again.y.tobytes()) == (curve.x.tobytes(), curve.y.tobytes())
    assert (again.num_points, again.num_nonfinite) == (curve.num_points, curve.num_nonfinite)


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


WHERE = [("test", 0), ("train", 0), ("train", 2), ("val", 0)]


def test_it_is_of_the_effective_curve(made):
    """What a later attempt recorded again is left out, streams of one metric are joined, splits and ranks are apart."""
    made.log([(step, {"loss": 1.0}) for step in range(300)])
    made.log([(step, {"loss": 2.0, "lr": 0.1}) for step in range(200, 400)], attempt=1)
    made.log([(5, {"loss": 7.0})], split="val")
    made.log([(5, {"loss": 9.0})], rank=2)
    made.log([(6, {"big": 2**60 + 1})], rank=2)
    made.log([(step, {"loss": -1.0}) for step in range(3000)], split="test")
    made.end(attempt=1)
    for _ in ("made", "read"):
        found = pyramid(made.reader)
        assert [(curve.name, curve.split, curve.rank) for curve in found.curves] == [
            ("loss", "test", 0),
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
        values = [overview_curves([made.path], "loss", split=split, rank=rank)[0].y for split, rank in WHERE]
        assert [(len(it), it[-1]) for it in values] == [(1000, -1.0), (400, 2.0), (1, 9.0), (1, 7.0)]
    assert (made.path / FILE).exists()


@pytest.fixture
def ended(made):
    """A run of three thousand points that has ended and has a pyramid."""
    made.stream(0, noisy(3000), columns=("step", "loss", "t"))
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
    assert num_points(ended) == 3000
    with monkeypatch.context() as patch:
        patch.setattr("barograph.read.archive.pyramid.RunReader", None)
        (curve,) = overview_curves([ended.path], "loss")
    assert curve.num_points == 3000


@pytest.mark.parametrize("change", ["appended", "new stream", "sealed", "unsealed", "copied", "irregular"])
def test_it_is_made_again_when_the_run_has_changed(ended, tmp_path, change):
    """A pyramid that is older than a file of metrics is not believed."""
    expected = 3000
    if change == "appended":
        with ended.directory.rows(0).open("ab") as file:
            file.write(np.array([3000.0, 1.0, 1.0]).tobytes())
        expected = 3001
    elif change == "new stream":
        ended.stream(1, [(4000.0, 1.0, 1.0)], columns=("step", "loss", "t"), attempt=1)
        ended.end(attempt=1)
        expected = 3001
    elif change == "irregular":
        ended.log([(5000, {"loss": 2**60 + 1})])
        expected = 3001
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


@pytest.mark.parametrize("damage", ["empty", "short", "foreign", "older", "head size", "zeros", "head", "cut"])
def test_a_damaged_file_counts_as_none(ended, damage):
    """So does one of an older release; it is made again, and says what it said."""
    whole = (ended.path / FILE).read_bytes()
    other = {
        "empty": b"",
        "short": b"x",
        "foreign": b"x" * len(whole),
        "older": b"BAROPYR1" + whole[8:],
        "head size": whole[:8] + b"\xff" * 100,
        "zeros": whole[:8] + bytes(100),
        "head": whole.replace((3000).to_bytes(2, "big"), (3001).to_bytes(2, "big"), 1),
        "cut": whole[:-2000],
    }[damage]
    for read in (lambda: overview_curves([ended.path], "loss")[0], lambda: pyramid(ended.reader).find("loss")):
        (ended.path / FILE).write_bytes(other)
        assert read().num_points == 3000
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
        assert [curve.num_points for curve in curves] == [0, 3000, 0]
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
    assert stdout == "[3000]\n"
    assert not (ended.path / FILE).exists()
