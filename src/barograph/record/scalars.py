"""``run.log``: the call that a training loop makes millions of times.

A record whose keys were seen last time and whose values are Python floats takes the short way: one pack, one write.
Everything else takes the long way, which checks and explains. When ``log`` returns, the record is on disk; the one
exception is a value on a GPU, which is copied without waiting and recorded when the copy has arrived.
"""

from __future__ import annotations

import operator
import time
from collections import deque
from collections.abc import Callable, Mapping
from threading import get_ident
from time import perf_counter_ns
from typing import Any, Final

from barograph.errors import InvalidMetricError, RunClosedError
from barograph.facts.descriptor import WRITE, WriteCall
from barograph.facts.metrics import MetricsLog, Number, Plan
from barograph.facts.packing import EXACT_BITS
from barograph.record.device import DeviceRecord
from barograph.record.guard import Guard
from barograph.record.ledger import SAMPLE_EVERY, CallTimings
from barograph.record.values import check_metrics, check_split, check_step, is_on_device, plain_number

MAX_PENDING: Final = 4096
MAX_PLANS: Final = 256


class ScalarLog:
    """The hot path of one process and attempt.

    Args:
        metrics: where records go.
        guard: what happens when the recorder fails.
        write: how a packed row gets to its file; ``record.batch`` has another.
        clock: unix seconds.
        first_step: the step of the first record that names none.
    """

    def __init__(
        self,
        metrics: MetricsLog,
        *,
        guard: Guard,
        write: WriteCall = WRITE,
        clock: Callable[[], float] = time.time,
        first_step: int = 0,
    ) -> None:
        self._metrics = metrics
        self._guard = guard
        self._write = write
        self._clock = clock
        self._plan: Plan | None = None
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._pending: deque[DeviceRecord] = deque()
        self._closed: str | None = None
        self.next_step = first_step
        self.timings = CallTimings()

    def log(  # noqa: C901 - one function on purpose: a frame costs 0.1 us
        self,
        metrics: Mapping[str, Any],
        step: Number | None = None,
        *,
        epoch: Number | None = None,
        split: str = "train",
    ) -> None:
        """Record one call's metrics; see ``Run.log``."""
        if step is None:
            step = self.next_step
        if epoch is not None:
            metrics = self._with_epoch(metrics, epoch)
        started = 0
        try:
            if not step % SAMPLE_EVERY:
                started = perf_counter_ns()
            plan = self._plan
            if (
                plan is not None
                and type(metrics) is dict  # a defaultdict or Counter would answer for keys that it does not have
                and len(metrics) == plan.width
                and split == plan.split
                and type(step) is int
                and not step >> EXACT_BITS
                and get_ident() == plan.owner
            ):
                row = plan.pack_row(metrics, step)
                if row is not None:
                    row_bytes = plan.row_bytes
                    written = self._write(plan.fd, row, row_bytes)
                    if written != row_bytes:
                        plan.stream.write(row, written)
                    self.next_step = step + 1
                    if started:
                        self.timings.add_short(perf_counter_ns() - started)
                    return
        except (KeyError, TypeError, ValueError):
            pass  # another set of keys, or no names, numbers and step at all: the long way tells
        except OSError as error:
            self._fail(error)
            return
        if not self._log_known(metrics, step, split, started):
            self._log_guarded(metrics, step, split)

    def _fail(self, error: OSError) -> None:
        self._forget()  # a stream with a torn row that could not be taken back refuses the long way
        self._guard.failed("metrics", error, lost=1)

    def _log_known(self, metrics: Any, step: Any, split: str, started: int) -> bool:
        """The short way for a set of keys that was seen before the last one, or a step that is numpy's.

        Returns:
            Whether the call is dealt with.
        """
        if type(metrics) is not dict or isinstance(step, bool):
            return False
        try:
            plan = self._plans.get((get_ident(), split, *metrics))
            step = operator.index(step)
            row = None if plan is None or step >> EXACT_BITS else plan.pack_row(metrics, step)
            if plan is None or row is None:
                return False
            written = self._write(plan.fd, row, plan.row_bytes)
            if written != plan.row_bytes:
                plan.stream.write(row, written)
        except (KeyError, TypeError, ValueError):
            return False
        except OSError as error:
            self._fail(error)
            return True
        self._plan = plan
        self.next_step = step + 1
        if started:
            self.timings.add_short(perf_counter_ns() - started)
        return True

    def _with_epoch(self, metrics: Mapping[str, Any], epoch: Any) -> Mapping[str, Any]:
        if "epoch" in check_metrics(metrics):
            raise InvalidMetricError(f"epoch is given twice, in the metrics and as epoch={epoch!r}; leave one out")
        return {**metrics, "epoch": epoch}

    def _log_guarded(self, metrics: Any, step: Any, split: Any) -> None:
        started = perf_counter_ns()
        with self._guard.boundary("metrics", lost=1):
            self._log_checked(metrics, step, split)
        self.timings.add_long(perf_counter_ns() - started)

    def _log_checked(self, metrics: Any, step: Any, split: Any) -> None:
        """The long way: check everything, then record; raises before anything is written."""
        if self._closed is not None:
            raise RunClosedError(self._closed)
        t = self._clock()
        split = check_split(split)
        step = check_step(step)
        metrics = check_metrics(metrics)
        if any(map(is_on_device, metrics.values())):
            self._log_later(metrics, step, split, t)
        else:
            values = {key: plain_number(key, value) for key, value in metrics.items()}
            self._append(values, step, split, t)
        self.next_step = int(step) + 1

    def _append(self, values: dict[str, Number], step: Number, split: str, t: float) -> None:
        plan = self._metrics.append(values, step=step, split=split, t=t)
        if plan is None or self._closed is not None:
            return
        if plan.owner == get_ident() and len(self._plans) < MAX_PLANS:
            self._plans[plan.owner, split, *values] = plan
        self._plan = plan
        if self._closed is not None:  # another thread closed the run meanwhile: descriptors are used again
            self._forget()

    def _forget(self) -> None:
        self._plan = None
        self._plans.clear()

    def _log_later(self, metrics: Mapping[str, Any], step: Number, split: str, t: float) -> None:
        self._pending.append(DeviceRecord(metrics, step=step, split=split, t=t))
        self.settle(wait=len(self._pending) > MAX_PENDING)

    def settle(self, *, wait: bool = False) -> None:
        """Record the device values whose copies have arrived, in the order of their calls.

        Args:
            wait: wait for the copies that have not.
        """
        with self._metrics.lock:
            while self._pending and (wait or self._pending[0].arrived()):
                record = self._pending[0]
                try:
                    with self._guard.boundary("metrics", lost=1, misuse=True):
                        self._append(record.values(), record.step, record.split, record.t)
                finally:  # recorded or counted as lost: it is not pending any more
                    self._pending.popleft()

    @property
    def num_pending(self) -> int:
        """How many records wait for a copy from a device."""
        return len(self._pending)

    def close(self, reason: str) -> None:
        """Refuse further calls, also through references to ``log`` that were kept: descriptors are used again."""
        self._closed = reason
        self._forget()

    def rebind(self, metrics: MetricsLog, write: WriteCall) -> None:
        """Go on with other files, in the child of a fork; values on a device stay the parent's."""
        self._metrics, self._write = metrics, write
        self._forget()
        self._pending.clear()
