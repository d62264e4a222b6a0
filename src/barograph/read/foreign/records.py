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

RENAMED_REASON: Final = "another value has the same dotted name; an underscore was put after it"
_NUMBERS: Final = frozenset({int, float})


class Sorted(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One record, sorted by what its values are.

    Attributes:
        numbers: by dotted name; truth values as 1 and 0.
        texts: by dotted name.
        others: what is neither, by dotted name: lists, nulls, typed objects.
        num_truths: how many of the numbers were truth values.
        num_renamed: how many of the values have an underscore behind their names, which others have already.
    """

    numbers: dict[str, float]
    texts: dict[str, str]
    others: dict[str, Any]
    num_truths: int
    num_renamed: int = 0


def sort_record(record: Mapping[str, Any], *, typed_by: str | None = None) -> Sorted:
    """Sort a record's values; mappings within it are flattened to dotted names.

    Args:
        record: by name.
        typed_by: a key that marks a mapping as one value (a histogram, a table), not as more names.

    >>> sort_record({"loss": 0.5, "val": {"ok": True, "note": "a"}, "curve": [1, 2]})
    Sorted(numbers={'loss': 0.5, 'val.ok': 1}, texts={'val.note': 'a'}, others={'curve': [1, 2]}, num_truths=1)
    >>> sort_record({"a.b": 1, "a": {"b": 2}}).numbers
    {'a.b': 1, 'a.b_': 2}
    """
    if _NUMBERS.issuperset(map(type, record.values())):  # most records
        return Sorted(numbers=dict(record), texts={}, others={}, num_truths=0)
    found = Sorted(numbers={}, texts={}, others={}, num_truths=0)
    num_truths = num_renamed = 0
    taken: set[str] = set()
    for flat, value, is_nested in _flat(record, typed_by, ""):
        name = flat
        while name in taken or (is_nested and name in record):
            name += "_"
        taken.add(name)
        num_renamed += name != flat
        if isinstance(value, bool):
            found.numbers[name] = int(value)
            num_truths += 1
        elif isinstance(value, (int, float)):
            found.numbers[name] = value
        elif isinstance(value, str):
            found.texts[name] = value
        else:
            found.others[name] = value
    return msgspec.structs.replace(found, num_truths=num_truths, num_renamed=num_renamed)


def _flat(record: Mapping[str, Any], typed_by: str | None, prefix: str) -> Iterator[tuple[str, Any, bool]]:
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and (typed_by is None or typed_by not in value):
            yield from _flat(value, typed_by, f"{name}.")
        else:
            yield name, value, bool(prefix)


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
        self._in_order: dict[tuple[Any, ...], _Block] = {}  # the same, by the order in which a record has its names

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
        order = (split, attempt, rank, *numbers)
        block = self._in_order.get(order)
        if block is None:
            origin = (split, attempt, rank, *sorted(numbers))
            block = self._blocks.get(origin)
            if block is None:
                block = self._blocks[origin] = _Block(origin=origin, columns={name: [] for name in numbers})
            self._in_order[order] = block
        columns = block.columns
        for name, value in numbers.items():
            columns[name].append(value)
        block.steps.append(step)
        block.t.append(t)
        self._fidelity.keep("numbers", len(numbers))

    def metrics(self) -> list[ForeignMetrics]:
        """What was added, a block for each set of names and origin."""
        return [block.as_metrics() for block in self._blocks.values()]

    def times(self) -> Sequence[float]:
        """The times of all records, block after block."""
        return [t for block in self._blocks.values() for t in block.t]


def count_changes(fidelity: Fidelity, found: Sorted) -> None:
    """Say that truth values became numbers, and which values have other names."""
    count_truths(fidelity, found.num_truths)
    fidelity.change("names", RENAMED_REASON, found.num_renamed)


def count_truths(fidelity: Fidelity, count: int) -> None:
    """Say that truth values became numbers."""
    fidelity.change("truth values", "recorded as 1 for true and 0 for false", count)
