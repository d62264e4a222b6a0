"""The price of watching: what all detectors together add to a record; neither it nor memory grows with a run.

Five scalars per record, as most trainings log them. Times are held as ratios to work of the same process; the number
of calls, which no other load on the machine can change, is held as such.
"""

from __future__ import annotations

import gc
import math
import random
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator

import msgspec
import psutil
import pytest

from barograph.facts.rows import StreamHeader, encode_header
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower
from barograph.testing.streams import broken, healthy, wild
from barograph.watch.life import Life
from barograph.watch.monitor import Monitor
from barograph.watch.watcher import Watcher, load_detectors

HEADER = StreamHeader(run_id="r", columns=["step", "loss", "grad_norm", "lr", "accuracy", "throughput", "t"])
STEP_S = 0.01
ROUNDS = 5
MAX_OVER_BARE = 3.0
"""All detectors, in times of a monitor without one; measured: 2.2 to 2.4."""
MAX_OVER_ROWS = 50.0
"""All detectors, in times of reading the rows and adding up their numbers; measured: 19."""
MAX_CALLS = 32.0
"""Calls of functions per record, built-in ones included; measured: 26, and 60 when records are taken one by one."""


def rows_of(start: int, stop: int, *, seed: int = 0) -> list[tuple[float, ...]]:
    """Records of a sound training: a loss that falls to its noise, an even rate."""
    rng = random.Random(seed)
    return [
        (
            float(step),
            (2.5 * math.exp(-step / 400) + 0.3) * math.exp(rng.gauss(0.0, 0.08)),
            math.exp(rng.gauss(0.0, 0.2)),
            1e-3,
            0.5 + rng.gauss(0.0, 0.01),
            100.0 + rng.gauss(0.0, 2.0),
            1e9 + STEP_S * step,
        )
        for step in range(start, stop)
    ]


def endless(num_each: int = 4096) -> Iterator[list[tuple[float, ...]]]:
    """The same without end, some records at a time: the settled part of it again and again."""
    start = 4096
    settled = rows_of(start, start + num_each, seed=1)
    yield rows_of(0, start)
    while True:
        yield [(row[0] - 4096 + start, *row[1:-1], row[-1] + STEP_S * (start - 4096)) for row in settled]
        start += num_each


def least_s(*works) -> list[float]:
    """The least processor time of each of some works, in turns, so that all of them meet the same machine."""
    least = [math.inf] * len(works)
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            gc.collect()
            start = time.process_time()
            work()
            least[place] = min(least[place], time.process_time() - start)
    return least


@pytest.fixture
def recorded(tmp_path) -> RunDir:
    """A run of 10 000 records."""
    directory = RunDir(tmp_path)
    directory.ensure_facts()
    packed = [struct.pack(f"<{len(HEADER.columns)}d", *row) for row in rows_of(0, 10_000)]
    directory.rows(0).write_bytes(encode_header(HEADER) + b"".join(packed))
    return directory


def watch(directory: RunDir, detectors=None) -> int:
    """How many records a watcher takes of a run from its first to its last."""
    watcher = Watcher(directory, detectors=detectors)
    assert watcher.finish() == []
    return watcher.monitor.context.num_records


def add_up(directory: RunDir) -> float:
    """The floor: the rows are read and their numbers added up, one by one."""
    total = 0.0
    for fact in Follower(directory).drain():
        for row in fact.rows:
            for value in row:
                total += value
    return total


def calls_of(work) -> int:
    """How many functions are called, built-in ones included."""
    num = 0

    def count(_frame, event, _argument) -> None:
        nonlocal num
        num += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return num


def test_all_detectors_cost_about_as_much_as_the_statistics_they_read(recorded):
    """A run is watched in a small multiple of the time that it takes without a detector, and that of reading it."""
    assert (watch(recorded), watch(recorded, [])) == (10_000, 10_000)
    floor_s, bare_s, whole_s = least_s(lambda: add_up(recorded), lambda: watch(recorded, []), lambda: watch(recorded))
    assert whole_s < MAX_OVER_BARE * bare_s
    assert whole_s < MAX_OVER_ROWS * floor_s


def test_a_record_takes_few_calls():
    """Ordinary records are taken some at a time, and most detectors are asked now and then only."""
    monitor, rows = Monitor(load_detectors()), rows_of(0, 8192)
    monitor.take((HEADER, rows[:4096]))
    num = calls_of(lambda: monitor.take((HEADER, rows[4096:])))
    assert num / 4096 < MAX_CALLS


def test_late_records_cost_no_more_than_early_ones():
    """After 50 000 records one costs less than among the first thousands: nothing that is kept is gone over."""
    monitor, chunks = Monitor(load_detectors()), endless()
    early, late = next(chunks), None
    num_early = calls_of(lambda: monitor.take((HEADER, early)))
    for _ in range(12):
        late = next(chunks)
        monitor.take((HEADER, late))
    late = next(chunks)
    assert calls_of(lambda: monitor.take((HEADER, late))) <= num_early


@pytest.mark.parametrize("make", [healthy, broken, wild])
def test_all_detectors_find_the_same_one_by_one_and_at_once(make):
    """How many records come together changes neither what is told nor what is known, whatever the stream."""
    roles = ("loss", "lr", "grad_norm", "val_loss", "accuracy", "throughput", "memory")
    stream = make("step_decay", seed=3, roles=roles) if make is healthy else make(seed=3, roles=roles)

    def outcome(size: int) -> tuple[bytes, bytes]:
        monitor = Monitor(load_detectors())
        told = [found for piece in stream.pieces(size) for found in monitor.take(piece)]
        return msgspec.msgpack.encode(told), monitor.state()

    alone = outcome(1)
    assert [outcome(size) for size in (5, 64, len(stream.records))] == [alone] * 3


def test_the_rhythm_is_the_same_one_by_one_and_at_once():
    """Gaps judged together leave the same rhythm: even ones, pauses, a repeated step, a clock that is set back."""
    rows = rows_of(0, 600)
    late = [0.0] * 600
    late[200:] = [x + 3.0 for x in late[200:]]
    late[400:] = [x + 0.9 for x in late[400:]]
    late[500:] = [x - 1.5 for x in late[500:]]
    rows = [(*row[:-1], row[-1] + by) for row, by in zip(rows, late, strict=True)]
    rows[300] = (rows[299][0], *rows[300][1:])

    def outcome(size: int) -> tuple[bytes, float]:
        life = Life(Monitor([]).context)
        assert [told for at in range(0, 600, size) for told in life.take((HEADER, rows[at : at + size]))] == []
        return msgspec.msgpack.encode(life.rhythm), life.last_t

    alone = outcome(1)
    assert [outcome(size) for size in (7, 64, 600)] == [alone] * 3


def after(monitor: Monitor, life: Life, chunks, num_records: int) -> int:
    """The size of what is known after so many more records, in bytes."""
    until = monitor.context.num_records + num_records
    while monitor.context.num_records < until:
        piece = HEADER, next(chunks)
        life.take(piece)
        monitor.take(piece)
    return len(monitor.state()) + len(msgspec.msgpack.encode(life.rhythm))


def test_memory_is_bounded():
    """The second 100 000 records of a run leave no more behind than the first; nor do the last, by every allocation."""
    monitor, chunks = Monitor(load_detectors()), endless()
    life = Life(monitor.context)
    first = after(monitor, life, chunks, 100_000)
    second = after(monitor, life, chunks, 84_000)
    tracemalloc.start()
    try:
        after(monitor, life, chunks, 8_000)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        after(monitor, life, chunks, 8_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - traced
    finally:
        tracemalloc.stop()
    assert second < 1.1 * first < 131_072
    assert grown < 65_536


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_is_bounded_over_ten_million_records():
    """What is known is never larger than it had been at its largest, and the process does not grow.

    Its size goes up and down, because lists are cut when they are twice as long as they have to be.
    """
    monitor, chunks = Monitor(load_detectors()), endless()
    life = Life(monitor.context)
    largest = max(after(monitor, life, chunks, 20_000) for _ in range(100))
    resident = psutil.Process().memory_info().rss
    assert max(after(monitor, life, chunks, 20_000) for _ in range(400)) < 1.01 * largest < 131_072
    assert psutil.Process().memory_info().rss - resident < 8_000_000
