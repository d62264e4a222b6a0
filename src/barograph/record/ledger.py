"""What recording cost: calls, time per call, share of wall time, bytes, facts accepted, written and lost.

Every run ends with its ledger, in ``exit.json`` and in the ``on_train_end`` event. The short way of ``run.log`` is
timed at every 61st step, the long way always; durations are kept as counts per bucket, so memory does not grow.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

SAMPLE_EVERY: Final = 61
"""Calls at steps that this divides are timed: a prime, so that loops that log every so many steps hit it too."""

_BUCKETS_PER_OCTAVE: Final = 8
_OCTAVES: Final = 40


class CallTimings:
    """Durations of calls in buckets, eight per factor of two (a bucket is at most 12.5 % wide).

    Short calls are a sample, long ones are all there were; each short one stands for several.
    """

    __slots__ = ("_long", "_short", "long_ns", "max_ns", "num_long", "num_short", "short_ns")

    def __init__(self) -> None:
        self._short = [0] * (_BUCKETS_PER_OCTAVE * _OCTAVES)
        self._long = list(self._short)
        self.num_short = self.num_long = 0
        self.short_ns = self.long_ns = self.max_ns = 0

    def add_short(self, duration_ns: int) -> None:
        """Count one timed call of the short way."""
        self._short[_bucket(duration_ns)] += 1
        self.num_short += 1
        self.short_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def add_long(self, duration_ns: int) -> None:
        """Count one call of the long way."""
        self._long[_bucket(duration_ns)] += 1
        self.num_long += 1
        self.long_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def total_s(self, num_calls: int) -> float | None:
        """Estimated time of ``num_calls`` calls, long ones included; None when it cannot be told."""
        num_short = max(0, num_calls - self.num_long)
        if num_short and not self.num_short:
            return None
        mean_ns = self.short_ns / self.num_short if self.num_short else 0.0
        return (self.long_ns + num_short * mean_ns) / 1e9

    def quantile_us(self, q: float, num_calls: int) -> float | None:
        """Upper edge, in microseconds, of the bucket that holds the ``q`` quantile of all calls; None if unknown."""
        if self.total_s(num_calls) is None or not num_calls:
            return None
        weight = max(0, num_calls - self.num_long) / self.num_short if self.num_short else 0.0
        wanted = q * (weight * self.num_short + self.num_long)
        seen = 0.0
        for bucket, (short, long) in enumerate(zip(self._short, self._long, strict=True)):
            seen += weight * short + long
            if (short or long) and seen >= wanted:
                return min(_upper_edge_ns(bucket), self.max_ns) / 1000
        return self.max_ns / 1000


def _bucket(duration_ns: int) -> int:
    if duration_ns < _BUCKETS_PER_OCTAVE:
        return max(duration_ns, 0)
    shift = duration_ns.bit_length() - 4
    bucket = (shift + 1) * _BUCKETS_PER_OCTAVE + (duration_ns >> shift) - _BUCKETS_PER_OCTAVE
    return min(bucket, _BUCKETS_PER_OCTAVE * _OCTAVES - 1)


def _upper_edge_ns(bucket: int) -> int:
    if bucket < _BUCKETS_PER_OCTAVE:
        return bucket
    octave, part = divmod(bucket, _BUCKETS_PER_OCTAVE)
    return (part + _BUCKETS_PER_OCTAVE + 1) << (octave - 1)


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one attempt's recording, as far as it has come.

    Attributes:
        accepted: facts that callers handed over without being refused.
        written: facts on disk.
        pending: facts that wait for a copy from a GPU.
        lost: facts that could not be written.
        log_calls: records that were handed to ``run.log``.
        call_p50_us: median time of a call, microseconds; None when no call was timed.
        call_p99_us: the same, 99th percentile.
        call_max_us: the longest timed call.
        logging_s: estimated time of all calls of ``run.log``; None when no call was timed.
        wall_s: wall time since the attempt began.
        share_of_wall: ``logging_s / wall_s``.
        companion_cpu_s: processor time of the companion thread.
        bytes: bytes in the facts directory that this process wrote.
        failures: part of the recorder -> first error message.
    """

    accepted: int
    written: int
    pending: int
    lost: int
    log_calls: int
    call_p50_us: float | None
    call_p99_us: float | None
    call_max_us: float | None
    logging_s: float | None
    wall_s: float
    share_of_wall: float | None
    companion_cpu_s: float
    bytes: int
    failures: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The ledger as JSON data."""
        return msgspec.structs.asdict(self)
