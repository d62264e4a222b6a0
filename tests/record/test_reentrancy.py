"""A script's signal handler may log and record in the middle of the recorder's own work: nothing doubles or is lost."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from barograph.errors import InvalidMetricError, InvalidNameError, MisuseError
from barograph.facts.rundir import MAX_NAME_BYTES


@pytest.fixture
def interrupted():
    """Runs a handler a thousand times a second, through a signal that the recorder does not know."""

    def start(handler):
        signal.signal(signal.SIGALRM, lambda _number, _frame: handler())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    previous = signal.getsignal(signal.SIGALRM)
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("write", ["direct", "batch"])
def test_a_handler_that_logs_costs_no_row_and_doubles_none(interrupted, new_run, recorded, write):
    """Every step is there exactly once: those of the loop and those of the handler."""
    run = new_run(write=write)
    handled = []

    def handler():
        handled.append(None)
        run.log({"loss": 0.5}, step=-len(handled))

    interrupted(handler)
    for step in range(60_000):
        run.log({"loss": 0.25}, step=step)
    signal.setitimer(signal.ITIMER_REAL, 0)
    run.finish()
    steps = sorted(record["step"] for record in recorded(run.dir).records)
    assert len(handled) > 0
    assert list(range(-len(handled), 60_000)) == steps
    assert run.ledger.lost == 0


def test_a_handler_that_records_events_leaves_numbers_without_gap_or_repeat(interrupted, new_run, recorded):
    """``seq`` counts through, whoever recorded, and each event is there."""
    run = new_run()
    handled = []

    def handler():
        run.event("custom", kind="handled")
        handled.append(None)

    interrupted(handler)
    for number in range(3_000):
        run.event("custom", kind="loop", number=number)
    signal.setitimer(signal.ITIMER_REAL, 0)
    run.finish()
    found = recorded(run.dir)
    assert list(range(len(found.events))) == [event.seq for event in found.events]
    assert len(handled) > 0
    assert len(handled) == len(found.custom("handled"))
    assert list(range(3_000)) == [payload["number"] for payload in found.custom("loop")]


def test_batch_mode_keeps_the_order_of_calls(new_run, recorded):
    """A value that takes the way that checks waits for the rows before it."""
    run = new_run(write="batch")
    for step in range(50):
        run.log({"loss": 1.0}, step=step)
    run.log({"loss": np.array([0.25])}, step=50)
    run.log({"loss": 0.125}, step=51)
    run.finish()
    assert list(range(52)) == [record["step"] for record in recorded(run.dir).records]


def test_batch_mode_in_a_forked_child_loses_nothing(new_run, recorded):
    """Nobody would write what waits in a child, so nothing waits there."""
    run = new_run(write="batch")
    run.log({"loss": 0.0}, step=0)
    child = os.fork()
    if child == 0:
        for step in range(20):
            run.log({"loss": 1.0}, step=step)
        os._exit(0)
    os.waitpid(child, 0)
    run.finish()
    assert list(range(20)) == [record["step"] for record in recorded(run.dir).records if record["pid"] == child]


def test_sets_of_keys_in_turn_take_the_short_way(new_run):
    """After its first time, a set of keys, a split and a step or value of numpy's need no second check."""
    run = new_run()
    for step in range(1_000):
        run.log({"loss": 0.5, "lr": 0.1}, step=step)
        run.log({"loss": 0.6}, step=step, split="val")
        run.log({"gap": np.float32(0.5)}, step=np.int64(step))
        run.log({"d_loss": 0.5}, step=step)
        run.log({"g_loss": 0.5}, step=step)  # as many keys as the call before, but others
    assert run._attempt.scalars.timings.num_long <= 8
    run.finish()


def test_several_threads_without_steps_are_all_recorded(new_run, recorded):
    """Threads that leave the step out may share one; every row is there all the same."""
    run = new_run()
    threads = [threading.Thread(target=lambda: [run.log({"x": 0.5}) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    assert len(recorded(run.dir).records) == 2_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ma.masked, "is masked"),
        (np.ma.array([1.0], mask=[True]), "is masked"),
        (np.timedelta64(5, "ns"), "cannot hold exactly"),
    ],
    ids=["masked", "masked element", "timedelta"],
)
def test_what_is_no_measured_number_is_refused(new_run, value, said):
    """What stands behind a mask, and a span of time without its unit, are no metrics."""
    run = new_run()
    with pytest.raises(InvalidMetricError, match=said):
        run.log({"loss": value}, step=0)


def test_a_huge_step_is_recorded(new_run, recorded):
    """An int of four hundred digits is exact in metrics.jsonl."""
    run = new_run()
    run.log({"loss": 0.5}, step=10**400)
    run.finish()
    assert [record["step"] for record in recorded(run.dir).records] == [10**400]


@pytest.mark.parametrize("key", ["attempt", "rank"])
def test_an_event_cannot_say_that_somebody_else_wrote_it(new_run, key):
    """The attempt and the rank of an event are the recorder's to tell."""
    run = new_run()
    with pytest.raises(MisuseError, match=rf"reserved keys \['{key}'\]"):
        run.event("custom", **{key: 7})


@pytest.mark.parametrize("name", ["epoch", "val_loss", "attempt", "", "a\nb"])
def test_names_of_an_epochs_metrics_are_checked(new_run, name):
    """A metric cannot take the place of a column of ``scalars.csv``, or break its lines."""
    run = new_run()
    with pytest.raises(MisuseError):
        run.epoch_end(3, metrics={name: 7.0})


def test_a_name_too_long_in_bytes_is_refused(new_run, tmp_path):
    """File systems count bytes; the message comes before anything is made."""
    with pytest.raises(InvalidNameError, match=f"{MAX_NAME_BYTES} bytes at most"):
        new_run(root=tmp_path / "runs", name="\u8a13" * 90)
    assert not (tmp_path / "runs").exists()
