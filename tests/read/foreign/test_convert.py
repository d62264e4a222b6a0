"""Native runs of foreign ones: every number to the bit, made once, replaced when the source has grown, whole or not."""

from __future__ import annotations

import math
import os
import shutil
import struct
from array import array
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barograph.errors import MisuseError
from barograph.facts.metrics import METRIC_RESERVED
from barograph.facts.rows import read_header
from barograph.read import edits
from barograph.read.catalog import discover_runs
from barograph.read.columns import iterate_overflow
from barograph.read.flat import iterate_columns
from barograph.read.foreign import native
from barograph.read.foreign.convert import import_run, imported_runs, native_id, write_native
from barograph.read.foreign.protocol import ForeignFile, ForeignMetrics, ForeignRun, ForeignText
from barograph.read.run import RunReader
from barograph.read.verify import verify


def foreign(source=Path("source"), **fields):
    """A foreign run; what is not said is the least there can be."""
    return ForeignRun(**{"tool": "tool", "source": source, "key": "", "name": "a name", **fields})


def block(*values, name="loss", **fields):
    """A block of one metric at the steps 0, 1, ... a second apart."""
    times = [1.7e9 + step for step in range(len(values))]
    return ForeignMetrics(**{"columns": {name: list(values)}, "steps": list(range(len(values))), "t": times, **fields})


def bits(values):
    """Numbers so that NaN equals itself and zeros have a sign; integers as they are."""
    return [struct.pack("<d", value) if isinstance(value, float) else value for value in values]


def recorded(path):
    """Every record of a run: origin, step, time and numbers by name, in any order."""
    found = []
    for columns in iterate_columns(RunReader(path).directory, []):
        for place, (step, t) in enumerate(zip(columns.steps, columns.t, strict=True)):
            values = {name: number(column[place]) for name, column in sorted(columns.values.items())}
            found.append((columns.split, columns.attempt, columns.rank, number(step), t, values))
    return sorted(found, key=repr)


def number(value):
    """A number as text that tells NaN, the sign of zero and every bit; what a float64 holds is one."""
    if isinstance(value, int) and abs(value) > 2**53:
        return str(value)
    return ("-nan" if math.copysign(1, value) < 0 else "nan") if math.isnan(value) else float(value).hex()


numbers = st.floats(width=64) | st.integers(-(2**70), 2**70)
steps = st.integers(-(2**60), 2**60) | st.floats(-1e6, 1e6)
names = st.text(min_size=1, max_size=8).filter(lambda name: name not in METRIC_RESERVED)


@st.composite
def blocks(draw):
    """A block of some metrics."""
    size = draw(st.integers(1, 4))
    keys = draw(st.lists(names, min_size=1, max_size=3, unique=True))

    def column(of):
        values = draw(st.lists(of, min_size=size, max_size=size))
        return array("d", values) if draw(st.booleans()) and all(isinstance(v, float) for v in values) else values

    return ForeignMetrics(
        columns={key: column(numbers) for key in keys},
        steps=column(steps),
        t=column(st.floats(1.0, 1e10)),
        split=draw(st.sampled_from(["train", "val", "host"])),
        attempt=draw(st.integers(0, 2)),
        rank=draw(st.integers(0, 1)),
    )


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(blocks(), max_size=6))
def test_every_number_is_kept(tmp_path, given_blocks):
    """NaN of either sign, infinities, -0, integers of any size, fractional and repeated steps, at their origins."""
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    path = write_native(foreign(metrics=given_blocks), tmp_path / "runs")
    expected = [
        (
            each.split,
            each.attempt,
            each.rank,
            number(step),
            each.t[place],
            {name: number(column[place]) for name, column in sorted(each.columns.items())},
        )
        for each in given_blocks
        for place, step in enumerate(each.steps)
    ]
    assert sorted(expected, key=repr) == recorded(path)
    assert RunReader(path).damage == []


def test_the_order_of_recording_is_kept(tmp_path):
    """Steps that repeat and go back stand as they came, also over blocks."""
    metrics = [block(1.0, 2.0, 3.0, steps=[5, 5, -2]), block(4.0, steps=[0.5])]
    path = write_native(foreign(metrics=iter(metrics)), tmp_path)
    assert [(p.step, p.value) for p in RunReader(path).curve("loss")] == [(5, 1.0), (5, 2.0), (-2, 3.0), (0.5, 4.0)]


def test_integers_beyond_a_float_go_to_metrics_jsonl(tmp_path):
    """Only the records that hold one; the others are rows."""
    path = write_native(foreign(metrics=[block(1, 2**53 + 1, 3)]), tmp_path)
    assert [columns.values["loss"][0] for columns in iterate_overflow(RunReader(path).directory, [])] == [2**53 + 1]
    assert RunReader(path).directory.rows(0).stat().st_size - 4096 == 24 * 2


def test_many_sets_of_names(tmp_path, monkeypatch):
    """Past the limit of streams, further sets go to ``metrics.jsonl``; nothing is missing."""
    monkeypatch.setattr(native, "MAX_STREAMS", 5)
    path = write_native(foreign(metrics=[block(0.5 * each, name=f"m{each}") for each in range(9)]), tmp_path)
    assert len(RunReader(path).directory.rows_files()) == 5
    assert {f"m{each}": 0.5 * each for each in range(9)} == {each.name: each.last for each in RunReader(path).metrics()}


def test_rows_wait_in_memory_and_are_all_written(tmp_path, monkeypatch):
    """With a buffer of a few rows, ten thousand rows of two interleaved streams are in their order."""
    monkeypatch.setattr(native, "BUFFER_BYTES", 100)
    metrics = (block(float(each), name="ab"[each % 2], steps=[each]) for each in range(10_000))
    reader = RunReader(write_native(foreign(metrics=metrics), tmp_path))
    assert list(range(0, 10_000, 2)) == [point.value for point in reader.curve("a")]
    assert list(range(1, 10_000, 2)) == [point.value for point in reader.curve("b")]


def test_names_of_the_format_are_changed_and_counted(tmp_path):
    """``step`` as a metric gets an underscore, as many as are needed; the report says how many values."""
    columns = {"step": [1.0], "step_": [2.0], "t": [3.0]}
    made = import_run(foreign(metrics=[ForeignMetrics(columns=columns, steps=[0], t=[1.7e9])]), tmp_path)
    assert {each.name: each.last for each in RunReader(made.path).metrics()} == {"step__": 1.0, "step_": 2.0, "t_": 3.0}
    assert {each.what: each.count for each in made.fidelity.changed} == {"values of 'step'": 1, "values of 't'": 1}


def test_times_that_nobody_told(tmp_path):
    """NaN and 0 become the time of the start, or of the source; the report counts them."""
    source = tmp_path / "source.log"
    source.touch()
    os.utime(source, (1.6e9, 1.6e9))
    metrics = [block(1.0, 2.0, 3.0, t=[math.nan, 0.0, 1.7e9])]
    for created_t, expected in ((1.5e9, 1.5e9), (None, 1.6e9)):
        made = import_run(foreign(source, key=str(created_t), metrics=metrics, created_t=created_t), tmp_path / "runs")
        assert [expected, expected, 1.7e9] == [point.t for point in RunReader(made.path).curve("loss")]
        assert [(each.what, each.count) for each in made.fidelity.changed] == [("times", 2)]


def test_who_the_run_is(tmp_path):
    """Identity, configuration, console, provenance with the source and the account; verified without a finding."""
    run = foreign(
        tmp_path / "source",
        name="../a b",
        project="p",
        group="g",
        tags=["x"],
        notes="n",
        seed=3,
        run_id="theirs",
        config={"lr": math.nan, "deep": {"list": [1, "caf\u00e9"]}},
        console="line\r\nline",
        created_t=1.7e9,
        ended_t=1.7e9 + 60,
        status="finished",
        summary={"best": math.inf, "name": "adam"},
        metrics=[block(1.0)],
        provenance={"argv": ["train.py"]},
    )
    made = import_run(run, tmp_path / "runs", clock=lambda: 5.0)
    reader = RunReader(made.path)
    assert made.path.name == "run_20231114-221320_..-a_b_job0"
    identity = reader.identity
    assert (
        identity.name,
        identity.project,
        identity.group,
        identity.tags,
        identity.notes,
        identity.seed,
    ) == ("../a b", "p", "g", ["x"], "n", 3)
    assert identity.created_t == 1.7e9
    assert math.isnan(reader.config["lr"])
    assert reader.config["deep"] == {"list": [1, "caf\u00e9"]}
    assert reader.directory.console_log.read_bytes() == b"line\r\nline"
    assert reader.provenance["argv"] == ["train.py"]
    origin = reader.provenance["imported_from"]
    expected = ("tool", str(tmp_path / "source"), "theirs", 5.0)
    assert expected == (origin["tool"], origin["source"], origin["run_id"], origin["imported_t"])
    assert {"numbers": 0} | reader.provenance["fidelity"]["kept"] == {"numbers": 0}
    assert {"best": math.inf, "name": "adam"} == reader.digest().summary == reader.exit_record().summary
    assert (reader.status().state, reader.status().since_t) == ("finished", 1.7e9 + 60)
    assert reader.exit_record().total_time_s == 60
    assert verify(made.path) == []


@pytest.mark.parametrize(("status", "state"), [("failed", "failed"), ("killed", "killed"), ("unknown", "lost")])
def test_how_a_run_ended(tmp_path, status, state):
    """As the source tells, with its reason; where it does not tell, nothing shows that the run lives."""
    made = import_run(foreign(status=status, reason="because", metrics=[block(1.0, 2.0)]), tmp_path)
    found = RunReader(made.path).status()
    assert state == found.state
    assert "because" in found.reason or status == "unknown"
    assert found.since_t == 1.7e9 + 1 or status == "unknown"


def test_a_source_that_grows_now_is_no_run_of_this_machine(tmp_path):
    """Its newest record is seconds old, and nobody recorded an end: it is what its tool told when it was read."""
    import time

    made = import_run(foreign(status="running", metrics=[block(1.0, t=[time.time()])]), tmp_path)
    status = RunReader(made.path).status()
    assert (status.state, status.reason) == ("lost", "imported from tool, which does not tell how it ended")


def test_texts_events_and_attempts(tmp_path):
    """Texts are events in the order of their times; attempts begin with on_resume; odd keys are renamed."""
    run = foreign(
        created_t=1.7e9,
        metrics=[block(1.0), block(2.0, attempt=1, t=[1.7e9 + 50])],
        texts=[ForeignText(name="w", text="b", step=2, t=1.7e9 + 9), ForeignText(name="w", text="a", t=1.7e9 + 3)],
        events=[(1.7e9 + 5, "on_epoch_end", {"epoch": 0, "train_loss": math.nan}), (0.0, "two words", {"seq": 1})],
    )
    made = import_run(run, tmp_path)
    found = [(event.t - 1.7e9, event.moment, event.payload) for event in RunReader(made.path).events()]
    assert [each[1] for each in found] == ["on_start", "custom", "custom", "on_epoch_end", "custom", "on_resume"]
    assert [each[0] for each in found] == [0, 0, 3, 5, 9, 50]
    assert found[1][2] == {"kind": "two words", "seq_": 1}
    assert found[2][2] == {"kind": "text", "name": "w", "text": "a"}
    assert found[4][2] == {"kind": "text", "name": "w", "text": "b", "step": 2}
    assert found[5][2] == {"previous_attempt": 0, "previous_status": "unknown", "attempt": 1}
    assert [point.is_effective for point in RunReader(made.path).curve("loss")] == [False, True]
    assert [each.what for each in made.fidelity.changed] == ["keys of events"]


def test_files_are_referenced_or_copied(tmp_path):
    """By default their paths are noted; with ``copy_files`` their bytes are blobs; a missing one is lost."""
    (tmp_path / "weights.pt").write_bytes(b"weights")
    files = [ForeignFile(name="sub/weights.pt", path=tmp_path / "weights.pt", size_bytes=7)]
    noted = import_run(foreign(files=files), tmp_path / "noted")
    (event,) = RunReader(noted.path).events("custom")
    expected = {"kind": "file", "name": "sub/weights.pt", "source": str(tmp_path / "weights.pt"), "size_bytes": 7}
    assert expected == event.payload
    assert list(noted.path.glob("blobs/*/*")) == []
    files.append(ForeignFile(name="gone", path=tmp_path / "gone", size_bytes=1))
    copied = import_run(foreign(files=files, status="finished"), tmp_path / "copied", copy_files=True)
    (event,) = RunReader(copied.path).events("custom")
    (blob,) = copied.path.glob("blobs/*/*")
    assert (b"weights", blob.name) == (blob.read_bytes(), event.payload["blob"]["sha256"])
    assert [(each.what, each.count) for each in copied.fidelity.lost] == [("files", 1)]
    assert verify(copied.path) == []


def test_importing_twice_makes_one_run(tmp_path):
    """Unchanged when the source is the same; replaced, in the same directory, when it grew; older when it shrank."""
    run = foreign(metrics=[block(1.0)])
    run.fidelity.keep("numbers", 1)
    grown = foreign(metrics=[block(1.0, 2.0)])
    grown.fidelity.keep("numbers", 2)
    first = import_run(run, tmp_path)
    outcomes = [import_run(each, tmp_path) for each in (run, grown, grown, run)]
    assert [each.outcome for each in (first, *outcomes)] == ["new", "unchanged", "replaced", "unchanged", "older"]
    assert {first.path} == {each.path for each in outcomes}
    assert [first.path] == discover_runs(tmp_path)
    assert [point.value for point in RunReader(first.path).curve("loss")] == [1.0, 2.0]
    assert {first.run_id: first.path} == imported_runs(tmp_path)
    assert [first.path] == list(tmp_path.iterdir())


def test_edits_outlive_a_replacement(tmp_path):
    """A run that was renamed, then imported again from a source that grew, has the new numbers and the new name."""
    made = import_run(foreign(metrics=[block(1.0)]), tmp_path)
    edits.rename(made.path, "mine")
    assert import_run(foreign(metrics=[block(1.0, 2.0)]), tmp_path).outcome == "replaced"
    assert RunReader(made.path).identity.name == "mine"
    assert len(RunReader(made.path).curve("loss")) == 2


def test_a_deleted_run_is_not_made_again(tmp_path):
    """Who deleted an imported run does not find another one after the next import."""
    made = import_run(foreign(metrics=[block(1.0)]), tmp_path)
    edits.delete(made.path)
    assert import_run(foreign(metrics=[block(1.0)]), tmp_path).outcome == "unchanged"
    assert discover_runs(tmp_path) == []


def test_runs_are_told_apart(tmp_path):
    """By the tool's own identifier where there is one, wherever the source lies; else by source and key."""
    assert native_id(foreign(Path("a"), run_id="x")) == native_id(foreign(Path("b"), run_id="x"))
    ids = {native_id(foreign(Path(source), key=key)) for source in "ab" for key in "cd"}
    assert len(ids | {native_id(foreign(Path("a"), run_id="x"))}) - 1 == 4
    made = [import_run(foreign(key=key, created_t=1.7e9), tmp_path).path.name for key in "cd"]
    assert made == ["run_20231114-221320_a_name_job0", "run_20231114-221320_a_name_job1"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    """An importer that raises in the middle, or columns of different lengths: no run, no hidden directory."""

    def broken():
        yield block(1.0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        import_run(foreign(metrics=broken()), tmp_path)
    with pytest.raises(ValueError, match="not one length"):
        import_run(foreign(metrics=[block(1.0, 2.0, t=[1.0])]), tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(MisuseError, match="is a file"):
        import_run(foreign(), tmp_path / "file")


def test_streams_belong_to_the_run(tmp_path):
    """Headers name the run, the split, the attempt and the rank; other ranks have files of their own."""
    made = import_run(foreign(metrics=[block(1.0, rank=2, split="val", attempt=1)]), tmp_path)
    header = read_header(made.path / "facts" / "metrics.000.rank002.rows")
    assert (made.run_id, "val", 1, 2) == (header.run_id, header.split, header.attempt, header.rank)
    assert header.columns == ["step", "loss", "t"]


def test_configuration_is_yaml(tmp_path):
    """With its keys in their order."""
    made = import_run(foreign(config={"z": 1, "a": {"y": None, "b": [1.5, "x"]}}), tmp_path)
    text = (made.path / "config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"z": 1, "a": {"y": None, "b": [1.5, "x"]}}
    assert text.index("z:") < text.index("a:")
