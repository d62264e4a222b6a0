"""The pictures of the documents: small files, made by a script that still makes them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

from barograph import plugins

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
PICTURES = sorted([*plugins.names("barograph.plots"), "hard"])


def test_every_family_has_a_picture():
    """One for each family and one of everything that is hard to draw, each a picture of less than 60 kB."""
    assert sorted(path.stem for path in GALLERY.glob("*.webp")) == PICTURES
    for path in GALLERY.glob("*.webp"):
        assert path.stat().st_size < 60_000
        with Image.open(path) as image:
            assert image.width > 500


@pytest.mark.slow
def test_the_gallery_is_made_of_real_runs(tmp_path):
    """``make gallery`` records the trainings and draws every picture; here with fewer points in the hard one."""
    make = runpy.run_path(str(GALLERY / "make.py"))["main"]
    assert sorted(path.stem for path in make(tmp_path, hard_steps=20_000)) == PICTURES
    assert sorted(path.stem for path in tmp_path.glob("*.webp")) == PICTURES
