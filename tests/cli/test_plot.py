"""``barograph plot``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from barograph.cli import plot
from barograph.errors import BarographError
from barograph.read.run import RunReader


@pytest.fixture
def command(root, capsys):
    """Run the verb in this process; returns what it printed."""

    def command(*args) -> str:
        assert plot.main([str(arg) for arg in args], root=str(root)) == 0
        return capsys.readouterr().out

    return command


@pytest.fixture
def refused(root):
    """Run the verb with arguments that it refuses; returns the message."""

    def refused(*args) -> str:
        with pytest.raises(BarographError) as raised:
            plot.main([str(arg) for arg in args], root=str(root))
        return str(raised.value)

    return refused


def rows(path):
    """The data beside a figure."""
    return list(csv.DictReader(Path(path).with_suffix(".csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.spec("S0.26", "S0.27")
def test_a_loss_curve_in_the_same_directory(command, root, ids):
    """``loss_curve.webp`` lies in the run's directory and shows exactly the logged points, which are beside it."""
    (run,) = root.glob("*mlp*")
    assert command(ids["mlp"], "loss", "--out", run / "loss_curve.webp") == f"{run / 'loss_curve.webp'}\n"
    with Image.open(run / "loss_curve.webp") as image:
        assert image.format == "WEBP"
    shown = [(row["split"], float(row["x"]), float(row["value"])) for row in rows(run / "loss_curve.webp")]
    curves = {split: RunReader(run).curve("loss", split=split) for split in ("train", "val")}
    assert shown == [(split, point.step, point.value) for split, points in curves.items() for point in points]


@pytest.mark.spec("S0.28")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nosuch",), "did not log nosuch; it logged epoch/accuracy"),
        (("--family", "gradients"), "did not log anything for gradients; it logged"),
        (("lr", "--split", "val"), "did not log lr on val; it logged"),
        (("lr", "--x", "epoch"), "did not log lr over epoch; it logged"),
        (("--moment", "on_checkpoint"), "did not log anything for the moment on_checkpoint"),
    ],
)
def test_what_was_not_logged_is_an_error_that_lists_what_was(refused, ids, root, args, words):
    """Nothing is invented: there is no figure, and the message holds every name that can be asked for."""
    message = refused(ids["mlp"], *args)
    assert words in message
    assert "epoch/accuracy, epoch/train_loss, epoch/val_loss, train/loss, train/lr, val/accuracy, val/loss" in message
    assert not list(root.glob("*/figures"))


def test_without_a_name_it_is_the_losses(command, ids, root):
    """Figures go to the run's ``figures``, named by family, moment and epoch."""
    (run,) = root.glob("*mlp*")
    assert command(ids["mlp"]) == f"{run / 'figures' / 'losses-custom-e000.png'}\n"


def test_all_families_that_find_something(command, ids, root):
    """One figure each, listed as JSON with the data beside it."""
    (run,) = root.glob("*mlp*")
    document = json.loads(command(ids["mlp"], "--all", "--json", "--format", "svg"))
    assert (document["run_id"], document["run_dir"]) == (ids["mlp"], str(run))
    names = ["examples", "latency", "losses", "metrics", "quality"]
    assert [figure["family"] for figure in document["figures"]] == names
    for figure in document["figures"]:
        assert Path(figure["path"]).read_text(encoding="utf-8").startswith("<?xml")
        assert Path(figure["data"]).is_file()


def test_families_names_splits_and_moments_are_chosen(command, ids, tmp_path):
    """Options choose: families, the moment in the name, a split, an x, a directory."""
    out = tmp_path / "figures"
    assert command(
        ids["mlp"], "--family", "quality", "--family", "losses", "--moment", "on_train_end", "--out", out
    ) == (f"{out / 'quality-on_train_end-e000.png'}\n{out / 'losses-on_train_end-e000.png'}\n")
    command(ids["mlp"], "loss", "lr", "--split", "train", "--x", "time", "--out", out)
    assert {(row["name"], row["split"], row["axis"]) for row in rows(out / "loss+lr-custom-e000.png")} == {
        ("loss", "train", "time"),
        ("lr", "train", "time"),
    }


def test_values_that_are_not_finite_and_attempts(command, ids, tmp_path):
    """The data names them as what they are, and says which points a later attempt recorded again."""
    command(ids["diverged"], "loss", "--out", tmp_path / "diverged.png")
    assert [row["value"] for row in rows(tmp_path / "diverged.png")] == ["1.0", "1e+30", "nan", "inf", "-inf"]
    command(ids["twice"], "loss", "--out", tmp_path / "twice.png")
    marked = [float(row["x"]) for row in rows(tmp_path / "twice.png") if row["superseded"] == "1"]
    assert marked == [5.0, 6.0, 7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--family", "nosuch"), "there is no family 'nosuch'; there are adversarial, codebook"),
        (("--moment", "on_teatime"), "there is no moment 'on_teatime'; there are on_start"),
        (("--all", "--out", "all.png"), "--out all.png is one file, and there are 5 figures; name a directory"),
        (("loss", "--out", "a.png", "--format", "svg"), "--out a.png and --format svg contradict each other"),
        (("loss", "--out", "a.jpg"), "--out a.jpg: figures are png, webp, svg; name such a file, or a directory"),
        (("loss", "--family", "quality"), "metrics and a family were both named"),
    ],
)
def test_misuse_is_told(refused, ids, args, words):
    """The message names the value and what there is."""
    assert words in refused(ids["mlp"], *args)
