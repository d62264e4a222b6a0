"""Writes what an importer read as the files of a run: rows, ``metrics.jsonl``, events, configuration, exit record.

Numbers are kept to the bit. What the format cannot hold as it is (a reserved name, a time that nobody told) is changed
and counted. Where the run's directory belongs is decided in ``convert``.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.facts.blobs import put_file
from barograph.facts.codec import plain
from barograph.facts.events import EventLog
from barograph.facts.kinds import EVENT_RESERVED
from barograph.facts.log import TextLog
from barograph.facts.metrics import METRIC_RESERVED
from barograph.facts.rows import StreamHeader, encode_header
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, write_exit
from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import ForeignMetrics, ForeignRun, whereabouts
from barograph.read.foreign.values import as_number, as_text, in_seconds, is_finite, places_beyond

MAX_STREAMS: Final = 1024
"""Further sets of names go to ``metrics.jsonl``. No descriptor is held, so it may be more than a training run opens."""
BUFFER_BYTES: Final = 1 << 18
ENDED: Final = ("finished", "failed", "killed")
CHUNK_ROWS: Final = 1 << 16
_UNIT_REASON: Final = "too great for seconds: taken as milliseconds, microseconds or nanoseconds"
_TEXT_REASON: Final = "no text that UTF-8 can hold: what it cannot is written as escapes"
_STEP_REASON: Final = "no finite number: the step of the record before stands for it, 0 at the beginning"
_LARGE_REASON: Final = "whole numbers beyond any float64: recorded as infinity"
_RESERVED_REASON: Final = "the name is the format's own; an underscore was put after it"
_NO_TIME_REASON: Final = "the source does not tell when; the time of its start, or of its file, stands for it"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """When an imported run was, and who it is here.

    Attributes:
        run_id: its identifier here.
        start_t: unix seconds of its start.
        end_t: unix seconds of its end, or of the last that is known of it.
        attempts: unix seconds of the first record of each attempt, infinite where nobody knows.
    """

    run_id: str
    start_t: float
    end_t: float
    attempts: Mapping[int, float]

    @property
    def last(self) -> int:
        """The latest attempt."""
        return max(self.attempts, default=0)

    @property
    def total_time_s(self) -> float:
        """How long it took."""
        return max(0.0, self.end_t - self.start_t)


StreamKey = tuple[str, int, int, tuple[str, ...]]


class MetricsWriter:
    """Writes blocks of metrics: a stream of rows per set of names, split, attempt and rank.

    Args:
        directory: the run's directory; its ``facts`` exists.
        run_id: goes into every header.
        fallback_t: unix seconds that stand for a time that the source does not tell.
        fidelity: where to count what was changed.

    Attributes:
        first_t: unix seconds of the first record of each attempt whose time the source tells.
        last_t: the newest such time; None when there is none.
    """

    def __init__(self, directory: RunDir, *, run_id: str, fallback_t: float, fidelity: Fidelity) -> None:
        self._directory, self._run_id, self._fallback_t, self._fidelity = directory, run_id, fallback_t, fidelity
        self._streams: dict[StreamKey, _Stream] = {}
        self._numbers: dict[int, int] = {}
        self._overflow: dict[int, TextLog] = {}
        self.first_t: dict[int, float] = {}
        self.last_t: float | None = None

    def add(self, block: ForeignMetrics) -> None:
        """Write a block, some thousand rows at a time.

        Raises:
            ValueError: its columns have not one length.
            OSError: it could not be written.
        """
        columns = self._named(block.columns)
        num_rows = len(block.steps)
        if any(len(column) != num_rows for column in (block.t, *columns.values())):
            raise ValueError(f"the columns {', '.join(columns)} and their steps and times have not one length")
        if not columns or not num_rows:
            return
        split = as_text(block.split)
        self._fidelity.change("splits", _TEXT_REASON, int(split != block.split))
        block = msgspec.structs.replace(block, split=split)
        stream = self._stream(block, tuple(columns))
        for start in range(0, num_rows, CHUNK_ROWS):
            end = start + CHUNK_ROWS
            steps = self._steps(block.steps[start:end])
            part = {name: self._within(column[start:end]) for name, column in columns.items()}
            self._add_rows(block, stream, steps, part, self._times(block.t[start:end], block.attempt))

    def _add_rows(
        self,
        block: ForeignMetrics,
        stream: _Stream | None,
        steps: Sequence[float],
        columns: Mapping[str, Sequence[float]],
        times: Sequence[float],
    ) -> None:
        beyond = places_beyond((steps, *columns.values()))
        if stream is not None and not beyond:
            stream.add([steps, *columns.values(), times])
            return
        for place, step in enumerate(steps):
            values = {name: as_number(column[place]) for name, column in columns.items()}
            if stream is not None and place not in beyond:
                stream.add([[step], *([value] for value in values.values()), [times[place]]])
            else:
                self._add_overflow(block, step, values, times[place])

    def _steps(self, steps: Sequence[float]) -> Sequence[float]:
        """The steps, those that no row can stand at replaced."""
        if all(map(is_finite, steps)):
            return steps
        found: list[float] = []
        for step in steps:
            found.append(step if is_finite(step) else found[-1] if found else 0)
        self._fidelity.change("steps", _STEP_REASON, sum(not is_finite(step) for step in steps))
        return found

    def _within(self, column: Sequence[float]) -> Sequence[float]:
        """The values, whole numbers that not even the greatest float64 comes near to as infinities."""
        if isinstance(column, array) or int not in set(map(type, column)):
            return column
        large = sum(not is_finite(value) for value in column if isinstance(value, int))
        self._fidelity.change("numbers", _LARGE_REASON, large)
        if not large:
            return column
        return [
            (math.inf if value > 0 else -math.inf) if isinstance(value, int) and not is_finite(value) else value
            for value in column
        ]

    def _named(self, columns: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
        """The columns under names that the format can hold, in one order for one set of names."""
        named: dict[str, Sequence[float]] = {}
        for name, column in sorted(columns.items()):
            text = free = as_text(name)
            free = free or "_"
            while free in METRIC_RESERVED or free in named or (free != name and free in columns):
                free += "_"
            if free != name:
                reason = _TEXT_REASON if text != name else _RESERVED_REASON
                self._fidelity.change(f"values of {name!r}", reason, len(column))
            named[free] = column
        return named

    def _times(self, times: Sequence[float], attempt: int) -> Sequence[float]:
        """The times, those that nobody told replaced: no recorded row may have ``t == 0``."""
        found = [in_seconds(t) for t in times]
        known = [t for t in found if t is not None]
        if known:
            self.first_t[attempt] = min(self.first_t.get(attempt, math.inf), min(known))  # noqa: PLW3301 - not so many arguments
            self.last_t = max(self.last_t or -math.inf, max(known))  # noqa: PLW3301 - the same
        self.first_t.setdefault(attempt, math.inf)
        scaled = sum(t is not None and t != told for t, told in zip(found, times, strict=True))
        self._fidelity.change("times", _UNIT_REASON, scaled)
        self._fidelity.change("times", _NO_TIME_REASON, len(found) - len(known))
        return (
            times if len(known) == len(found) and not scaled else [self._fallback_t if t is None else t for t in found]
        )

    def _stream(self, block: ForeignMetrics, names: tuple[str, ...]) -> _Stream | None:
        key = (block.split, block.attempt, block.rank, names)
        if key not in self._streams:
            if len(self._streams) >= MAX_STREAMS:
                return None
            number = self._numbers.get(block.rank, 0)
            self._numbers[block.rank] = number + 1
            header = StreamHeader(
                run_id=self._run_id,
                columns=["step", *names, "t"],
                split=block.split,
                attempt=block.attempt,
                rank=block.rank,
            )
            self._streams[key] = _Stream(self._directory.rows(number, rank=block.rank), header)
        return self._streams[key]

    def _add_overflow(self, block: ForeignMetrics, step: float, values: dict[str, float], t: float) -> None:
        log = self._overflow.get(block.rank)
        if log is None:
            log = self._overflow[block.rank] = TextLog(self._directory.overflow(block.rank))
        origin = {"split": block.split, "attempt": block.attempt, "rank": block.rank, "run_id": self._run_id}
        log.append({"step": step, **values, "t": t, **origin})

    def close(self) -> None:
        """Write what is still in memory, and close every file."""
        for stream in self._streams.values():
            stream.flush()
        for log in self._overflow.values():
            log.close()


class _Stream:
    """One rows file; no descriptor is held between writes."""

    def __init__(self, path: Path, header: StreamHeader) -> None:
        self._path, self._width = path, len(header.columns)
        self._rows = array("d")
        with path.open("xb") as file:
            file.write(encode_header(header))

    def add(self, columns: Sequence[Sequence[float]]) -> None:
        """Add rows, given as columns."""
        rows = array("d", bytes(8 * self._width * len(columns[0])))
        for place, column in enumerate(columns):
            rows[place :: self._width] = column if isinstance(column, array) else array("d", column)
        self._rows.extend(rows)
        if 8 * len(self._rows) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Append to the file what is in memory."""
        if sys.byteorder == "big":
            self._rows.byteswap()
        with self._path.open("ab") as file:
            file.write(self._rows)
        self._rows = array("d")


def write_events(
    directory: RunDir, foreign: ForeignRun, fidelity: Fidelity, *, span: Span, files: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the events of an imported run: its start, what the source tells in the order of its times, its end.

    Args:
        directory: the run's directory; its ``facts`` exists.
        foreign: the run.
        fidelity: where to count what was changed.
        span: when the run was.
        files: what to say of its files.
    """
    log = EventLog(directory.events(), clock=lambda: span.end_t)
    try:
        start = {"run_id": span.run_id, "name": foreign.name, "project": foreign.project}
        log.append("on_start", {key: value for key, value in start.items() if value is not None}, t=span.start_t)
        for payload in files:
            log.append("custom", plain(payload), t=span.start_t)
        for t, moment, payload in sorted(_told(foreign, span), key=lambda event: event[0]):
            log.append(*_safe(moment, payload, fidelity), t=t)
        for key, value in foreign.summary.items():
            log.append("custom", {"kind": "summary", "key": key, "value": plain(value, key)}, t=span.end_t)
        if foreign.status in ENDED:
            end = {"status": foreign.status, "total_time_s": span.total_time_s, "reason": foreign.reason}
            log.append("on_train_end", {**end, "summary": plain(foreign.summary), **_attempt(span.last)}, t=span.end_t)
    finally:
        log.close()


def _told(foreign: ForeignRun, span: Span) -> list[tuple[float, str, Mapping[str, Any]]]:
    """The source's own events, its texts, and the beginnings of later attempts."""

    def known(t: float | None) -> float:
        found = in_seconds(t)
        return span.start_t if found is None else found

    events: list[tuple[float, str, Mapping[str, Any]]] = [
        (known(t), moment, payload) for t, moment, payload in foreign.events
    ]
    for text in foreign.texts:
        step = {} if text.step is None else {"step": text.step}
        events.append((known(text.t), "custom", {"kind": "text", "name": text.name, **step, "text": text.text}))
    for attempt, t in span.attempts.items():
        if attempt:
            resumed = {"previous_attempt": attempt - 1, "previous_status": "unknown", **_attempt(attempt)}
            events.append((known(t), "on_resume", resumed))
    return events


def _attempt(number: int) -> dict[str, int]:
    return {"attempt": number} if number else {}


def _safe(moment: str, payload: Mapping[str, Any], fidelity: Fidelity) -> tuple[str, dict[str, Any]]:
    """A moment that is a name, and a payload without the line's own keys."""
    named = dict(payload) if moment.isidentifier() else {"kind": moment, **payload}
    taken: Collection[str] = EVENT_RESERVED.intersection(named)
    for key in taken:
        named[f"{key}_"] = named.pop(key)
    fidelity.change("keys of events", _RESERVED_REASON, len(taken))
    return (moment if moment.isidentifier() else "custom"), plain(named)


def keep_files(directory: RunDir, foreign: ForeignRun, fidelity: Fidelity, *, copy: bool) -> list[dict[str, Any]]:
    """What the run's events say of its files, which stay where they are, or are copied, each named by its content.

    Args:
        directory: the run's directory.
        foreign: the run.
        fidelity: where to count them.
        copy: whether to copy.
    """
    payloads: list[dict[str, Any]] = []
    for file in foreign.files:
        about = {"name": file.name, "source": str(whereabouts(file.path))}
        if not copy:
            payloads.append({"kind": "file", **about, "size_bytes": file.size_bytes})
            continue
        try:
            ref = put_file(directory.blobs, file.path)
        except OSError as error:
            fidelity.lose("files", f"{file.path} cannot be copied: {error.strerror}")
            continue
        payloads.append({"kind": "artifact", **about, "blob": ref})
    fidelity.keep("files (copied)" if copy else "files (where they lie)", len(payloads))
    return payloads


def write_config(directory: RunDir, foreign: ForeignRun, fidelity: Fidelity) -> None:
    """Write ``config.yaml``."""
    import yaml  # noqa: PLC0415 - 15 ms that whoever only reads need not pay

    try:
        content: str = yaml.safe_dump(plain(foreign.config, "config"), sort_keys=False, allow_unicode=True)
    except (TypeError, RecursionError) as error:
        fidelity.lose("configurations", str(error))
        content = "{}\n"
    directory.config.write_bytes(content.encode("utf-8", "backslashreplace"))


def write_end(directory: RunDir, foreign: ForeignRun, span: Span) -> None:
    """Write the exit record, when the source tells how the run ended."""
    if foreign.status in ENDED:
        record = ExitRecord(
            attempt=span.last,
            status=foreign.status,
            t=span.end_t,
            reason=foreign.reason,
            total_time_s=span.total_time_s,
            summary=plain(foreign.summary),
        )
        write_exit(directory.exit(), record)
