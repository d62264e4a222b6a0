"""The figures that come with Barograph: the numbers that each selects, and that each can be drawn and saved."""

from __future__ import annotations

import csv
import hashlib
import inspect
import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from barograph import plugins
from barograph.facts.blobs import blob_path
from barograph.plot.curves import Scope
from barograph.plot.draw import MARKERS, draw_chart
from barograph.plot.family import Named, draw_new
from barograph.plot.files import save_figure
from barograph.plot.orchestrator import find_families
from barograph.plot.style import new_figure
from barograph.read.run import RunReader

NAMES = [
    *("adversarial", "codebook", "diffusion", "examples", "gradients", "latency", "losses", "memory", "metrics"),
    *("quality", "recon", "throughput"),
]
PANELS = {
    "adversarial": ["losses of the players", "verdicts of the discriminator"],
    "codebook": ["codebook_usage"],
    "diffusion": ["denoising_loss"],
    "gradients": ["grad_norm"],
    "latency": ["epoch_time_s", "phases, seconds each"],
    "losses": ["d_loss", "denoising_loss", "loss by step", "loss by epoch"],
    "memory": ["memory of the process, GB", "memory of the machine, GB"],
    "metrics": ["lr"],
    "quality": ["accuracy"],
    "throughput": ["samples_per_s", "utilisation of the machine, percent"],
}


def select(name, run, **scope):
    """A family's numbers."""
    return plugins.load("barograph.plots", name).select(run, scope=Scope(**scope))


@pytest.mark.spec("S3.45")
def test_the_families_enter_by_the_strangers_door():
    """The seven of S3 and five more are offered by entry point, each with its name, its moments and two methods."""
    families, failures = find_families()
    assert (sorted(families), failures) == (NAMES, [])
    for name, family in families.items():
        assert name == family.name
        assert set(family.moments) <= {"on_epoch_end", "on_validation_end", "on_train_end"}
        assert list(inspect.signature(family.select).parameters) == ["run", "scope"]
        assert list(inspect.signature(family.draw).parameters) == ["data", "figure"]


@pytest.mark.spec("S3.45", "S0.26")
@pytest.mark.parametrize("name", NAMES)
def test_a_family_draws_what_was_logged(everything, tmp_path, name):
    """Its panels are those of the metrics that feed it; the figure is a picture; its table holds recorded numbers."""
    data = select(name, everything)
    if name in PANELS:
        assert PANELS[name] == [panel.title for panel in data.panels]
    path = save_figure(
        draw_new(plugins.load("barograph.plots", name), data), tmp_path, f"{name}.png", table=data.table()
    )
    with Image.open(path) as image:
        assert len(set(image.convert("L").tobytes())) > 10
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert {row["matched" if name == "examples" else "value"] for row in rows} <= recorded_values(everything)
    assert rows


def recorded_values(run):
    """Everything of a run that may stand in a figure's table, as text."""
    series = [*run.all_series(), *run.all_series(splits=["host"])]
    found = {value for one in series for value in one.values.tolist()}
    found |= {value for epoch in run.epochs() for value in (epoch.train_loss, epoch.val_loss, epoch.epoch_time_s)}
    found |= {event.payload["duration_s"] for event in run.events("on_phase_end")}
    verdicts = {str(int(example.matched)) for example in run.examples()}
    return (
        {repr(value) for value in found}
        | verdicts
        | {event.payload["blob"]["sha256"] for event in run.events("custom")}
    )


@pytest.mark.spec("S3.60", "S0.28")
@pytest.mark.parametrize("name", NAMES)
def test_a_family_without_facts_draws_nothing(logged, name):
    """Of a run that logged one thing, the other families have nothing to draw."""
    run = logged(unrelated=[1.0])
    assert (select(name, run) is None) == (name != "metrics")


@pytest.mark.spec("S3.65")
def test_handle_gives_figures(everything, logged):
    """S3's form of the call: a moment, a payload with the run's directory, the configuration; a list of figures."""
    family = plugins.load("barograph.plots", "losses")
    figures = family.handle("on_epoch_end", {"run_dir": str(everything.path)}, {})
    assert [type(figure) for figure in figures] == [Figure]
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == PANELS["losses"]
    empty = logged(unrelated=[1.0])
    assert family.handle("on_epoch_end", {"run_dir": str(empty.path)}, {}) == []


def test_splits_share_the_axes(logged):
    """Training and validation of one metric are two lines of one panel, told by their colours."""
    chart = select("losses", logged(loss=[1.0, 2.0], val={"loss": [3.0]}))
    (panel,) = chart.panels
    assert [(line.name, line.split, line.num_points) for line in panel.lines] == [
        ("loss", "train", 2),
        ("loss", "val", 1),
    ]


def test_names_that_differ_in_a_number_share_the_axes(logged):
    """Ten layers are two panels: eight lines can be told apart."""
    chart = select("gradients", logged(**{f"layer{number}/grad_norm": [1.0] for number in range(10)}))
    assert [(panel.title, len(panel.lines)) for panel in chart.panels] == [
        ("layer*/grad_norm (1 of 2)", 8),
        ("layer*/grad_norm (2 of 2)", 2),
    ]


def test_what_there_is_no_room_for_is_named(logged):
    """A figure has twelve panels at most, and says which metrics it leaves out."""
    names = ["".join(letters) for letters in itertools.product("abc", "uvwxy")]
    chart = select("metrics", logged(**{name: [1.0] for name in names}))
    assert len(chart.panels) == 12
    assert chart.left_out == tuple(sorted(names)[12:])
    figure = draw_new(Named(names), chart)
    assert "3 more metrics are not drawn: cw, cx, cy"[:30] in figure.get_supxlabel()


@pytest.mark.spec("S0.28")
def test_the_drawing_shows_what_is_not_finite(resumed, tmp_path):
    """Marks stand on the edge of the axes at their step, the legend counts them, what was recorded again is faint."""
    figure = draw_new(Named(["loss"]), Named(["loss"]).select(resumed, scope=Scope()))
    (axes,) = figure.axes
    marks = {line.get_marker(): line for line in axes.lines if line.get_marker() in ("x", "^", "v")}
    assert {marker: line.get_xydata().tolist() for marker, line in marks.items()} == {
        "x": [[3.0, 0.0]],
        "^": [[8.0, 1.0]],
    }
    assert MARKERS["nan"][0] != MARKERS["inf"][0] != MARKERS["-inf"][0]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["loss (train)\n17 points", "NaN: 1", "+Inf: 1", "faint: recorded again\nby a later attempt"]
    assert {(line.get_alpha(), tuple(line.get_xdata())) for line in axes.lines if line.get_alpha()} == {
        (0.45, (6.0, 7.0, 8.0, 9.0))
    }
    assert [text.get_text().strip() for text in axes.texts] == ["attempt 1"]


def test_lines_are_not_drawn_over_what_is_missing(resumed):
    """The drawn lines, NaN being where the pen is up, join no two points that are not neighbours."""
    figure = draw_new(Named(["loss"]), Named(["loss"]).select(resumed, scope=Scope()))
    drawn = [line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == "-" and not line.get_alpha()]
    joined = {(a[0], b[0]) for line in drawn for a, b in itertools.pairwise(line) if math.isfinite(a[1] + b[1])}
    assert joined == {(0, 1), (1, 2), (6, 7), (9, 10), (10, 11), (11, 12), (12, 13), (13, 14)}


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-4, 1.0], "log"),
        ([1e-2, 1.0], "linear"),
        ([-1e-4, 1.0], "linear"),
        ([0.0, 1e9], "linear"),
        ([1e308, -1e308], "linear"),
        ([5e-324, 1.0], "linear"),
        ([math.nan], "linear"),
    ],
)
def test_the_scale_is_logarithmic_where_it_helps(logged, tmp_path, values, scale):
    """Positive values over more than three decades; the hardest of floats are drawn without a warning."""
    chart = Named(["x"]).select(logged(x=values), scope=Scope())
    figure = draw_new(Named(["x"]), chart)
    assert scale == figure.axes[0].get_yscale()
    assert save_figure(figure, tmp_path, "x.svg").stat().st_size > 1000


@pytest.mark.parametrize("name", ["$\\frac{1", "_under", "100 %s {}", "\u640d\u5931", "x" * 120])
def test_any_name_is_shown_as_it_is(logged, tmp_path, name):
    """Dollars, underscores, braces, scripts that the font does not have: all are in the legend."""
    figure = draw_new(Named([name]), Named([name]).select(logged(**{name: [1.0, 2.0]}), scope=Scope()))
    save_figure(figure, tmp_path, "any.png")
    (text,) = figure.axes[0].get_legend().get_texts()
    assert name[:20] in text.get_text()


def test_fractional_steps_have_an_axis(logged, new_run, tmp_path):
    """Ticks stand between whole numbers where the steps do; whole steps have whole ticks."""
    run = new_run(dir=tmp_path / "fractional")
    for step in range(10):
        run.log({"loss": 1.0}, step=0.3 + step / 20)
    run.finish()
    for reader, are_whole in ((RunReader(run.dir), False), (logged(loss=[1.0, 2.0, 3.0]), True)):
        (axes,) = draw_new(Named(["loss"]), Named(["loss"]).select(reader, scope=Scope())).axes
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert len(ticks) > 2
        assert are_whole is all(float(tick).is_integer() for tick in ticks)


@pytest.mark.parametrize("largest", [1e300, -1e300, 1e251, 1.7e308])
def test_the_largest_values_are_drawn(logged, tmp_path, largest):
    """Without an overflow of the axes, which warnings as errors would show."""
    data = Named(["loss"]).select(logged(loss=[largest, 1.0, 1e-300]), scope=Scope())
    assert save_figure(draw_new(Named(["loss"]), data), tmp_path, "a.png").is_file()


def test_images_are_those_that_were_recorded(new_run, tmp_path):
    """Six of nine: the first, the last, and evenly chosen ones, pixel by pixel; one that is lost says so."""
    run = new_run()
    for step in range(9):
        run.image("recon/sample", [[step / 8, 0.0]], step=step)
        run.image("input", [[1.0, 0.0]], step=step)
        run.image("holiday", [[1.0]], step=step)
    run.finish()
    reader = RunReader(run.dir)
    rows = {row.name: row for row in select("recon", reader).rows}
    assert {name: row.num_recorded for name, row in rows.items()} == {"recon/sample": 9, "input": 9}
    pictures = rows["recon/sample"].pictures
    assert [picture.step for picture in pictures] == [0, 2, 3, 5, 6, 8]
    assert [picture.pixels[0, 0, 0].item() for picture in pictures] == [
        round(step / 8 * 255) for step in (0, 2, 3, 5, 6, 8)
    ]
    lost = blob_path(reader.directory.blobs, pictures[-1].sha256)
    assert hashlib.sha256(lost.read_bytes()).hexdigest() == pictures[-1].sha256
    lost.unlink()
    data = select("recon", reader)
    assert [picture.pixels is None for row in data.rows if row.name == "recon/sample" for picture in row.pictures][-1]
    figure = new_figure()
    plugins.load("barograph.plots", "recon").draw(data, figure)
    assert "cannot be read" in {text.get_text() for axes in figure.axes for text in axes.texts}


def test_examples_through_time(new_run):
    """Verdicts by example and step, those that flip most first; what a resume evaluated again counts once."""
    for attempt, steps in enumerate(([0, 10, 20], [20, 30])):
        run = new_run(resume="allow")
        for step in steps:
            outputs = {"steady": "4", "flips": "4" if (step // 10 + attempt) % 2 else "5"}
            for label, output in outputs.items():
                run.example(step=step, tier="full", prompt="2 + 2", golden="4", output=output, example_id=label)
            run.example(step=step, tier="fast", prompt="not evaluated", golden="4")
        run.finish()
    data = select("examples", RunReader(run.dir))
    assert data.num_examples == 2
    assert [(track.label, track.steps.tolist(), track.matched.tolist()) for track in data.tracks] == [
        ("flips", [0, 10, 20, 30], [False, True, True, False]),
        ("steady", [0, 10, 20, 30], [True, True, True, True]),
    ]
    assert [track.num_flips for track in data.tracks] == [2, 0]
    assert next(iter(data.table()[1])) == ("flips", 0.0, 0)


def test_a_million_points_are_drawn_quickly_and_truly(tmp_path):
    """The figure says how many of how many, and its extremes are the recorded ones."""
    from tests.plot.test_lines import curve

    from barograph.plot.chart import Chart, panels_of

    values = np.random.default_rng(0).normal(size=1_000_000)
    chart = Chart(title="million", panels=tuple(panels_of("x", [curve(values)])))
    (line,) = chart.panels[0].lines
    figure = new_figure()
    draw_chart(chart, figure)
    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text() == f"loss (train)\n{line.num_shown:,} of 1,000,000 points"
    assert line.num_shown <= 2000
    assert line.limits() == (values.min(), values.max())
