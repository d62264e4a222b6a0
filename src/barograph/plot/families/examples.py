"""Examples through time: at which evaluations a model's output matched the expected text, and where that flipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from barograph.facts.kinds import OnExample, parse
from barograph.plot.chart import title_of
from barograph.plot.curves import Scope
from barograph.plot.draw import WIDTH_INCHES
from barograph.plot.family import AT_EVALUATIONS, PlotFamily
from barograph.plot.style import PALETTE, QUIET, RULE, shown
from barograph.read.arrays import Bools, Floats
from barograph.read.run import RunReader

MAX_EXAMPLES: Final = 30
COLUMNS: Final = ("example", "step", "matched")


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One example through time.

    Attributes:
        label: its id; its prompt when it has none.
        steps: at which it was evaluated, ascending.
        matched: whether the output matched.
    """

    label: str
    steps: Floats
    matched: Bools

    @property
    def num_flips(self) -> int:
        """How often the verdict changed."""
        return int(np.sum(self.matched[1:] != self.matched[:-1]))


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """Examples that were evaluated.

    Attributes:
        title: of the figure.
        tracks: those that flipped most often first; then those that matched least.
        num_examples: how many were evaluated, shown or not.
    """

    title: str
    tracks: tuple[Track, ...]
    num_examples: int

    def table(self) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        """One row per evaluation that is shown."""
        rows = (
            (track.label, step, int(matched))
            for track in self.tracks
            for step, matched in zip(track.steps.tolist(), track.matched.tolist(), strict=True)
        )
        return COLUMNS, rows


class ExamplesThroughTime(PlotFamily):
    """One row per example, one mark per evaluation: a dot where it matched, a cross where it did not."""

    name = "examples"
    moments = AT_EVALUATIONS

    def select(self, run: RunReader, *, scope: Scope) -> Examples | None:
        """Verdicts by example; of a step that was evaluated again after a resume, the newer one."""
        found: dict[str, dict[int, tuple[int, bool]]] = defaultdict(dict)
        for event in run.events("on_example"):
            try:
                example = parse(event, OnExample)
            except msgspec.ValidationError:
                continue  # `barograph check` tells of events that are not as their moment asks
            if example.matched is None or event.t > scope.until_t or example.rank != scope.rank:
                continue
            verdicts = found[example.example_id or example.prompt]
            older = verdicts.get(example.step)
            if older is None or example.attempt >= older[0]:
                verdicts[example.step] = (example.attempt, example.matched)
        if not found:
            return None
        tracks = [_track(label, verdicts) for label, verdicts in found.items()]
        tracks.sort(key=lambda track: (-track.num_flips, track.matched.mean()))
        title = title_of(run, self.name)
        return Examples(title=title, tracks=tuple(tracks[:MAX_EXAMPLES]), num_examples=len(tracks))

    def draw(self, data: Examples, figure: Figure) -> None:
        """Draw the rows."""
        figure.set_size_inches(WIDTH_INCHES, 1.3 + 0.24 * len(data.tracks))
        figure.suptitle(shown(data.title, limit=90), x=0.01, ha="left", fontsize=11, fontweight="bold")
        axes = figure.subplots()
        for place, track in enumerate(data.tracks):
            _draw_track(track, place, axes)
        axes.set_yticks(range(len(data.tracks)), [shown(track.label, limit=34) for track in data.tracks])
        axes.set_ylim(len(data.tracks) - 0.5, -0.5)
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("step")
        count = f"{len(data.tracks)} of {data.num_examples} examples, those that flipped most"
        axes.set_title(
            "filled: the output matched; cross: it did not; grey bar: the verdict flipped"
            + (f"\n{count}" if data.num_examples > len(data.tracks) else ""),
            fontsize=8,
            fontweight="normal",
            color=QUIET,
        )


def _track(label: str, verdicts: dict[int, tuple[int, bool]]) -> Track:
    steps = sorted(verdicts)
    matched = np.array([verdicts[step][1] for step in steps], dtype=bool)
    return Track(label=label, steps=np.array(steps, dtype=np.float64), matched=matched)


def _draw_track(track: Track, place: int, axes: Axes) -> None:
    axes.axhline(place, color=RULE, linewidth=0.6, zorder=1)
    good, bad = track.steps[track.matched], track.steps[~track.matched]
    axes.plot(good, [place] * len(good), linestyle="", marker="o", markersize=5, color=PALETTE[0], zorder=3)
    axes.plot(bad, [place] * len(bad), linestyle="", marker="x", markersize=5, color=PALETTE[1], zorder=3)
    flips = np.flatnonzero(track.matched[1:] != track.matched[:-1])
    for flip in flips:
        axes.plot(track.steps[flip : flip + 2], [place, place], color=QUIET, linewidth=3, alpha=0.35, zorder=2)
    words = f"{track.num_flips} flip" + ("" if track.num_flips == 1 else "s")
    axes.text(1.01, place, words, transform=axes.get_yaxis_transform(), fontsize=7, color=QUIET, va="center")


family = ExamplesThroughTime()
