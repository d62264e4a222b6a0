"""What importers of record-wise formats share: a record's numbers told from its texts, and records gathered as columns.

Nothing here opens a file or knows a tool.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import ForeignMetrics

_NUMBERS: Final = frozenset({int, float})


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """One record, sorted by what its values are.

    Attributes:
        numbers: by dotted name; truth values as 1 and 0.
        texts: by dotted name.
        others: what is neither, by dotted name: lists, nulls, typed objects.
        num_truths: how many of the numbers were truth values.
    """

    numbers: dict[str, float]
    texts: dict[str, str]
    others: dict[str, Any]
    num_truths: int


def sort_record(record: Mapping[str, Any], *, typed_by: str | None = None) -> Sorted:
    """Sort a record's values; mappings within it are flattened to dotted names.

    Args:
        record: by name.
        typed_by: a key that marks a mapping as one value (a histogram, a table), not as more names.

    >>> sort_record({"loss": 0.5, "val": {"ok": True, "note": "a"}, "curve": [1, 2]})
    Sorted(numbers={'loss': 0.5, 'val.ok': 1}, texts={'val.note': 'a'}, others={'curve': [1, 2]}, num_truths=1)
    """
    if _NUMBERS.issuperset(map(type, record.values())):  # most records
        return Sorted(numbers=dict(record), texts={}, others={}, num_truths=0)
    found = Sorted(numbers={}, texts={}, others={}, num_truths=0)
    num_truths = 0
    for name, value in _flat(record, typed_by, ""):
        if isinstance(value, bool):
            found.numbers[name] = int(value)
            num_truths += 1
        elif isinstance(value, (int, float)):
            found.numbers[name] = value
        elif isinstance(value, str):
            found.texts[name] = value
        else:
            found.others[name] = value
    return msgspec.structs.replace(found, num_truths=num_truths)


def _flat(record: Mapping[str, Any], typed_by: str | None, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and (typed_by is None or typed_by not in value):
            yield from _flat(value, typed_by, f"{name}.")
        else:
            yield name, value


class _Block(msgspec.Struct, kw_only=True):
    """Records of one origin: split, attempt, rank, and the metrics' names."""

    origin: tuple[Any, ...]
    columns: dict[str, list[float]]
    steps: list[float] = []
    t: list[float] = []

    def as_metrics(self) -> ForeignMetrics:
        split, attempt, rank, *_ = self.origin
        columns: dict[str, Sequence[float]] = {**self.columns}
        return ForeignMetrics(columns=columns, steps=self.steps, t=self.t, split=split, attempt=attempt, rank=rank)


class Gathered:
    """Records as columns: one block for each set of names, split, attempt and rank, each in the order of recording.

    Args:
        fidelity: where every number that is added is counted as kept.
    """

    def __init__(self, fidelity: Fidelity) -> None:
        self._fidelity = fidelity
        self._blocks: dict[tuple[Any, ...], _Block] = {}

    def add(
        self,
        numbers: Mapping[str, float],
        *,
        step: float,
        t: float = math.nan,
        split: str = "train",
        attempt: int = 0,
        rank: int = 0,
    ) -> None:
        """Add one record; one without numbers is left out.

        Args:
            numbers: by metric.
            step: where.
            t: unix seconds; NaN where the source does not tell.
            split: e.g. ``train``.
            attempt: 0 for the first.
            rank: which process.
        """
        if not numbers:
            return
        origin = (split, attempt, rank, *sorted(numbers))
        block = self._blocks.get(origin)
        if block is None:
            block = self._blocks[origin] = _Block(origin=origin, columns={name: [] for name in numbers})
        for name, value in numbers.items():
            block.columns[name].append(value)
        block.steps.append(step)
        block.t.append(t)
        self._fidelity.keep("numbers", len(numbers))

    def metrics(self) -> list[ForeignMetrics]:
        """What was added, a block for each set of names and origin."""
        return [block.as_metrics() for block in self._blocks.values()]

    def times(self) -> Sequence[float]:
        """The times of all records, block after block."""
        return [t for block in self._blocks.values() for t in block.t]


def count_truths(fidelity: Fidelity, count: int) -> None:
    """Say that truth values became numbers."""
    fidelity.change("truth values", "recorded as 1 for true and 0 for false", count)
