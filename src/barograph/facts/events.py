"""The event log of one process: numbered, timed lines about what happened.

``seq`` has no gaps: a number is used up only by a line that is whole on disk. A signal handler may run in the
middle of an append; what it wants to record waits until that append is complete.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from barograph.errors import MisuseError
from barograph.facts.kinds import EVENT_RESERVED, SCHEMA_VERSION, Event
from barograph.facts.log import TextLog, scan_text
from barograph.facts.migrate import lift_event

_TAIL_BYTES: Final = 1 << 16
_open_logs: WeakValueDictionary[Path, EventLog] = WeakValueDictionary()


class EventLog:
    """Appends events to one file; opening it repairs the file and goes on with the next number.

    Args:
        path: e.g. ``facts/events.jsonl``.
        clock: unix seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._log = TextLog(path)
        self.path = path
        self.cut_bytes = self._log.cut_bytes
        self._clock = clock
        self._seq = _next_seq(path)
        self._lock = threading.RLock()
        self._writer: int | None = None
        self._waiting: list[Callable[[], object]] = []
        _open_logs[path.resolve()] = self

    def append(self, moment: str, payload: Mapping[str, Any], *, t: float | None = None) -> Event:
        """Record an event; it is on disk when this returns.

        Args:
            moment: see ``kinds.MOMENTS``; unknown ones are kept.
            payload: JSON data; keys of the line itself are refused.
            t: unix seconds; now, when not given.

        Returns:
            The event; its ``seq`` is -1 when a signal handler records it in the middle of another append, after which
            it is written.

        Raises:
            MisuseError: the payload has a reserved key, or the moment is no name.
            TypeError: the payload has no JSON form.
            OSError: the line is not on disk; its number is free again.
        """
        _check_event(moment, payload)
        if self._writer == threading.get_ident():  # a handler of the script's interrupted an append: right after it
            stamp = self._clock() if t is None else t
            self._waiting.append(lambda: self.append(moment, payload, t=stamp))
            return Event(moment=moment, seq=-1, t=stamp, payload=dict(payload))
        with self._lock:
            self._writer = threading.get_ident()
            try:
                stamp = self._clock() if t is None else t
                head = {"schema_version": SCHEMA_VERSION, "seq": self._seq, "t": stamp, "moment": moment}
                self._log.append({**head, **payload})
                event = Event(moment=moment, seq=self._seq, t=stamp, payload=dict(payload))
                self._seq += 1
            finally:
                self._writer = None
        while self._waiting:
            self._waiting.pop(0)()
        return event

    def when_free(self, action: Callable[[], object]) -> None:
        """Run ``action`` now, or, when this thread is in the middle of an append, right after it."""
        if self._writer == threading.get_ident():
            self._waiting.append(action)
        else:
            action()

    @property
    def num_events(self) -> int:
        """How many events this object wrote."""
        return self._log.num_records

    @property
    def size_bytes(self) -> int:
        """Size of the file as this writer left it."""
        return self._log.file.size_bytes

    def sync(self) -> None:
        """Put what was written on the device."""
        self._log.sync()

    def close(self) -> None:
        """Close the file."""
        _open_logs.pop(self.path.resolve(), None)
        self._log.close()

    def abandon(self) -> None:
        """Close the descriptor in the child of a fork without touching locks, which the parent may have held."""
        self.close()


def open_log(path: Path) -> EventLog | None:
    """The log that this process has open at ``path``; one writer per file."""
    return _open_logs.get(path.resolve())


def to_event(record: dict[str, Any], *, fallback_seq: int = -1) -> Event:
    """Make an event of a decoded line, lifting older and foreign schemas."""
    record = lift_event(record)
    payload = {key: value for key, value in record.items() if key not in EVENT_RESERVED}
    seq = record.get("seq")
    return Event(
        moment=record["moment"],
        seq=seq if isinstance(seq, int) else fallback_seq,
        t=record["t"],
        payload=payload,
        schema_version=record["schema_version"],
    )


def _check_event(moment: str, payload: Mapping[str, Any]) -> None:
    if not str(moment).isidentifier():
        raise MisuseError(f"moment {moment!r} is no name; use one such as 'on_epoch_end' or 'custom'")
    taken = EVENT_RESERVED.intersection(payload)
    if taken:
        raise MisuseError(f"event {moment!r} has the reserved keys {sorted(taken)}; rename them")


def _next_seq(path: Path) -> int:
    """One more than the last number in the file; lines without one are passed over."""
    size = path.stat().st_size
    for start in (max(0, size - _TAIL_BYTES), 0):
        offset = start
        numbers: list[int] = []
        while True:
            scan = scan_text(path, offset)
            numbers += [record["seq"] for record in scan.records if isinstance(record.get("seq"), int)]
            if scan.offset == offset:
                break
            offset = scan.offset
        if numbers:
            return max(numbers) + 1
    return 0
