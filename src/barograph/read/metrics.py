"""What a run's metrics say: a summary of each, and the effective curve of one.

The effective curve takes the latest attempt at each step. Points of older attempts at the same step are marked as
superseded and never dropped; minimum, maximum and last value are of the effective curve. Within a file the order is
that of recording, also where the clock was set back; times only tell how several files interleave.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from barograph.facts.log import Damage
from barograph.facts.rundir import RunDir
from barograph.read.columns import Columns, find_streams, iterate_overflow, iterate_overflow_file, iterate_stream


class MetricKey(NamedTuple):
    """What makes a curve of its own."""

    name: str
    split: str
    rank: int


class MetricSummary(msgspec.Struct, kw_only=True):
    """One metric on one split, as one rank recorded it.

    Attributes:
        name: the metric.
        split: e.g. ``train``.
        rank: which process of a distributed run.
        count: how many points were recorded, in all attempts.
        num_superseded: how many of them a later attempt recorded again at the same step.
        nonfinite_counts: how many points of all attempts are ``nan``, ``inf`` and ``-inf``; kinds that did not
            occur are left out.
        last: the newest value, as the latest attempt recorded it.
        last_step: its step.
        min: the smallest finite value of the effective curve, None when there is none.
        min_step: the first step with it.
        max: the largest, in the same way.
        max_step: its step.
    """

    name: str
    split: str
    rank: int = 0
    count: int = 0
    num_superseded: int = 0
    nonfinite_counts: dict[str, int] = {}
    last: float | None = None
    last_step: float | None = None
    min: float | None = None
    min_step: float | None = None
    max: float | None = None
    max_step: float | None = None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded value.

    Attributes:
        step: where.
        value: what; NaN and infinities are facts too.
        t: unix seconds.
        attempt: which attempt recorded it.
        is_effective: False when a later attempt recorded the metric again at this step.
    """

    step: float
    value: float
    t: float
    attempt: int
    is_effective: bool


def summarise(directory: RunDir, damage: list[Damage]) -> list[MetricSummary]:
    """Summarise every metric of a run in one pass over its files, in the order of split, rank and name."""
    sources = _Sources(directory, damage)
    tallies: dict[MetricKey, _Tally] = {}
    later: dict[MetricKey, set[float]] = defaultdict(set)
    for attempt in sources.attempts():
        seen: dict[MetricKey, set[float]] = defaultdict(set)
        for path, columns in sources.columns(attempt):
            for name, values in columns.values.items():
                key = MetricKey(name, columns.split, columns.rank)
                tally = tallies.setdefault(key, _Tally(key))
                tally.add(path, columns, values, superseded=later[key])
                if attempt > sources.oldest:
                    seen[key].update(columns.steps)
        for key, steps in seen.items():
            later[key] |= steps
    return [tallies[key].summary for key in sorted(tallies, key=lambda key: (key.split, key.rank, key.name))]


def points(directory: RunDir, key: MetricKey, damage: list[Damage]) -> list[Point]:
    """Every recorded point of one metric, older attempts first, each in the order in which it was recorded."""
    sources = _Sources(directory, damage)
    found: list[list[Point]] = []
    later: set[float] = set()
    for attempt in sources.attempts():
        files: dict[Path, list[Point]] = defaultdict(list)
        for path, columns in sources.columns(attempt):
            if (columns.split, columns.rank) == (key.split, key.rank) and key.name in columns.values:
                files[path] += [
                    Point(step=step, value=value, t=t, attempt=attempt, is_effective=step not in later)
                    for step, value, t in zip(columns.steps, columns.values[key.name], columns.t, strict=True)
                ]
        later |= {point.step for mine in files.values() for point in mine}
        found.append(_interleaved(list(files.values())))
    return [point for attempt in reversed(found) for point in attempt]


def keys(directory: RunDir, damage: list[Damage]) -> list[MetricKey]:
    """Every metric of every split and rank, from the headers of rows and from ``metrics.jsonl``."""
    found: set[MetricKey] = set()
    for stream in find_streams(directory, damage):
        header = stream.header
        found |= {MetricKey(name, header.split, header.rank) for name in header.columns[1:-1]}
    for columns in iterate_overflow(directory, damage):
        found |= {MetricKey(name, columns.split, columns.rank) for name in columns.values}
    return sorted(found, key=lambda key: (key.split, key.rank, key.name))


def not_logged(path: Path, wanted: MetricKey, there: Sequence[MetricKey]) -> str:
    """What to say to somebody who asks for a metric that was not logged."""
    of_rank = f" by rank {wanted.rank}" if wanted.rank else ""
    start = f"{path} did not log {wanted.name!r} on split {wanted.split!r}{of_rank}"
    by_split: dict[str, list[str]] = defaultdict(list)
    for key in there:
        if key.rank == wanted.rank:
            by_split[key.split].append(key.name)
    if not by_split:
        return f"{start}; it logged no metric"
    return f"{start}; it logged " + "; ".join(f"on {split!r}: {', '.join(names)}" for split, names in by_split.items())


def count_nonfinite(values: Iterable[float]) -> dict[str, int]:
    """How many of the values are ``nan``, ``inf`` and ``-inf``.

    >>> count_nonfinite([1.0, float("nan"), float("-inf")])
    {'nan': 1, '-inf': 1}
    """
    counts = {"nan": 0, "inf": 0, "-inf": 0}
    for value in values:
        if not is_finite(value):
            counts["nan" if math.isnan(value) else "inf" if value > 0 else "-inf"] += 1
    return {kind: count for kind, count in counts.items() if count}


def _interleaved(files: list[list[Point]]) -> list[Point]:
    """The points of several files by time; those of one file keep their order, whatever the clock did."""
    keyed = [pair for mine in files for pair in zip(itertools.accumulate((p.t for p in mine), max), mine, strict=True)]
    return [point for _, point in sorted(keyed, key=lambda pair: pair[0])]


def is_finite(value: float) -> bool:
    """Whether a number is finite; integers of any size are."""
    return isinstance(value, int) or math.isfinite(value)


class _Sources:
    """The files of a run, by attempt."""

    def __init__(self, directory: RunDir, damage: list[Damage]) -> None:
        self._directory = directory
        self._damage = damage
        self._streams = find_streams(directory, damage)
        overflow: list[Damage] = []  # the files are read once per attempt; their damage is noted once
        numbers = {columns.attempt for columns in iterate_overflow(directory, overflow)}
        damage += overflow
        self._overflow_attempts = frozenset(numbers)
        self._attempts = sorted(numbers | {stream.header.attempt for stream in self._streams}, reverse=True)
        self.oldest = self._attempts[-1] if self._attempts else 0

    def attempts(self) -> list[int]:
        """Numbers of the attempts that recorded metrics, latest first."""
        return self._attempts

    def columns(self, attempt: int) -> Iterator[tuple[Path, Columns]]:
        """Everything that one attempt recorded, and the file that holds it."""
        for stream in self._streams:
            if stream.header.attempt == attempt:
                yield from ((stream.path, columns) for columns in iterate_stream(stream, self._damage))
        for path in self._directory.overflow_files() if attempt in self._overflow_attempts else ():
            yield from ((path, columns) for columns in iterate_overflow_file(path, []) if columns.attempt == attempt)


class _Tally:
    """One metric's summary while it is computed."""

    def __init__(self, key: MetricKey) -> None:
        self.summary = MetricSummary(name=key.name, split=key.split, rank=key.rank, nonfinite_counts={})
        self._newest = (-1, -math.inf)
        self._peaks: dict[Path, float] = {}

    def add(self, path: Path, columns: Columns, values: Sequence[float], *, superseded: set[float]) -> None:
        summary, steps = self.summary, columns.steps
        if not len(values):
            return
        summary.count += len(values)
        self._take_last(path, columns, values)
        all_finite = math.isfinite(_total(values))
        if not all_finite:
            for kind, count in count_nonfinite(values).items():
                summary.nonfinite_counts[kind] = summary.nonfinite_counts.get(kind, 0) + count
        if superseded or not all_finite:
            effective = [(s, v) for s, v in zip(steps, values, strict=True) if s not in superseded]
            summary.num_superseded += len(values) - len(effective)
            finite = [(s, v) for s, v in effective if is_finite(v)]
            steps, values = [s for s, _ in finite], [v for _, v in finite]
        if values:
            self._take_extremes(steps, values)

    def _take_last(self, path: Path, columns: Columns, values: Sequence[float]) -> None:
        peak = self._peaks[path] = max((self._peaks.get(path, -math.inf), *columns.t))
        newest = (columns.attempt, peak)
        if newest >= self._newest:
            self._newest = newest
            self.summary.last, self.summary.last_step = values[-1], columns.steps[-1]

    def _take_extremes(self, steps: Sequence[float], values: Sequence[float]) -> None:
        summary = self.summary
        low, high = min(values), max(values)
        if summary.min is None or low < summary.min:
            summary.min, summary.min_step = low, steps[values.index(low)]
        if summary.max is None or high > summary.max:
            summary.max, summary.max_step = high, steps[values.index(high)]


def _total(values: Sequence[float]) -> float:
    """A sum that is finite only if every value is; infinite, too, when it or an integer is beyond the floats."""
    try:
        return float(sum(values))
    except OverflowError:
        return math.inf
