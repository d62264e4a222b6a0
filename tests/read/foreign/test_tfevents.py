"""Event files that torch's and tensorboardX's writers wrote, beside what TensorBoard's own reader reads."""

from __future__ import annotations

import contextlib
import math
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.read.foreign.writers import NUM_STEPS, ODD, curve

from barograph.errors import FormatError
from barograph.read.foreign.checksum import crc32c
from barograph.read.foreign.tfevents import importer
from barograph.read.foreign.wire import iterate_tfrecords, masked


@pytest.fixture(scope="session")
def torch_logs(written):
    """What torch's writer wrote."""
    return written("tensorboard")


def read(path):
    """The one run of a directory."""
    (run,) = importer.read(path)
    return run


def bits(values):
    """Numbers so that NaN equals itself and zeros have a sign."""
    return [struct.pack("<d", value) for value in values]


def single(value):
    """A number as float32, as a float64."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def series(run, tag):
    """Attempt, steps, values and times of a tag, block after block."""
    return [
        (block.attempt, list(block.steps), list(block.columns[tag]), list(block.t))
        for block in run.metrics
        if tag in block.columns
    ]


def test_scalars_are_what_was_logged(torch_logs):
    """Each is the float32 of its number, at its step and at its own wall time."""
    run = read(torch_logs / "tb")
    ((attempt, steps, values, times),) = series(run, "loss")
    assert attempt == 0
    assert list(range(NUM_STEPS)) == steps
    assert [single(curve(step)) for step in steps] == values
    assert [1.7e9 + step / 8 for step in steps] == times


@pytest.mark.parametrize(
    ("tag", "first_step", "expected"),
    [
        ("odd", -2, [single(value) for value in ODD]),
        ("new/single", 0, [single(value) for value in ODD]),
        ("new/double", 0, ODD),
    ],
)
def test_odd_numbers_are_kept_to_the_bit(torch_logs, tag, first_step, expected):
    """NaN, infinities and -0, in the old form, as a tensor of float32 and as one of float64; steps below zero."""
    ((_, steps, values, _),) = series(read(torch_logs / "tb"), tag)
    assert list(range(first_step, first_step + len(ODD))) == steps
    assert bits(expected) == bits(values)


def test_steps_may_repeat_and_be_huge(torch_logs):
    """Both points of a step are there; a step that no float64 holds is exact."""
    run = read(torch_logs / "tb")
    assert [found[:3] for found in series(run, "repeated")] == [(0, [5, 5], [1.0, 2.0])]
    assert [found[:3] for found in series(run, "huge step")] == [(0, [2**53 + 1], [0.5])]


def test_the_same_numbers_as_tensorboard_reads(torch_logs, written):
    """Of every directory, every tag: steps, times and values of TensorBoard's own accumulator with no size limit."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    num_numbers = 0
    for directory in (torch_logs / "tb", torch_logs / "tb" / "trial", written("tensorboardx") / "tbx"):
        theirs = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        tags = theirs.Tags()
        expected = {tag: [(e.step, e.wall_time, e.value) for e in theirs.Scalars(tag)] for tag in tags["scalars"]}
        for tag in tags["tensors"]:
            events = theirs.Tensors(tag)
            if tag.startswith("new/"):
                expected[tag] = [(e.step, e.wall_time, make_ndarray(e.tensor_proto).item()) for e in events]
        run = read(directory)
        ours = {tag: list(zip(*series(run, tag)[0][1:], strict=True)) for block in run.metrics for tag in block.columns}
        assert expected.keys() == ours.keys()
        for tag, points in expected.items():
            found = [(step, t, value) for step, value, t in ours[tag]]
            assert [(*point[:2], bits(point[2:])) for point in points] == [(*p[:2], bits(p[2:])) for p in found]
            num_numbers += len(points)
    assert num_numbers == NUM_STEPS + 3 * len(ODD) + 3 + 1 + 40


def test_what_cannot_be_kept_is_counted(torch_logs):
    """A histogram, an image and a PR curve are lost; every number of a scalar is kept; nothing is damaged."""
    fidelity = read(torch_logs / "tb").fidelity
    assert {loss.what: loss.count for loss in fidelity.lost} == {"histograms": 1, "images": 1, "PR curves": 1}
    assert NUM_STEPS + 3 * len(ODD) + 3 == fidelity.kept["numbers"]
    assert fidelity.damage == []


def test_texts_are_kept(torch_logs, written):
    """The words, where they were logged, of both writers."""
    (text,) = read(torch_logs / "tb").texts
    assert (text.name, text.text, text.step) == ("words/text_summary", "caf\u00e9 **bold**", 1)
    texts = read(written("tensorboardx") / "tbx").texts
    assert [(each.text, each.step) for each in texts] == [("part 0", 0), ("part 1", 1)]


def test_hyperparameters_are_the_configuration(torch_logs):
    """Those that torch's add_hparams wrote, and how the session ended by the plugin's own record."""
    run = read(torch_logs / "tb" / "trial")
    assert run.config == {"lr": 0.1, "layers": 3, "name": "x"}
    assert (run.name, run.project, run.status) == ("trial", "tb", "finished")


def test_a_subdirectory_is_a_run_of_its_own(torch_logs):
    """Its tags are not in the run above it."""
    assert series(read(torch_logs / "tb"), "accuracy") == []
    assert [found[:3] for found in series(read(torch_logs / "tb" / "trial"), "accuracy")] == [(0, [0], [0.5])]


def test_rotated_files_are_one_attempt(written):
    """The steps of the second file go on where the first one ended."""
    ((attempt, steps, values, _),) = series(read(written("tensorboardx") / "tbx"), "loss")
    assert (0, list(range(40))) == (attempt, steps)
    assert [single(curve(step)) for step in range(40)] == values


def test_a_later_file_that_goes_back_is_a_later_attempt(torch_logs):
    """Steps 6 to 9 were logged twice; both are there, the second ones as attempt 1, and the report says so."""
    run = read(torch_logs / "resumed")
    found = [(attempt, steps, values) for attempt, steps, values, _ in series(run, "loss")]
    assert [(0, list(range(10)), list(range(10))), (1, list(range(6, 16)), list(range(12, 22)))] == found
    assert [(change.what, change.count) for change in run.fidelity.changed] == [("restarts", 1)]


def test_a_writer_that_says_it_begins_again_begins_an_attempt(torch_logs):
    """``purge_step`` writes a session record: all that follows is attempt 1."""
    run = read(torch_logs / "purged")
    assert [found[:2] for found in series(run, "loss")] == [(0, [0, 1, 2, 3]), (1, [2])]
    assert [found[:3] for found in series(run, "other")] == [(1, [2], [9.0])]


def test_one_file_may_be_named(torch_logs):
    """The first file of two gives its own points alone."""
    first = min((torch_logs / "resumed").iterdir())
    assert importer.recognises(first)
    assert [(0, list(range(10)))] == [found[:2] for found in series(read(first), "loss")]


def test_other_files_are_not_recognised(tmp_path):
    """Nor an empty event file, nor a directory of directories; reading one says what to name."""
    (tmp_path / "notes.txt").write_text("tfevents")
    (tmp_path / "events.out.tfevents.1.x").touch()
    assert not importer.recognises(tmp_path)
    assert not importer.recognises(tmp_path / "notes.txt")
    with pytest.raises(FormatError, match="holds no event file"):
        next(importer.read(tmp_path))


def test_lightnings_hparams_file_is_the_configuration(torch_logs, tmp_path):
    """``hparams.yaml`` beside the event files, as Lightning's logger leaves it; a damaged one is reported."""
    shutil.copytree(torch_logs / "purged", tmp_path / "version_0")
    path = tmp_path / "version_0" / "hparams.yaml"
    path.write_text("lr: 0.5\nlayers: [1, 2]\n", encoding="utf-8")
    assert read(path.parent).config == {"lr": 0.5, "layers": [1, 2]}
    path.write_text("model: !!python/object:no.such.Thing {lr: 1}\n", encoding="utf-8")
    assert read(path.parent).config == {"model": {"lr": 1}}  # as plain data: nothing is called
    path.write_text("lr: [0.5\n", encoding="utf-8")
    run = read(path.parent)
    assert run.config == {}
    assert [(loss.what, loss.count) for loss in run.fidelity.lost] == [("configurations", 1)]


@pytest.fixture(scope="session")
def events_file(torch_logs):
    """The largest event file, and where its records begin and end."""
    path = next(path for path in (torch_logs / "tb").iterdir() if path.is_file())
    offsets = [offset for offset, _ in iterate_tfrecords(path, [])]
    return path.read_bytes(), [*offsets, path.stat().st_size]


def points(run):
    """All points and texts of a run, each tag's in order."""
    found = {
        tag: list(zip(block.steps, bits(values), block.t, strict=True))
        for block in run.metrics
        for tag, values in block.columns.items()
    }
    return {**found, "": [(text.step, text.text) for text in run.texts]}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_gives_a_prefix(events_file, tmp_path, data):
    """Every tag's points are the first of the whole file's, as many as are whole; a cut within a record is counted."""
    whole, offsets = events_file
    size = data.draw(st.integers(1, len(whole)), label="size")
    path = tmp_path / "events.out.tfevents.1.cut"
    path.write_bytes(whole)
    complete = points(read(path))
    path.write_bytes(whole[:size])
    run = read(path)
    for tag, found in points(run).items():
        assert complete[tag][: len(found)] == found
    num_records = sum(end <= size for end in offsets[1:])
    assert num_records == len(list(iterate_tfrecords(path, [])))
    expected = (
        [] if size in offsets else [(offsets[num_records], size - offsets[num_records], "the last record is cut off")]
    )
    assert expected == [(place.offset, place.size_bytes, place.reason) for place in run.fidelity.damage]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_damage_and_never_a_number(events_file, tmp_path, data):
    """Whatever byte is damaged, each point that is read was written, and there is exactly one place of damage."""
    whole, offsets = events_file
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    path = tmp_path / "events.out.tfevents.1.flipped"
    path.write_bytes(whole)
    complete = points(read(path))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))]) + whole[place + 1 :])
    run = read(path)
    record = max(index for index, offset in enumerate(offsets) if offset <= place)
    for tag, found in points(run).items():
        assert [point for point in complete[tag] if point in found] == found
    (damage,) = run.fidelity.damage
    is_length = place < offsets[record] + 12
    assert offsets[record] == damage.offset
    assert ((len(whole) if is_length else offsets[record + 1]) - offsets[record]) == damage.size_bytes


def test_a_record_that_is_no_event_is_damage(tmp_path, events_file):
    """With a checksum that is right and a content that is no message, the record is reported and the next one read."""
    whole, offsets = events_file

    content = b"\x0b\xff"
    head = struct.pack("<Q", len(content))
    record = head + struct.pack("<I", masked(crc32c([head])[0])) + content
    record += struct.pack("<I", masked(crc32c([content])[0]))
    path = tmp_path / "events.out.tfevents.1.strange"
    path.write_bytes(whole[: offsets[1]] + record + whole[offsets[1] :])
    run = read(path)
    (damage,) = run.fidelity.damage
    assert (offsets[1], len(record)) == (damage.offset, damage.size_bytes)
    assert "no event: wire type 3" in damage.reason
    assert NUM_STEPS + 3 * len(ODD) + 3 == run.fidelity.kept["numbers"]


def test_a_file_is_read_while_it_grows(start, tmp_path):
    """Forty looks at a file that torch's writer is writing: points only ever become more, each as it was logged."""
    child = start(
        """
        import itertools, sys, warnings
        warnings.simplefilter("ignore")
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(sys.argv[1], flush_secs=1, max_queue=7)
        for step in itertools.count():
            writer.add_scalar("loss", step % 1000, step)
            if step == 100:
                print("ready", flush=True)
        """,
        tmp_path / "live",
    )
    assert child.stdout.readline() == "ready\n"
    counts = []
    for _ in range(10):
        run = read(tmp_path / "live")
        with contextlib.suppress(ValueError):
            ((_, steps, values, _),) = series(run, "loss")
            assert list(range(len(steps))) == steps
            assert [step % 1000 for step in range(len(steps))] == values
            counts.append(len(steps))
    assert counts == sorted(counts)
    assert counts[-1] > 100
    assert not any(math.isnan(count) for count in counts)


def test_the_name_of_a_run_is_its_directory(torch_logs, monkeypatch):
    """Also when the path is relative."""
    monkeypatch.chdir(torch_logs / "tb")
    assert read(Path()).name == "tb"
