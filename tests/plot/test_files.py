"""Figures as files."""

from __future__ import annotations

import csv
import math
import sys

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from barograph.errors import InvalidNameError, MisuseError
from barograph.plot.files import build_filename, ensure_figures_dir, save_figure
from barograph.plot.style import own_style


def figure():
    """A small figure."""
    with own_style():
        made = Figure(figsize=(2, 1))
        made.subplots().plot([0, 1], [1, 0], label="$x$")
    return made


@pytest.mark.spec("S3.46")
def test_names_and_places(tmp_path):
    """S3's three functions: the directory, the name, the file, with its data beside it."""
    folder = ensure_figures_dir(tmp_path / "run")
    assert folder == tmp_path / "run" / "figures"
    assert folder.is_dir()
    name = build_filename("losses", "on_epoch_end", 19)
    assert name == "losses-on_epoch_end-e019.png"
    table = (("x", "y"), iter([(0.1, math.nan), (1e300, -math.inf), (0.1 + 0.2, 5e-324)]))
    path = save_figure(figure(), folder, name, table=table)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (220, 110))
    rows = list(csv.reader(path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["x", "y"], ["0.1", "nan"], ["1e+300", "-inf"], ["0.30000000000000004", "5e-324"]]
    assert sorted(file.name for file in folder.iterdir()) == [path.with_suffix(".csv").name, path.name]


@pytest.mark.parametrize("extension", ["png", "webp", "svg"])
def test_the_same_figure_makes_the_same_bytes(tmp_path, extension):
    """No date and no version of a program is in a file."""
    first = save_figure(figure(), tmp_path, f"a.{extension}").read_bytes()
    second = save_figure(figure(), tmp_path, f"b.{extension}").read_bytes()
    assert first == second
    assert mpl.__version__.encode() not in first


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    """A disk that is full while the new file is written costs the new one; the old one is whole."""
    path = save_figure(figure(), tmp_path, "a.png")
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure(), tmp_path, "a.png")
    assert before == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_names_that_cannot_be_files(tmp_path):
    """Another format is refused by name; a family's odd characters are replaced."""
    with pytest.raises(MisuseError, match=r"'a.pdf' has none of the extensions png, webp, svg"):
        save_figure(figure(), tmp_path, "a.pdf")
    assert build_filename("../loss+lr", "custom", 3, "svg") == ".._loss+lr-custom-e003.svg"
    with pytest.raises(InvalidNameError):
        build_filename("", "custom")


def test_a_persons_settings_of_matplotlib_stay_theirs(tmp_path, monkeypatch):
    """They neither come into our figures nor are they changed by them; pyplot is never imported."""
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # of another test in this process
    expected = save_figure(figure(), tmp_path, "a.png").read_bytes()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20.0}):
        assert expected == save_figure(figure(), tmp_path, "b.png").read_bytes()
        assert mpl.rcParams["font.size"] == 20.0
    assert "matplotlib.pyplot" not in sys.modules
