"""Hostile values for the format, and a comparison that forgives nothing: not a sign of NaN, not a type."""

from __future__ import annotations

import math
import struct
import sys

from hypothesis import strategies as st

NEGATIVE_NAN = math.copysign(math.nan, -1.0)
FLOATS = (
    0.0,
    -0.0,
    math.nan,
    NEGATIVE_NAN,
    math.inf,
    -math.inf,
    5e-324,  # the smallest subnormal
    -5e-324,
    sys.float_info.min,
    sys.float_info.max,
    0.1,
    2.0**53,
    1e300,
)
INTS = (0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, -(2**64), 10**30)
KEYS = ("loss", "a.b/c", "", " ", "0", "null", "step", "nonfinite", "\u00fc", "\U0001f4dd", "\u2028", "\udc80", "\x00")

floats = st.sampled_from(FLOATS) | st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
ints = st.sampled_from(INTS) | st.integers(-(2**70), 2**70)
texts = st.text(st.characters(exclude_categories=()), max_size=20)
keys = st.sampled_from(KEYS) | texts
leaves = st.none() | st.booleans() | ints | floats | texts
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
records = st.dictionaries(keys.filter(lambda key: key != "nonfinite"), json_values, max_size=6)
metric_names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12).filter(
    lambda key: key not in {"step", "t", "split", "rank", "attempt", "run_id", "nonfinite"} and key.isprintable()
)


def bits(number: float) -> bytes:
    """The eight bytes of a float64; NaNs of different sign differ."""
    return struct.pack("<d", number)


def exact(value):
    """A form in which values are equal only when types, signs and every bit are."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    if isinstance(value, float):
        sign = math.copysign(1.0, value)
        return ("float", sign, "nan" if math.isnan(value) else value)
    return (type(value).__name__, value)
