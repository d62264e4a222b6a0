"""The file of a text log: whole lines, rotation, and what happens when the disk refuses."""

from __future__ import annotations

import gzip
import os

import pytest

from barograph.record.log_file import LogFile


@pytest.fixture
def errors():
    """What the file told of."""
    return []


@pytest.fixture
def file(tmp_path, errors):
    """A log file that is begun anew after a hundred bytes."""
    file = LogFile(tmp_path / "train.log", rotation_bytes=100, on_error=errors.append)
    yield file
    file.stop()


def test_no_line_is_split_between_files(file, tmp_path, errors):
    """A line that would make the file too large stands in the next one, whole; a longer one stands alone."""
    lines = [f"{number:03d} {'x' * number}\n" for number in range(0, 130, 7)]
    for line in lines:
        file.write(line)
    packed = sorted(tmp_path.glob("train.*.log.gz"))
    parts = [gzip.decompress(path.read_bytes()).decode() for path in packed]
    parts.append((tmp_path / "train.log").read_text(encoding="utf-8"))
    assert "".join(parts) == "".join(lines)
    assert all(len(part) <= 100 or part.count("\n") == 1 for part in parts)
    assert errors == []


def test_a_torn_line_is_not_continued(tmp_path, errors):
    """What a killed process left half written is kept beside the file, and the next line stands on its own."""
    (tmp_path / "train.log").write_bytes(b"whole\ntor")
    file = LogFile(tmp_path / "train.log", rotation_bytes=1000, on_error=errors.append)
    file.write("next\n")
    file.stop()
    assert (tmp_path / "train.log").read_bytes() == b"whole\nnext\n"
    assert (tmp_path / "train.log.cut-6").read_bytes() == b"tor"


def test_characters_that_utf_8_does_not_have_are_escaped(file, tmp_path, errors):
    """A lone surrogate, as in names of files, stops no line."""
    file.write("caf\u00e9 \udc80\n")
    assert (tmp_path / "train.log").read_bytes() == "caf\u00e9 \\udc80\n".encode()
    assert errors == []


def test_lines_that_the_disk_refuses_are_told_and_left_out(file, tmp_path, errors):
    """Each is told once, nothing of it is in the file, and the line after it is written when there is room."""
    file.write("before\n")
    fd = file._file.fd
    real, full = os.dup(fd), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, fd)
    file.write("lost\n")
    file.write("lost too\n")
    os.dup2(real, fd)
    os.close(real)
    os.close(full)
    file.write("after\n")
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "before\nafter\n"
    assert [str(tmp_path / "train.log")] * 2 == [error.filename for error in errors]


def test_a_log_that_cannot_be_compressed_stays_as_it_is(file, tmp_path, errors, monkeypatch):
    """The full part keeps its lines uncompressed, the failure is told, and logging goes on in a new file."""

    def refuse(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", refuse)
    file.write("x" * 90 + "\n")
    file.write("y" * 90 + "\n")
    (full,) = tmp_path.glob("train.2*.log")
    assert full.read_text(encoding="utf-8") == "x" * 90 + "\n"
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "y" * 90 + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([full.name, "train.log"])
    assert [error.errno for error in errors] == [28]
