"""Numbers, names and times of other tools as a run of ours can hold them; what is changed is counted by who asks."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Final

from barograph.facts.rows import EXACT_INT

MAX_T: Final = 1e11
"""Unix seconds of the year 5138; a greater time is in a smaller unit."""
_MIN_T: Final = -6.2e10
"""Unix seconds of the year 5."""
_UNITS: Final = (1.0, 1e3, 1e6, 1e9)


def as_number(value: float) -> float:
    """A value as a row holds it: truth values as 1 and 0."""
    return int(value) if isinstance(value, bool) else value


def places_beyond(columns: Sequence[Sequence[float]]) -> frozenset[int]:
    """The records that hold an integer which a float64 cannot."""
    return frozenset(
        place
        for column in columns
        if not isinstance(column, array) and int in set(map(type, column))
        for place, value in enumerate(column)
        if isinstance(value, int) and abs(value) > EXACT_INT
    )


def is_finite(value: float) -> bool:
    """Whether a float64 can come near to a number."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float comes near to
        return False


def as_text(name: str) -> str:
    """A name as UTF-8 can hold it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def in_seconds(t: float | None) -> float | None:
    """A time in unix seconds; None when it is none.

    Tools and their users mix units up. The magnitude tells: what is no second of the next three thousand years is a
    milli-, micro- or nanosecond.

    >>> [in_seconds(t) for t in (1.7e9, 1.7e12, 1.7e18, math.nan, 0, 1e30)]
    [1700000000.0, 1700000000.0, 1700000000.0, None, None, None]
    """
    if not t:
        return None
    return next((t if unit == 1 else t / unit for unit in _UNITS if _MIN_T < t < MAX_T * unit), None)
