"""A number with an address: what it is, what was asked, of which runs, and what their facts were when it was asked.

``Facts`` computes numbers, for reports and for their verification alike, so that no number of a report was computed
in another way than the one that its address tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from barograph.errors import ReportError
from barograph.read.arrays import as_float
from barograph.read.frames import Runs
from barograph.read.run import RunReader
from barograph.read.status import Status
from barograph.report.content import Content, hash_lines, read_content
from barograph.report.query import Query
from barograph.report.values import RunValues, Value

if TYPE_CHECKING:
    from barograph.compare.stats import Summary
    from barograph.report.comparing import Compared


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a report.

    Attributes:
        id: by which report and manifest name it, e.g. ``summary.3.mean``.
        value: exactly; how it is shown is another matter.
        query: what was asked.
        runs: keys of the runs that were asked, e.g. ``r0``.
        n: how many of them had a value to give.
        content_sha256: over the facts of those runs.
    """

    id: str
    value: Value
    query: Query
    runs: list[str]
    n: int
    content_sha256: str


class Facts:
    """Runs, by the key that a report gives them, and the numbers that were asked of them.

    Args:
        runs: the runs.
        keys: what to call each; ``r0``, ``r1``, ... when not given.

    Attributes:
        runs: the runs, for everything that needs no address.
        readers: the runs by key, oldest first.
        values: the numbers of each run by key.
        contents: what the facts of each run were before the first number was asked, as hashes, by key.
        states: what each run is doing, by key.
        numbers: every number that was asked for, by id.
    """

    def __init__(self, runs: Runs, *, keys: Sequence[str] | None = None) -> None:
        keys = [f"r{place}" for place in range(len(runs))] if keys is None else keys
        self.runs = runs
        self.readers: dict[str, RunReader] = dict(zip(keys, runs.readers, strict=True))
        self.contents: dict[str, Content] = {key: read_content(it.directory) for key, it in self.readers.items()}
        self.values = {key: RunValues(reader) for key, reader in self.readers.items()}
        self.numbers: dict[str, Number] = {}
        self.states: dict[str, Status] = {key: reader.status() for key, reader in self.readers.items()}
        self._labels = _labels(self.readers)
        self._comparisons: dict[str, Compared] = {}
        self._summaries: dict[tuple[tuple[str, ...], Query], Summary | None] = {}

    @property
    def keys(self) -> list[str]:
        """Every run's key, oldest run first."""
        return list(self.readers)

    def label(self, key: str) -> str:
        """What a run is called in tables and figures: its name, with its seed or directory where others share it."""
        return self._labels[key]

    def counts(self, key: str) -> bool:
        """Whether a run is part of means and comparisons, as ``compare.comparator`` has it: it finished.

        Runs of a tool that does not tell how they ended count too.
        """
        state = self.states[key].state
        return state == "finished" or (state == "lost" and self.readers[key].is_imported)

    def total(self, number_id: str, query: Query, keys: Sequence[str]) -> Number:
        """Ask for the sum of a count over runs; of a single run for the count itself."""
        if len(keys) == 1:
            return self.number(number_id, query, keys)
        return self.number(number_id, msgspec.structs.replace(query, statistic="sum"), keys)

    def number(self, number_id: str, query: Query, runs: str | Sequence[str]) -> Number:
        """Ask for a number and remember it under its id.

        Args:
            number_id: of the number; asked once only.
            query: what is asked.
            runs: keys of the runs that are asked.

        Raises:
            ReportError: the id was used before, or the query cannot be answered.
        """
        keys = [runs] if isinstance(runs, str) else list(runs)
        value, n = self.evaluate(query, keys)
        return self.keep(number_id, value, query=query, runs=keys, n=n)

    def keep(self, number_id: str, value: Value, *, query: Query, runs: Sequence[str], n: int) -> Number:
        """Remember a number that something else than the facts gave, such as the inference of a model."""
        if number_id in self.numbers:
            raise ReportError(f"two numbers of the report are called {number_id!r}; give each an id of its own")
        content = hash_lines(self.contents[key].sha256 for key in runs)
        number = Number(id=number_id, value=value, query=query, runs=list(runs), n=n, content_sha256=content)
        self.numbers[number_id] = number
        return number

    def evaluate(self, query: Query, keys: Sequence[str]) -> tuple[Value, int]:
        """What the facts answer now, and how many runs had a value to give.

        Raises:
            ReportError: the query cannot be answered.
        """
        if query.of == "inference":
            raise ReportError(f"{query.words()} is not computed from facts; run the report again to get it anew")
        if query.of == "comparison":
            return self.compared(query.settings).look_up(query)
        found = [self.values[key].value(query) for key in keys]
        if query.statistic == "value":
            if len(found) != 1:
                raise ReportError(f"{query.words()} of {len(found)} runs is not one number; name a statistic")
            return found[0], int(found[0] is not None)
        numbers = [as_float(value) for value in found if isinstance(value, (int, float))]
        if query.statistic == "sum":
            whole = [value for value in found if isinstance(value, int)]
            total = sum(whole) if len(whole) == len(numbers) else math.fsum(numbers)
            return total if numbers else None, len(numbers)
        place = (tuple(keys), msgspec.structs.replace(query, statistic="value"))
        if place not in self._summaries:
            self._summaries[place] = _summarise(numbers, query.mode)
        return _statistic(self._summaries[place], query.statistic), len(numbers)

    def compared(self, settings: str) -> Compared:
        """All configurations compared, as the settings (a ``comparing.Plan``) say; made once."""
        from barograph.report.comparing import compare_all  # noqa: PLC0415 - scipy, for reports that compare

        if settings not in self._comparisons:
            self._comparisons[settings] = compare_all(self.readers, settings)
        return self._comparisons[settings]


def _labels(readers: Mapping[str, RunReader]) -> dict[str, str]:
    """A name for each run that no other run has."""
    labels = {key: reader.identity.name or reader.path.name for key, reader in readers.items()}
    for more in (_with_seed, lambda reader, _label: reader.path.name, lambda reader, _label: str(reader.path)):
        counts = Counter(labels.values())
        labels = {key: label if counts[label] == 1 else more(readers[key], label) for key, label in labels.items()}
    return labels


def _with_seed(reader: RunReader, label: str) -> str:
    seed = reader.identity.seed
    return label if seed is None else f"{label} (seed {seed})"


def _summarise(values: Sequence[float], mode: str) -> Summary | None:
    """What values over runs come to, as ``compare.stats`` computes it; None when there are none."""
    from barograph.compare.stats import summarise  # noqa: PLC0415 - scipy, for reports about several runs
    from barograph.compare.values import Sample  # noqa: PLC0415 - the same

    sign: Literal["min", "max"] = "max" if mode == "max" else "min"
    return summarise(Sample(values=np.array(values), mode=sign)) if values else None


def _statistic(summary: Summary | None, name: str) -> Value:
    """One of the numbers of a summary; None where the runs do not suffice for it."""
    if summary is None:
        return 0 if name in ("n", "num_nonfinite") else None
    if name in ("low", "high"):
        interval = summary.mean_interval
        end: float | None = None if interval is None else getattr(interval, name)
        return end if end is not None and math.isfinite(end) else None
    found: Value = getattr(summary, name)
    return found
