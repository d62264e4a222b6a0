"""What is joined, what is a mark, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.plot.curves import Curve, Scope, find_curves
from barograph.plot.lines import joints, to_lines


def curve(values, *, x=None, attempts=None, superseded=None):
    """A curve of these values."""
    number = len(values)
    return Curve(
        name="loss",
        split="train",
        axis="step",
        x=np.arange(number, dtype=float) if x is None else np.array(x, dtype=float),
        values=np.array(values, dtype=float),
        attempts=np.zeros(number, dtype=np.int32) if attempts is None else np.array(attempts, dtype=np.int32),
        superseded=np.zeros(number, dtype=bool) if superseded is None else np.array(superseded),
    )


def pieces(line):
    """The pieces of line that are drawn: (attempt, superseded, points)."""
    found = []
    for strand in line.strands:
        for place, begins in enumerate(strand.starts):
            point = (strand.x[place].item(), strand.y[place].item())
            if begins:
                found.append((strand.attempt, strand.superseded, [point]))
            else:
                found[-1][2].append(point)
    return found


@pytest.mark.spec("S0.26", "S0.28")
def test_a_value_that_is_not_finite_is_a_mark_and_parts_the_line(resumed):
    """NaN and infinities stand at their step; nothing joins the points beside them, and attempts are not joined."""
    (loss,) = [it for it in find_curves(resumed, lambda _: {"loss"}, scope=Scope()) if it.name == "loss"]
    (line,) = to_lines([loss])
    assert {kind: places.tolist() for kind, places in line.marks.items()} == {"nan": [3.0], "inf": [8.0]}
    assert pieces(line) == [
        (0, True, [(6.0, 6.0), (7.0, 7.0), (8.0, 8.0), (9.0, 9.0)]),
        (0, False, [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]),
        (1, False, [(6.0, 106.0), (7.0, 107.0)]),
        (1, False, [(step, 100.0 + step) for step in map(float, range(9, 15))]),
    ]
    assert (line.num_points, line.num_shown, line.words) == (17, 17, "")


@pytest.mark.spec("S0.28")
def test_a_gap_is_not_bridged():
    """Where points are missing for much longer than usual, the line stops; where one or two are, it goes on."""
    x = [*range(0, 50, 5), *range(60, 100, 5), *range(200, 250, 5)]
    (line,) = to_lines([curve(np.ones(len(x)), x=x)])
    assert [[piece[2][0][0], piece[2][-1][0]] for piece in pieces(line)] == [[0.0, 95.0], [200.0, 245.0]]


def test_few_points_have_no_usual_distance():
    """Three points far apart are joined: nothing says that others are missing."""
    (line,) = to_lines([curve([1.0, 2.0, 3.0], x=[0, 1, 1000])])
    assert len(pieces(line)) == 1


@given(st.lists(st.sampled_from([1.0, 2.0, math.nan, math.inf]), max_size=40))
def test_joined_points_are_neighbours(values):
    """A line joins two points only if both are finite and were recorded one after the other."""
    values = np.array(values)
    starts = joints(np.arange(len(values), dtype=float), values, np.zeros(len(values), dtype=bool))
    expected = [
        not (place and math.isfinite(values[place]) and math.isfinite(values[place - 1]))
        for place in range(len(values))
    ]
    assert expected == starts.tolist()


@pytest.mark.spec("S0.26")
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_every_shown_point_was_recorded(number, seed):
    """However much is left out, each shown point is a recorded one, the extremes are among them, and n of m is told."""
    values = np.random.default_rng(seed).normal(size=number)
    (line,) = to_lines([curve(values)], num_buckets=50)
    shown = {point for _, _, points in pieces(line) for point in points}
    assert shown <= {(float(step), value) for step, value in enumerate(values.tolist())}
    assert line.limits() == (values.min(), values.max())
    assert (number, len(shown)) == (line.num_points, line.num_shown)
    assert line.words == (f"{len(shown):,} of {number:,} points" if len(shown) < number else "")


def test_a_gap_is_seen_after_points_were_left_out():
    """Of a hundred thousand points few are shown, and none of them are joined across the gap or the NaN."""
    values = np.ones(100_000)
    values[70_000] = math.nan
    x = np.r_[np.arange(50_000), np.arange(80_000, 130_000)]
    (line,) = to_lines([curve(values, x=x)], num_buckets=100)
    ends = [(points[0][0], points[-1][0]) for _, _, points in pieces(line)]
    assert [start for start, _ in ends] == [0.0, 80_000.0, pytest.approx(100_000, abs=1_300)]
    assert [end for _, end in ends] == [49_999.0, pytest.approx(100_000, abs=1_300), 129_999.0]
    assert ends[1][1] < 100_000 < ends[2][0]
