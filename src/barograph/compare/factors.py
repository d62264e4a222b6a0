"""What varies over a set of runs: one factor per configuration key, commit, package, data set or machine that does.

Keys that always change together are one factor, since no run can tell them apart. What only names a run (its seed,
its directory, the scheduler's job number) is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from barograph.compare.described import describe
from barograph.facts.codec import encode
from barograph.read.identity import flatten
from barograph.read.run import RunReader

LEVELS_AS_NUMBERS: Final = 5
LOG_RATIO: Final = 10.0
CODE: Final = ("commit", "uncommitted")
HOST: Final = ("name", "cpu_model", "gpus", "gpu_driver", "container", "python")
PER_JOB: Final = (
    *("SLURM_", "HYDRA_", "LSB_", "PBS_", "MASTER_", "TORCHELASTIC_"),
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
_ABSENT: Final = ("absent", "")

Floats = NDArray[np.float64]
Level = tuple[str, Hashable]


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """Something that varies over the runs.

    Attributes:
        keys: what varies; several keys when they always change together.
        values: what each run has under the first key, None where it has none; in the order of the runs.
        codes: a whole number per run, equal where the values are equal.
        numbers: the values as numbers when they are to be read as a scale (more than ``LEVELS_AS_NUMBERS`` different
            numbers; their logarithms where ``is_logarithmic`` says so), else None.
    """

    keys: tuple[str, ...]
    values: tuple[Any, ...]
    codes: tuple[int, ...]
    numbers: tuple[float, ...] | None = None

    @property
    def label(self) -> str:
        """The keys in words."""
        return " + ".join(self.keys)

    @property
    def num_levels(self) -> int:
        """How many different values there are."""
        return len(set(self.codes))

    def names_what_differs(self, others: Sequence[Factor]) -> bool:
        """Whether it is a name rather than a cause, such as a commit before every run: nothing compares within it.

        It is when it has more than ``LEVELS_AS_NUMBERS`` values that are no scale, and a new one whenever anything
        else changes.

        Args:
            others: what else varies over the same runs.
        """
        if not others or self.numbers is not None or self.num_levels <= LEVELS_AS_NUMBERS:
            return False
        rest = [it for it in others if it.numbers is not None or it.num_levels < self.num_levels]
        joint = set(zip(self.codes, *(other.codes for other in rest), strict=True))
        return len(joint) == self.num_levels

    def taken(self, places: Sequence[int]) -> Factor:
        """The same over some of the runs."""
        return make_factor(self.keys, [self.values[place] for place in places])


def read_columns(
    readers: Sequence[RunReader], sections: Sequence[str], *, is_ignored: Callable[[str], bool]
) -> dict[str, list[Any]]:
    """What each run has under each key, ``None`` where it has none, by a key that is unique over the sections.

    Keys of the configuration stand as they are, others with their section: ``packages numpy``.

    Args:
        readers: the runs.
        sections: of ``described.SECTIONS``.
        is_ignored: whether a key of the configuration says nothing about how the run computes.
    """
    described = [_described(reader, sections, is_ignored) for reader in readers]
    keys = dict.fromkeys(key for values in described for key in values)
    return {key: [values.get(key) for values in described] for key in keys}


def find_factors(columns: Mapping[str, Sequence[Any]]) -> list[Factor]:
    """One factor per set of keys that change together; keys that do not vary are left out.

    Two keys change together when each has a new value exactly where the other has; two scales also need the same order
    (or the reverse), since numbers that are new in every run, as in a random search, do not change together.

    Args:
        columns: what each run has, by key.

    >>> [it.keys for it in find_factors({"lr": [1, 2, 1], "warmup": [0, 9, 0], "batch": [8, 8, 4], "k": [3, 3, 3]})]
    [('lr', 'warmup'), ('batch',)]
    """
    found: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for key, values in columns.items():
        codes = _codes(values)
        if len(set(codes)) > 1:
            found.setdefault((codes, _order(_numbers(values))), []).append(key)
    return [make_factor(tuple(keys), columns[keys[0]]) for keys in found.values()]


def make_factor(keys: tuple[str, ...], values: Sequence[Any]) -> Factor:
    """A factor of these keys, whose first has these values."""
    return Factor(keys=keys, values=tuple(values), codes=_codes(values), numbers=_numbers(values))


def level(value: Any) -> Level:
    """What makes two values the same: numbers by value, everything else by type and text; within lists too.

    >>> level([1, {"a": 2}]) == level([1.0, {"a": 2.0}]), level([1]) == level([True]), level("1") == level(1)
    (True, False, False)
    """
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, (int, float)):
        return ("number", value) if value == value else ("number", "nan")  # noqa: PLR0124 - NaN is not itself
    if isinstance(value, str):
        return "text", value
    return "data", encode({"": plain(value)})


def plain(value: Any) -> Any:
    """A nested value in one way of writing: whole numbers without a point, keys in order, a marked NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return math.nan if math.isnan(value) else int(value) if value.is_integer() else value
    return value


def is_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether numbers are spread over orders of magnitude, as learning rates are.

    They are when all are positive, the largest is at least ``LOG_RATIO`` times the smallest, and the median lies
    nearer the middle of the range of logarithms than the middle of the range itself.

    >>> is_logarithmic([1e-4, 1e-3, 1e-2, 1e-1]), is_logarithmic([0.01, 0.3, 0.6, 0.9])
    (True, False)
    """
    if min(numbers) <= 0 or max(numbers) < LOG_RATIO * min(numbers):
        return False
    return _off_middle([math.log(number) for number in numbers]) < _off_middle(numbers)


def _off_middle(numbers: Sequence[float]) -> float:
    """How far the median is from the middle of the range, as a share of the range."""
    low, high = min(numbers), max(numbers)
    return abs((float(np.median(numbers)) - low) / (high - low) - 0.5)


def _codes(values: Sequence[Any]) -> tuple[int, ...]:
    known: dict[Level, int] = {}
    return tuple(known.setdefault(level(value), len(known)) for value in values)


def _numbers(values: Sequence[Any]) -> tuple[float, ...] | None:
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    try:
        numbers = [float(value) for value in values]
    except OverflowError:
        return None
    if len(set(numbers)) <= LEVELS_AS_NUMBERS or not all(map(math.isfinite, numbers)):
        return None
    if is_logarithmic(numbers):
        return tuple(math.log(number) for number in numbers)
    return tuple(numbers)


def _order(numbers: Sequence[float] | None) -> tuple[int, ...]:
    """How a scale runs over the runs, the same for a scale and its reverse; empty where there is none."""
    if numbers is None:
        return ()
    places = {number: place for place, number in enumerate(sorted(set(numbers)))}
    order = tuple(places[number] for number in numbers)
    return min(order, tuple(len(places) - 1 - place for place in order))


def _described(reader: RunReader, sections: Sequence[str], is_ignored: Callable[[str], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in sections:
        values = describe(reader, section)
        if section == "config":
            found |= {key: value for key, value in flatten(values).items() if not is_ignored(key)}
        else:
            found |= {f"{section} {key}": value for key, value in values.items() if _counts(section, key)}
    return found


def _counts(section: str, key: str) -> bool:
    if section == "code":
        return key in CODE
    if section == "host":
        return key in HOST
    return section != "environment" or not key.startswith(PER_JOB)
