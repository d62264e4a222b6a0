"""Figures as files: where they lie, what they are called, and writing them whole or not at all.

The same figure makes the same bytes: no dates and no program versions are written.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from barograph.errors import MisuseError
from barograph.facts.descriptor import replace_file
from barograph.facts.rundir import RunDir, figure_name, make_dir
from barograph.plot.settings import FORMATS
from barograph.plot.style import own_style

_METADATA: Final[dict[str, dict[str, Any]]] = {
    "png": {"metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "webp": {"pil_kwargs": {"lossless": True, "method": 6}},
}
Table = tuple[tuple[str, ...], Iterable[tuple[object, ...]]]


def ensure_figures_dir(run_dir: str | os.PathLike[str]) -> Path:
    """The run's ``figures`` directory, made when it is not there."""
    folder = RunDir(Path(run_dir)).figures
    make_dir(folder)
    return folder


def build_filename(family: str, moment: str, epoch: int = 0, extension: str = "png") -> str:
    """``FAMILY-MOMENT-eNNN.EXT``; characters of a family's name that cannot stand in a file's become ``_``.

    >>> build_filename("losses", "on_epoch_end", 19)
    'losses-on_epoch_end-e019.png'

    Raises:
        InvalidNameError: a name is empty or too long.
    """
    return figure_name(re.sub(r"[^\w.+-]", "_", family), re.sub(r"[^\w.+-]", "_", moment), epoch, extension)


def save_figure(figure: Figure, figures_dir: str | os.PathLike[str], name: str, *, table: Table | None = None) -> Path:
    """Write a figure, and its data beside it as ``.csv``; what was there under these names is replaced.

    Args:
        figure: what to write.
        figures_dir: where; it is made when it is not there.
        name: e.g. ``losses-on_epoch_end-e019.png``; its extension says the format: ``png``, ``webp`` or ``svg``.
        table: names of the columns, and rows; numbers are written so that they read back to the same bits.

    Returns:
        The figure's file.

    Raises:
        MisuseError: another extension.
        OSError: it could not be written; what was there before is as it was.
    """
    path = Path(figures_dir) / name
    extension = path.suffix.removeprefix(".").lower()
    if extension not in FORMATS:
        raise MisuseError(f"figure {name!r} has none of the extensions {', '.join(FORMATS)}; choose one")
    picture = io.BytesIO()
    with own_style():
        figure.savefig(picture, format=extension, **_METADATA[extension])
    make_dir(path.parent)
    if table is not None:
        replace_file(path.with_suffix(".csv"), csv_bytes(table))
    replace_file(path, picture.getvalue())
    return path


def csv_bytes(table: Table) -> bytes:
    """A table as CSV: floats as Python writes them, so that they read back exactly; ``nan``, ``inf``, ``-inf``."""
    columns, rows = table
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
