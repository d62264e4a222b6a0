"""Reads TensorBoard's event files without TensorFlow: a directory that holds some is one run.

Scalars are kept to the bit, as the float32 or float64 they were written as, each with its own wall time; texts and the
hparams plugin's configuration are kept, too. What else TensorBoard shows is counted as lost.
Sources: event.proto, summary.proto, tensor.proto and types.proto of https://github.com/tensorflow/tensorflow,
api.proto and plugin_data.proto of https://github.com/tensorflow/tensorboard (plugins/hparams).
"""

from __future__ import annotations

import math
import re
import struct
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, MutableSequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import EXACT_INT
from barograph.read.columns import unreadable
from barograph.read.foreign.documents import load_yaml
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import (
    ForeignFile,
    ForeignMetrics,
    ForeignRun,
    ForeignStatus,
    ForeignText,
    whereabouts,
)
from barograph.read.foreign.tensors import tensor_numbers, value_of
from barograph.read.foreign.wire import LENGTH, fields, iterate_tfrecords, read_varint, signed, text

NAME: Final = "tfevents"
MARK: Final = "tfevents"
HPARAMS_FILE: Final = "hparams.yaml"
UNKNOWN_END: Final = "event files do not tell how a run ended"
_STAMP: Final = re.compile(r"tfevents\.(\d+)")
_SCALAR_CLASS: Final = 1
_MIN_PLAIN_BYTES: Final = 20
_FLOAT: Final = struct.Struct("<f")
_DOUBLE: Final = struct.Struct("<d")
_SESSION_START: Final = 1
_STRING: Final = 7

_SHAPE: Final = re.compile(
    rb"\x2a(?P<summary>[\x00-\x7f])\x0a(?P<value>[\x00-\x7f])\x0a(?P<tag_size>[\x00-\x7f])(?P<tag>.*)\x15", re.DOTALL
)
"""What stands between time and step and the number of the commonest event: a summary of one tag and one float."""

_OTHER_VALUES: Final = {3: "histograms", 4: "images", 5: "histograms", 6: "audio clips"}
_OTHER_PLUGINS: Final = {
    "images": "images",
    "audio": "audio clips",
    "histograms": "histograms",
    "pr_curves": "PR curves",
}
_OTHER_EVENTS: Final = {4: "graphs", 6: "log messages", 8: "run metadata", 9: "graphs"}
_REASON: Final = "only scalars, texts and hyperparameters are imported"


class TfeventsImporter:
    """Reads directories of event files, or one file."""

    name = NAME

    def recognises(self, path: Path) -> bool:
        """Whether it is an event file, by its name as TensorBoard tells it, or a directory with one."""
        return bool(_event_files(path))

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The run of a directory; of a file, when one is named.

        Raises:
            FormatError: it is no event file, nor a directory with one.
        """
        files = _event_files(path)
        if not files:
            raise FormatError(f"{path} holds no event file (*{MARK}*); name the directory that TensorBoard would show")
        yield _Reader(path, files).run()


importer: Final = TfeventsImporter()


def _event_files(path: Path) -> list[Path]:
    """The event files of a directory by the time in their names, which is when they were begun."""
    try:
        files = [entry for entry in path.iterdir() if MARK in entry.name] if path.is_dir() else [path]
        found = [file for file in files if MARK in file.name and file.is_file() and file.stat().st_size]
    except OSError:
        return []
    return sorted(found, key=_begun)


def _begun(path: Path) -> tuple[int, str]:
    stamp = _STAMP.search(path.name)
    return (int(stamp[1]) if stamp else 0, path.name)


class _Series(msgspec.Struct):
    """The points of one tag in one attempt."""

    steps: MutableSequence[float]
    values: MutableSequence[float]
    t: MutableSequence[float]

    def add(self, step: float, value: float, t: float) -> None:
        """Add a point; integers beyond what a float64 holds keep the series as a list."""
        if isinstance(value, int) and abs(value) > EXACT_INT and isinstance(self.values, array):
            self.values = list(self.values)
        if not -EXACT_INT <= step <= EXACT_INT and isinstance(self.steps, array):
            self.steps = list(self.steps)
        self.steps.append(step)
        self.values.append(value)
        self.t.append(t)


class _Reader:
    """Collects what the event files of one run hold."""

    def __init__(self, source: Path, files: list[Path]) -> None:
        self._source, self._files = source, files
        self._fidelity = Fidelity()
        self._series: dict[tuple[int, str], _Series] = {}
        self._last_steps: dict[str, float] = {}
        self._attempt = 0
        self._of_file: set[str] = set()
        self._may_restart = False
        self._plugins: dict[str, str] = {}
        self._tags: dict[bytes, str] = {}
        self._texts: list[ForeignText] = []
        self._config: dict[str, Any] = {}
        self._group: str | None = None
        self._first_t: float | None = None
        self._ended_t: float | None = None
        self._status: ForeignStatus = "unknown"

    def run(self) -> ForeignRun:
        """Read everything."""
        for number, path in enumerate(self._files):
            self._may_restart = number > 0
            self._of_file.clear()
            try:
                for offset, event in iterate_tfrecords(path, self._fidelity.damage):
                    self._take_record(path, offset, event)
            except OSError as error:
                self._fidelity.damage.append(unreadable(path, error))
        directory = self._source if self._source.is_dir() else self._source.parent
        self._read_hparams_file(directory)
        self._fidelity.keep("numbers", sum(len(series.steps) for series in self._series.values()))
        self._fidelity.keep("texts", len(self._texts))
        self._fidelity.keep("settings", len(self._config))
        resolved = whereabouts(directory)
        return ForeignRun(
            tool=NAME,
            source=self._source,
            key="" if self._source.is_dir() else self._source.name,
            name=resolved.name or NAME,
            project=resolved.parent.name or None,
            group=self._group,
            config=self._config,
            created_t=self._first_t,
            ended_t=self._ended_t,
            status=self._status,
            reason=UNKNOWN_END if self._status == "unknown" else None,
            metrics=[
                ForeignMetrics(columns={tag: series.values}, steps=series.steps, t=series.t, attempt=attempt)
                for (attempt, tag), series in self._series.items()
            ],
            texts=self._texts,
            files=_other_files(self._source),
            fidelity=self._fidelity,
        )

    def _take_record(self, path: Path, offset: int, event: bytes) -> None:
        try:
            plain = _plain_scalar(event, self._tags)
            if plain is None:
                self._take_event(event)
            else:
                self._add(*plain)
        except (FormatError, struct.error) as error:
            self._fidelity.damage.append(
                Damage(path=str(path), offset=offset, size_bytes=len(event) + 16, reason=f"no event: {error}")
            )

    def _take_event(self, event: bytes) -> None:
        t, step = 0.0, 0
        values: list[bytes] = []
        for number, kind, value in fields(event):
            if number == 1:
                (t,) = struct.unpack("<d", value)
            elif number == 2:  # noqa: PLR2004 - the numbers of the fields of an Event
                step = signed(value)
            elif number == 5:  # noqa: PLR2004
                values += (item for place, _, item in fields(value) if place == 1)
            elif number == 7:  # noqa: PLR2004
                self._take_session(value)
            elif number in _OTHER_EVENTS and kind == LENGTH:
                self._fidelity.lose(_OTHER_EVENTS[number], _REASON)
        if self._first_t is None and t:
            self._first_t = t
        for value in values:
            self._take_value(value, step, t)

    def _take_session(self, log: bytes) -> None:
        """A writer that begins again says so; what it writes from there on supersedes what it wrote before."""
        if any(number == 1 and value == _SESSION_START for number, _, value in fields(log)) and self._series:
            self._begin_attempt("a writer began again")

    def _begin_attempt(self, why: str) -> None:
        self._attempt += 1
        self._may_restart = False
        self._last_steps.clear()
        self._fidelity.change("restarts", f"{why}: what it wrote is a later attempt, and supersedes the same steps")

    def _take_value(self, value: bytes, step: int, t: float) -> None:
        parts: dict[int, Any] = {number: item for number, _, item in fields(value)}
        tag = text(parts.get(1, b""))
        metadata = _metadata(parts[9]) if 9 in parts else None  # noqa: PLR2004 - the numbers of the fields of a Value
        if metadata is not None:
            self._plugins.setdefault(tag, metadata[0])
            if metadata[0] == "hparams":
                self._take_hparams(metadata[1])
                return
        other = next((what for number, what in _OTHER_VALUES.items() if number in parts), None)
        if 2 in parts:  # noqa: PLR2004
            (number,) = struct.unpack("<f", parts[2])
            self._add(tag, step, number, t)
        elif 8 in parts:  # noqa: PLR2004
            self._take_tensor(tag, parts[8], step, t)
        elif other is not None:
            self._fidelity.lose(other, _REASON)
        elif metadata is None:
            self._fidelity.lose("values without content", "there is nothing to import")

    def _take_tensor(self, tag: str, tensor: bytes, step: int, t: float) -> None:
        plugin = self._plugins.get(tag, "")
        occurrences: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        for number, kind, value in fields(tensor):
            occurrences[number].append((kind, value))
        dtype = occurrences[1][0][1] if occurrences[1] else 0
        if plugin in ("text", "") and dtype == _STRING:
            words = "\n".join(text(item) for _, item in occurrences[8])
            self._texts.append(ForeignText(name=tag, text=words, step=step, t=t or None))
            return
        numbers = tensor_numbers(dtype, occurrences) if plugin in ("scalars", "scalar", "") else None
        if numbers is not None and len(numbers) == 1:
            self._add(tag, step, numbers[0], t)
        else:
            self._fidelity.lose(_OTHER_PLUGINS.get(plugin, "tensors"), _REASON)

    def _add(self, tag: str, step: float, value: float, t: float) -> None:
        last_step = self._last_steps.get(tag, -math.inf)
        if self._may_restart and tag not in self._of_file and step <= last_step:
            self._begin_attempt("a later file goes back to earlier steps")
        self._of_file.add(tag)
        series = self._series.get((self._attempt, tag))
        if series is None:
            series = self._series[self._attempt, tag] = _Series(array("d"), array("d"), array("d"))
        series.add(step, value, t or math.nan)
        if step > last_step:
            self._last_steps[tag] = step

    def _take_hparams(self, content: bytes) -> None:
        for number, _, message in fields(content):
            if number == 3:  # noqa: PLR2004 - SessionStartInfo
                for place, _, value in fields(message):
                    if place == 1:
                        entry = {part: item for part, _, item in fields(value)}
                        self._config[text(entry.get(1, b""))] = value_of(entry.get(2, b""))
                    elif place == 4:  # noqa: PLR2004 - group_name
                        self._group = text(value) or None
            elif number == 4:  # noqa: PLR2004 - SessionEndInfo
                end: dict[int, Any] = {part: item for part, _, item in fields(message)}
                outcomes: Mapping[int, ForeignStatus] = {1: "finished", 2: "failed", 3: "running"}
                self._status = outcomes.get(end.get(1, 0), "unknown")
                if 2 in end and len(end[2]) == 8:  # noqa: PLR2004 - end_time_secs, a double
                    (self._ended_t,) = struct.unpack("<d", end[2])

    def _read_hparams_file(self, directory: Path) -> None:
        """Lightning's logger keeps the configuration in a file beside the event files."""
        path = directory / HPARAMS_FILE
        if not path.is_file():
            return
        try:
            found = load_yaml(path)
        except (FormatError, OSError) as error:
            self._fidelity.lose("configurations", f"{HPARAMS_FILE} cannot be read: {error}")
            return
        if isinstance(found, dict):
            self._config = {str(key): value for key, value in found.items()} | self._config


def _plain_scalar(event: bytes, tags: dict[bytes, str]) -> tuple[str, int, float, float] | None:
    """Tag, step, number and time of an event that holds these and nothing else; three times as fast as field by field.

    Args:
        event: the message.
        tags: by what is the same in all events of a tag; filled here.
    """
    if len(event) < _MIN_PLAIN_BYTES or event[0] != 0x09:  # noqa: PLR2004 - field 1, wall_time
        return None
    step, position = 0, 9
    if event[9] == 0x10:  # noqa: PLR2004 - field 2, step
        step, position = event[10], 11
        if step & 0x80:
            step, position = read_varint(event, 10)
            step = signed(step)
    shape = event[position:-4]
    tag = tags.get(shape)
    if tag is None:
        found = _SHAPE.fullmatch(shape)
        if found is None:
            return None
        summary, value, tag_size, name = found.groups()
        if (summary[0], value[0], tag_size[0]) != (len(name) + 9, len(name) + 7, len(name)):
            return None
        tag = tags[shape] = text(name)
    return tag, step, _FLOAT.unpack_from(event, len(event) - 4)[0], _DOUBLE.unpack_from(event, 1)[0]


def _metadata(message: bytes) -> tuple[str, bytes]:
    """The name of the plugin that a value belongs to, and what it keeps there."""
    for number, _, value in fields(message):
        if number == 1:
            parts = {place: item for place, _, item in fields(value)}
            return text(parts.get(1, b"")), parts.get(2, b"")
        if number == 4 and value == _SCALAR_CLASS:  # noqa: PLR2004 - data_class
            return "scalars", b""
    return "", b""


def _other_files(source: Path) -> list[ForeignFile]:
    """What lies beside the event files."""
    if not source.is_dir():
        return []
    files = sorted(path for path in source.iterdir() if path.is_file() and MARK not in path.name)
    return [ForeignFile(name=path.name, path=path, size_bytes=path.stat().st_size) for path in files]
