"""The files of detail records: whole or not at all, never over another, laid out for line tools."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.errors import InvalidConfigError, InvalidNameError, MisuseError
from barograph.facts.codec import decode, encode
from barograph.record.detail import DetailRecord
from barograph.record.detail_files import lay_out

T = 1_736_951_425.0  # 2025-01-15 14:30:25 UTC


def _record(directory, level="minimal", **options):
    return DetailRecord("entropy_probe", "step_60", level=level, directory=directory, clock=lambda: T, **options)


def _read(path):
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "nonfinite"), plain, max_size=4))
def test_laying_out_changes_nothing_but_white_space(data):
    """Any record, laid out over lines, is the same JSON."""
    line = encode(data)
    assert repr(decode(line)) == repr(decode(lay_out(line)))
    assert line == lay_out(line, depth=0)


def test_a_list_of_objects_is_one_line_each():
    """Objects and rows of a matrix stand on lines of their own; the numbers of one row share a line."""
    line = encode({"sequences": {"E": [{"id": 0}, {"id": 1}]}, "m": [[1, 2], [3, 4]], "flat": [1, 2]})
    assert lay_out(line).decode().split("\n") == [
        "{",
        '"sequences": {',
        '"E": [',
        '{"id":0},',
        '{"id":1}',
        "]",
        "},",
        '"m": [',
        "[1,2],",
        "[3,4]",
        "],",
        '"flat": [1,2]',
        "}",
    ]


def test_files_are_never_overwritten(tmp_path):
    """The second and third record of one second get ``-2`` and ``-3`` on all three names, compressed or not."""
    stems = []
    for number, compress in enumerate((True, False, True)):
        record = _record(tmp_path, compress=compress)
        record.minimal(core_results={"number": number})
        files = record.write()
        stems.append(files.detail.name.split(".")[0])
        assert files.summary.name == f"{stems[-1]}_summary.json"
        assert files.config.name == f"{stems[-1]}_config.yaml"
    stem = "entropy_probe_14-30-25_step_60"
    assert [stem, f"{stem}-2", f"{stem}-3"] == stems
    folder = tmp_path / "2025-01-15"
    numbers = [_read(path)["core_results"]["number"] for path in sorted(folder.glob("*_summary.json"), key=str)]
    assert sorted(numbers) == [0, 1, 2]
    assert len(list(folder.iterdir())) == 9


WRITER = """
import sys
from pathlib import Path
from barograph.record.detail import DetailRecord
sys.stdin.readline()
for number in range(8):
    record = DetailRecord("probe", "last", level="minimal", directory=Path(sys.argv[1]), clock=lambda: 0.0)
    record.minimal(core_results={"writer": int(sys.argv[2]), "number": number})
    print(record.write().summary)
"""


def test_processes_that_write_at_once_do_not_collide(tmp_path):
    """Records of one second from four processes are triples of their own, each whole."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    paths = [line for writer in writers for line in writer.communicate(timeout=60)[0].splitlines()]
    found = sorted((c["writer"], c["number"]) for c in (_read(Path(path))["core_results"] for path in paths))
    assert [(writer, number) for writer in range(4) for number in range(8)] == found
    assert len(list((tmp_path / "1970-01-01").iterdir())) == 3 * 32


def test_a_failed_write_leaves_nothing(tmp_path):
    """When one of the three files cannot be written, none of them and no temporary file is there."""
    record = _record(tmp_path, "minimal")
    record.minimal(core_results={"a": 1})
    folder = tmp_path / "2025-01-15"
    record._config = {"bad": object()}  # what the YAML writer refuses, after the main file is written
    with pytest.raises(InvalidConfigError):
        record.write()
    assert list(folder.iterdir()) == []
    record._config = {}
    assert record.write().detail.name == "entropy_probe_14-30-25_step_60.json.gz"


@pytest.mark.parametrize(("name", "checkpoint"), [("a/b", "x"), ("a", "/models/step_60.pt"), ("a\n", "x"), ("", "x")])
def test_names_that_would_not_survive_are_refused(tmp_path, name, checkpoint):
    """A path separator or control character in a name is refused when the record is made."""
    with pytest.raises(InvalidNameError):
        DetailRecord(name, checkpoint, directory=tmp_path)


def test_names_that_are_too_long_together_are_refused(tmp_path):
    """A name that no file system takes is refused when the record is made, not when it is written."""
    with pytest.raises(InvalidNameError, match="longer than 200 bytes; shorten"):
        DetailRecord("n" * 110, "c" * 110, directory=tmp_path)


def test_a_directory_that_is_a_file_is_refused(tmp_path):
    """The message names the file."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(MisuseError, match="is a file"):
        _record(tmp_path / "file").write()
