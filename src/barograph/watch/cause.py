"""A cause that is visibly under way is named before its symptom: units that die, before the loss that rises with them.

Detectors of causes wait longer than those of symptoms, because what they look for is rare. When the alert of a symptom
is about to open an incident, one question is open no more, whether something is wrong, and a weaker sign settles the
other, what: so the causes are asked. Nothing waits for them, and they open no incident that was not opened anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Protocol, runtime_checkable

from barograph.watch.alert import SEVERITIES, Alert, Moved
from barograph.watch.detector import Detector, Sample
from barograph.watch.signal import WINDOW, Signal

LATELY: Final = 20
"""Among so many of the newest records something is under way."""
LEAST_Z: Final = 6.0


@runtime_checkable
class Cause(Protocol):
    """A detector that can tell whether what another one found is a symptom of what it looks for itself."""

    explains: ClassVar[tuple[str, ...]]
    """Types of alerts of which it may be the cause."""

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """Look whether its own signal left its usual range, in the right direction and no later than the symptom's.

        Args:
            sample: the record at which the other detector spoke; valid during the call only.
            alert: what it said; its type is one of ``explains``.

        Returns:
            What to tell in its place, or None.
        """


def cause_of(alert: Alert, detectors: Sequence[Detector], sample: Sample) -> Alert | None:
    """What an alert that would open an incident is a symptom of; of several causes the most special.

    Args:
        alert: as its detector gave it. One that is fatal is told as it is.
        detectors: all of them in the order of ``PRECEDENCE``, in which what is special to a kind of model stands last.
        sample: the record at which it was given.
    """
    if alert.severity == SEVERITIES[-1]:
        return None
    for detector in reversed(detectors):
        if isinstance(detector, Cause) and alert.type in detector.explains:
            found = detector.explain(sample, alert)
            if found is not None:
                return found
    return None


def left(
    signal: Signal | None, *, least: float = LEAST_Z, up: bool | None = None, lately: int = LATELY
) -> Moved | None:
    """The first of the newest records at which a metric was out of its usual range; None when none was.

    Args:
        signal: of the metric; None for one that is not logged.
        least: how far out, in units of noise.
        up: whether upwards or downwards; either way when not given.
        lately: among how many of the newest records; at least eight of a window are needed before them.
    """
    if signal is None or not signal.is_warm():
        return None
    moved = signal.moved(since=lately, least=least)
    return None if moved is None or (up is not None and (moved.surprise > 0) != up) else moved


def before(signal: Signal) -> list[float]:
    """What was usual before the newest records, on the signal's scale, oldest first; empty in the first records."""
    return signal.newest(WINDOW)[:-LATELY]
