"""Phases: timed by a clock that never goes back, nested, and recorded also when they fail."""

from __future__ import annotations

import math
import threading
import time

import pytest
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError, InvalidNameError, RunClosedError


@pytest.mark.spec("S4.6", "S4.12")
def test_phases_are_timed(new_run):
    """Each phase is an event with its name, when it began and how long it took, in the order they ended."""
    run = new_run()
    before_t = time.time()
    for name, seconds in (("E/U batch sampling".replace("/", " "), 0.03), ("X accumulation", 0.01), ("deltaH1", 0.02)):
        with run.phase(name, step=60) as phase:
            time.sleep(seconds)
        assert seconds <= phase.duration_s < seconds + 0.5
    run.finish()
    found = Recorded(run.dir).of("on_phase_end")
    assert [(phase["name"], phase["path"], phase["step"]) for phase in found] == [
        (name, name, 60) for name in ("E U batch sampling", "X accumulation", "deltaH1")
    ]
    assert [phase["duration_s"] >= least for phase, least in zip(found, (0.03, 0.01, 0.02), strict=True)] == [True] * 3
    starts = [phase["started_t"] for phase in found]
    assert before_t <= starts[0] < starts[1] < starts[2] <= time.time()


def test_nested_phases(new_run):
    """A phase within a phase has the path of both; the outer one takes at least as long."""
    run = new_run()
    with run.phase("evaluation") as outer:
        with run.phase("generation") as first:
            time.sleep(0.01)
        with run.phase("validation") as second:
            time.sleep(0.01)
    with run.phase("evaluation"):
        pass
    found = Recorded(run.dir).of("on_phase_end")
    assert [phase["path"] for phase in found] == [
        "evaluation/generation",
        "evaluation/validation",
        "evaluation",
        "evaluation",
    ]
    assert outer.duration_s >= first.duration_s + second.duration_s


def test_phase_that_fails(new_run):
    """A phase that raises is recorded as failed, with its time; the exception goes on; later paths are right."""
    run = new_run()
    with pytest.raises(ZeroDivisionError), run.phase("training"), run.phase("Y accumulation"):
        _ = 1 / 0
    with run.phase("after"):
        pass
    found = Recorded(run.dir).of("on_phase_end")
    assert [(phase["path"], phase.get("failed", False)) for phase in found] == [
        ("training/Y accumulation", True),
        ("training", True),
        ("after", False),
    ]


def test_clock_that_jumps_back(new_run):
    """Durations are never negative, whatever happens to the time of day."""
    run = new_run()
    times = iter([2_000_000_000.0, 1_000_000_000.0, 1_000_000_001.0, 1_000_000_002.0])
    run._attempt.clock = lambda: next(times)
    with run.phase("evaluation"):
        time.sleep(0.01)
    (phase,) = Recorded(run.dir).of("on_phase_end")
    assert 0.01 <= phase["duration_s"] < 1
    assert phase["started_t"] == 2_000_000_000.0


def test_phases_of_threads_do_not_mix(new_run):
    """Each thread has a stack of its own."""
    run = new_run()
    inside = threading.Barrier(2)

    def work(name):
        with run.phase(name):
            inside.wait()
            with run.phase("inner"):
                inside.wait()

    threads = [threading.Thread(target=work, args=[name]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paths = {phase["path"] for phase in Recorded(run.dir).of("on_phase_end")}
    assert paths == {"one", "one/inner", "two", "two/inner"}


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", None, 3])
def test_names_that_cannot_be(new_run, name):
    """A phase's name is part of a path, so separators and control characters are refused, before anything is timed."""
    run = new_run()
    with pytest.raises(InvalidNameError, match="phase") as caught:
        run.phase(name)
    assert repr(name) in str(caught.value)


def test_step_that_is_nan(new_run):
    """A step that is no number is refused when the phase begins."""
    with pytest.raises(InvalidMetricError, match="step must be a finite number, not nan"):
        new_run().phase("evaluation", step=math.nan)


def test_phase_around_the_end(new_run):
    """A phase in which the run was finished says that it cannot be recorded, and nothing is written behind the end."""
    run = new_run()
    with pytest.raises(RunClosedError), run.phase("training"):
        run.finish()
    with pytest.raises(RunClosedError):
        run.phase("later")
    assert Recorded(run.dir).moments == ["on_start", "on_train_end"]


def test_exception_wins_over_the_end(new_run):
    """What ended a phase is not hidden by the run's being over."""
    run = new_run()

    def train():
        with run.phase("training"):
            run.finish("failed")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        train()
