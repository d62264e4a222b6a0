from __future__ import annotations

import errno
import os
import threading

import pytest

from barograph.errors import FormatError
from barograph.facts.descriptor import WRITE, AppendFile, keep_cut, replace_file


@pytest.fixture
def file(tmp_path):
    """An open, empty file."""
    file = AppendFile(tmp_path / "a.bin")
    yield file
    file.close()


def test_the_quick_call_writes_and_tells_how_much(tmp_path):
    """``WRITE`` returns the number of bytes, and -1 where the system refuses."""
    fd = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert WRITE(fd, b"seven b", 7) == 7
    assert WRITE(fd, b"a\0b", 3) == 3
    os.close(fd)
    assert (tmp_path / "a").read_bytes() == b"seven ba\0b"
    assert WRITE(fd, b"x", 1) == -1


def test_bytes_are_appended_to_what_is_there(tmp_path):
    """Opening truncates nothing; two descriptors append after each other."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    first, second = AppendFile(path), AppendFile(path)
    first.write(b"two")
    second.write(b"three")
    first.close()
    second.close()
    assert path.read_bytes() == b"onetwothree"


def test_an_exclusive_file_must_be_new(file):
    """Nobody else's file is taken over."""
    with pytest.raises(FileExistsError):
        AppendFile(file.path, exclusive=True)


def test_a_write_that_fails_names_the_file_and_the_reason(file):
    """The quick call only says -1; the error says why and where."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fd)
    os.close(full)
    with pytest.raises(OSError, match="No space left") as caught:
        file.write(b"data")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file.path))
    assert file.broken is None


def test_a_torn_write_that_cannot_be_taken_back_closes_the_file_to_later_ones(file):
    """Nothing is appended behind torn bytes, or every later row would be misread."""
    file.write(b"whole")
    os.write(file.fd, b"torn")
    full = os.open("/dev/full", os.O_WRONLY)  # neither written to nor truncated
    os.dup2(full, file.fd)
    os.close(full)
    with pytest.raises(OSError, match="Invalid argument"):
        file.finish_write(b"torn and more", 4)
    with pytest.raises(FormatError, match=r"torn after 4 bytes and could not be taken back .*; nothing more"):
        file.write(b"next")


def test_a_pipe_that_takes_little_at_a_time_gets_everything(tmp_path):
    """A write that the system takes in pieces is completed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    file = AppendFile(tmp_path / "a")
    os.dup2(writing, file.fd)
    os.close(writing)
    data = bytes(range(256)) * 4096
    found = []

    def drain():
        while chunk := os.read(reading, 1000):
            found.append(chunk)

    thread = threading.Thread(target=drain)
    thread.start()
    file.write(data)
    file.close()
    thread.join()
    os.close(reading)
    assert data == b"".join(found)
    assert file.size_bytes == len(data)


def test_closing_twice_is_harmless(file):
    """The second call closes nothing, least of all a descriptor of that number that somebody else has opened since."""
    fd = file.fd
    file.close()
    other = os.open(file.path, os.O_RDONLY)
    assert other == fd
    file.close()
    assert os.fstat(other).st_size == 0
    os.close(other)


def test_a_replaced_file_is_old_or_new_and_leaves_nothing_behind(tmp_path):
    """Many threads replace a file; whoever reads sees one of the versions whole."""
    path = tmp_path / "run.json"
    versions = [bytes([65 + index]) * 50_000 for index in range(4)]
    replace_file(path, versions[0])
    stop = threading.Event()

    def replace(version):
        while not stop.is_set():
            replace_file(path, version)

    threads = [threading.Thread(target=replace, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    seen = {path.read_bytes() for _ in range(300)}
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= set(versions)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path):
    """The old bytes stay, and no temporary file does."""
    target = tmp_path / "a"
    target.mkdir()
    (target / "kept").write_bytes(b"x")
    with pytest.raises(IsADirectoryError):
        replace_file(target, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert (target / "kept").read_bytes() == b"x"


def test_keeping_a_cut_moves_the_tail(tmp_path):
    """The bytes from a place on are moved beside the file; nothing to move makes no file."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"headtail")
    assert keep_cut(path, 8) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
    assert keep_cut(path, 4) == 4
    assert path.read_bytes() == b"head"
    assert (tmp_path / "a.bin.cut-4").read_bytes() == b"tail"
