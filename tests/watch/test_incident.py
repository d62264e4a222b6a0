"""Alerts that belong together are told as one incident, which has a history and an end and does not repeat itself."""

from __future__ import annotations

import pytest

from barograph import plugins
from barograph.watch.alert import Alert
from barograph.watch.incident import FAMILY, JOIN_RECORDS, PRECEDENCE, QUIET_RECORDS, Incidents
from barograph.watch.watcher import GROUP


def alert(kind: str, step: float, severity: str = "warning") -> Alert:
    """An alert of a type."""
    return Alert(
        type=kind, severity=severity, text=kind, step=step, since_step=step - 3, t=1e9 + step, id=f"{kind}-{step:g}"
    )


def settle(incidents: Incidents, record: int, *active: str):
    """Time goes on."""
    return incidents.settle(set(active), record, step=float(record), t=1e9 + record)


def test_the_first_alert_opens_an_incident():
    """It is told, has the alert's name and begins when the trouble began."""
    incidents = Incidents()
    told = incidents.take(alert("loss_spike", 100), 100)
    assert (told.stage, told.alert.incident, told.incident.id) == ("opened", "loss_spike-100", "loss_spike-100")
    assert (told.incident.first_step, told.incident.last_step, told.incident.types) == (97, 100, ["loss_spike"])
    assert incidents.num_opened == 1


def test_the_same_again_is_not_told():
    """An incident does not repeat itself while it goes on."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    assert incidents.take(alert("loss_spike", 110), 110) is None
    assert incidents.num_opened == 1


def test_a_spike_that_becomes_a_divergence_is_one_incident():
    """What is worse is told as a turn of the same incident, whose history names both."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    told = incidents.take(alert("divergence", 120, "critical"), 120)
    assert (told.stage, told.incident.types, told.incident.severity) == (
        "worse",
        ["loss_spike", "divergence"],
        "critical",
    )
    assert told.alert.incident == "loss_spike-100"
    assert incidents.num_opened == 1


def test_another_type_of_the_same_weight_joins():
    """It says something new, so it is told."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    assert incidents.take(alert("gradient_noise", 105), 105).stage == "joined"


def test_symptoms_of_something_worse_are_not_told():
    """After a fatal alert a warning adds nothing; it is kept in the history."""
    incidents = Incidents()
    incidents.take(alert("non_finite", 100, "fatal"), 100)
    assert incidents.take(alert("loss_spike", 101), 101) is None
    assert incidents.open[0].types == ["non_finite", "loss_spike"]


def test_trouble_of_another_kind_is_another_incident():
    """A loader that slows down is not the same as a loss that spikes, however close."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    assert incidents.take(alert("throughput_drop", 100), 100).stage == "opened"
    assert {it.family for it in incidents.open} == {"optimisation", "speed"}


def test_an_incident_ends_when_nothing_of_it_holds_any_more():
    """It is told once, with the alert that opened it, as soon as the quiet has lasted."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    assert settle(incidents, 100 + QUIET_RECORDS - 1) == []
    (told,) = settle(incidents, 100 + QUIET_RECORDS)
    assert (told.stage, told.alert.id, told.step) == ("ended", "loss_spike-100", 100 + QUIET_RECORDS)
    assert settle(incidents, 100 + QUIET_RECORDS + 1) == []


def test_it_goes_on_while_what_it_is_about_holds():
    """A condition that lasts for thousands of records is one incident without an end, and any of its types holds it."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    incidents.take(alert("divergence", 120, "critical"), 120)
    assert [told for record in range(130, 5000, 16) for told in settle(incidents, record, "divergence")] == []
    assert settle(incidents, 5100, "throughput_drop")[0].stage == "ended"


def test_an_alert_soon_after_the_end_goes_on_with_it():
    """Trouble that comes back at once is the same incident, told as such; later it is a new one."""
    incidents = Incidents()
    incidents.take(alert("loss_spike", 100), 100)
    settle(incidents, 170)
    assert incidents.take(alert("loss_spike", 190), 190).stage == "joined"
    settle(incidents, 190 + JOIN_RECORDS)
    settle(incidents, 190 + JOIN_RECORDS + 1)
    assert incidents.take(alert("loss_spike", 300), 300).stage == "opened"
    assert incidents.num_opened == 2


def test_what_is_told_does_not_change_afterwards():
    """The history that somebody was told is that of its moment."""
    incidents = Incidents()
    opened = incidents.take(alert("loss_spike", 100), 100)
    incidents.take(alert("divergence", 120, "critical"), 120)
    assert (opened.incident.types, opened.incident.severity) == (["loss_spike"], "warning")


def test_nothing_is_kept_of_incidents_that_are_over():
    """A run with a thousand incidents keeps those that may go on."""
    incidents = Incidents()
    for number in range(1000):
        incidents.take(alert("loss_spike", 1000 * number), 1000 * number)
        settle(incidents, 1000 * number + 500)
    assert (len(incidents.open), len(incidents.first), incidents.num_opened) == (0, 0, 1000)


@pytest.mark.spec("S2.41")
def test_every_type_has_its_place():
    """Each built-in detector stands in the order of causes, nothing else does, and families name such types only."""
    names = set(plugins.names(GROUP))
    assert names <= set(PRECEDENCE)
    assert len(PRECEDENCE) == len(set(PRECEDENCE)) == 28
    assert set(FAMILY) <= set(PRECEDENCE)


def test_what_is_leaked_is_named_before_the_slowness_that_it_causes():
    """Of alerts at one record the cause comes first."""
    assert PRECEDENCE.index("memory_growth") < PRECEDENCE.index("throughput_drop")
