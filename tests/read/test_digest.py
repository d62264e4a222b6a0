"""What a run's events come to."""

from __future__ import annotations

import math
from itertools import count

import pytest

from barograph.facts.kinds import Event
from barograph.read.digest import AttemptInfo, Digest

_SEQ = count()


def event(moment, *, t=1000.0, **payload):
    """One event."""
    return Event(moment=moment, seq=next(_SEQ), t=t, payload=payload)


def test_attempts_are_told_from_start_to_end():
    """The first was killed, as the resume says; the second finished."""
    digest = Digest(
        [
            event("on_start", t=1.0, run_id="r", name="n"),
            event("on_resume", t=5.0, attempt=1, previous_attempt=0, previous_status="killed"),
            event("on_start", t=5.0, attempt=1, run_id="r", name="n"),
            event("on_train_end", t=9.0, attempt=1, status="finished", total_time_s=4.0),
        ]
    )
    assert digest.attempts == {
        0: AttemptInfo(number=0, started_t=1.0, status="killed"),
        1: AttemptInfo(number=1, started_t=5.0, ended_t=9.0, status="finished", total_time_s=4.0),
    }


def test_a_recorded_end_is_kept_when_the_run_is_resumed():
    """What the attempt said of itself counts more than what the next one found."""
    digest = Digest(
        [
            event("on_train_end", status="failed", total_time_s=1.0, reason="E"),
            event("on_resume", attempt=1, previous_attempt=0, previous_status="killed"),
        ]
    )
    assert (digest.attempts[0].status, digest.attempts[0].reason) == ("failed", "E")


def test_the_end_of_other_loops_needs_no_status():
    """A facts-first loop names its total time alone."""
    digest = Digest([event("on_train_end", total_time_s=3.0), event("on_train_end", attempt=1)])
    assert (digest.attempts[0].status, digest.attempts[0].total_time_s) == ("finished", 3.0)
    assert (digest.attempts[1].status, digest.attempts[1].total_time_s) == ("finished", None)
    assert digest.end.total_time_s == 3.0


def test_epochs_best_and_last():
    """The best is the first with the lowest finite loss, even if the first loss of all was NaN."""
    losses = [math.nan, 0.5, 0.25, 0.25, math.inf]
    digest = Digest(event("on_epoch_end", epoch=number, val_loss=loss) for number, loss in enumerate(losses))
    assert (digest.best_epoch.epoch, digest.last_epoch.epoch, digest.moments["on_epoch_end"]) == (2, 4, 5)
    assert digest.nonfinite_counts == {"nan": 1, "inf": 1}
    assert digest.last_val_loss == {"value": math.inf, "epoch": 4}


@pytest.mark.parametrize(
    ("moment", "payload"),
    [
        ("on_example", {"step": 200, "tier": "full", "prompt": "p", "golden": "g", "val_loss": 0.5}),
        ("on_validation_end", {"step": 200, "metrics": {"loss": 0.5}}),
        ("on_validation_end", {"step": 200, "metrics": {"loss": 9.0, "val_loss": 0.5}}),
    ],
)
def test_a_validation_loss_may_come_with_examples_and_evaluations(moment, payload):
    """Each way of recording it is found, with its step."""
    assert Digest([event(moment, **payload)]).last_val_loss == {"value": 0.5, "step": 200}


def test_the_summary_is_as_it_was_last_set():
    """Assignments, removals, and what the end says."""
    digest = Digest(
        [
            event("custom", kind="summary", key="a", value=1),
            event("custom", kind="summary", key="b", value=2),
            event("custom", kind="summary", key="a", removed=True),
            event("on_train_end", status="finished", total_time_s=1.0, summary={"c": 3}),
        ]
    )
    assert digest.summary == {"b": 2, "c": 3}


def test_checks_alerts_and_failures_are_kept_in_order():
    """Each with what it says."""
    digest = Digest(
        [
            event("on_check", name="shapes", passed=True),
            event("on_check", name="LoRA", passed=False, expected=392, got=391),
            event("custom", t=7.0, kind="alert", title="odd", level="warning"),
            event("custom", kind="note", text="hello"),
            event("on_exception", type="OSError", message="disk full", source="barograph metrics"),
        ]
    )
    assert [(check.name, check.passed) for check in digest.checks] == [("shapes", True), ("LoRA", False)]
    assert digest.alerts == [{"t": 7.0, "kind": "alert", "title": "odd", "level": "warning"}]
    assert [(it.source, it.message) for it in digest.failures] == [("barograph metrics", "disk full")]


def test_events_that_do_not_fit_are_counted_and_left_out():
    """A check whose verdict is a text is no check."""
    bad = event("on_check", name="shapes", passed="perhaps")
    digest = Digest([bad, event("on_from_the_future", anything=1)])
    assert [bad] == [misfit for misfit, _ in digest.misfits]
    assert digest.checks == []
    assert digest.moments == {"on_check": 1, "on_from_the_future": 1}
