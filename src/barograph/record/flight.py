"""The flight recorder: the last entries at ``debug`` detail, in memory, written only when something goes wrong.

It holds copies within a bound of entries and of bytes, never an array that the caller goes on using and never a
graph of gradients. It decides nothing: who sees an anomaly, a crash or a signal calls ``dump``.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from barograph.errors import MisuseError
from barograph.facts.codec import encode, plain
from barograph.facts.descriptor import replace_file
from barograph.record.snapshot import PLAIN_TYPES, is_array, num_elements, own_array
from barograph.record.values import is_on_device

DEFAULT_CAPACITY: Final = 200
DEFAULT_MAX_BYTES: Final = 64 << 20
MAX_DEVICE_ELEMENTS: Final = 1024
_OBJECT_BYTES: Final = 64  # about what a small Python object and its place in a container take
_MAX_DEPTH: Final = 32


class Entry(NamedTuple):
    """One thing that was handed to the flight recorder."""

    t: float
    step: float | None
    kind: str
    data: dict[str, Any]
    size_bytes: int


class FlightRecorder:
    """A ring of the last entries; see the module's docstring.

    Mappings, lists and arrays are copied when they are added; conversion to text waits for ``dump``, which mostly
    never comes. An array is replaced by a description of it (shape and type) when the entry would become larger
    than ``max_bytes``, or when it lies on a device and has more than ``MAX_DEVICE_ELEMENTS`` elements: the recorder
    never waits for a GPU and never fills its memory. Anything that is not plain data is replaced by the name of
    its type.

    Args:
        capacity: how many entries are kept.
        max_bytes: about how much memory they may take together; the oldest go first.
        clock: unix seconds.

    Raises:
        MisuseError: a bound is not a positive integer.
    """

    def __init__(
        self,
        capacity: int = DEFAULT_CAPACITY,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value in (("capacity", capacity), ("max_bytes", max_bytes)):
            if type(value) is not int or value < 1:
                raise MisuseError(f"{name} of the flight recorder must be a positive integer, not {value!r}")
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.num_evicted = 0
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._lock = threading.RLock()  # re-entrant: a signal handler may dump while its thread adds
        _RECORDERS.add(self)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, kind: str, data: Mapping[str, Any], *, step: float | None = None) -> None:
        """Keep a copy of ``data`` until newer entries push it out.

        Args:
            kind: what it is, e.g. ``detail.debug``.
            data: anything; see the class for what is not kept.
            step: the step it belongs to.
        """
        copier = _Copier(self.max_bytes)
        entry = Entry(self._clock(), step, kind, copier.hold(data), copier.size_bytes)
        with self._lock:
            self._entries.append(entry)
            self.size_bytes += entry.size_bytes
            while len(self._entries) > self.capacity or self.size_bytes > self.max_bytes:
                self.size_bytes -= self._entries.popleft().size_bytes
                self.num_evicted += 1

    def dump(self, path: Path, *, reason: str) -> Path:
        """Write what is held as gzip-compressed strict JSON lines, atomically: a header, then the oldest entry first.

        The entries stay: a crash after an anomaly shows them again. An array that cannot be read any more (its
        device failed) is written as a text that says so.

        Args:
            path: file to write.
            reason: why, e.g. ``on_exception``.

        Raises:
            OSError: the file could not be written; the path is as it was.
        """
        import gzip  # noqa: PLC0415 - most runs never dump

        with self._lock:
            entries = list(self._entries)
            evicted = self.num_evicted
        header = {
            "reason": reason,
            "t": self._clock(),
            "num_entries": len(entries),
            "num_evicted": evicted,
            "capacity": self.capacity,
            "max_bytes": self.max_bytes,
        }
        lines = [encode(header)]
        lines += [encode({"t": e.t, "step": e.step, "kind": e.kind, "data": _readable(e.data)}) for e in entries]
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, gzip.compress(b"\n".join(lines) + b"\n", mtime=0))
        return path


_RECORDERS: Final[weakref.WeakSet[FlightRecorder]] = weakref.WeakSet()


def _renew_locks() -> None:
    """Another thread may have held a lock at the fork; in the child nobody would ever release it."""
    for recorder in _RECORDERS:
        recorder._lock = threading.RLock()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_renew_locks)


class _Copier:
    """Copies one entry and counts about how many bytes the copy keeps in memory; what no longer fits is named."""

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes

    def hold(self, value: Any, depth: int = 0) -> Any:
        if type(value) in PLAIN_TYPES:
            size = len(value) if isinstance(value, str) else 0
            return value if self._takes(size) else self._name(type(value).__name__)
        if is_array(value):
            return self._hold_array(value)
        if depth < _MAX_DEPTH and isinstance(value, Mapping) and self._takes(len(value) * _OBJECT_BYTES):
            return {str(key): self.hold(item, depth + 1) for key, item in value.items()}
        if depth < _MAX_DEPTH and isinstance(value, (list, tuple)) and self._takes(len(value) * _OBJECT_BYTES):
            return [self.hold(item, depth + 1) for item in value]
        return self._name(f"{type(value).__module__}.{type(value).__qualname__}")

    def _hold_array(self, array: Any) -> Any:
        count = num_elements(array)
        size_bytes = count * getattr(array.dtype, "itemsize", 8)
        if is_on_device(array):
            if count <= MAX_DEVICE_ELEMENTS and self._takes(size_bytes):
                return array.detach().clone()  # stays there; reading it would wait for the device
        elif self._takes(size_bytes):
            return own_array(array)
        return self._name(f"{array.dtype} array of shape {tuple(array.shape)}")

    def _takes(self, size_bytes: int) -> bool:
        fits = self.size_bytes + size_bytes + _OBJECT_BYTES <= self._max_bytes
        if fits:
            self.size_bytes += size_bytes + _OBJECT_BYTES
        return fits

    @staticmethod
    def _name(what: str) -> str:
        return f"<{what}, not kept>"


def _readable(value: Any) -> Any:
    """Plain data of what was held; an array that fails is named with its error."""
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not is_array(value):
        return value
    try:
        return plain(value.tolist())
    except (RuntimeError, TypeError, ValueError) as error:
        return f"<{type(value).__qualname__}, not readable: {type(error).__name__}: {error}>"
