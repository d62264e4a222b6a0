"""Metrics of one run as numpy arrays: what charts, figures and statistics are computed from.

Live and finished runs alike. Every recorded value is there: NaN and infinities are values, points that a later
attempt recorded again are marked. Nothing is interpolated, averaged or left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import EXACT_INT, HOST_SPLIT, parse_rows
from barograph.facts.rundir import RunDir
from barograph.read.columns import Stream, find_streams, iterate_blocks, iterate_overflow_file, unreadable
from barograph.read.metrics import MetricKey
from barograph.read.sealed import iterate_sealed

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
ORIGIN: Final = ("run_id", "run", "split", "attempt", "rank", "step", "t")
"""Columns of tables of many runs that say where a number is from."""
_FLOAT: Final = np.dtype("<f8")
_MARK: Final = "metric."


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Every recorded point of one metric on one split, as one rank recorded it.

    Older attempts come first; the points of an attempt are in the order in which they were recorded. All arrays have
    one length.

    Attributes:
        name: the metric.
        split: e.g. ``train``.
        rank: which process of a distributed run.
        steps: where each point stands.
        values: what was recorded.
        t: unix seconds.
        attempts: which attempt recorded each point.
        superseded: whether a later attempt recorded the metric again at this step.
        num_inexact: how many of the values are integers that a float64 cannot hold; ``RunReader.curve`` has them
            exactly.
    """

    name: str
    split: str
    rank: int
    steps: Floats
    values: Floats
    t: Floats
    attempts: npt.NDArray[np.int32]
    superseded: Bools
    num_inexact: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def key(self) -> MetricKey:
        """Name, split and rank."""
        return MetricKey(self.name, self.split, self.rank)

    def where(self, chosen: Bools | npt.NDArray[np.intp]) -> Series:
        """The points that a mask or an array of places chooses."""
        names = ("steps", "values", "t", "attempts", "superseded")
        return msgspec.structs.replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def effective(self) -> Series:
        """The curve: the latest attempt at each step, in the order of steps; points of one step stay in theirs."""
        kept = self if not self.superseded.any() else self.where(~self.superseded)
        if np.all(kept.steps[1:] >= kept.steps[:-1]):
            return kept
        return kept.where(np.argsort(kept.steps, kind="stable"))

    def finite(self) -> Series:
        """The points whose value is finite."""
        finite = np.isfinite(self.values)
        return self if finite.all() else self.where(finite)

    def num_nonfinite(self) -> dict[str, int]:
        """How many values are ``nan``, ``inf`` and ``-inf``; kinds that did not occur are left out."""
        counts = {
            "nan": np.isnan(self.values).sum(),
            "inf": np.isposinf(self.values).sum(),
            "-inf": np.isneginf(self.values).sum(),
        }
        return {kind: int(count) for kind, count in counts.items() if count}


def read_series(
    directory: RunDir,
    *,
    damage: list[Damage],
    names: Collection[str] | None = None,
    splits: Collection[str] | None = None,
    ranks: Collection[int] | None = (0,),
) -> list[Series]:
    """Read metrics of a run, sorted by split, rank and name.

    Args:
        directory: the run.
        damage: where to note places that hold no fact.
        names: these metrics only.
        splits: on these splits only; on every split but that of the host's samples, when not given.
        ranks: of these ranks only; None for all.
    """
    parts: dict[MetricKey, list[_Part]] = defaultdict(list)
    for stream in find_streams(directory, damage):
        header = stream.header
        metrics = enumerate(header.columns[1:-1], start=1)
        wanted = {name: place for place, name in metrics if names is None or name in names}  # a column of each name
        if wanted and _is_wanted(header.split, header.rank, splits, ranks):
            numbers = read_numbers(stream, damage)
            for name, place in wanted.items():
                part = _Part(attempt=header.attempt, steps=numbers[:, 0], values=numbers[:, place], t=numbers[:, -1])
                parts[MetricKey(name, header.split, header.rank)].append(part)
    _add_overflow(directory, damage, parts, names=names, splits=splits, ranks=ranks)
    found = sorted(parts.items(), key=lambda item: (item[0].split, item[0].rank, item[0].name))
    return [_joined(key, mine) for key, mine in found]


def read_numbers(stream: Stream, damage: list[Damage]) -> Floats:
    """The whole rows of one stream, shape (rows, columns); rows of zero bytes are left out and noted."""
    width = len(stream.header.columns)
    try:
        if stream.sealed is not None:
            parts = [numbers for _, numbers in iterate_sealed(stream.sealed, damage)]
            return without_holes(stream, np.concatenate(parts), damage) if parts else np.empty((0, width))
        flat = np.fromfile(stream.path, _FLOAT, offset=stream.header.header_bytes)
    except FileNotFoundError:  # it was sealed or unsealed a moment ago, or has gone
        blocks = [np.frombuffer(block, dtype=np.float64) for block in iterate_blocks(stream, damage)]
        return np.concatenate(blocks).reshape(-1, width) if blocks else np.empty((0, width))
    except (FormatError, OSError) as error:
        damage.append(unreadable(stream.path, error))
        return np.empty((0, width))
    numbers = flat[: len(flat) - len(flat) % width].reshape(-1, width).astype(np.float64, copy=False)
    return without_holes(stream, numbers, damage)


def without_holes(stream: Stream, numbers: Floats, damage: list[Damage], *, offset: int = 0) -> Floats:
    """The rows that were recorded: a power cut leaves zero bytes, and no recorded row has ``t == 0``.

    Args:
        stream: the file.
        numbers: rows of it.
        damage: where to note the others.
        offset: byte at which these rows begin; 0 for the file's first.
    """
    if numbers[:, -1].all():
        return numbers
    place = max(offset, stream.header.header_bytes)
    damage += parse_rows(stream.path, stream.header, place, numbers.astype(_FLOAT).tobytes()).damage
    kept: Floats = numbers[numbers[:, -1] != 0]
    return kept


def column_of(metric: str) -> str:
    """The column of a metric in a table of many runs; one that is called like a column of the origin is told apart.

    >>> column_of("loss"), column_of("run"), column_of("metric.run")
    ('loss', 'metric.run', 'metric.metric.run')
    """
    name = metric
    while name.startswith(_MARK):
        name = name.removeprefix(_MARK)
    return _MARK + metric if name in ORIGIN else metric


def is_exact(value: float) -> bool:
    """Whether a float64 holds the number as it is."""
    return not isinstance(value, int) or -EXACT_INT <= value <= EXACT_INT or as_float(value) == value


def as_float(value: float) -> float:
    """The nearest float64; infinite where an integer is beyond them."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """The points of one metric in one file."""

    attempt: int
    steps: Floats
    values: Floats
    t: Floats
    num_inexact: int = 0


def _is_wanted(split: str, rank: int, splits: Collection[str] | None, ranks: Collection[int] | None) -> bool:
    is_split = split != HOST_SPLIT if splits is None else split in splits
    return is_split and (ranks is None or rank in ranks)


def _add_overflow(
    directory: RunDir,
    damage: list[Damage],
    parts: dict[MetricKey, list[_Part]],
    *,
    names: Collection[str] | None,
    splits: Collection[str] | None,
    ranks: Collection[int] | None,
) -> None:
    """Add what ``metrics*.jsonl`` holds."""
    for path in directory.overflow_files():
        points: dict[tuple[MetricKey, int], list[tuple[float, float, float]]] = defaultdict(list)
        for record in iterate_overflow_file(path, damage):
            if _is_wanted(record.split, record.rank, splits, ranks):
                for name, values in record.values.items():
                    if names is None or name in names:
                        key = MetricKey(name, record.split, record.rank)
                        points[key, record.attempt].append((record.steps[0], values[0], record.t[0]))
        for (key, attempt), found in points.items():
            numbers = np.array([[as_float(number) for number in point] for point in found])
            part = _Part(
                attempt=attempt,
                steps=numbers[:, 0],
                values=numbers[:, 1],
                t=numbers[:, 2],
                num_inexact=sum(not is_exact(value) for _, value, _ in found),
            )
            parts[key].append(part)


def _joined(key: MetricKey, parts: list[_Part]) -> Series:
    attempts = sorted({part.attempt for part in parts})
    whole = [_interleaved([part for part in parts if part.attempt == attempt]) for attempt in attempts]
    later = np.empty(0)
    superseded: list[Bools] = []
    for part in reversed(whole):
        superseded.insert(0, np.isin(part.steps, later) if len(later) else np.zeros(len(part.steps), dtype=bool))
        later = np.concatenate([later, part.steps])
    return Series(
        name=key.name,
        split=key.split,
        rank=key.rank,
        steps=_concatenated([part.steps for part in whole]),
        values=_concatenated([part.values for part in whole]),
        t=_concatenated([part.t for part in whole]),
        attempts=np.repeat(np.array(attempts, dtype=np.int32), [len(part.steps) for part in whole]),
        superseded=np.concatenate(superseded),
        num_inexact=sum(part.num_inexact for part in parts),
    )


def _concatenated(arrays: list[Floats]) -> Floats:
    """One contiguous array that owns its numbers, so that a column does not keep whole files in memory."""
    return np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)


def _interleaved(parts: list[_Part]) -> _Part:
    """Points of several files of one attempt by time; those of one file keep their order, whatever the clock did."""
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([np.maximum.accumulate(part.t) for part in parts]), kind="stable")
    return _Part(
        attempt=parts[0].attempt,
        steps=np.concatenate([part.steps for part in parts])[order],
        values=np.concatenate([part.values for part in parts])[order],
        t=np.concatenate([part.t for part in parts])[order],
    )
