"""Figures, images, audio, histograms, tables, texts and artifacts: a blob by content and an event that names it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import InvalidMetricError, InvalidNameError, MisuseError
from barograph.facts.blobs import BlobRef, put_bytes, put_file
from barograph.facts.codec import encode, plain
from barograph.facts.kinds import Event
from barograph.facts.rundir import check_name, figure_name, make_dir
from barograph.record.arguments import whole
from barograph.record.attempt import Attempt
from barograph.record.detail_files import publish
from barograph.record.values import check_metric_name, check_step

EXTENSIONS: Final = ("png", "webp", "svg")
AUDIO_TYPES: Final = {".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".ogg": "audio/ogg"}


class MediaCalls:
    """Calls of ``Run`` that store something big; mixed into it, not used alone.

    What cannot be recorded by its nature is misuse and raises at once. What fails on the way, such as a figure that
    cannot be drawn, is reported and counted, and training goes on.
    """

    def _open(self) -> Attempt:
        raise AssertionError("Run says which attempt is open")

    def _record(self, moment: str, payload: Mapping[str, Any]) -> Event | None:
        raise AssertionError(f"Run records {moment!r} with {len(payload)} keys")

    def _store(self, kind: str, name: str, ref: BlobRef | None, **about: Any) -> Event | None:
        if ref is None:
            return None
        known = {key: value for key, value in about.items() if value is not None}
        return self._record("custom", {"kind": kind, "name": name, **known, "blob": msgspec.structs.asdict(ref)})

    def _store_bytes(self, kind: str, name: str, make: Callable[[], tuple[bytes, str]], **about: Any) -> Event | None:
        """Store what ``make`` returns, bytes and their media type, and record it."""
        attempt = self._open()
        _check_series(name, kind)
        if about.get("step") is not None:
            about["step"] = check_step(about["step"])
        ref: BlobRef | None = None
        with attempt.guard.boundary(kind, lost=1):
            data, media_type = make()
            ref = put_bytes(attempt.directory.blobs, data, media_type=media_type)
        return self._store(kind, name, ref, **about)

    def _record_data(self, kind: str, name: str, step: float | None, **data: Any) -> Event | None:
        """Record something small in the event itself."""
        about = {} if step is None else {"step": check_step(step)}
        _check_series(name, kind)
        return self._record("custom", {"kind": kind, "name": name, **about, **data})

    def image(self, name: str, image: Any, *, step: float | None = None, caption: str | None = None) -> Event | None:
        """Record an image.

        Args:
            name: images of one name form a series.
            image: an array of shape (H, W), (H, W, 3) or (H, W, 4), uint8 or floats in [0, 1]; a Pillow image, a
                matplotlib figure; bytes or the path of an image file.
            step: training step.
            caption: free text.

        Raises:
            MisuseError: it is no image, or there is no such file.
        """
        from barograph.record.media import image_bytes  # noqa: PLC0415 - runs without images do not load it

        if isinstance(image, (str, os.PathLike)):
            image = existing_file(image, what=f"image {name!r}")
        return self._store_bytes("image", name, lambda: image_bytes(image), step=step, caption=caption)

    def audio(self, name: str, samples: Any, *, rate_hz: int, step: float | None = None) -> Event | None:
        """Record sound.

        Args:
            name: sounds of one name form a series.
            samples: floats in [-1, 1], of shape (N,) or (N, channels); or the path of an audio file.
            rate_hz: samples per second.
            step: training step.

        Raises:
            MisuseError: it is no sound, or there is no such file.
        """
        from barograph.record.media import wav_bytes  # noqa: PLC0415 - the same

        def make() -> tuple[bytes, str]:
            if path is None:
                return wav_bytes(samples, rate_hz), "audio/wav"
            return path.read_bytes(), AUDIO_TYPES.get(path.suffix.lower(), "application/octet-stream")

        is_path = isinstance(samples, (str, os.PathLike))
        path = existing_file(samples, what=f"audio {name!r}") if is_path else None
        return self._store_bytes("audio", name, make, step=step, rate_hz=rate_hz)

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

        counted: dict[str, Any] = {}
        with self._open().guard.boundary("histogram", lost=1):
            counted = histogram(values, bins=bins)
        return self._record_data("histogram", name, step, histogram=counted) if counted else None

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, step: float | None = None
    ) -> Event | None:
        """Record a table; every row has one cell per column."""
        from barograph.record.media import table  # noqa: PLC0415 - the same

        content = table(columns, rows)
        about = {"step": step, "num_rows": len(content["rows"]), "columns": content["columns"]}
        return self._store_bytes("table", name, lambda: (encode(content), "application/json"), **about)

    def text(self, name: str, text: str, *, step: float | None = None) -> Event | None:
        """Record words; texts of one name form a series."""
        if not isinstance(text, str):
            raise MisuseError(f"run.text: {name!r} is a {type(text).__name__}, not a string; convert it with str()")
        return self._record_data("text", name, step, text=text)

    def figure(
        self, family: str, figure: Any, *, moment: str = "custom", epoch: int = 0, extension: str = "png"
    ) -> Path | None:
        """Save a figure as ``figures/FAMILY-MOMENT-eNNN.EXT`` and record it.

        A figure that cannot be drawn is reported and skipped; training goes on. None is ever overwritten: when the name
        is taken, ``-2`` (``-3``, ...) is put after the epoch.

        Args:
            family: e.g. ``losses``.
            figure: anything with ``savefig`` (matplotlib), or bytes, or the path of an image file.
            moment: when it was made, e.g. ``on_epoch_end``.
            epoch: number of the epoch.
            extension: ``png``, ``webp`` or ``svg``.

        Returns:
            The file, or None when it could not be made.

        Raises:
            MisuseError: the family, the moment, the epoch or the extension cannot stand in the file's name.
        """
        attempt = self._open()
        if extension not in EXTENSIONS:
            raise MisuseError(f"figure extension {extension!r} is none of {', '.join(EXTENSIONS)}; choose one")
        folder, suffix = attempt.directory.figures, f".{extension}"
        stem = figure_name(family, moment, whole(epoch, what="epoch"), extension).removesuffix(suffix)
        path: Path | None = None
        with attempt.guard.boundary("figures"):
            make_dir(folder)
            path = folder / f"{publish(folder, stem, {suffix: lambda free: _draw(figure, free)})}{suffix}"
        if path is None:
            return None
        about = {"kind": "figure", "family": family, "figure_moment": moment, "epoch": epoch}
        self._record("custom", {**about, "path": str(path.relative_to(attempt.directory.path))})
        return path

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
            return self._store_bytes("artifact", name, lambda: (source, media_type))
        if isinstance(source, Mapping):
            try:
                data = encode(plain(source, "the data"))
            except (TypeError, ValueError) as error:
                raise MisuseError(f"artifact {name!r}: {error}") from None
            return self._store_bytes("artifact", name, lambda: (data, "application/json"))
        path = existing_file(source, what=f"artifact {name!r}")
        attempt = self._open()
        ref: BlobRef | None = None
        with attempt.guard.boundary("artifact", lost=1):
            ref = put_file(attempt.directory.blobs, path, media_type=media_type)
        return self._store("artifact", name, ref, source=str(path))


def existing_file(path: Any, *, what: str) -> Path:
    """The path of a file that is there.

    Raises:
        MisuseError: it is not.
    """
    if not isinstance(path, (str, os.PathLike)) or not Path(path).is_file():
        raise MisuseError(f"{what}: {path!r:.200} is no file; give the path of a file that exists")
    return Path(path)


def _check_series(name: Any, kind: str) -> None:
    """Names of series are like names of metrics: ``layers/0/weight``; none of them becomes a file's name."""
    try:
        check_metric_name(name)
    except InvalidMetricError as error:
        raise InvalidNameError(f"{kind} {name!r:.80}: {error}") from None


def _draw(figure: Any, path: Path) -> None:
    """Make the figure's file, whole or not at all."""
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if hasattr(figure, "savefig"):
            figure.savefig(part)
        else:
            part.write_bytes(figure if isinstance(figure, bytes) else Path(figure).read_bytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
