"""Figures, images, audio, histograms, tables, texts and artifacts: a blob by content and an event that names it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from barograph.errors import MisuseError
from barograph.facts.blobs import BlobRef, put_bytes, put_file
from barograph.facts.codec import encode, plain
from barograph.facts.kinds import Event
from barograph.facts.rundir import check_name, figure_name, make_dir
from barograph.record.attempt import Attempt


class MediaCalls:
    """Calls of ``Run`` that store something big; mixed into it, not used alone."""

    def _open(self) -> Attempt:
        raise AssertionError("Run says which attempt is open")

    def _store(self, kind: str, name: str, ref: BlobRef, **about: Any) -> Event | None:
        known = {key: value for key, value in about.items() if value is not None}
        blob = msgspec.structs.asdict(ref)
        return self._open().record("custom", {"kind": kind, "name": name, **known, "blob": blob})

    def _store_bytes(self, kind: str, name: str, data: bytes, media_type: str, **about: Any) -> Event | None:
        attempt = self._open()
        with attempt.guard.boundary(kind, lost=1):
            ref = put_bytes(attempt.directory.blobs, data, media_type=media_type)
            return self._store(kind, name, ref, **about)
        return None

    def image(self, name: str, image: Any, *, step: float | None = None, caption: str | None = None) -> Event | None:
        """Record an image.

        Args:
            name: images of one name form a series.
            image: an array of shape (H, W), (H, W, 3) or (H, W, 4), uint8 or floats in [0, 1]; a Pillow image, a
                matplotlib figure; bytes or the path of an image file.
            step: training step.
            caption: free text.
        """
        from barograph.record.media import image_bytes  # noqa: PLC0415 - runs without images do not load it

        data, media_type = image_bytes(image)
        return self._store_bytes("image", check_name(name, what="image"), data, media_type, step=step, caption=caption)

    def audio(self, name: str, samples: Any, *, rate_hz: int, step: float | None = None) -> Event | None:
        """Record sound.

        Args:
            name: sounds of one name form a series.
            samples: floats in [-1, 1], of shape (N,) or (N, channels); or the path of an audio file.
            rate_hz: samples per second.
            step: training step.
        """
        from barograph.record.media import wav_bytes  # noqa: PLC0415 - the same

        data = Path(samples).read_bytes() if isinstance(samples, (str, os.PathLike)) else wav_bytes(samples, rate_hz)
        name = check_name(name, what="audio")
        return self._store_bytes("audio", name, data, "audio/wav", step=step, rate_hz=rate_hz)

    def histogram(
        self, name: str, values: Any, *, bins: int | Sequence[float] = 64, step: float | None = None
    ) -> Event | None:
        """Record the distribution of many numbers: counts between edges, non-finite ones counted apart.

        Args:
            name: histograms of one name form a series.
            values: an array or a sequence of numbers.
            bins: how many, or their edges.
            step: training step.
        """
        from barograph.record.media import histogram  # noqa: PLC0415 - the same

        counted = histogram(values, bins=bins)
        about = {} if step is None else {"step": step}
        name = check_name(name, what="histogram")
        return self._open().record("custom", {"kind": "histogram", "name": name, **about, "histogram": counted})

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: float | None = None
    ) -> Event | None:
        """Record a table; every row has one cell per column."""
        from barograph.record.media import table  # noqa: PLC0415 - the same

        data = encode(table(columns, rows))
        about = {"step": step, "num_rows": len(rows), "columns": list(columns)}
        return self._store_bytes("table", check_name(name, what="table"), data, "application/json", **about)

    def text(self, name: str, text: str, *, step: float | None = None) -> Event | None:
        """Record words; texts of one name form a series."""
        if not isinstance(text, str):
            raise MisuseError(f"run.text: {name!r} is a {type(text).__name__}, not a string; convert it with str()")
        about = {} if step is None else {"step": step}
        return self._open().record(
            "custom", {"kind": "text", "name": check_name(name, what="text"), **about, "text": text}
        )

    def figure(
        self, family: str, figure: Any, *, moment: str = "custom", epoch: int = 0, extension: str = "png"
    ) -> Path | None:
        """Save a figure as ``figures/FAMILY-MOMENT-eNNN.EXT`` and record it.

        A figure that cannot be drawn is reported and skipped; training goes on.

        Args:
            family: e.g. ``losses``.
            figure: anything with ``savefig`` (matplotlib), or bytes, or the path of an image file.
            moment: when it was made, e.g. ``on_epoch_end``.
            epoch: number of the epoch.
            extension: ``png``, ``webp`` or ``svg``.

        Returns:
            The file, or None when it could not be made.
        """
        attempt = self._open()
        path = attempt.directory.figures / figure_name(family, moment, epoch, extension)
        with attempt.guard.boundary("figures"):
            make_dir(path.parent)
            if hasattr(figure, "savefig"):
                figure.savefig(path)
            else:
                path.write_bytes(figure if isinstance(figure, bytes) else Path(figure).read_bytes())
            about = {"kind": "figure", "family": family, "figure_moment": moment, "epoch": epoch}
            attempt.record("custom", {**about, "path": str(path.relative_to(attempt.directory.path))})
            return path
        return None

    def artifact(
        self,
        name: str,
        source: str | os.PathLike[str] | bytes | Mapping[str, Any],
        *,
        media_type: str = "application/octet-stream",
    ) -> Event | None:
        """Store a copy of a file, bytes, or JSON data under its content's hash.

        Args:
            name: what it is, e.g. ``tokenizer.json``.
            source: the path of a file, bytes, or a mapping.
            media_type: what kind of content.

        Raises:
            MisuseError: there is no such file.
        """
        name = check_name(name, what="artifact")
        if isinstance(source, bytes):
            return self._store_bytes("artifact", name, source, media_type)
        if isinstance(source, Mapping):
            return self._store_bytes("artifact", name, encode(plain(source)), "application/json")
        path = Path(source)
        if not path.is_file():
            raise MisuseError(f"artifact {name!r}: {str(path)!r} is no file; give the path of a file that exists")
        attempt = self._open()
        with attempt.guard.boundary("artifact", lost=1):
            ref = put_file(attempt.directory.blobs, path, media_type=media_type)
            return self._store("artifact", name, ref, source=str(path))
        return None
