"""Reconstructions: their errors as curves, and the images that were recorded of them, each as it was recorded."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure, SubFigure
from PIL import Image, UnidentifiedImageError

from barograph.errors import FormatError
from barograph.facts.blobs import BlobRef, get_bytes
from barograph.plot.chart import Chart, by_base, chart_of, title_of
from barograph.plot.curves import Scope, find_curves
from barograph.plot.draw import WIDTH_INCHES, draw_chart, size_inches
from barograph.plot.family import PlotFamily
from barograph.plot.names import chosen, is_recon, words_of
from barograph.plot.style import QUIET, shown
from barograph.read.run import RunReader

MAX_PICTURES: Final = 6
MAX_ROWS: Final = 6
BESIDE: Final = frozenset({"input", "inputs", "target", "targets", "original", "originals"})
ROW_INCHES: Final = 1.3


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded image.

    Attributes:
        step: where it was recorded; None when nobody said.
        sha256: of the blob that holds it.
        pixels: height x width x 4, 0 to 255; None when the blob is not there or is no image.
    """

    step: float | None
    sha256: str
    pixels: npt.NDArray[np.uint8] | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Images of one name.

    Attributes:
        name: the series.
        pictures: the first, the last, and evenly chosen ones between.
        num_recorded: how many there are.
    """

    name: str
    pictures: tuple[Picture, ...]
    num_recorded: int


class Recon(msgspec.Struct, frozen=True, kw_only=True):
    """Errors and images.

    Attributes:
        title: of the figure.
        chart: the errors; None when none were logged.
        rows: the images, by name.
    """

    title: str
    chart: Chart | None
    rows: tuple[Row, ...]

    def table(self) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        """The points of the errors; images by the hashes of their blobs, in the column of values."""
        columns, points = (Chart(title="", panels=()) if self.chart is None else self.chart).table()
        images = (
            (row.name, row.name, "image", "", "", "step", "" if picture.step is None else picture.step, picture.sha256)
            for row in self.rows
            for picture in row.pictures
        )
        return columns, (row for part in (points, images) for row in part)


class Reconstructions(PlotFamily):
    """Images in rows by name and columns by step, below the errors."""

    name = "recon"

    def select(self, run: RunReader, *, scope: Scope) -> Recon | None:
        """Errors of reconstruction, and images that are called so; with them, inputs and targets."""
        title = title_of(run, self.name)
        chart = chart_of(title, by_base(find_curves(run, lambda names: chosen(self.name, names), scope=scope)))
        rows = _rows(run, scope)
        return None if chart is None and not rows else Recon(title=title, chart=chart, rows=rows)

    def draw(self, data: Recon, figure: Figure) -> None:
        """Draw both."""
        if data.chart is None:
            figure.set_size_inches(WIDTH_INCHES, ROW_INCHES * len(data.rows) + 0.6)
            figure.suptitle(shown(data.title, limit=90), x=0.01, ha="left", fontsize=11, fontweight="bold")
            _draw_rows(data.rows, figure)
        elif not data.rows:
            draw_chart(data.chart, figure)
        else:
            width, height = size_inches(data.chart)
            below = ROW_INCHES * len(data.rows)
            figure.set_size_inches(width, height + below)
            parts: Any = figure.subfigures(2, 1, height_ratios=(height, below))
            upper, lower = parts
            draw_chart(data.chart, upper)
            _draw_rows(data.rows, lower)


def _rows(run: RunReader, scope: Scope) -> tuple[Row, ...]:
    found: dict[str, list[tuple[float | None, BlobRef]]] = defaultdict(list)
    for event in run.events("custom"):
        payload = event.payload
        if payload.get("kind") == "image" and event.t <= scope.until_t:
            try:
                ref = msgspec.convert(payload.get("blob"), BlobRef)
            except msgspec.ValidationError:
                continue  # written by another hand; nothing says where the image is
            found[str(payload.get("name"))].append((payload.get("step"), ref))
    names = [name for name in found if is_recon(name)]
    names += [name for name in found if name not in names and names and BESIDE.intersection(words_of(name))]
    return tuple(_row(run, name, found[name]) for name in sorted(names)[:MAX_ROWS])


def _row(run: RunReader, name: str, recorded: list[tuple[float | None, BlobRef]]) -> Row:
    places = np.unique(np.linspace(0, len(recorded) - 1, MAX_PICTURES).round().astype(int))
    pictures = [
        Picture(step=recorded[place][0], sha256=recorded[place][1].sha256, pixels=_pixels(run, recorded[place][1]))
        for place in places
    ]
    return Row(name=name, pictures=tuple(pictures), num_recorded=len(recorded))


def _pixels(run: RunReader, ref: BlobRef) -> npt.NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(get_bytes(run.directory.blobs, ref))) as image:
            return np.asarray(image.convert("RGBA"))
    except (OSError, FormatError, UnidentifiedImageError):
        return None


def _draw_rows(rows: tuple[Row, ...], figure: Figure | SubFigure) -> None:
    grid = figure.subplots(len(rows), MAX_PICTURES, squeeze=False)
    for axes_of_row, row in zip(grid, rows, strict=True):
        for axes in axes_of_row:
            axes.set_axis_off()
        for axes, picture in zip(axes_of_row, row.pictures, strict=False):
            _draw_picture(picture, axes)
        words = shown(row.name, limit=24)
        if row.num_recorded > len(row.pictures):
            words += f"\n{len(row.pictures)} of {row.num_recorded}"
        axes_of_row[0].text(-0.08, 0.5, words, transform=axes_of_row[0].transAxes, ha="right", va="center", fontsize=8)


def _draw_picture(picture: Picture, axes: Any) -> None:
    axes.set_title(
        "" if picture.step is None else f"step {picture.step:,g}", fontsize=8, fontweight="normal", loc="center"
    )
    if picture.pixels is None:
        axes.text(0.5, 0.5, "cannot be read", transform=axes.transAxes, ha="center", va="center", color=QUIET)
    else:
        axes.imshow(picture.pixels, interpolation="nearest")


family = Reconstructions()
