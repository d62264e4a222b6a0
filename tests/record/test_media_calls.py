"""Figures, images, sound, histograms, tables, texts and artifacts: kept by content, named by an event."""

from __future__ import annotations

import io
import json
import math
import wave

import numpy as np
import pytest
import torch
from tests.recorded import Recorded

from barograph.errors import InvalidNameError, MisuseError, RecordingWarning
from barograph.facts.blobs import BlobRef, get_bytes


class Figure:
    """What matplotlib's figures offer."""

    def __init__(self, error=None):
        self.error = error

    def savefig(self, path, **_options):
        """Write a file, or a part of one and fail."""
        write = path.write if hasattr(path, "write") else path.write_bytes
        write(b"\x89PNG\r\n\x1a\n and so on")
        if self.error is not None:
            raise self.error


def content(run, event) -> bytes:
    """The bytes that an event refers to."""
    return get_bytes(run.dir / "blobs", BlobRef(**event.payload["blob"]))


def test_image(new_run):
    """An image is a PNG by content; the same one is stored once."""
    run = new_run()
    pixels = np.linspace(0, 1, 64).reshape(8, 8)
    first = run.image("digit", pixels, step=3, caption="a seven")
    second = run.image("digit", torch.tensor(pixels), step=4)
    assert content(run, first).startswith(b"\x89PNG")
    assert first.payload["blob"] == second.payload["blob"]
    assert (first.payload["kind"], first.payload["name"]) == ("image", "digit")
    assert (first.payload["step"], first.payload["caption"]) == (3, "a seven")
    assert first.payload["blob"]["media_type"] == "image/png"
    assert len([path for path in (run.dir / "blobs").rglob("*") if path.is_file()]) == 1


def test_audio(new_run, tmp_path):
    """Sound is a WAV file; a file is kept as it is, by what it is."""
    run = new_run()
    event = run.audio("tone", np.sin(np.linspace(0, 100, 800)), rate_hz=8000, step=1)
    with wave.open(io.BytesIO(content(run, event))) as reader:
        assert (reader.getframerate(), reader.getnframes()) == (8000, 800)
    (tmp_path / "tone.mp3").write_bytes(b"ID3")
    event = run.audio("tone", tmp_path / "tone.mp3", rate_hz=8000)
    assert (content(run, event), event.payload["blob"]["media_type"]) == (b"ID3", "audio/mpeg")


def test_histogram(new_run):
    """A histogram is counts between edges in the event itself, non-finite values apart."""
    run = new_run()
    event = run.histogram("weights", torch.tensor([0.0, 0.5, 1.0, math.nan]), bins=2, step=5)
    assert event.payload["histogram"]["counts"] == [1, 2]
    assert (event.payload["histogram"]["nan"], event.payload["step"]) == (1, 5)


def test_table(new_run):
    """A table is JSON by content; how many rows and which columns stand in the event."""
    run = new_run()
    event = run.table("samples", ("text", "score"), [["good", 0.9], ["bad", math.nan]], step=7)
    stored = json.loads(content(run, event))
    assert (stored["columns"], stored["rows"]) == (["text", "score"], [["good", 0.9], ["bad", None]])
    assert (event.payload["num_rows"], event.payload["columns"]) == (2, ["text", "score"])
    lazy = run.table("samples", ["n"], ([number] for number in range(3)))
    assert lazy.payload["num_rows"] == 3


def test_text_and_artifacts(new_run, tmp_path):
    """Texts stand in the event; artifacts are files, bytes or data by content."""
    run = new_run()
    assert run.text("answer", "Paris\n", step=2).payload["text"] == "Paris\n"
    (tmp_path / "vocab.txt").write_bytes(b"a\nb\n")
    from_file = run.artifact("vocab", tmp_path / "vocab.txt", media_type="text/plain")
    assert (content(run, from_file), from_file.payload["source"]) == (b"a\nb\n", str(tmp_path / "vocab.txt"))
    assert content(run, run.artifact("raw", b"\x00\x01")) == b"\x00\x01"
    assert json.loads(content(run, run.artifact("scores", {"a": np.float64(0.5)}))) == {"a": 0.5}


@pytest.mark.spec("S3.76")
def test_figure_file(new_run, tmp_path):
    """A figure is ``figures/FAMILY-MOMENT-eNNN.EXT``, drawn, given as bytes, or copied."""
    run = new_run()
    drawn = run.figure("losses", Figure(), moment="on_epoch_end", epoch=19)
    assert drawn == run.dir / "figures/losses-on_epoch_end-e019.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert run.figure("codebook", b"<svg/>", extension="svg", epoch=np.int64(3)).name == "codebook-custom-e003.svg"
    (tmp_path / "curve.webp").write_bytes(b"RIFF")
    assert run.figure("curve", tmp_path / "curve.webp", extension="webp").read_bytes() == b"RIFF"
    first = Recorded(run.dir).custom("figure")[0]
    assert first == {
        "kind": "figure",
        "family": "losses",
        "figure_moment": "on_epoch_end",
        "epoch": 19,
        "path": "figures/losses-on_epoch_end-e019.png",
    }


@pytest.mark.spec("S3.21", "S3.60")
@pytest.mark.parametrize(
    "draw",
    [
        lambda run: run.figure("losses", Figure(ValueError("no data yet"))),
        lambda run: run.figure("losses", "missing.png"),
        lambda run: run.figure("losses", None),
        lambda run: run.image("losses", Figure(ValueError("no data yet"))),
    ],
)
def test_figure_that_fails_to_draw(new_run, draw):
    """A figure that cannot be drawn is reported and leaves no part of a file; training goes on, and so do others."""
    run = new_run()
    with pytest.warns(RecordingWarning, match="recording of (figures|image) failed"):
        assert draw(run) is None
    run.log({"loss": 0.5}, step=1)
    assert [path for name in ("figures", "blobs") for path in (run.dir / name).rglob("*") if path.is_file()] == []
    assert run.figure("losses", Figure()) is not None
    run.finish()
    found = Recorded(run.dir)
    assert found.column("loss") == [0.5]
    assert found.exit.status == "finished"
    assert len(found.exit.ledger["failures"]) == 1


REFUSED = [
    (lambda run: run.image("a\nb", np.zeros((2, 2))), InvalidNameError, "image 'a\\nb': "),
    (lambda run: run.image("x", "missing.png"), MisuseError, "image 'x': 'missing.png' is no file; give the path"),
    (lambda run: run.image("x", np.zeros((2, 2, 7))), MisuseError, "(2, 2, 7)"),
    (lambda run: run.image("x", np.full((2, 2), 3.0)), MisuseError, "3.0"),
    (lambda run: run.image("x", np.zeros((2, 2)), step=math.nan), MisuseError, "step must be a finite number, not nan"),
    (lambda run: run.audio("x", "missing.wav", rate_hz=8000), MisuseError, "audio 'x': 'missing.wav' is no file"),
    (lambda run: run.audio("x", [2.0], rate_hz=8000), MisuseError, "2.0"),
    (lambda run: run.audio("x", [0.0], rate_hz=0), MisuseError, "rate_hz must be a positive integer, not 0"),
    (lambda run: run.histogram("x", ["a"]), MisuseError, "'a'"),
    (lambda run: run.histogram("x", [1.0], bins=0), MisuseError, "bins=0 cannot be"),
    (lambda run: run.histogram("", [1.0]), InvalidNameError, "histogram ''"),
    (lambda run: run.table("x", ["a", "a"], []), MisuseError, "column 1 of the table is named 'a'"),
    (lambda run: run.table("x", ["a"], [[1, 2]]), MisuseError, "row 0 of the table is [1, 2]"),
    (lambda run: run.table("x", ["a"], [[object()]]), MisuseError, "row 0, column 'a' is a builtins.object"),
    (lambda run: run.text("x", 5), MisuseError, "run.text: 'x' is a int, not a string; convert it with str()"),
    (lambda run: run.artifact("x", "missing.txt"), MisuseError, "artifact 'x': 'missing.txt' is no file"),
    (lambda run: run.artifact("x", 5), MisuseError, "artifact 'x': 5 is no file"),
    (lambda run: run.artifact("x", {"a": object()}), MisuseError, "the data.a is a builtins.object"),
    (lambda run: run.figure("a/b", b"x"), InvalidNameError, "plot family 'a/b'"),
    (lambda run: run.figure("a", b"x", moment="../x"), InvalidNameError, "moment '../x'"),
    (lambda run: run.figure("a", b"x", extension="/../x"), MisuseError, "extension '/../x' is none of png, webp, svg"),
    (lambda run: run.figure("a", b"x", epoch=1.5), MisuseError, "epoch must be an integer, not 1.5"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused_media(new_run, call, error, text):
    """What cannot be recorded by its nature is refused with the value; nothing of it is on disk, and it is no loss."""
    run = new_run()
    with pytest.raises(error) as caught:
        call(run)
    assert text in str(caught.value)
    assert Recorded(run.dir).moments == ["on_start"]
    assert sorted(path.name for path in run.dir.iterdir()) == ["config.yaml", "facts", "run.json"]
    assert (run.ledger.lost, run.ledger.failures) == (0, {})


def test_figures_of_one_name_are_all_kept(new_run):
    """A taken name gets a number, and the event names the file that was made."""
    run = new_run()
    paths = [run.figure("losses", content) for content in (b"1", b"2", b"3")]
    run.finish()
    assert [path.name for path in paths] == [f"losses-custom-e000{end}.png" for end in ("", "-2", "-3")]
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3"]
    assert [run.dir / figure["path"] for figure in Recorded(run.dir).custom("figure")] == paths


def test_series_are_named_like_metrics(new_run):
    """A slash is fine where no file has the name."""
    run = new_run()
    name = "layers/0/weight"
    run.histogram(name, [1.0, 2.0])
    run.image(name, np.zeros((2, 2)))
    run.audio(name, [0.0, 0.5], rate_hz=8000)
    run.text(name, "words")
    run.table(name, ["a"], [[1]])
    run.finish()
    for kind in ("histogram", "image", "audio", "text", "table"):
        assert [event["name"] for event in Recorded(run.dir).custom(kind)] == [name]
