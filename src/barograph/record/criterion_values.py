"""The values of one metric that one criterion asks for, reduced to what decides it, in fixed memory.

Every reduction is a minimum under a total order or an exact sum, so the order of arrival does not matter.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from barograph.record.criterion import Criterion

_FRACTION_BITS: Final = 1074  # the smallest float64 is 2**-1074


class Point(NamedTuple):
    """One recorded value and where it stands."""

    value: float
    step: float | None
    epoch: float | None
    attempt: int | None
    rank: int
    t: float


class Values:
    """All values of a metric from one source and split.

    Args:
        criterion: what is asked of them.

    Attributes:
        n: how many values count.
        num_nan: how many of those were NaN.
        num_late: how many lay behind the criterion's ``by``.
        num_unplaced: how many had no step (or epoch), so that ``by`` could not be applied.
        witness: the value that decides the criterion; None for a mean.
    """

    def __init__(self, criterion: Criterion) -> None:
        self._criterion = criterion
        self.n = self.num_nan = self.num_late = self.num_unplaced = 0
        self.witness: Point | None = None
        self._key: tuple[Any, ...] = ()
        self._mean = _ExactMean() if criterion.aggregate == "mean" else None

    def add(self, point: Point) -> None:
        """Take in one value."""
        criterion = self._criterion
        if criterion.by is not None:
            place = point.step if criterion.by_unit == "step" else point.epoch
            if place is None:
                self.num_unplaced += 1
                return
            if not place <= criterion.by:
                self.num_late += 1
                return
        self.n += 1
        self.num_nan += point.value != point.value
        if self._mean is not None:
            self._mean.add(point.value)
            return
        key = _decisive(criterion, point)
        if self.witness is None or key < self._key:
            self.witness, self._key = point, key

    def mean(self) -> float:
        """Mean of the values, correctly rounded."""
        return math.nan if self._mean is None else self._mean.value()


def _decisive(criterion: Criterion, point: Point) -> tuple[Any, ...]:
    """A key that is smallest for the point that decides the criterion."""
    value = point.value
    is_nan = value != value  # noqa: PLR0124 - NaN
    known = 0.0 if is_nan else value
    place = point.step if point.step is not None else point.epoch or 0.0
    attempt = point.attempt or 0
    earliest = (place, attempt, point.rank, point.t, known)
    match criterion.aggregate:
        case "final":
            return (-place, -attempt, point.rank, -point.t, known)
        case "min":
            return (is_nan, known, *earliest)
        case "max":
            return (is_nan, -known, *earliest)
        case "any":  # the first that holds, else the nearest
            return (0, *earliest) if criterion.holds(value) else (1, is_nan, _distance(criterion, known), *earliest)
        case "all":  # the first that does not hold, else the nearest to not holding
            return (1, _distance(criterion, known), *earliest) if criterion.holds(value) else (0, *earliest)
        case _:
            return earliest


def _distance(criterion: Criterion, value: float) -> float:
    if criterion.kind != "compare" or value == criterion.bound:
        return 0.0
    return abs(value - criterion.bound)


class _ExactMean:
    """A mean that does not depend on the order of its terms: the sum is an integer of 2**-1074."""

    def __init__(self) -> None:
        self._sum = 0
        self._num = 0
        self._special = 0.0

    def add(self, value: float) -> None:
        self._num += 1
        if value - value != 0:
            self._special += value
            return
        numerator, denominator = value.as_integer_ratio()
        self._sum += numerator << (_FRACTION_BITS - (denominator.bit_length() - 1))

    def value(self) -> float:
        if self._special != 0:  # an infinity, or NaN
            return self._special
        return self._sum / (self._num << _FRACTION_BITS) if self._num else math.nan
