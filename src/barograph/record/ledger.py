"""What recording cost: calls, time per call, share of wall time, bytes, facts accepted, written and lost.

Every run ends with its ledger, in ``exit.json`` and in the ``on_train_end`` event. Timings are of every 64th call of
``run.log`` (and of its long way when that call takes it), kept as counts per bucket: memory does not grow.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

SAMPLE_MASK: Final = 63
_BUCKETS_PER_OCTAVE: Final = 8
_OCTAVES: Final = 40


class CallTimings:
    """A histogram of durations with eight buckets per factor of two (a bucket is at most 12.5 % wide)."""

    __slots__ = ("_counts", "max_ns", "num", "total_ns")

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS_PER_OCTAVE * _OCTAVES)
        self.num = 0
        self.total_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        self._counts[min(_bucket(duration_ns), len(self._counts) - 1)] += 1
        self.num += 1
        self.total_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_us(self, q: float) -> float | None:
        """Upper edge, in microseconds, of the bucket that holds the ``q`` quantile; None without a call."""
        wanted = q * self.num
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper_edge_ns(bucket), self.max_ns) / 1000
        return None


def _bucket(duration_ns: int) -> int:
    if duration_ns < _BUCKETS_PER_OCTAVE:
        return max(duration_ns, 0)
    shift = duration_ns.bit_length() - 4
    return (shift + 1) * _BUCKETS_PER_OCTAVE + (duration_ns >> shift) - _BUCKETS_PER_OCTAVE


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
        log_calls: calls of ``run.log``.
        call_p50_us: median time of a call, microseconds; of every 64th call.
        call_p99_us: the same, 99th percentile.
        call_max_us: the longest timed call.
        logging_s: estimated time of all calls of ``run.log``.
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
    logging_s: float
    wall_s: float
    share_of_wall: float
    companion_cpu_s: float
    bytes: int
    failures: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The ledger as JSON data."""
        return msgspec.structs.asdict(self)
