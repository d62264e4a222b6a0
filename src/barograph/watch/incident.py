"""Alerts that belong together are one incident: it has a start, a history and an end, and does not repeat itself.

A spike that becomes a divergence is one incident; so is an explosion of the gradient with the NaN that follows. What is
told to a person: the first alert of an incident, another type in it that says more, a higher severity, its end.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from barograph.watch.alert import Alert, Severity, is_worse

PRECEDENCE: Final = (
    *("non_finite", "loss_scale", "learning_rate", "exploding_gradient", "data_shift", "loss_spike", "divergence"),
    *("vanishing_gradient", "dead_units", "frozen", "posterior_collapse", "codebook_collapse", "mode_collapse"),
    *("gan_imbalance", "entropy_collapse", "diffusion_anomaly", "degenerate_generation", "leakage", "overfitting"),
    *("quality_drop", "underfitting", "oscillation", "plateau", "gradient_noise", "memory_growth", "throughput_drop"),
    *("stall", "stale_metric"),
)
"""Causes before symptoms: of several alerts at one record the first is the one that opens the incident."""
FAMILY: Final[dict[str, str]] = {
    **dict.fromkeys(("throughput_drop", "stall"), "speed"),
    **dict.fromkeys(("memory_growth",), "memory"),
    **dict.fromkeys(("stale_metric",), "logging"),
    **dict.fromkeys(("overfitting", "quality_drop", "leakage"), "generalisation"),
}
"""What does not come from the optimisation itself; everything else does, and belongs together when it is close."""
OPTIMISATION: Final = "optimisation"
RULE: Final = "rule:"
JOIN_RECORDS: Final = 100
"""An alert this soon after the last one of an incident that is over belongs to it."""
QUIET_RECORDS: Final = 60
"""An incident is over when nothing of it has held for so many records."""
Stage = Literal["opened", "joined", "worse", "ended"]


class Incident(msgspec.Struct):
    """Alerts that belong together.

    Attributes:
        id: of its first alert.
        family: what kind of trouble.
        severity: the highest so far.
        types: of its alerts, in the order in which they came.
        first_step: since when.
        last_step: of its newest alert.
        last_record: the record of its newest sign.
        is_open: whether it goes on.
    """

    id: str
    family: str
    severity: Severity
    types: list[str]
    first_step: float
    last_step: float
    last_record: int
    is_open: bool = True


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Something about an incident that a person is told.

    Attributes:
        stage: ``opened``, ``joined`` by another type, ``worse``: a higher severity, or ``ended``.
        alert: the alert; of an end, the one that opened it.
        incident: the incident, as it is then.
        step: when.
        t: when, unix seconds.
    """

    stage: Stage
    alert: Alert
    incident: Incident
    step: float
    t: float


class Incidents(msgspec.Struct):
    """The incidents of one run.

    Attributes:
        open: those that go on or ended so recently that they may go on.
        first: the alert that opened each of them, by the incident's id.
        num_opened: how many there were.
    """

    open: list[Incident] = []
    first: dict[str, Alert] = {}
    num_opened: int = 0

    def opens(self, kind: str) -> bool:
        """Whether an alert of this type would open an incident, rather than join one."""
        family = _family(kind)
        return all(it.family != family for it in self.open)

    def take(self, alert: Alert, record: int, *, is_explained: bool = False) -> Told | None:
        """Put an alert where it belongs.

        Args:
            alert: what a detector found, with its id.
            record: how many records there have been.
            is_explained: whether its cause was told at this very record; it joins without a word unless it is worse.

        Returns:
            What a person is told; None for what the incident has said already.
        """
        family = _family(alert.type)
        found = next((it for it in self.open if it.family == family), None)
        if found is None:
            return self._opened(alert, family, record)
        was_open, found.is_open = found.is_open, True
        found.last_step, found.last_record = alert.step, record
        alert = msgspec.structs.replace(alert, incident=found.id)
        if is_worse(alert.severity, found.severity):
            found.severity = alert.severity
            found.types += [alert.type] if alert.type not in found.types else []
            return self._told("worse", alert, found)
        if alert.type not in found.types:
            found.types.append(alert.type)
            return None if is_explained or _is_symptom(alert, found) else self._told("joined", alert, found)
        return None if was_open else self._told("joined", alert, found)

    def settle(self, active: set[str], record: int, *, step: float, t: float) -> list[Told]:
        """End the incidents of which nothing holds any more.

        Args:
            active: the types of alerts that hold now.
            record: how many records there have been.
            step: now.
            t: now, unix seconds.
        """
        told = []
        for incident in self.open[:]:
            if incident.is_open and not active.isdisjoint(incident.types):
                incident.last_record = record
            elif incident.is_open and record - incident.last_record >= QUIET_RECORDS:
                incident.is_open = False
                alert = self.first[incident.id]
                told.append(Told(stage="ended", alert=alert, incident=_copy(incident), step=step, t=t))
            if record - incident.last_record > JOIN_RECORDS:
                self.open.remove(incident)
                del self.first[incident.id]
        return told

    def _opened(self, alert: Alert, family: str, record: int) -> Told:
        alert = msgspec.structs.replace(alert, incident=alert.id)
        incident = Incident(
            id=alert.id,
            family=family,
            severity=alert.severity,
            types=[alert.type],
            first_step=alert.since_step,
            last_step=alert.step,
            last_record=record,
        )
        self.open.append(incident)
        self.first[incident.id] = alert
        self.num_opened += 1
        return self._told("opened", alert, incident)

    def _told(self, stage: Stage, alert: Alert, incident: Incident) -> Told:
        return Told(stage=stage, alert=alert, incident=_copy(incident), step=alert.step, t=alert.t)


def _family(kind: str) -> str:
    """What kind of trouble; each rule of the user's own is one for itself, so that nothing hides it."""
    return kind if kind.startswith(RULE) else FAMILY.get(kind, OPTIMISATION)


def _is_symptom(alert: Alert, incident: Incident) -> bool:
    """Whether an alert says no more than what a worse one of the incident has said."""
    return not is_worse(alert.severity, "warning") and is_worse(incident.severity, "warning")


def _copy(incident: Incident) -> Incident:
    return msgspec.structs.replace(incident, types=list(incident.types))
