"""A clock that jumps back, stands still or says nonsense: facts are recorded in the order of their calls."""

from __future__ import annotations

import itertools

import pytest

from barograph.facts.kinds import OnPhaseEnd, parse
from barograph.read.follow import Event, Follower, Rows
from barograph.record.attempt import Attempt
from barograph.record.cadence import Cadence
from barograph.record.detail import DetailConfig
from barograph.record.identity import Identity
from barograph.record.run import Run

START_T = 1_800_000_000.0
CLOCKS = {
    "jumps back an hour": lambda: itertools.chain([START_T + n for n in range(30)], itertools.count(START_T - 3600)),
    "runs backwards": lambda: itertools.count(START_T, -1.0),
    "stands still": lambda: itertools.repeat(START_T),
    "before 1970": lambda: itertools.count(-5000.5),
}


@pytest.fixture(params=CLOCKS)
def run(request, run_dir):
    """A run with a clock of its own, nothing beside it."""
    clock = CLOCKS[request.param]().__next__
    attempt = Attempt(run_dir, Identity(run_id="r1", name="clock"), clock=clock)
    run = Run(attempt, config={}, cadence=Cadence(log_steps=10, eval_steps=20), detail=DetailConfig())
    yield run
    run.finish()


def test_facts_are_recorded_in_the_order_of_their_calls(run, run_dir):
    """Rows and events come back once, in order, whatever their times; the ledger counts them all as written."""
    for step in range(100):
        run.log({"loss": float(step)}, step=step)
        run.event("custom", n=step)
    run.finish()
    facts = Follower(run_dir).drain()
    rows = [row for fact in facts if isinstance(fact, Rows) for row in fact.rows]
    events = [fact for fact in facts if isinstance(fact, Event)]
    assert [(step, step) for step in range(100)] == [row[:2] for row in rows]
    assert [*range(100)] == [event.payload["n"] for event in events if event.moment == "custom"]
    assert [*range(101)] == [event.seq for event in events]
    ledger = run.ledger
    assert (ledger.accepted, ledger.written, ledger.lost) == (201, 201, 0)


def test_phases_and_wall_time_are_never_negative(run, run_dir):
    """Durations come from a clock that does not jump."""
    for name in ("sampling", "accumulation"):
        with run.phase(name):
            run.log({"loss": 1.0})
    run.finish()
    events = [fact for fact in Follower(run_dir).drain() if isinstance(fact, Event)]
    phases = [parse(event, OnPhaseEnd) for event in events if event.moment == "on_phase_end"]
    assert [phase.name for phase in phases] == ["sampling", "accumulation"]
    assert all(0 < phase.duration_s < 60 for phase in phases)
    assert 0 < run.ledger.wall_s < 60


def test_the_windowed_loss_is_of_the_newest_calls(run):
    """The training side of the gap is the mean of the last fifty losses, not of those with the latest times."""
    for step in range(120):
        run.log({"loss": float(step)}, step=step)
    shown = run.example(step=20, prompt="p", golden="g", output="g", loss=0.5, val_loss=100.0)
    assert shown.payload["train_loss_window_mean"] == sum(range(70, 120)) / 50
    assert shown.payload["train_loss_window_n"] == 50
