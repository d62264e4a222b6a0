"""Text logs with ``metric {json}`` lines, as the logging guide has loguru write them: *.log, also rotated and gzipped.

    2026-11-20 12:00:00 | INFO | metric {"epoch": 0, "step": 100, "loss": 0.512, "split": "val", "seed": 1}

The logs of one directory belong together. Runs are told apart by ``run_id`` and ``seed``; without them, by file, but
for the files that one run has (``train.log``, ``eval.log``, and what rotation made of them).
"""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, TypeGuard

import msgspec

from barograph.errors import FormatError
from barograph.facts.codec import decode
from barograph.facts.log import Damage
from barograph.read.foreign.protocol import ForeignFile, ForeignRun, ForeignText, whereabouts
from barograph.read.foreign.records import Gathered, count_changes, sort_record
from barograph.read.foreign.values import is_finite

LOG_NAME: Final = re.compile(r"^(?P<stem>.+?)(?:\.\d{4}-\d\d-\d\d[_T][\d_-]+)?\.log(?:\.(?P<age>\d+))?(?:\.gz)?$")
LINE: Final = re.compile(
    rb"^(?:(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d{1,6}))?\d*)?"
    rb"(?:.*?[ |:-] )??metric (?P<record>\{.*)$"
)
ONE_RUN: Final = frozenset({"train", "eval", "val", "valid", "validation", "test"})
TIERS: Final = frozenset({"quick", "full"})
IDENTITY: Final = ("run_id", "seed")
PROBE_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 16 << 20
"""No metric line is longer; a few kilobytes of a compressed file may stand for one that fills the memory."""
_MAX_REASONS: Final = 3
_MARK: Final = b"metric {"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One metric line.

    Attributes:
        stem: of the file: ``train`` of ``train.log`` and of its rotated parts.
        t: unix seconds; NaN when the line has no time.
        record: what was logged.
    """

    stem: str
    t: float
    record: dict[str, Any]


class Scan(msgspec.Struct, kw_only=True):
    """What the files of one source hold beside their metric lines."""

    damage: list[Damage] = []
    num_other: dict[str, int] = {}


class MetricLogImporter:
    """Reads a directory's text logs, or one of them that is named."""

    name = "metric_log"

    def recognises(self, path: Path) -> bool:
        """Whether there is a metric line at the beginning (1 MiB) of the file, or of a log in the directory."""
        return any(map(_begins_with_metrics, log_files(path)))

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The runs in the logs, in the order of their first lines.

        Raises:
            FormatError: no metric line can be read.
            OSError: a log cannot be read.
        """
        scan = Scan()
        runs: dict[tuple[str, ...], _Collector] = {}
        files = log_files(path)
        for file in files:
            for line in metric_lines(file, scan):
                identity = _identity(line)
                collector = runs.get(identity)
                if collector is None:
                    collector = runs[identity] = _Collector(_run(path, identity, line))
                collector.add(line)
        if not runs:
            reasons = "; ".join(place.reason for place in scan.damage[:_MAX_REASONS]) or "no metric line that ends"
            raise FormatError(f"{path} has no metric line that can be read ({reasons}); name another log, or mend it")
        for collector in runs.values():
            run = collector.finished(alone=len(runs) == 1)
            mine = [file for file in files if stem_of(file) in collector.stems]
            run.files = [ForeignFile(name=file.name, path=file, size_bytes=file.stat().st_size) for file in mine]
            run.fidelity.damage += [place for place in scan.damage if Path(place.path) in mine]
            others = sum(scan.num_other.get(str(file), 0) for file in mine)
            run.fidelity.lose("text lines", "only metric lines hold numbers; the logs stay where they are", others)
            yield run


importer: Final = MetricLogImporter()


def log_files(path: Path) -> list[Path]:
    """The logs that a path means, the oldest part of a rotated one first."""
    if path.is_file():
        return [path] if LOG_NAME.match(path.name) else []
    try:
        found = [entry for entry in path.iterdir() if LOG_NAME.match(entry.name) and entry.is_file()]
    except OSError:
        return []
    return sorted(found, key=_age)


def _age(path: Path) -> tuple[str, bool, int, str]:
    """Sorts the parts of a rotated log: ``.log.2`` before ``.log.1``, dated ones by their dates, ``.log`` last."""
    found = LOG_NAME.match(path.name)
    return stem_of(path), path.name.endswith(".log"), -int(found["age"] or 0) if found else 0, path.name


def stem_of(path: Path) -> str:
    """``train`` of ``train.log``, ``train.2026-11-20_12-00-00_000000.log.gz`` and ``train.log.1``.

    >>> stem_of(Path("train.2026-11-20_12-00-00_000000.log.gz"))
    'train'
    """
    found = LOG_NAME.match(path.name)
    return found["stem"] if found else path.stem


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def _begins_with_metrics(path: Path) -> bool:
    try:
        with _open(path) as file:
            return _MARK in file.read(PROBE_BYTES)
    except (OSError, EOFError, zlib.error):
        return False


def metric_lines(path: Path, scan: Scan) -> Iterator[Line]:
    """The metric lines of one log; torn and damaged ones are noted in ``scan``, other lines counted there."""
    stem, offset = stem_of(path), 0
    for line in _whole_lines(path, scan):
        found = LINE.match(line)
        if found:
            try:
                yield Line(stem=stem, t=_unix_seconds(found), record=decode(found["record"]))
            except (FormatError, ValueError) as error:
                scan.damage.append(Damage(path=str(path), offset=offset, size_bytes=len(line) + 1, reason=str(error)))
        elif line.strip():
            scan.num_other[str(path)] = scan.num_other.get(str(path), 0) + 1
        offset += len(line) + 1


def _whole_lines(path: Path, scan: Scan) -> Iterator[bytes]:
    """The lines that end; offsets are those of the text, also where it is compressed."""
    offset = 0
    with _open(path) as file:
        try:
            while line := file.readline(MAX_LINE_BYTES):
                size = len(line)
                if line.endswith(b"\n"):
                    yield line[:-1]
                else:
                    reason = "the last line is torn"
                    if size == MAX_LINE_BYTES:
                        reason = f"a line of more than {MAX_LINE_BYTES} bytes"
                        size += _skip_line(file)
                    scan.damage.append(Damage(path=str(path), offset=offset, size_bytes=size, reason=reason))
                offset += size
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = f"the compressed file is damaged from here on: {error}"
            scan.damage.append(Damage(path=str(path), offset=offset, size_bytes=0, reason=reason))


def _skip_line(file: gzip.GzipFile | IO[bytes]) -> int:
    """Read on to the end of a line; how many bytes that were."""
    size = 0
    while part := file.readline(MAX_LINE_BYTES):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _unix_seconds(found: re.Match[bytes]) -> float:
    if found["time"] is None:
        return math.nan
    fraction = found["fraction"]
    return _second(found["time"]) + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


@functools.lru_cache(maxsize=64)
def _second(time: bytes) -> float:
    """Loguru writes the clock of the machine; a line does not name its zone. Many lines have the same second."""
    return dt.datetime.fromisoformat(time.decode("ascii")).timestamp()


def _identity(line: Line) -> tuple[str, ...]:
    told = tuple(f"{key}={line.record[key]}" for key in IDENTITY if line.record.get(key) is not None)
    if told or line.stem in ONE_RUN:
        return told
    return (f"file={line.stem}",)


def _run(path: Path, identity: tuple[str, ...], line: Line) -> ForeignRun:
    """A run, by its first line."""
    directory = _directory(path)
    tier = directory.name if directory.name in TIERS else None
    told = "-".join(part.partition("=")[2] if part.startswith("file=") else part.replace("=", "") for part in identity)
    run_id = line.record.get("run_id")
    return ForeignRun(
        tool=MetricLogImporter.name,
        source=path,
        key=" ".join(identity),
        name=f"{directory.name}-{told}" if identity else directory.name,
        group=directory.parent.name if tier else None,
        tags=[tier] if tier else [],
        provenance={} if run_id is None else {"logged_run_id": str(run_id)},
        seed=_whole(line.record.get("seed")),
    )


def _directory(path: Path) -> Path:
    return whereabouts(path.parent if path.is_file() else path)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_place(value: Any) -> TypeGuard[float]:
    """Whether a value can be a step: a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and is_finite(value)


class _Collector:
    """Turns a run's metric lines into its numbers and texts."""

    def __init__(self, run: ForeignRun) -> None:
        self.stems: set[str] = set()
        self._run = run
        self._fidelity = run.fidelity
        self._gathered = Gathered(run.fidelity)
        self._latest_step: float | None = None

    def finished(self, *, alone: bool) -> ForeignRun:
        """The run of all lines.

        Args:
            alone: no other run is in the logs: it is called like their directory.
        """
        if alone:
            self._run.name = whereabouts(
                self._run.source if self._run.source.is_dir() else self._run.source.parent
            ).name
        times = [t for t in self._gathered.times() if not math.isnan(t)]
        whole = [t for t in times if t % 1 == 0]
        zone = "the log names no time zone: taken as this machine's"
        self._fidelity.change("times", zone, len(times))
        self._fidelity.change("times", "the log has them to the second", len(whole))
        self._run.metrics = self._gathered.metrics()
        self._fidelity.keep("texts", len(self._run.texts))
        return self._run

    def add(self, line: Line) -> None:
        """Add a metric line."""
        self.stems.add(line.stem)
        if self._run.created_t is None and not math.isnan(line.t):
            self._run.created_t = line.t
        record = {key: value for key, value in line.record.items() if key not in IDENTITY}
        split = record.pop("split", None)
        step = self._step(record, record.pop("step", None))
        found = sort_record(record)
        self._gathered.add(found.numbers, step=step, t=line.t, split=self._split(split, line.stem))
        t = None if math.isnan(line.t) else line.t
        self._run.texts += [ForeignText(name=name, text=text, step=step, t=t) for name, text in found.texts.items()]
        count_changes(self._fidelity, found)
        for value in found.others.values():
            what = "missing values" if value is None else "lists"
            self._fidelity.lose(what, "a metric is one number")

    def _step(self, record: dict[str, Any], given: Any) -> float:
        """The record's step; an epoch's record without one stands at the newest step before it, else at its epoch."""
        if _is_place(given):
            self._latest_step = given
            return given
        epoch = record.get("epoch")
        if self._latest_step is not None:
            self._fidelity.change("unplaced records", "without a step: at the newest step before them")
            return self._latest_step
        if _is_place(epoch):
            self._fidelity.change("unplaced records", "without a step: at their epoch")
            return epoch
        self._fidelity.change("unplaced records", "without a step: at step 0")
        return 0

    def _split(self, given: Any, stem: str) -> str:
        if isinstance(given, str) and given:
            return given
        if stem in ONE_RUN and stem != "train":
            self._fidelity.change("unassigned records", f"without a split: taken as {stem!r}, as their file is called")
            return stem
        return "train"
