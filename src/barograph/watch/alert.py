"""What an alert says: what is wrong, since when, on what evidence, what moved first, why, and what to do."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Severity = Literal["info", "warning", "critical", "fatal"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical", "fatal")


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A number that speaks for the alert.

    Attributes:
        name: what was measured, e.g. ``loss`` or ``median of 12 losses``.
        value: what it was; NaN and infinities are written by name in JSON.
        threshold: what it was held against, in the same unit; None when there is no such limit.
        first_step: the first step of the records that it was measured over.
        last_step: the last one.
    """

    name: str
    value: float
    threshold: float | None = None
    first_step: float | None = None
    last_step: float | None = None


class Remedy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something to do about it, the most promising first.

    Attributes:
        text: in words, with the numbers of this run.
        change: the same as a change of configuration, e.g. ``{"grad_clip": 1.0}``; empty where it is none.
    """

    text: str
    change: dict[str, Any] = {}


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that left its usual range around the onset.

    Attributes:
        metric: its name as it was logged.
        step: the first step at which it did.
        surprise: how far, in units of its own noise.
    """

    metric: str
    step: float
    surprise: float


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A judgement about a run.

    A detector fills in what it knows; the monitor adds ``t``, ``attempt``, ``rank``, ``moved_first``, ``id`` and
    ``incident``.

    Attributes:
        type: which detector, e.g. ``loss_spike``.
        severity: ``info``; ``warning``: look at it; ``critical``: the run is probably lost without a change; ``fatal``:
            it is lost from here on.
        text: one sentence with the numbers.
        step: at which step it was noticed.
        since_step: since when it is so, as far as the records show.
        metrics: the names, as logged, that it is about.
        evidence: numbers, thresholds and the steps they are from.
        causes: the likely ones, the likeliest first.
        remedies: what to do, the most promising first.
        confidence: from 0 to 1: the share of alerts of this strength that were right on labelled runs.
        moved_first: what left its usual range before or with it, earliest first.
        t: when the record at ``step`` was made, unix seconds.
        attempt: in which attempt.
        rank: of which process.
        id: the same for the same facts, whoever watches.
        incident: which incident it belongs to: the ``id`` of the first alert of it.
    """

    type: str
    severity: Severity
    text: str
    step: float
    since_step: float
    metrics: list[str] = []
    evidence: list[Evidence] = []
    causes: list[str] = []
    remedies: list[Remedy] = []
    confidence: float = 0.5
    moved_first: list[Moved] = []
    t: float = 0.0
    attempt: int = 0
    rank: int = 0
    id: str = ""
    incident: str = ""


def is_worse(a: Severity, b: Severity) -> bool:
    """Whether the first severity is above the second."""
    return SEVERITIES.index(a) > SEVERITIES.index(b)
