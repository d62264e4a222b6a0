"""Numbers in a rectangle, whatever holds them: nested lists, numpy, torch, through their own methods only.

Every operation has two implementations that give the same result: one in plain Python, and one by the methods of
the array that was handed in, which is a hundred times faster for a large one.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from barograph.errors import MisuseError

Kind = Literal["f", "i", "b"]
_KINDS: Final[dict[str, Kind]] = {"f": "f", "i": "i", "u": "i", "b": "b"}


class Dense(NamedTuple):
    """A rectangle of numbers.

    Attributes:
        shape: its lengths; never empty.
        kind: ``f`` floats, ``i`` integers, ``b`` booleans.
        flat: the numbers in row order, a list or a one-dimensional array with numpy's methods.
    """

    shape: tuple[int, ...]
    kind: Kind
    flat: Any


class Ordered(NamedTuple):
    """The finite numbers in order, a list or an array, and how many were ``nan``, ``inf`` and ``ninf``."""

    finite: Any
    outside: dict[str, int]


def dense(value: Any, *, what: str) -> Dense:
    """Look at numbers as a rectangle.

    Args:
        value: nested lists of equal lengths, or an array.
        what: what the numbers are, for messages.

    Raises:
        MisuseError: they are no numbers or no rectangle; the message names the place.
    """
    if hasattr(value, "detach"):  # torch; numpy has no bfloat16
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
        value = value.numpy() if "numpy" in sys.modules else value.tolist()
    if hasattr(value, "dtype") and hasattr(value, "ravel") and value.shape:
        kind = _KINDS.get(value.dtype.kind)
        if kind is None:
            raise MisuseError(f"the {what} has values of type {value.dtype}, no real numbers; convert it first")
        return Dense(tuple(map(int, value.shape)), kind, value.ravel())
    nested = value.tolist() if hasattr(value, "tolist") else value
    if not _is_sequence(nested):
        raise MisuseError(f"the {what} is a {type(value).__name__} ({value!r:.60}); pass nested lists or an array")
    shape: list[int] = []
    level: Any = nested
    while _is_sequence(level):
        shape.append(len(level))
        level = level[0] if len(level) else None
    flat: list[Any] = []
    _flatten(nested, tuple(shape), (), flat, what)
    kinds = {type(number) for number in flat}
    return Dense(tuple(shape), "f" if float in kinds else "b" if kinds == {bool} else "i", flat)


def to_levels(numbers: Dense, *, what: str, low: int, high: int, scale: float) -> list[int]:
    """Scale numbers and round them (half to even) to whole levels.

    Raises:
        MisuseError: a number that rounds to no level from ``low`` to ``high``, or is not finite; the message names
            its place.
    """
    if isinstance(numbers.flat, list):
        scaled: Any = [number * scale for number in numbers.flat]
        bad = next((i for i, number in enumerate(scaled) if not low - 0.5 < number < high + 0.5), None)
    else:
        scaled = numbers.flat.astype("f8") * scale
        fits = (scaled > low - 0.5) & (scaled < high + 0.5)
        bad = None if fits.all() else int((~fits).argmax())
    if bad is not None:
        raise MisuseError(
            f"{what} {_place(bad, numbers.shape)} is {numbers.flat[bad]}, outside {low / scale:g} to {high / scale:g}; "
            f"clip or rescale the values first"
        )
    return list(map(round, scaled)) if isinstance(scaled, list) else scaled.round().astype("i8").tolist()


def ordered(numbers: Dense) -> Ordered:
    """Sort the finite numbers, as float64, and count the others."""
    flat = numbers.flat
    if isinstance(flat, list):
        values = list(map(float, flat))
        finite: Any = sorted(filter(math.isfinite, values))
        outside = {"nan": sum(map(math.isnan, values)), "inf": values.count(math.inf), "ninf": values.count(-math.inf)}
        return Ordered(finite, outside)
    flat = flat.astype("f8")
    marks = {"nan": flat != flat, "inf": flat == math.inf, "ninf": flat == -math.inf}  # noqa: PLR0124 - NaN
    finite = flat[~(marks["nan"] | marks["inf"] | marks["ninf"])]
    finite.sort()
    return Ordered(finite, {name: int(mark.sum()) for name, mark in marks.items()})


def num_below(finite: Any, edges: Sequence[float], *, inclusive: bool = False) -> list[int]:
    """For each edge, how many of the ordered numbers are below it (``inclusive``: or at it)."""
    if isinstance(finite, list):
        bisect = bisect_right if inclusive else bisect_left
        return [bisect(finite, edge) for edge in edges]
    return finite.searchsorted(edges, side="right" if inclusive else "left").tolist()  # type: ignore[no-any-return]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _flatten(value: Any, shape: tuple[int, ...], place: tuple[int, ...], flat: list[Any], what: str) -> None:
    if not shape:
        number = value.item() if hasattr(value, "item") else value
        if not isinstance(number, (int, float)):
            raise MisuseError(f"the {what} has {value!r:.60} at {list(place)}, not a number; convert it first")
        flat.append(number)
        return
    if not _is_sequence(value) or len(value) != shape[0]:
        found = f"{len(value)} items" if _is_sequence(value) else repr(value)[:60]
        raise MisuseError(
            f"the {what} is no rectangle: {found} at {list(place)} where {shape[0]} items are elsewhere; "
            f"make all rows equally long"
        )
    for index, item in enumerate(value):
        _flatten(item, shape[1:], (*place, index), flat, what)


def _place(index: int, shape: tuple[int, ...]) -> list[int]:
    place = []
    for length in reversed(shape):
        index, at = divmod(index, length)
        place.append(at)
    return place[::-1]
