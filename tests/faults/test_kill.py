"""``kill -9`` at random moments: every fact whose call had returned is on disk, and the run is readable.

Each writer counts in memory shared with this process, after ``run.log`` or ``run.event`` has returned. What it
counted is read back value by value; at most the one fact that was on its way may be there beyond the count.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time

import pytest

from barograph.facts.kinds import Event
from barograph.facts.log import iterate, repair_text
from barograph.facts.rows import repair_rows
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Record, Rows

MAX_WRITERS = 8
WRITER = """
import ctypes, mmap, os, sys, threading
import barograph

path, shared, num_processes, num_threads, mode = sys.argv[1:]
with open(shared, "r+b") as file:
    counts = (ctypes.c_uint64 * 16).from_buffer(mmap.mmap(file.fileno(), 0))  # each is set by one store, whole or not
run = barograph.init(dir=path, terminal="off", host_s=None, log_steps=50)

def write(writer):
    num_logged = num_events = 0
    while True:
        n = num_logged
        metrics = {"writer": writer, "n": n, "value": n / 7}
        if n % 3 == 0:
            metrics["extra"] = -n / 3
        if n % 11 == 0:
            metrics["tokens"] = 2**60 + n
        run.log(metrics, step=n)
        num_logged += 1
        counts[2 * writer] = num_logged
        if n % 7 == 0:
            run.event("custom", writer=writer, n=num_events, text="x" * (num_events % 300))
            num_events += 1
            counts[2 * writer + 1] = num_events

first = 0
for process in range(1, int(num_processes)):
    if os.fork() == 0:
        first = process * int(num_threads)
        break
threads = [threading.Thread(target=write, args=(first + index,)) for index in range(1, int(num_threads))]
for thread in threads:
    thread.start()
write(first)
"""


def expected_metrics(writer: int, n: int) -> dict:
    """What a writer logs at step ``n``."""
    extra = {"extra": -n / 3} if n % 3 == 0 else {}
    return {"writer": writer, "n": n, "value": n / 7, **extra, **({"tokens": 2**60 + n} if n % 11 == 0 else {})}


def read(directory: RunDir) -> tuple[dict, dict]:
    """The metrics by writer and step, and the events' texts by writer and number; no fact twice, no damage."""
    follower = Follower(directory)
    metrics, events = {}, {}
    for fact in follower.drain():
        if isinstance(fact, Event):
            if fact.moment == "custom":
                key = fact.payload["writer"], fact.payload["n"]
                assert key not in events
                events[key] = fact.payload["text"]
            continue
        for record in [fact.metrics] if isinstance(fact, Record) else as_records(fact):
            key = int(record["writer"]), int(record["n"])
            assert key not in metrics
            metrics[key] = record
    assert follower.damage == []
    for path in directory.events_files():
        numbers = [line["seq"] for line in iterate(path)]
        assert list(range(len(numbers))) == numbers
    return metrics, events


def as_records(rows: Rows) -> list[dict]:
    """Rows as dicts of metrics."""
    names = rows.header.columns[1:-1]
    return [dict(zip(names, row[1:-1], strict=True)) for row in rows.rows]


def kill_once(start, tmp_path, generator, *, num_processes, num_threads, mode) -> int:
    """Start writers, kill them all at a random moment, check what is on disk; returns how many facts were."""
    directory, shared = RunDir(tmp_path / f"run{generator.random()}"), tmp_path / "counts"
    shared.write_bytes(bytes(16 * MAX_WRITERS))
    num_writers = num_processes * num_threads
    child = start(WRITER, directory.path, shared, num_processes, num_threads, mode, start_new_session=True)
    with shared.open("r+b") as file:
        counts = mmap.mmap(file.fileno(), 0)
    if mode == "running":
        while not all(struct.unpack_from("<Q", counts, 16 * writer)[0] for writer in range(num_writers)):
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.06))
    else:
        time.sleep(generator.uniform(0.02, 0.4))
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    acknowledged = [struct.unpack_from("<QQ", counts, 16 * writer) for writer in range(num_writers)]
    counts.close()
    check(directory, acknowledged)
    for path in (*directory.events_files(), *directory.overflow_files()):
        repair_text(path)
    for path in directory.rows_files():
        repair_rows(path)
    check(directory, acknowledged)
    return sum(map(sum, acknowledged))


def check(directory: RunDir, acknowledged) -> None:
    """Every acknowledged fact is there with its values; nothing else but what was on its way."""
    metrics, events = read(directory)
    for writer, (num_logged, num_events) in enumerate(acknowledged):
        steps = sorted(n for who, n in metrics if who == writer)
        assert steps in (list(range(num_logged)), list(range(num_logged + 1)))
        assert all(metrics[writer, n] == expected_metrics(writer, n) for n in steps)
        texts = [events[key] for key in sorted(events) if key[0] == writer]
        assert len(texts) in (num_events, num_events + 1)
        assert ["x" * (number % 300) for number in range(len(texts))] == texts


SHAPES = [(1, 1), (1, 2), (1, 4), (2, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=["1 thread", "2 threads", "4 threads", "2 processes"])
def test_every_acknowledged_fact_survives_kill_9(start, tmp_path, shape):
    """Three rounds of each shape."""
    generator = random.Random(f"{shape}")
    num_processes, num_threads = shape
    for _ in range(3):
        assert kill_once(
            start, tmp_path, generator, num_processes=num_processes, num_threads=num_threads, mode="running"
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_rounds_of_kill_9(start, tmp_path, record_property):
    """Fifty rounds of each shape, and twenty more that are killed while the run begins."""
    generator, started, num_facts = random.Random(1), time.monotonic(), 0
    for round_number in range(200):
        num_processes, num_threads = SHAPES[round_number % 4]
        num_facts += kill_once(
            start, tmp_path, generator, num_processes=num_processes, num_threads=num_threads, mode="running"
        )
    for _ in range(20):
        kill_once(start, tmp_path, generator, num_processes=1, num_threads=1, mode="starting")
    record_property("acknowledged_facts", num_facts)
    record_property("seconds", round(time.monotonic() - started, 1))
    print(f"{num_facts} acknowledged facts in 200 rounds, {time.monotonic() - started:.0f} s")
    assert num_facts > 200 * 100
