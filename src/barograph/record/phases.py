"""Phases of a run, timed by the monotonic clock: ``with run.phase("sampling"):``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from barograph.errors import RunClosedError
from barograph.facts.kinds import OnPhaseEnd, as_payload
from barograph.facts.rundir import check_name
from barograph.record.values import check_step


class PhaseStack(threading.local):
    """The names of the phases that the current thread is in."""

    def __init__(self) -> None:
        self.names: list[str] = []


class Phase:
    """A context manager that records ``on_phase_end`` with the time its body took.

    Args:
        record: records the event, or raises ``RunClosedError``.
        stack: phases of the run, for the path of nested ones.
        name: the phase's name.
        step: the step it belongs to.
        clock: unix seconds.

    Attributes:
        duration_s: seconds of wall time, once the phase is over.

    Raises:
        InvalidNameError: the name cannot name a phase.
        InvalidMetricError: the step is no finite number.
    """

    def __init__(
        self,
        record: Callable[[str, Mapping[str, Any]], object],
        stack: PhaseStack,
        name: str,
        *,
        step: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = check_name(name, what="phase")
        self.step = None if step is None else check_step(step)
        self.duration_s = 0.0
        self._record = record
        self._clock = clock
        self._stack = stack
        self._started_t = 0.0
        self._started_ns = 0

    def __enter__(self) -> Self:
        self._stack.names.append(self.name)
        self._started_t = self._clock()
        self._started_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.duration_s = (time.perf_counter_ns() - self._started_ns) / 1e9
        path = "/".join(self._stack.names)
        self._stack.names.pop()
        ended = OnPhaseEnd(
            name=self.name,
            duration_s=self.duration_s,
            started_t=self._started_t,
            path=path,
            step=self.step,
            failed=kind is not None,
        )
        try:
            self._record("on_phase_end", as_payload(ended))
        except RunClosedError:
            if kind is None:  # else what ended the phase is on its way up, and says more
                raise
