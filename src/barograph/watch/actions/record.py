"""What a person is told, as a line of ``facts/alerts.jsonl``: pure, and the same for the same facts.

The keys are those of ``Alert``, with ``stage``, ``title``, and how the incident stood.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from barograph.facts.kinds import SCHEMA_VERSION
from barograph.watch.alert import Severity
from barograph.watch.incident import Told

ENDED: Final = "ended"
END_SEVERITY: Final[Severity] = "info"
"""That it is over is no reason to worry, however bad it was; ``incident_severity`` says that."""


def as_line(told: Told) -> dict[str, Any]:
    """The line of what is told; see ``docs/alerts.md`` for its keys.

    An end has the alert that opened the incident, and an ``id``, ``step`` and ``t`` of its own.
    """
    alert, incident, is_end = told.alert, told.incident, told.stage == ENDED
    return {
        "schema_version": SCHEMA_VERSION,
        "id": line_id(told),
        "t": told.t,
        "type": alert.type,
        "severity": END_SEVERITY if is_end else alert.severity,
        "title": _title(told),
        "text": _end_text(told) if is_end else alert.text,
        "stage": told.stage,
        "incident": incident.id,
        "incident_severity": incident.severity,
        "incident_types": list(incident.types),
        "step": told.step,
        "since_step": incident.first_step if is_end else alert.since_step,
        "attempt": alert.attempt,
        "rank": alert.rank,
        "metrics": list(alert.metrics),
        **(_NOTHING if is_end else _findings(told)),
    }


def line_id(told: Told) -> str:
    """What tells this line from every other one of the run: the alert's own id, and for an end when it was."""
    return f"{told.alert.id}-{ENDED}-s{told.step:.12g}-t{told.t:.6f}" if told.stage == ENDED else told.alert.id


_NOTHING: Final[dict[str, Any]] = {"evidence": [], "causes": [], "remedies": [], "moved_first": []}


def _findings(told: Told) -> dict[str, Any]:
    found = msgspec.to_builtins(told.alert)
    return {
        **{key: found.get(key, []) for key in _NOTHING},
        "confidence": told.alert.confidence,
    }


def _title(told: Told) -> str:
    words = _words(told.alert.type)
    if told.stage == ENDED:
        return f"{words} is over"
    if told.stage == "worse":
        return f"{words}, now {told.alert.severity}"
    earlier = [_words(it) for it in told.incident.types if it != told.alert.type]
    return f"{words}, after {', '.join(earlier)}" if told.stage == "joined" and earlier else words


def _end_text(told: Told) -> str:
    types = ", ".join(map(_words, told.incident.types))
    return f"nothing of it holds any more at step {told.step:.12g}: {types} since step {told.incident.first_step:.12g}"


def _words(type_: str) -> str:
    """``loss spike`` of ``loss_spike``; a rule is named by its text, which stays as it was written."""
    return type_ if ":" in type_ else type_.replace("_", " ")
