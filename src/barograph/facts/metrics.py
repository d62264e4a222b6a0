"""Which file a record of metrics goes to: a stream per set of keys, split, attempt and rank; else ``metrics.jsonl``.

A stream has one writing thread, so its rows need no lock: the first ``OWN_LANES`` threads that log have streams of
their own; further threads share theirs, under the lock. Past ``MAX_STREAMS`` streams, further sets of keys go to
``metrics.jsonl`` (flat strict JSON lines), as does a record with an integer that a float64 cannot hold. Values arrive
here as plain int and float; ``record.values`` makes them.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from barograph.facts.log import TextLog
from barograph.facts.packing import make_packer
from barograph.facts.rows import EXACT_INT, HOST_SPLIT, RowStream, StreamHeader
from barograph.facts.rundir import RunDir, sealed

MAX_STREAMS: Final = 64
OWN_LANES: Final = 8
MAX_PLANS: Final = 4096
METRIC_RESERVED: Final = frozenset({"step", "t", "split", "rank", "attempt", "run_id", "nonfinite"})

Number = int | float


class Plan:
    """How records with the same keys, in the same order, become rows of one stream.

    Attributes:
        owner: the only thread that may write to the stream without the lock; 0 for a shared stream.
    """

    __slots__ = ("fd", "owner", "pack_row", "row_bytes", "split", "stream", "width")

    def __init__(self, stream: RowStream, *, owner: int, clock: Callable[[], float]) -> None:
        columns = stream.header.columns[1:-1]
        self.owner = owner
        self.stream = stream
        self.split = stream.header.split
        self.width = len(columns)
        self.pack_row = make_packer(columns, clock)
        self.fd = stream.file.fd
        self.row_bytes = stream.header.row_bytes


class MetricsLog:
    """Writes records of metrics; one object per process and attempt.

    Args:
        directory: the run's directory.
        run_id: goes into each stream's header.
        attempt: the same.
        rank: the same; ranks other than 0 have files of their own.
        max_streams: how many streams this attempt may open.
        pid: set in the child of a fork, whose ``metrics.jsonl`` is a file of its own.
        clock: unix seconds.
    """

    def __init__(
        self,
        directory: RunDir,
        *,
        run_id: str,
        attempt: int = 0,
        rank: int = 0,
        max_streams: int = MAX_STREAMS,
        pid: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._run_id, self._attempt, self._rank = run_id, attempt, rank
        self._max_streams = max_streams
        self._pid = pid
        self._clock = clock
        self.before_append: Callable[[], None] | None = None
        self._numbers = itertools.count()
        self._plans: dict[tuple[int, str, tuple[str, ...]], Plan] = {}
        self._overflow: TextLog | None = None
        self._lanes: dict[int, int] = {}
        self.streams: dict[tuple[int, str, frozenset[str]], RowStream] = {}
        self.lock = threading.RLock()  # reentrant: a signal handler of the user's may log

    def _lane(self, thread: int) -> int:
        lane = self._lanes.get(thread)
        if lane is None:
            with self.lock:
                lane = min(len(self._lanes), OWN_LANES)
                if lane < OWN_LANES:
                    self._lanes[thread] = lane
        return lane

    def plan(self, keys: tuple[str, ...], split: str) -> Plan | None:
        """This thread's plan for these keys, opening a stream for a new set; None when there are streams enough."""
        thread = threading.get_ident()
        lane = self._lane(thread)
        found = self._plans.get((lane, split, keys))
        if found is not None:
            return found
        with self.lock:
            stream = self.streams.get((lane, split, frozenset(keys)))
            if stream is None:
                if len(self.streams) >= self._max_streams:
                    return None
                stream = self._open_stream(keys, split)
                self.streams[lane, split, frozenset(keys)] = stream
            plan = Plan(stream, owner=thread if lane < OWN_LANES else 0, clock=self._clock)
            if len(self._plans) < MAX_PLANS:
                self._plans[lane, split, keys] = plan
            return plan

    def append(self, values: Mapping[str, Number], *, step: Number, split: str, t: float) -> Plan | None:
        """Record one call's metrics where they belong; it is on disk when this returns.

        Returns:
            The plan by which this thread may write further records of these keys; None when there is no stream.

        Raises:
            OSError: nothing of the record is on disk.
        """
        exact = all(type(value) is float or -EXACT_INT <= value <= EXACT_INT for value in (step, *values.values()))
        plan = self.plan(tuple(values), split) if exact else None
        with self.lock:
            if self.before_append is not None:
                self.before_append()  # rows that wait come first: the order of rows is the order of calls
            if plan is None:
                self._append_overflow(values, step=step, split=split, t=t)
            else:
                columns = plan.stream.header.columns[1:-1]
                plan.stream.append((step, *(values[name] for name in columns), t))
        return plan

    def _append_overflow(self, values: Mapping[str, Number], *, step: Number, split: str, t: float) -> None:
        if self._overflow is None:
            self._directory.ensure_facts()
            self._overflow = TextLog(self._directory.overflow(self._rank, self._pid))
        origin = {"split": split, "attempt": self._attempt, "rank": self._rank, "run_id": self._run_id}
        self._overflow.append({"step": step, **values, "t": t, **origin})

    def _open_stream(self, keys: tuple[str, ...], split: str) -> RowStream:
        self._directory.ensure_facts()
        header = StreamHeader(
            run_id=self._run_id,
            columns=["step", *keys, "t"],
            split=split,
            attempt=self._attempt,
            rank=self._rank,
            pid=os.getpid(),
        )
        while True:
            path = self._directory.rows(next(self._numbers), rank=header.rank)
            if sealed(path).exists():
                continue  # an earlier attempt's stream has that number, and a rows file would hide it
            try:
                return RowStream(path, header)
            except FileExistsError:
                continue  # another attempt's or process's stream has that number

    @property
    def num_records(self) -> int:
        """How many records were written by this object."""
        overflow = 0 if self._overflow is None else self._overflow.num_records
        return overflow + sum(stream.num_rows for stream in list(self.streams.values()))

    @property
    def num_host_records(self) -> int:
        """How many of them the host sampler wrote."""
        streams = list(self.streams.values())
        return sum(stream.num_rows for stream in streams if stream.header.split == HOST_SPLIT)

    @property
    def num_bytes(self) -> int:
        """How many bytes of rows and lines were written by this object, headers included."""
        rows = sum(s.header.header_bytes + s.num_rows * s.header.row_bytes for s in list(self.streams.values()))
        return rows + (0 if self._overflow is None else self._overflow.file.size_bytes)

    def sync(self) -> None:
        """Put what was written on the device."""
        for stream in list(self.streams.values()):
            stream.sync()
        if self._overflow is not None:
            self._overflow.sync()

    def close(self) -> None:
        """Close every file; nothing can be recorded afterwards."""
        with self.lock:
            for stream in self.streams.values():
                stream.close()
            self._plans.clear()
            if self._overflow is not None:
                self._overflow.close()
