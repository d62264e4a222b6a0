"""Figures of many runs: what is selected, as numbers; and that what is drawn is what was selected."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from barograph.plot.many import curves, scatter
from barograph.plot.many.curves import draw_curves, select_curve
from barograph.plot.many.grids import draw_grid
from barograph.plot.many.scatter import Dot, draw_scatter
from barograph.plot.many.strips import Strip, draw_strips
from barograph.plot.many.strips import as_columns as strips_as_columns
from barograph.plot.many.style import MARKS, PALETTE, short


def pixels(figure):
    """The figure as it is seen, shape (height, width, 3)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return np.asarray(Image.open(buffer).convert("RGB"))


def colour(text):
    """``#rrggbb`` as three numbers."""
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)])


def selected(y, *, x=None, group="a", attempts=None, num_buckets=100):
    """A curve of one run."""
    y = np.array(y, dtype=np.float64)
    x = np.arange(len(y), dtype=np.float64) if x is None else np.array(x, dtype=np.float64)
    attempts = np.zeros(len(y), dtype=np.int32) if attempts is None else np.array(attempts)
    return select_curve("run", group, x, y, attempts, num_buckets=num_buckets)


def test_all_points_of_a_short_curve_are_shown():
    """Nothing is left out, nothing is in between."""
    curve = selected([3.0, 2.0, 1.0])
    assert (curve.x.tolist(), curve.y.tolist()) == ([0.0, 1.0, 2.0], [3.0, 2.0, 1.0])
    assert curve.starts.tolist() == [True, False, False]
    assert (curve.num_shown, curve.num_points) == (3, 3)


def test_a_value_that_is_not_finite_parts_the_line():
    """It is a mark at its place; the points beside it are not joined."""
    curve = selected([3.0, math.nan, 1.0, -math.inf, 0.5, 0.4])
    assert curve.y.tolist() == [3.0, 1.0, 0.5, 0.4]
    assert curve.starts.tolist() == [True, True, True, False]
    assert curve.nonfinite_x.tolist() == [1.0, 3.0]
    assert [math.isnan(curve.nonfinite_y[0]), curve.nonfinite_y[1]] == [True, -math.inf]


def test_attempts_are_not_joined():
    """A line ends where another attempt goes on."""
    assert selected([1, 2, 3, 4], attempts=[0, 0, 1, 1]).starts.tolist() == [True, False, True, False]


def test_a_gap_is_not_bridged():
    """Where points are missing the line ends."""
    curve = selected(range(20), x=[*range(10), *range(500, 510)])
    assert np.flatnonzero(curve.starts).tolist() == [0, 10]


def test_a_long_curve_shows_recorded_points_only():
    """Each shown point was recorded; extremes are among them; the count is told."""
    y = np.sin(np.arange(10_000) / 7) + np.arange(10_000) % 13
    curve = selected(y, num_buckets=50)
    assert len(curve.x) <= 200
    assert curve.num_points == 10_000
    assert y[curve.x.astype(int)].tolist() == curve.y.tolist()
    assert (curve.y.min(), curve.y.max()) == (y.min(), y.max())


def test_the_data_of_a_figure_is_what_is_drawn():
    """Columns of one length, in the order of x, non-finite values among them."""
    found = curves.as_columns([selected([3.0, math.nan, 1.0])], x_name="step", y_name="loss")
    assert {name: len(column) for name, column in found.items()} == dict.fromkeys(("run", "group", "step", "loss"), 3)
    assert found["step"] == [0.0, 1.0, 2.0]
    assert [found["loss"][0], math.isnan(found["loss"][1]), found["loss"][2]] == [3.0, True, 1.0]


@pytest.mark.spec("S3.51")
def test_curves_are_drawn_in_the_colour_of_their_group():
    """Two groups, two colours, both to be seen; marks for what is not finite."""
    figure = draw_curves(
        [selected([1, 2, 3], group="a"), selected([3, 2, math.nan], group="b")], x_label="step", y_label="loss"
    )
    image = pixels(figure).astype(int)
    for wanted in PALETTE[:2]:
        assert (np.abs(image - colour(wanted)).sum(axis=2) < 12).sum() > 50
    assert (np.abs(image - colour(PALETTE[2])).sum(axis=2) < 12).sum() == 0
    (axes,) = figure.axes
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == [MARKS["nan"]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_values_over_decades_get_a_logarithmic_axis():
    """Only when they are positive and more than three decades apart."""
    for values, scale in (([1e-4, 1.0], "log"), ([0.1, 1.0], "linear"), ([-1.0, 1e6], "linear")):
        (axes,) = draw_curves([selected(values)], x_label="x", y_label="y").axes
        assert axes.get_yscale() == scale


@pytest.mark.spec("S3.51")
def test_a_scatter_has_one_dot_per_run():
    """At the run's numbers; one that is not finite is a mark on the edge; names become categories."""
    dots = [Dot(run="a", x=0.001, y=1.0), Dot(run="b", x=1.0, y=2.0), Dot(run="c", x=0.1, y=math.inf)]
    (axes,) = draw_scatter(dots, x_label="lr", y_label="loss").axes
    finite, marks = axes.collections
    assert finite.get_offsets().data.tolist() == [[0.001, 1.0], [1.0, 2.0]]
    assert marks.get_offsets().data.tolist() == [[0.1, 1.0]]
    assert axes.get_xscale() == "log"
    names = [Dot(run="a", x="sgd", y=1.0), Dot(run="b", x="adam", y=2.0)]
    (axes,) = draw_scatter(names, x_label="optimizer", y_label="loss").axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["adam", "sgd"]
    assert axes.collections[0].get_offsets().data.tolist() == [[1.0, 1.0], [0.0, 2.0]]
    assert scatter.as_columns(names, x_name="optimizer", y_name="loss")["optimizer"] == ["sgd", "adam"]


@pytest.mark.spec("S3.51")
def test_a_grid_has_one_cell_per_name_on_shared_axes():
    """Four cells in two rows; cells that are not needed are not seen."""
    cells = {f"run {number}": [selected([number, 1.0])] for number in range(4)}
    figure = draw_grid(cells, x_label="step", y_label="loss")
    seen = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in seen] == list(cells)
    assert len({axes.get_ylim() for axes in seen}) == 1
    assert [axes.lines[0].get_ydata().tolist() for axes in seen] == [[float(number), 1.0] for number in range(4)]


def test_labels_are_no_formulas():
    """A dollar sign of a name stays one."""
    assert short("a$b$") == r"a\$b\$"
    pixels(draw_curves([selected([1, 2], group="$x$"), selected([1], group="y")], x_label="x", y_label="$\\frac$"))


def test_strips_show_each_run_its_group_s_mean_and_where_it_is():
    """One dot per finite value, a mark on the edge for one that is not; the interval is a line from end to end."""
    strips = [
        Strip(group="a", runs=["r0", "r1"], values=[1.0, 3.0], mean=2.0, low=1.5, high=2.5),
        Strip(group="b", runs=["r2"], values=[math.nan]),
    ]
    (axes,) = draw_strips(strips, x_label="loss").axes
    assert [dots.get_offsets()[:, 0].tolist() for dots in axes.collections] == [[1.0, 3.0], []]
    lines = {tuple(line.get_xdata()) for line in axes.lines}
    assert {(2.0,), (1.5, 2.5), (1.0,)} <= lines
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    table = strips_as_columns(strips, y_name="loss")
    assert table["what"] == ["run", "run", "mean", "low", "high", "run"]
    assert table["loss"][:5] == [1.0, 3.0, 2.0, 1.5, 2.5]
    assert math.isnan(table["loss"][5])
