"""``batch`` mode: rows are gathered, written together, and counted while they wait."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest
from tests.recorded import Recorded

from barograph.errors import RecordingWarning
from barograph.record.batch import BATCH_BYTES, BatchWriter
from barograph.record.guard import Guard


@pytest.fixture
def target(tmp_path):
    """A descriptor that appends to a file, and the file's path."""
    path = tmp_path / "rows"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield fd, path
    os.close(fd)


def test_rows_wait_and_are_written_together(target, monkeypatch):
    """Rows are in memory until a flush, which writes all of them in order."""
    fd, path = target
    monkeypatch.setattr("barograph.record.batch.BATCH_S", 60.0)
    writer = BatchWriter(Guard())
    for number in range(10):
        assert writer(fd, struct.pack("<d", number), 8) == 8
    assert (writer.num_waiting, path.stat().st_size) == (10, 0)
    writer.flush()
    assert (writer.num_waiting, path.read_bytes()) == (0, struct.pack("<10d", *range(10)))
    writer.flush()
    assert path.stat().st_size == 80


def test_a_full_buffer_is_written(target, monkeypatch):
    """At 64 KiB the rows are written, whatever the clock says."""
    fd, path = target
    monkeypatch.setattr("barograph.record.batch.BATCH_S", 60.0)
    writer = BatchWriter(Guard())
    for _ in range(BATCH_BYTES // 48 + 1):
        writer(fd, b"x" * 48, 48)
    assert path.stat().st_size == (BATCH_BYTES // 48 + 1) * 48
    assert writer.num_waiting == 0


def test_old_rows_are_written_with_the_next_call(target):
    """Rows that are older than two milliseconds go with the next call."""
    fd, path = target
    writer = BatchWriter(Guard())
    writer(fd, b"x" * 8, 8)
    time.sleep(0.01)
    writer(fd, b"y" * 8, 8)
    assert path.read_bytes() == b"x" * 8 + b"y" * 8


def test_full_disk_costs_what_waited(monkeypatch):
    """Rows that the system does not take are counted to the row, and reported once."""
    monkeypatch.setattr("barograph.record.batch.BATCH_S", 60.0)
    guard = Guard()
    writer = BatchWriter(guard)
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        for _ in range(5):
            writer(fd, b"x" * 24, 24)
        with pytest.warns(RecordingWarning, match="No space left on device"):
            writer.flush()
    finally:
        os.close(fd)
    assert (guard.lost, writer.num_waiting) == (5, 0)


def test_disk_that_fills_up_in_the_middle(record, tmp_path):
    """When a batch fits in part, whole rows of it stay, the torn one is taken back, and the ledger is exact."""
    script = """
    import json, resource, warnings
    import barograph
    run = barograph.init(dir="run", terminal="off", text_log=None, console=False, host_s=None, write="batch")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 + 24 * 100 + 7, resource.RLIM_INFINITY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(300):
            run.log({"loss": step / 7}, step=step)
        run.sync()
    ledger = run.ledger
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    run.finish()
    print(ledger.accepted, ledger.written, ledger.pending, ledger.lost)
    """
    stdout, _ = record(script)
    accepted, written, pending, lost = map(int, stdout.split())
    run = Recorded(tmp_path / "run")
    assert run.column("loss") == [step / 7 for step in range(100)]
    assert (accepted, written, pending, lost) == (302, 102, 0, 200)  # 100 rows, the start and the report
    assert run.damage == []


def test_batch_mode_loses_nothing_of_a_run_that_ends(new_run):
    """A run in batch mode that is finished has every record, in the order of the calls, and nothing is pending."""
    run = new_run(write="batch")
    for step in range(2000):
        run.log({"loss": step / 7}, step=step)
    run.finish()
    assert Recorded(run.dir).column("loss") == [step / 7 for step in range(2000)]
    assert (run.ledger.accepted, run.ledger.written, run.ledger.pending) == (2002, 2002, 0)


def test_what_waits_is_pending(new_run, monkeypatch):
    """While rows wait, the ledger counts them as accepted and pending, not as written."""
    monkeypatch.setattr("barograph.record.batch.BATCH_S", 60.0)
    run = new_run(write="batch")
    run.log({"loss": 0.5}, step=0)  # opens the stream, and is written at once
    with run._attempt.batch.lock:  # the companion waits meanwhile
        for step in range(1, 11):
            run.log({"loss": 0.5}, step=step)
        ledger = run.ledger
    assert (ledger.accepted, ledger.written, ledger.pending) == (12, 2, 10)


def test_companion_writes_the_end_of_a_burst(new_run):
    """What waits after the last call of a burst is written within the companion's period."""
    run = new_run(write="batch")
    for step in range(10):
        run.log({"loss": step / 7}, step=step)
    deadline_s = time.monotonic() + 5
    while run.ledger.pending:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert len(Recorded(run.dir).records) == 10


def test_sync_writes_what_waits(new_run):
    """``run.sync()`` writes the rows first."""
    run = new_run(write="batch")
    for step in range(10):
        run.log({"loss": step / 7}, step=step)
    run.sync()
    assert len(Recorded(run.dir).records) == 10


def test_threads_in_batch_mode(new_run):
    """Threads that log at once in batch mode lose and double nothing."""
    run = new_run(write="batch")

    def work(number):
        for step in range(500):
            run.log({"thread": float(number)}, step=step)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    for number in range(4):
        steps = [record["step"] for record in Recorded(run.dir).records if record["thread"] == number]
        assert steps == list(range(500))
