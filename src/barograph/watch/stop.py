"""Whether a loop that asks should stop: ``run.should_stop()`` is True once something was found that loses the run.

It only answers; nothing is stopped by it. What an earlier attempt met does not count: the run was resumed since.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from barograph.watch.alert import SEVERITIES, Alert, Severity, is_worse
from barograph.watch.incident import Told

ALWAYS: Final[Severity] = "fatal"


class Stop:
    """Decides from what is told.

    Args:
        stop_on: types of alerts (``rule`` for every rule), and severities, which count from there on; ``fatal`` always
            counts.
        attempt: the one that asks.

    Attributes:
        alert: the first one that asks for an end; None when there is none.

    >>> Stop().should_stop()
    False
    """

    def __init__(self, stop_on: Collection[str] = (), *, attempt: int = 0) -> None:
        self.alert: Alert | None = None
        self._attempt = attempt
        self._types = {name for name in stop_on if name not in SEVERITIES}
        self._least = min((it for it in SEVERITIES if it in stop_on), key=SEVERITIES.index, default=ALWAYS)

    def take(self, told: Told) -> None:
        """Take into account what is told."""
        alert = told.alert
        if self.alert is not None or told.stage == "ended" or alert.attempt < self._attempt:
            return
        kind = alert.type.partition(":")[0]  # of a rule its text follows
        if kind in self._types or not is_worse(self._least, alert.severity):
            self.alert = alert

    def should_stop(self) -> bool:
        """Whether the loop should end; as cheap as looking at a variable, and safe to ask from any thread."""
        return self.alert is not None
