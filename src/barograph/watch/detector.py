"""What a detector is: it declares what it reads, and has one method.

    class Spike(Detector):
        name = "loss_spike"
        reads = ("loss",)
        def update(self, sample): ...

A detector keeps little: its fields are its whole state, which is written and read back between two samples. It never
looks at a clock, a file or a random number, so that the same facts give the same alerts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec

from barograph.watch.alert import Alert, Evidence, Remedy, Severity
from barograph.watch.context import Context
from barograph.watch.signal import Signal

Pace = Literal["record", "block", "nonfinite"]
COOLDOWN_RECORDS: Final = 50
FOREVER: Final = 2**62
"""More records than any run has."""


class Sample:
    """One record, as detectors see it. It is the same object for every record: nothing may be kept of it.

    Attributes:
        step: of the record.
        t: when it was made, unix seconds.
        split: on which it was logged.
        signals: the metrics of this record that have a role, by role, the newest value taken in.
        nonfinite: the metrics of this record that are not finite, with their values.
        context: everything else.
    """

    __slots__ = ("context", "nonfinite", "signals", "split", "step", "t")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.step = self.t = 0.0
        self.split = "train"
        self.signals: dict[str, Signal] = {}
        self.nonfinite: list[tuple[Signal, float]] = []

    def get(self, role: str) -> Signal | None:
        """The metric with a role, from this record or an earlier one; None when there was none."""
        return self.context.signals.get(role)


class Detector(msgspec.Struct):
    """What detectors have in common.

    Class attributes:
        name: the type of its alerts.
        reads: roles; ``update`` is called for records that have one of them; ``*`` for every metric.
        pace: ``record``: for each of them; ``block``: for every eighth; ``nonfinite``: for those that hold a value that
            is not finite.
        calm_z: of detectors that are asked for each record: while ``is_calm`` holds and no metric that it reads is
            further than this from what was expected, in units of its noise, ``update`` does nothing, so that it need
            not be called; None when that cannot be said.

    Attributes:
        is_active: whether what it looks for holds now; an incident goes on while it does.
        quiet_until: the number of records before which it says nothing again.
        rests_until: the number of records (``Context.num_records``) before which ``update`` would change nothing and
            say nothing, whatever they hold, so that it is not called; 0 for one that never rests. It is meant for
            warm-up, for one that looks at every so many blocks (``Signal.next_turn``) and for one that is done
            (``FOREVER``). Samples of the machine are no records: who lives on those alone must not rest.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    pace: ClassVar[Pace] = "record"
    cooldown: ClassVar[int] = COOLDOWN_RECORDS
    calm_z: ClassVar[float | None] = None

    is_active: bool = False
    quiet_until: int = 0
    rests_until: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """Look at the next record.

        Args:
            sample: valid during the call only.

        Returns:
            What is wrong since now, or None. It is said once, not again while it lasts.
        """
        raise NotImplementedError(f"{type(self).__name__}.update: look at {sample.step} and return an Alert, or None")

    def is_calm(self) -> bool:
        """Whether there is nothing to follow up; see ``calm_z``."""
        return not self.is_active

    def is_quiet(self, sample: Sample) -> bool:
        """Whether it has spoken so recently that it should not again."""
        return sample.context.num_records < self.quiet_until

    def alert(
        self,
        sample: Sample,
        text: str,
        *,
        severity: Severity,
        since: float | None = None,
        metrics: list[Signal] | None = None,
        evidence: list[Evidence] | None = None,
        causes: list[str] | None = None,
        remedies: list[Remedy] | None = None,
        confidence: float = 0.5,
    ) -> Alert:
        """An alert at this record; the detector is active and quiet from now on."""
        self.is_active = True
        self.quiet_until = sample.context.num_records + self.cooldown
        return Alert(
            type=self.name,
            severity=severity,
            text=text,
            step=sample.step,
            since_step=sample.step if since is None else since,
            metrics=[signal.name for signal in metrics or []],
            evidence=evidence or [],
            causes=causes or [],
            remedies=remedies or [],
            confidence=confidence,
        )


def shown(value: Any) -> str:
    """A number in a sentence: four significant digits, and no fewer than a whole part below a million has.

    >>> shown(0.123456), shown(1200.0), shown(12345.6), shown(1e-7), shown(3)
    ('0.1235', '1200', '12346', '1e-07', '3')
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.4g}"  # noqa: PLR2004 - see above
