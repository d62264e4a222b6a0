"""Signals: each arrives for real, in a process of its own, and what it leaves is read from the files."""

from __future__ import annotations

import signal
import time

import pytest
from tests.recorded import Recorded

OPEN = """
import os, signal, sys, threading, time
import barograph

def begin(dir="run", **options):
    return barograph.init(dir=dir, terminal="off", console=False, text_log=None, host_s=None, **options)

"""


def wait_until(condition, *, timeout_s: float = 20.0):
    """Wait for something that another process does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the other process did not get there in time"
        time.sleep(0.01)


# A loop that notes each step after run.log() has returned.
LOOP = """
run = begin()
noted = os.open("noted", os.O_WRONLY | os.O_CREAT)
for step in range(10_000_000):
    run.log({"loss": step / 7}, step=step)
    os.pwrite(noted, str(step).encode(), 0)
"""


@pytest.mark.spec("S4.10")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signal_ends_the_run(start, tmp_path, name):
    """SIGTERM still kills and SIGINT still raises KeyboardInterrupt; the run says which, and lost nothing."""
    child = start(OPEN + LOOP)
    noted = tmp_path / "noted"
    wait_until(lambda: noted.exists() and int(noted.read_text() or 0) > 200)
    child.send_signal(getattr(signal, name))
    _, stderr = child.communicate(timeout=20)
    acknowledged = int(noted.read_text())
    run = Recorded(tmp_path / "run")
    assert -getattr(signal, name) == child.returncode
    assert ("KeyboardInterrupt" in stderr) == (name == "SIGINT")
    assert ("killed", name) == (run.exit.status, run.exit.reason)
    assert {"signal": int(getattr(signal, name)), "name": name} == run.only("on_signal")
    assert run.only("on_train_end")["status"] == "killed"
    assert run.moments == ["on_start", "on_signal", "on_train_end"]
    assert [step / 7 for step in range(len(run.records))] == run.column("loss")
    assert len(run.records) in (acknowledged + 1, acknowledged + 2)  # the last one may be on disk and not noted yet
    assert run.exit.ledger["lost"] == 0
    assert run.damage == []


@pytest.mark.parametrize("block", ["with run:", "if run:"])
def test_interrupt_within_and_without_a_block(record, tmp_path, block):
    """Ctrl-C ends a run as killed by SIGINT, whether or not it is a context manager; no stack trace is recorded."""
    script = (
        OPEN
        + f"""
run = begin()
{block}
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
"""
    )
    _, stderr = record(script, exit_code=-signal.SIGINT)
    run = Recorded(tmp_path / "run")
    assert (run.exit.status, run.exit.reason) == ("killed", "SIGINT")
    assert run.moments == ["on_start", "on_signal", "on_train_end"]
    assert "KeyboardInterrupt" in stderr


def test_usr1_asks_training_to_stop(record, tmp_path):
    """SIGUSR1, which would kill a process, asks training to stop instead, and is recorded."""
    script = (
        OPEN
        + """
run = begin()
before = run.should_stop()
os.kill(os.getpid(), signal.SIGUSR1)
print(before, run.should_stop())
run.log({"loss": 0.5}, step=1)
run.finish()
"""
    )
    stdout, _ = record(script)
    run = Recorded(tmp_path / "run")
    assert stdout.strip() == "False True"
    assert run.moments == ["on_start", "on_signal", "on_train_end"]
    assert run.only("on_signal")["name"] == "SIGUSR1"
    assert (run.exit.status, run.column("loss")) == ("finished", [0.5])


def test_own_handlers_still_run(record, tmp_path):
    """A handler that the script installed before is called with the signal; the run goes on when it does."""
    script = (
        OPEN
        + """
seen = []
for name in ("SIGTERM", "SIGUSR1"):
    signal.signal(getattr(signal, name), lambda number, frame: seen.append(signal.Signals(number).name))
run = begin()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGUSR1)
run.log({"loss": 0.5}, step=1)
run.finish()
print(seen)
"""
    )
    stdout, _ = record(script)
    run = Recorded(tmp_path / "run")
    assert stdout.strip() == "['SIGTERM', 'SIGUSR1']"
    assert [payload["name"] for payload in run.of("on_signal")] == ["SIGTERM", "SIGUSR1"]
    assert (run.exit.status, run.column("loss")) == ("finished", [0.5])


def test_own_handler_may_raise(record, tmp_path):
    """What a script's handler raises reaches the script: it is how the script ends training."""
    script = (
        OPEN
        + """
class PreemptedError(Exception):
    pass

def preempt(number, frame):
    raise PreemptedError("make room")

signal.signal(signal.SIGTERM, preempt)
run = begin()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
except PreemptedError as error:
    run.finish("killed", f"preempted: {error}")
"""
    )
    record(script)
    run = Recorded(tmp_path / "run")
    assert (run.exit.status, run.exit.reason) == ("killed", "preempted: make room")
    assert run.exit.ledger["failures"] == {}


@pytest.mark.parametrize("call", ["run.event('custom', kind='beat')", "logger.info('beat')", "print('beat')"])
def test_own_handler_may_raise_at_any_moment(record, tmp_path, call):
    """Also what it raises in the middle of the recorder's work reaches the script, and costs no fact."""
    script = (
        OPEN
        + f"""
from loguru import logger

class PreemptedError(Exception):
    pass

def preempt(number, frame):
    raise PreemptedError

signal.signal(signal.SIGUSR1, preempt)
run = barograph.init(dir="run", terminal="off", host_s=None)
num_caught = 0
for attempt in range(50):
    try:
        threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        while True:
            {call}
            time.sleep(0.0002)
    except PreemptedError:
        num_caught += 1
run.finish()
print(num_caught, file=sys.stderr)
"""
    )
    _, stderr = record(script)
    run = Recorded(tmp_path / "run")
    assert stderr.splitlines()[-1] == "50"
    assert len(run.of("on_signal")) == 50
    assert (run.exit.ledger["lost"], run.exit.ledger["failures"]) == (0, {})
    assert [event.seq for event in run.events] == list(range(len(run.events)))


def test_ignored_signals_stay_ignored(record, tmp_path):
    """A signal that the script ignores is left alone."""
    script = (
        OPEN
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with begin():
    os.kill(os.getpid(), signal.SIGTERM)
"""
    )
    record(script)
    run = Recorded(tmp_path / "run")
    assert run.moments == ["on_start", "on_train_end"]
    assert run.exit.status == "finished"


def test_signal_after_the_run_does_what_it_always_did(record):
    """Once no run is open, SIGUSR1 kills a process that does not expect it, as it does without us."""
    record(OPEN + "begin().finish()\nos.kill(os.getpid(), signal.SIGUSR1)\ntime.sleep(10)\n", exit_code=-10)


def test_signal_in_the_middle_of_an_event(record, tmp_path):
    """A signal that arrives while an event is being appended is recorded right after it: no number is used twice."""
    script = (
        OPEN
        + """
run = begin()
log = run._attempt.events
clock, log._clock = log._clock, lambda: (os.kill(os.getpid(), signal.SIGUSR1), time.time())[1]
run.event("custom", kind="interrupted")
log._clock = clock
run.finish()
"""
    )
    record(script)
    run = Recorded(tmp_path / "run")
    assert run.moments[:2] + run.moments[-2:] == ["on_start", "custom", "on_signal", "on_train_end"]
    assert list(range(len(run.events))) == [event.seq for event in run.events]


def test_signal_in_the_middle_of_finish(record, tmp_path):
    """SIGTERM during ``finish`` kills when the end is on disk, and not before."""
    script = (
        OPEN
        + """
run = begin()
run.log({"loss": 0.5}, step=1)
run.before_end.append(lambda: os.kill(os.getpid(), signal.SIGTERM))
run.finish()
print("never reached")
"""
    )
    stdout, _ = record(script, exit_code=-signal.SIGTERM)
    run = Recorded(tmp_path / "run")
    assert stdout == ""
    assert run.moments == ["on_start", "on_train_end"]
    assert (run.exit.status, run.column("loss")) == ("finished", [0.5])


def test_signal_while_another_thread_finishes(record, tmp_path):
    """SIGTERM waits for a ``finish`` that runs in another thread, and then still kills."""
    script = (
        OPEN
        + """
run = begin()
run.before_end.append(lambda: time.sleep(0.5))
thread = threading.Thread(target=run.finish)
thread.start()
time.sleep(0.1)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
"""
    )
    record(script, exit_code=-signal.SIGTERM)
    run = Recorded(tmp_path / "run")
    assert run.moments == ["on_start", "on_train_end"]
    assert run.exit.status == "finished"


def test_storm_of_signals_during_log_and_event(start, tmp_path):
    """Hundreds of signals during ``log`` and ``event`` lose no fact, tear no line and use no number twice."""
    script = (
        OPEN
        + """
run = begin()
print("ready", flush=True)
step = 0
while not os.path.exists("enough"):
    run.log({"loss": step / 7}, step=step)
    run.event("custom", kind="beat", step=step)
    step += 1
run.finish()
print(step)
"""
    )
    child = start(script)
    assert child.stdout.readline().strip() == "ready"
    for _ in range(300):
        child.send_signal(signal.SIGUSR1)
        time.sleep(0.002)
    (tmp_path / "enough").touch()
    stdout, _ = child.communicate(timeout=60)
    run = Recorded(tmp_path / "run")
    num_steps = int(stdout)
    assert child.returncode == 0
    assert [step / 7 for step in range(num_steps)] == run.column("loss")
    assert list(range(num_steps)) == [beat["step"] for beat in run.custom("beat")]
    assert list(range(len(run.events))) == [event.seq for event in run.events]
    assert len(run.of("on_signal")) > 10  # the system merges signals that wait
    assert run.damage == []
    assert len(run.records) + len(run.events) == run.exit.ledger["accepted"] == run.exit.ledger["written"]


def test_signal_while_one_of_several_runs_finishes(record, tmp_path):
    """SIGTERM during the ``finish`` of one run waits for it, then ends the others and the process."""
    script = (
        OPEN
        + """
runs = [begin(f"run-{number}") for number in range(3)]
runs[1].before_end.append(lambda: os.kill(os.getpid(), signal.SIGTERM))
runs[1].finish()
time.sleep(10)
"""
    )
    record(script, exit_code=-signal.SIGTERM)
    runs = [Recorded(tmp_path / f"run-{number}") for number in range(3)]
    assert [run.exit.status for run in runs] == ["killed", "finished", "killed"]
    assert [run.moments for run in runs[:2]] == [
        ["on_start", "on_signal", "on_train_end"],
        ["on_start", "on_train_end"],
    ]


def test_signal_while_the_text_log_is_written(start, tmp_path):
    """SIGTERM in the middle of the script's own logging neither hangs nor keeps the end from being recorded."""
    script = (
        OPEN
        + """
from loguru import logger
run = barograph.init(dir="run", terminal="off", console=False, host_s=None, log_steps=1)
print("ready", flush=True)
step = 0
while True:
    logger.info("step {}", step)
    run.log({"loss": step / 7}, step=step)
    step += 1
    time.sleep(0.0002)
"""
    )
    child = start(script)
    assert child.stdout.readline().strip() == "ready"
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    run = Recorded(tmp_path / "run")
    assert child.returncode == -signal.SIGTERM
    assert (run.exit.status, run.exit.reason) == ("killed", "SIGTERM")
    assert len(run.records) + len(run.events) == run.exit.ledger["written"]


def test_handler_that_calls_the_one_it_found(record, tmp_path):
    """A script's handler that chains to a run's is called once, also when a later run found it in turn."""
    script = (
        OPEN
        + """
first = begin("1")
found = signal.getsignal(signal.SIGTERM)

def handler(number, frame):
    print("cleanup", flush=True)
    found(number, frame)

signal.signal(signal.SIGTERM, handler)
first.finish()
second = begin("2")
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
"""
    )
    stdout, _ = record(script, exit_code=-signal.SIGTERM)
    assert stdout == "cleanup\n"
    run = Recorded(tmp_path / "2")
    assert (run.exit.status, run.exit.reason) == ("killed", "SIGTERM")
    assert run.moments == ["on_start", "on_signal", "on_train_end"]
