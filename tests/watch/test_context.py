"""What is known of a run: a schedule is the same whether its rates come one by one or some at a time."""

from __future__ import annotations

import math

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from barograph.watch.context import Schedule

RATES = st.one_of(
    st.floats(1e-6, 1.0),
    st.sampled_from((0.0, 1e-3, 1e-3, 1e-3, 9.1e-4, 8.9e-4, 1.4e-3, 1.6e-3, -1.0, math.nan, math.inf)),
)


@example([1.0] * 9 + [0.7, 0.7, math.nan], 3)
@given(st.lists(RATES, min_size=1, max_size=60), st.integers(2, 9))
def test_rates_at_once_are_rates_one_by_one(rates, size):
    """Whatever the rates are, and however many of them come together."""
    alone, together = Schedule(), Schedule()
    steps = [float(step) for step in range(len(rates))]
    for rate, step in zip(rates, steps, strict=True):
        alone.take(rate, step)
    for start in range(0, len(rates), size):
        together.take_many(rates[start : start + size], steps[start : start + size])
    assert msgspec.msgpack.encode(together) == msgspec.msgpack.encode(alone)


def test_a_smooth_decay_is_taken_at_once():
    """A cosine that comes down is the same one by one: its peak, its newest rate, and that it fell."""
    rates = [1e-3 * (1 + math.cos(math.pi * step / 1000)) / 2 for step in range(1000)]
    alone, together = Schedule(), Schedule()
    for step, rate in enumerate(rates):
        alone.take(rate, float(step))
    for start in range(0, 1000, 8):
        together.take_many(rates[start : start + 8], [float(step) for step in range(start, start + 8)])
    assert msgspec.msgpack.encode(together) == msgspec.msgpack.encode(alone)
    assert (together.fell, together.peak, together.lr, together.restarts) == (True, 1e-3, rates[-1], 0)
