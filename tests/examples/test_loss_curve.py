"""Figures show what was logged: no more points, no other quantities."""

from __future__ import annotations

import json

import pytest
from PIL import Image


def logged(run_dir, name):
    """The records of train.log that hold a metric, found as the logging guide says: by grep and json."""
    lines = (run_dir / "train.log").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line.split("metric ", 1)[1]) for line in lines if "metric " in line]
    return [record for record in records if name in record]


@pytest.mark.spec("S0.18", "S0.26", "S0.27")
@pytest.mark.parametrize("tier", ["quick", "full"])
def test_the_loss_curve_is_drawn_from_the_text_log_into_the_run_directory(run_script, tumours, tier):
    """QUICK/train.log alone gives QUICK/loss_curve.webp, a WebP with one point per logged loss; likewise for full."""
    done = run_script("loss_curve.py", tier)
    points = logged(tumours / tier, "loss")
    assert len(points) > 0
    assert done.stdout == f"{tier}/loss_curve.webp: {len(points)} points, 0 of them not finite\n"
    with Image.open(tumours / tier / "loss_curve.webp") as image:
        assert image.format == "WEBP"
        drawn = {color for _, color in image.convert("RGB").getcolors(maxcolors=1 << 24)}
    assert len(drawn) > 2


@pytest.mark.spec("S0.26", "S0.28")
def test_what_was_not_logged_is_not_drawn(run_script, tumours):
    """A quantity that was never logged is an error that lists what was; no file is made."""
    done = run_script("loss_curve.py", "quick", "perplexity", code=1)
    assert "'perplexity' was not logged in quick/train.log; logged were " in done.stderr
    assert "loss" in done.stderr
    assert list((tumours / "quick").glob("*.webp")) == []


@pytest.mark.spec("S0.28")
def test_numbers_that_are_not_finite_are_marked_and_not_invented(run_script, tmp_path):
    """NaN and infinity in the log are counted as such and leave a gap in the line; nothing is put in their place."""
    log = tmp_path / "quick" / "train.log"
    log.parent.mkdir()
    records = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": None, "nonfinite": {"loss": "nan"}},
        {"step": 3, "loss": None, "nonfinite": {"loss": "-inf"}},
        {"step": 4, "loss": 0.5},
    ]
    lines = [f"2026-11-20 06:15:00 | INFO | metric {json.dumps(record)}\n" for record in records]
    log.write_text("".join(lines), encoding="utf-8")
    done = run_script("loss_curve.py")
    assert done.stdout == "quick/loss_curve.webp: 4 points, 2 of them not finite\n"
