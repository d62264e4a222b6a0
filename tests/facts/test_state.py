from __future__ import annotations

import math
import os
import socket
import subprocess
import sys

import msgspec
import pytest

from barograph.errors import FormatError
from barograph.facts.state import (
    ExitRecord,
    ProcessRecord,
    is_alive,
    is_here,
    read_exit,
    read_process,
    start_ticks,
    this_process,
    write_exit,
    write_process,
)


def test_the_record_of_this_process_is_true(tmp_path):
    """It names this process on this machine and boot, lives, and reads back as it was written."""
    record = this_process(attempt=3, t=5.0, launch="l")
    assert (3, os.getpid(), socket.gethostname(), 5.0, "l") == (
        record.attempt,
        record.pid,
        record.host,
        record.started_t,
        record.launch,
    )
    assert is_here(record)
    assert is_alive(record)
    write_process(tmp_path / "process.json", record)
    assert record == read_process(tmp_path / "process.json")


def test_a_dead_process_is_not_alive_and_its_number_used_again_is_another():
    """Gone, a zombie, or the same process id with another start: none of them is the recorded process."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = msgspec.structs.replace(this_process(attempt=0), pid=child.pid, start_ticks=start_ticks(child.pid))
    assert is_alive(record)
    assert not is_alive(msgspec.structs.replace(record, start_ticks=record.start_ticks + 1))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet waited for
    assert not is_alive(record)
    child.communicate()
    assert not is_alive(record)


def test_without_proc_the_process_number_decides():
    """Where the system tells no start time, a living process of that number is taken for the recorded one."""
    record = msgspec.structs.replace(this_process(attempt=0), start_ticks=0)
    assert is_alive(record)
    assert not is_alive(msgspec.structs.replace(record, pid=2**22 + 1))


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot_id": "another boot"}], ids=["host", "boot"])
def test_another_machine_or_boot_is_not_here(change):
    """Its process ids mean nothing on this machine now."""
    assert not is_here(msgspec.structs.replace(this_process(attempt=0), **change))


def test_an_exit_record_comes_back_with_its_numbers(tmp_path):
    """Summary and ledger may hold numbers that are not finite."""
    record = ExitRecord(attempt=1, status="failed", t=2.5, reason="x", summary={"best": -math.inf}, ledger={"lost": 3})
    write_exit(tmp_path / "exit.json", record)
    assert record == read_exit(tmp_path / "exit.json")


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"[]", b'{"attempt":"x"}', b'{"attempt":1'])
def test_a_damaged_record_is_a_format_error(tmp_path, content):
    """Readers meet one kind of error, whatever the file holds; a missing file is no error."""
    path = tmp_path / "state.json"
    for read in (read_process, read_exit):
        path.unlink(missing_ok=True)
        assert read(path) is None
        path.write_bytes(content)
        with pytest.raises(FormatError):
            read(path)


def test_keys_of_a_newer_writer_are_left_out(tmp_path):
    """A record with more keys than this release knows is read."""
    path = tmp_path / "process.json"
    path.write_bytes(b'{"attempt":1,"pid":5,"host":"h","colour":"red"}')
    assert ProcessRecord(attempt=1, pid=5, host="h") == read_process(path)
