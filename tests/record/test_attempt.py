from __future__ import annotations

import sys
import threading

import pytest

from barograph.facts.log import iterate
from barograph.facts.rundir import RunDir
from barograph.record.attempt import Attempt
from barograph.record.identity import Identity


@pytest.fixture
def attempt(run_dir):
    """An attempt that writes real files."""
    attempt = Attempt(run_dir, Identity(run_id="r1", name="attempt"))
    yield attempt
    attempt.close("closed")


def test_the_first_events_of_many_threads_share_one_log(tmp_path):
    """However the threads meet at the first event, its file is opened once and numbered without gap or repeat."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(30):
            directory = RunDir(tmp_path / str(number))
            attempt = Attempt(directory, Identity(run_id="r1", name="attempt"))
            barrier = threading.Barrier(6)

            def work(attempt=attempt, barrier=barrier):
                barrier.wait()
                attempt.record("custom", {})

            threads = [threading.Thread(target=work) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            attempt.close("closed")
            assert [line["seq"] for line in iterate(directory.events())] == list(range(6))
    finally:
        sys.setswitchinterval(interval)


def test_recent_values_are_the_newest_of_all_streams(run_dir):
    """Values of one metric from several streams are merged by time; another split does not count."""
    times = iter(range(1, 100))
    attempt = Attempt(run_dir, Identity(run_id="r1", name="attempt"), clock=lambda: float(next(times)))
    for step in range(20):
        attempt.scalars.log({"loss": float(step), **({"lr": 0.1} if step % 3 else {})}, step=step)
        attempt.scalars.log({"loss": -1.0}, step=step, split="val")
    assert attempt.recent("loss", 7) == [13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    assert attempt.recent("loss", 99) == [float(step) for step in range(20)]
    assert attempt.recent("nothing", 5) == []
    attempt.close("closed")


def test_recent_values_keep_the_order_of_their_calls_when_the_clock_jumps_back(run_dir):
    """Within a stream the calls' order counts, not their times."""
    times = iter([*range(1000, 1010), *range(10)])
    attempt = Attempt(run_dir, Identity(run_id="r1", name="attempt"), clock=lambda: float(next(times)) + 1)
    for step in range(20):
        attempt.scalars.log({"loss": float(step)}, step=step)
    assert attempt.recent("loss", 15) == [float(step) for step in range(5, 20)]
    attempt.close("closed")


def test_the_last_facts_are_the_newest_row_of_each_stream(attempt):
    """For a crash record: what was logged last, by file."""
    for step in range(3):
        attempt.scalars.log({"loss": step / 2}, step=step)
        attempt.scalars.log({"val_loss": step / 4}, step=step, split="val")
    attempt.record("custom", {})
    facts = attempt.last_facts()
    assert facts["num_events"] == 1
    assert {name: (row["step"], list(row)) for name, row in facts["rows"].items()} == {
        "metrics.000.rows": (2, ["step", "loss", "t"]),
        "metrics.001.rows": (2, ["step", "val_loss", "t"]),
    }
