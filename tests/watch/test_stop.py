import pytest
from tests.watch.actions.receiver import an_alert, opened

from barograph.watch.incident import Incidents
from barograph.watch.stop import Stop


@pytest.mark.parametrize(
    ("stop_on", "severity", "expected"),
    [
        ((), "critical", False),
        ((), "fatal", True),
        (("critical",), "warning", False),
        (("critical",), "critical", True),
        (("critical",), "fatal", True),
        (("loss_spike",), "info", True),
        (("plateau",), "critical", False),
        (("plateau",), "fatal", True),
        (("warning", "critical"), "warning", True),
    ],
)
def test_what_ends_a_loop(stop_on, severity, expected):
    """A fatal alert always does; so do the types that are named, and severities from the named one on."""
    stop = Stop(stop_on)
    assert not stop.should_stop()
    told = opened(severity=severity)
    stop.take(told)
    assert (expected, told.alert if expected else None) == (stop.should_stop(), stop.alert)


def test_it_stays_so():
    """The first reason is kept, whatever comes after it."""
    stop = Stop()
    first = opened(1, severity="fatal")
    for told in (first, opened(2), opened(3, severity="fatal")):
        stop.take(told)
    assert first.alert == stop.alert


def test_an_earlier_attempt_does_not_end_this_one():
    """A resumed run reads what was fatal before, and goes on; what is fatal now ends it."""
    stop = Stop(attempt=1)
    stop.take(opened(1, severity="fatal", attempt=0))
    assert not stop.should_stop()
    stop.take(opened(2, severity="fatal", attempt=1))
    assert stop.should_stop()


def test_the_end_of_an_incident_ends_no_loop():
    """That nothing holds any more is no reason, even of a type that is named."""
    incidents = Incidents()
    incidents.take(an_alert(), 1)
    (ended,) = incidents.settle(set(), 100, step=220.0, t=1100.0)
    stop = Stop(["loss_spike"])
    stop.take(ended)
    assert not stop.should_stop()
