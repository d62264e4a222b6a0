"""Where a run stands, from its facts."""

from __future__ import annotations

import math

import pytest

from barograph.view.terminal.lines import read_payload
from barograph.view.terminal.standing import position, progress_line, tiers
from barograph.view.terminal.state import RunState


@pytest.fixture
def state(make):
    """A state that was given the start of a run of 2000 steps."""
    state = RunState()
    take(state, make.start(t=0.0, total_steps=2000, log_steps=10, eval_steps=200))
    return state


def take(state, *events):
    """Give a state some events."""
    for event in events:
        state.take_event(event, read_payload(event))


def test_steps_and_metrics_come_from_rows_and_records(state, make):
    """The latest value of each metric, and the latest step."""
    state.feed([make.rows((10, 0.5, 1.0), (20, 0.4, 2.0)), make.record(30, t=3.0, acc=0.9)])
    assert state.step == 30
    assert state.metrics == {"loss": 0.4, "acc": 0.9}


def test_other_splits_are_named_and_do_not_move_the_step(state, make):
    """A validation at the epoch number 3 does not take the run back to step 3."""
    state.feed([make.rows((500, 0.5, 1.0)), make.rows((3, 0.7, 2.0), split="val")])
    assert state.step == 500
    assert state.metrics == {"loss": 0.5, "val/loss": 0.7}


def test_samples_of_the_machine_are_no_progress(make):
    """They come first in many runs, and their steps are their own."""
    state = RunState()
    state.feed([make.rows((1, 50.0, 1.0), columns=("step", "cpu_percent", "t"), split="host")])
    state.feed([make.record(2, t=2.0, split="host", rss_gb=1.5)])
    assert (state.step, state.metrics) == (None, {})


def test_losses_are_shown_first_and_no_more_than_four_metrics(state, make):
    """A line has room for a few."""
    columns = ("step", "lr", "grad_norm", "loss", "throughput", "epoch", "t")
    state.feed(
        [
            make.rows((10, 1e-3, 2.0, 0.5, 128, 1, 1.0), columns=columns),
            make.rows((10, 0.7, 2.0), split="val"),
        ]
    )
    assert state.shown_metrics() == {"loss": 0.5, "val/loss": 0.7, "lr": 1e-3, "grad_norm": 2.0}
    assert list(state.shown_metrics()) == ["loss", "val/loss", "lr", "grad_norm"]


def test_a_newer_attempt_begins_anew_and_the_older_one_is_passed_over(state, make):
    """After a resume the step is that of the new attempt, whatever is still read of the old one."""
    state.feed([make.rows((900, 0.1, 1.0))])
    state.feed([make.rows((800, 0.2, 5000.0), attempt=1), make.rows((950, 0.1, 2.0))])
    assert state.step == 800
    assert state.metrics == {"loss": 0.2}


def test_only_the_lowest_rank_is_shown(state, make):
    """Other ranks' rows and their ends do not count for the run."""
    state.feed([make.rows((100, 0.1, 1.0))])
    state.feed([make.rows((700, 9.0, 2.0), rank=3)])
    take(state, make.event("on_train_end", status="finished", total_time_s=1.0, rank=3))
    assert (state.step, state.metrics, state.ended) == (100, {"loss": 0.1}, False)


@pytest.mark.spec("S2.22", "S3.14", "S3.55")
def test_progress_line_has_bar_share_step_metrics_and_range(state, make):
    """The documented form, with evaluations counted apart."""
    state.feed([make.rows(*((step, 0.312, 0.1 * step) for step in range(10, 1201, 10)))])
    for step in range(200, 1201, 200):
        take(
            state,
            make.event("on_phase_end", name="full", duration_s=0.0, started_t=0.1 * step, step=step, t=0.1 * step),
        )
    assert progress_line(state, now=120.0) == "[######----] 60% step 1200/2000 loss 0.312 eta 1-2 min"


@pytest.mark.spec("S3.60")
def test_progress_line_leaves_out_what_is_unknown(make):
    """No total, no bar; no time, no range; nothing at all, nothing."""
    state = RunState()
    assert progress_line(state, now=0.0) == ""
    state.feed([make.rows((10, math.nan, 1.0))])
    assert progress_line(state, now=2.0) == "step 10 loss nan"


def test_epochs_count_where_steps_have_no_total(make):
    """Two of four epochs are half, whether the loop counts from 0 or from 1."""
    state = RunState()
    take(state, make.start(t=0.0, total_epochs=4), make.event("on_epoch_end", epoch=0, t=60.0))
    take(state, make.event("on_epoch_end", epoch=1, t=120.0))
    assert state.fraction == 0.5
    assert progress_line(state, now=120.0) == "[#####-----] 50% epochs 2/4 eta 1-3 min"


@pytest.mark.spec("S1.41", "S2.38")
def test_the_last_tier_and_the_next_evaluation_are_known(state, make):
    """What was shown last, and when the next full evaluation comes."""
    assert tiers(state) == ""
    state.feed([make.rows((10, 0.5, 1.0))])
    take(state, make.fast())
    assert tiers(state) == "last fast at 10, next full at 200"
    state.feed([make.rows((1990, 0.5, 2.0))])
    assert tiers(state) == "last fast at 10, next full at 2000"
    state.feed([make.rows((2000, 0.5, 3.0))])
    assert tiers(state) == "last fast at 10"


def test_position_names_steps_and_epochs(state, make):
    """Both are shown where both are known."""
    state.feed([make.rows((10.5, 0.5, 1.0))])
    take(state, make.event("on_epoch_end", epoch=1))
    assert position(state) == "step 10.5/2000 epochs 1"


def test_inner_phases_do_not_count_twice(state, make):
    """A phase inside a phase is part of its time."""
    events = [
        make.event("on_phase_end", name="generate", path="full/generate", duration_s=50.0, started_t=1.0, step=200),
        make.event("on_phase_end", name="full", path="full", duration_s=60.0, started_t=1.0, step=200),
    ]
    take(state, *events)
    assert list(state.eta._phases) == ["full"]


def test_a_finished_run_has_no_time_left(state, make):
    """The last line of a run promises nothing."""
    state.feed([make.rows(*((step, 0.3, 0.1 * step) for step in range(10, 400, 10)))])
    assert state.remaining(now=40.0) is not None
    take(state, make.event("on_train_end", status="failed", total_time_s=40.0))
    assert state.remaining(now=40.0) is None
