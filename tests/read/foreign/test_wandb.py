"""Runs that the real wandb wrote offline: finished, failed, killed; their records also as wandb's own messages."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.read.foreign import writers
from tests.read.foreign.conftest import QUIET, write
from tests.read.foreign.writers import CONFIG, NUM_STEPS, ODD, curve

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.read.foreign.convert import import_run
from barograph.read.foreign.protocol import find_foreign
from barograph.read.foreign.wandb import NULL_NOTE, importer
from barograph.read.foreign.wire import BLOCK_BYTES, iterate_log
from barograph.read.run import RunReader


@pytest.fixture(scope="session")
def finished(written):
    """The directory of the run that finished."""
    (directory,) = written("wandb").glob("wandb/offline-run-*")
    return directory


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """A run whose script and whose wandb service were both killed with SIGKILL while it logged."""
    place = tmp_path_factory.mktemp("killed")
    environ = {**os.environ, **QUIET, "WANDB_DIR": str(place), "HOME": str(place)}
    command = [sys.executable, writers.__file__, "wandb_killed"]
    with subprocess.Popen(command, cwd=place, env=environ, stdout=subprocess.PIPE, text=True) as script:
        while not list(place.glob("wandb/offline-run-*/*.wandb")) or size(place) < 5 * BLOCK_BYTES:
            assert script.stdout.readline()
        children = subprocess.run(["pgrep", "-P", str(script.pid)], capture_output=True, text=True, check=True)
        for pid in (script.pid, *map(int, children.stdout.split())):
            os.kill(pid, signal.SIGKILL)
    (directory,) = place.glob("wandb/offline-run-*")
    return directory


def size(place):
    """How many bytes wandb wrote."""
    return sum(path.stat().st_size for path in place.glob("wandb/offline-run-*/*.wandb"))


def read(path):
    """The one run of a directory or file."""
    (run,) = importer.read(path)
    return run


def bits(values):
    """Numbers so that NaN equals itself and zeros have a sign; integers as they are."""
    return [struct.pack("<d", value) if isinstance(value, float) else value for value in values]


def curves(run, split="train"):
    """Steps and values of every metric of a split."""
    found = {}
    for block in run.metrics:
        for name, values in block.columns.items() if block.split == split else ():
            steps, numbers = found.setdefault(name, ([], []))
            steps += block.steps
            numbers += values
    return found


def messages(path):
    """Wandb's own messages of a file, framed by twelve lines that share nothing with the importer."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if BLOCK_BYTES - place % BLOCK_BYTES < 7:
            place += BLOCK_BYTES - place % BLOCK_BYTES
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, place)
        part = data[place + 7 : place + 7 + length]
        if len(part) < length or zlib.crc32(bytes([kind]) + part) != checksum:
            return
        place, parts = place + 7 + length, (part if kind in (1, 2) else parts + part)
        if kind in (1, 4):
            yield Record.FromString(parts)


def told(path):
    """Steps and values of every number of wandb's history, by its own messages."""
    found = {}
    for message in messages(path):
        if message.WhichOneof("record_type") == "history":
            values = {".".join(item.nested_key): json.loads(item.value_json) for item in message.history.item}
            for name, value in values.items():
                if isinstance(value, (int, float)) and not name.startswith("_"):
                    steps, numbers = found.setdefault(name, ([], []))
                    steps.append(values["_step"])
                    numbers.append(value)
    return found


def test_numbers_are_what_was_logged(finished):
    """Every metric, at its step: nested names with dots, integers beyond 2^53, NaN, infinities and -0 to the bit."""
    found = curves(read(finished))
    steps = list(range(NUM_STEPS))
    assert (steps, [curve(step) for step in steps]) == found["loss"]
    assert (steps, steps) == found["nested.a"]
    assert (steps, [0.25] * NUM_STEPS) == found["nested.b.c"]
    assert (steps, [1e-300 * step for step in steps]) == found["slash/x"]
    assert list(range(NUM_STEPS, NUM_STEPS + len(ODD))) == found["odd"][0]
    assert bits(ODD) == bits(map(float, found["odd"][1]))
    assert found["big"] == ([100], [2**60 + 1])
    assert found["flag"] == ([100], [1])
    assert found["accuracy"][1] == [0.5, 0.75, 0.25]
    assert found["epoch"][1] == [0, 1, 2]
    assert found["only"][1] == [1.5]


def test_wandbs_own_messages_hold_the_same(finished, killed):
    """Every step and number of the history of a finished and of a killed run, and no other but a histogram's parts."""
    for directory in (finished, killed):
        (path,) = directory.glob("*.wandb")
        expected = told(path)
        media = {name for name in expected if name.startswith(("histogram.", "table."))}
        found = {name: (steps, bits(map(float, values))) for name, (steps, values) in curves(read(path)).items()}
        own = {n: (steps, bits(map(float, values))) for n, (steps, values) in expected.items() if n not in media}
        own.get("odd", ([], []))[1][3:4] = [struct.pack("<d", -0.0)] if "odd" in own else []  # "-0" is an int in JSON
        assert own == found


def test_times_are_wandbs_timestamps(finished):
    """Unix seconds, to the bit, growing, within the run."""
    run = read(finished)
    (path,) = finished.glob("*.wandb")
    expected = [
        json.loads(item.value_json)
        for message in messages(path)
        for item in message.history.item
        if item.nested_key == ["_timestamp"]
    ]
    found = [t for block in run.metrics if block.split == "train" for t in block.t]
    assert [t for t in expected if t in set(found)] == found
    assert run.created_t < found[0]
    assert found[-1] <= run.ended_t


def test_identity_and_configuration(finished):
    """Name, project, group, tags, notes, seed, id, and the configuration; NaN there is null, and a note says so."""
    run = read(finished)
    (path,) = finished.glob("run-*.wandb")
    assert (
        run.name,
        run.project,
        run.group,
        run.tags,
        run.notes,
        run.seed,
    ) == ("finish", "proj", "g", ["a", "b"], "some notes", 3)
    assert path.stem == f"run-{run.run_id}"
    assert run.config == {**CONFIG, "nan": None}
    assert NULL_NOTE in run.fidelity.notes
    assert str(writers.__file__) == run.provenance["argv"][0]
    assert run.provenance["defined_metrics"] == [{"name": "accuracy", "step_metric": "epoch"}]


def test_summary_console_alerts_and_texts(finished):
    """Results as wandb summarised them, what was printed, the alert, the text."""
    run = read(finished)
    assert run.summary["best"] == 0.125
    assert run.summary["accuracy.max"] == 0.75
    assert curve(NUM_STEPS - 1) == run.summary["loss"]
    assert run.console == "to the console\n"
    assert [(e[1], e[2]["title"], e[2]["text"]) for e in run.events] == [("custom", "loss is flat", "for 10 steps")]
    assert [(text.name, text.text, text.step) for text in run.texts] == [("text", "hello", 100)]


def test_samples_of_the_machine_are_in_the_split_host(finished):
    """At seconds since the start, with wandb's names."""
    found = curves(read(finished), "host")
    assert found["proc.memory.rssMB"][1][0] > 1
    assert 0 <= found["proc.memory.rssMB"][0][0] < 60


def test_files_are_named(finished):
    """Those in ``files/``, the media among them."""
    files = {file.name: file for file in read(finished).files}
    assert {"requirements.txt", "output.log"} <= files.keys()
    assert any(name.startswith("media/table/") for name in files)
    assert all(file.path.stat().st_size == file.size_bytes for file in files.values())


def test_what_cannot_be_kept_is_counted(finished):
    """A histogram, a table, a list, a null and the table's artifact are lost; truth values became numbers."""
    fidelity = read(finished).fidelity
    lost = {loss.what: loss.count for loss in fidelity.lost if not loss.what.startswith("results")}
    assert lost == {"histogram values": 1, "table-file values": 1, "list values": 1, "nulls": 1, "artifacts": 1}
    num_train = 4 * NUM_STEPS + len(ODD) + 2 + 1 + 6
    num_host = sum(len(values) for _, values in curves(read(finished), "host").values())
    assert num_train + num_host == fidelity.kept["numbers"]
    assert next(change.count for change in fidelity.changed if change.what == "truth values") == 1
    assert fidelity.damage == []


def test_a_run_that_raised_is_failed(tmp_path):
    """With the exit code and the traceback in the console output."""
    write("wandb", tmp_path, "fail", returncode=1)
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    run = read(directory)
    assert (run.status, run.reason) == ("failed", "exit code 1")
    assert "RuntimeError: as asked" in run.console


def test_a_killed_run_is_read_as_far_as_it_was_written(killed):
    """Steps without a gap from 0, no exit record, and at most one damaged place, at the end of the file."""
    run = read(killed)
    steps, values = curves(run)["loss"]
    assert list(range(len(steps))) == steps
    assert [curve(step) for step in steps] == values
    assert len(steps) > 100
    assert (run.status, run.ended_t) == ("unknown", None)
    assert "killed" in run.reason
    (path,) = killed.glob("*.wandb")
    assert all(place.offset + place.size_bytes == path.stat().st_size for place in run.fidelity.damage)


def test_a_directory_of_several_runs(finished, killed, tmp_path):
    """``wandb/`` gives one source per run; links such as latest-run are not read twice; each becomes a native run."""
    folder = tmp_path / "wandb"
    folder.mkdir()
    for directory in (finished, killed):
        (folder / directory.name).mkdir()
        for path in directory.glob("*.wandb"):
            (folder / directory.name / path.name).write_bytes(path.read_bytes())
    (folder / "latest-run").symlink_to(finished.name)
    found = find_foreign(folder, tools=["wandb"])
    assert sorted([("wandb", folder / finished.name), ("wandb", folder / killed.name)]) == sorted(found)
    for _, path in found:
        run = read(path)
        native = RunReader(import_run(run, tmp_path / "runs", durable=False).path)
        expected = {name: bits(map(float, values)) for name, (_, values) in curves(run).items()}
        found_there = {name: bits(float(p.value) for p in native.curve(name)) for name in expected}
        assert expected == found_there
    assert RunReader(import_run(read(finished), tmp_path / "runs").path).curve("big")[0].value == 2**60 + 1


def test_other_files_are_not_recognised(tmp_path):
    """A file of that name with other bytes, an empty directory; reading one says what to name."""
    (tmp_path / "run-x.wandb").write_bytes(b"not this")
    assert not importer.recognises(tmp_path)
    assert not importer.recognises(tmp_path / "run-x.wandb")
    with pytest.raises(FormatError, match=r"holds no run-\*\.wandb file; name a run's directory"):
        next(importer.read(tmp_path))


@pytest.fixture(scope="session")
def killed_bytes(killed):
    """The first four blocks of the killed run's file: records of all lengths, many of which span two blocks."""
    (path,) = killed.glob("*.wandb")
    return path.read_bytes()[: 4 * BLOCK_BYTES]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_gives_a_prefix(killed_bytes, tmp_path, data):
    """The records are the first ones of the whole file; every byte that belongs to none of them is counted."""
    whole = tmp_path / "run-whole.wandb"
    whole.write_bytes(killed_bytes)
    complete = list(iterate_log(whole, [], header_bytes=7))
    assert len(complete) > 300
    size_bytes = data.draw(st.integers(7, len(killed_bytes)), label="size_bytes")
    path = tmp_path / "run-cut.wandb"
    path.write_bytes(killed_bytes[:size_bytes])
    damage = []
    found = list(iterate_log(path, damage, header_bytes=7))
    assert complete[: len(found)] == found
    assert len(complete) == len(found) or complete[len(found)][0] + 7 + len(complete[len(found)][1]) > size_bytes
    end = found[-1][0] + 7 + len(found[-1][1]) if found else 7
    if size_bytes - end > 14:  # more than the header of a fragment and the trailer of a block
        assert damage
    steps = curves(read(path)).get("loss", ([], []))[0]
    assert list(range(len(steps))) == steps


def test_a_flipped_bit_is_damage_and_never_a_number(killed_bytes, tmp_path):
    """Each record that is read was written; what is missing is counted; reading goes on in the next block."""
    whole = tmp_path / "run-whole.wandb"
    whole.write_bytes(killed_bytes)
    cut: list[Damage] = []  # the last record, which the end of the four blocks may cut
    complete = dict(iterate_log(whole, cut, header_bytes=7))
    last_whole = max(complete)
    path = tmp_path / "run-flipped.wandb"

    @settings(max_examples=60)
    @given(place=st.integers(7, 3 * BLOCK_BYTES - 1), bit=st.integers(0, 7))
    def check(place, bit):
        path.write_bytes(killed_bytes[:place] + bytes([killed_bytes[place] ^ 1 << bit]) + killed_bytes[place + 1 :])
        damage: list[Damage] = []
        found = dict(iterate_log(path, damage, header_bytes=7))
        assert all(complete[offset] == record for offset, record in found.items())
        is_trailer = len(found) == len(complete)  # six bytes at the end of a block that hold nothing
        assert (len(damage) > len(cut)) is not is_trailer
        assert last_whole in found
        missing = [offset for offset in complete if offset not in found]
        assert all(abs(offset - place) <= 2 * BLOCK_BYTES for offset in missing)

    check()


def test_typed_values_of_newer_messages_are_read(tmp_path):
    """Wandb's messages know numbers, truth values, texts and JSON of their own kinds; all of them are read."""
    from wandb.proto.wandb_internal_pb2 import HistoryItem, HistoryRecord, Record

    items = [
        HistoryItem(nested_key=["number"], number=0.1),
        HistoryItem(nested_key=["integer"], integer=-(2**60) - 1),
        HistoryItem(nested_key=["boolean"], boolean=True),
        HistoryItem(nested_key=["text"], text="hello"),
        HistoryItem(nested_key=["json"], json='{"a": 2}'),
        HistoryItem(key="old", value_json="NaN"),
    ]
    content = Record(history=HistoryRecord(item=items)).SerializeToString()
    head = struct.pack("<IHB", zlib.crc32(b"\x01" + content), len(content), 1)
    path = tmp_path / "run-typed.wandb"
    path.write_bytes(b":W&B\xe1\xbe\x00" + head + content)
    run = read(path)
    found = {name: values[0] for name, (_, values) in curves(run).items()}
    assert math.isnan(found.pop("old"))
    assert found == {"number": 0.1, "integer": -(2**60) - 1, "boolean": 1, "json.a": 2}
    assert [text.text for text in run.texts] == ["hello"]
