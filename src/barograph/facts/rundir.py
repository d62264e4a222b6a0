"""Every path of a run, named once, and the making of run directories.

No other module joins path names of a run's layout. Names are collision-free by atomic ``mkdir``.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Final

from barograph.errors import InvalidNameError, MisuseError

RUN_NAME: Final = re.compile(r"^run_(?P<time>\d{8}-\d{6})_(?P<name>.+)_job(?P<job>\d+)$")
ROWS_NAME: Final = re.compile(r"^metrics\.(?P<number>\d{3,})(?:\.rank(?P<rank>\d{3,}))?\.rows$")
SEALED_SUFFIX: Final = ".parquet"
SEALED_NAME: Final = re.compile(ROWS_NAME.pattern.replace("rows", SEALED_SUFFIX[1:]))
STREAM_NAME: Final = re.compile(ROWS_NAME.pattern.replace("rows", f"(?:rows|{SEALED_SUFFIX[1:]})"))
MAX_NAME_CHARACTERS: Final = 120
MAX_NAME_BYTES: Final = 200
"""File systems allow 255 bytes; the rest is for the time, the job and the extension."""
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")


def check_name(value: str, *, what: str) -> str:
    """Return ``value`` when it may stand in a file name.

    Raises:
        InvalidNameError: it is empty, too long, ``.`` or ``..``, or holds a control character or path separator.
    """
    if not isinstance(value, str):
        raise InvalidNameError(f"{what} must be a string, not {type(value).__name__}: {value!r}")
    found = _FORBIDDEN.search(value)
    if found:
        raise InvalidNameError(
            f"{what} {value!r} has {found.group()!r} at position {found.start()}; "
            f"use letters, digits, spaces and ._- without path separators or control characters"
        )
    num_bytes = len(value.encode("utf-8", "surrogatepass"))
    too_long = len(value) > MAX_NAME_CHARACTERS or num_bytes > MAX_NAME_BYTES
    if not value.strip() or value in (".", "..") or too_long:
        raise InvalidNameError(
            f"{what} {value[:40]!r} ({len(value)} characters) cannot name a file; "
            f"use 1 to {MAX_NAME_CHARACTERS} characters, {MAX_NAME_BYTES} bytes at most"
        )
    return value


def default_root(environ: os._Environ[str] | dict[str, str] = os.environ) -> Path:
    """Where runs go when nobody says: ``BAROGRAPH_ROOT``, else ``./runs``."""
    return Path(environ.get("BAROGRAPH_ROOT") or "runs")


def run_dir_name(name: str, when: dt.datetime, job: int) -> str:
    """``run_YYYYMMDD-HHMMSS_NAME_jobN``; spaces in the name become underscores."""
    slug = "_".join(name.split())
    return f"run_{when:%Y%m%d-%H%M%S}_{slug}_job{job}"


def create_run_dir(root: Path, name: str, *, when: dt.datetime) -> Path:
    """Make a new run directory with the first free job number; two processes never get the same one.

    Args:
        root: directory of runs; made when absent.
        name: the run's name.
        when: start of the run, UTC.

    Raises:
        MisuseError: ``root`` is a file.
        OSError: the directory cannot be made.
    """
    make_dir(root)
    job = 0
    while True:
        path = root / run_dir_name(name, when, job)
        try:
            path.mkdir()
        except FileExistsError:
            job += 1
        else:
            return path


def make_dir(path: Path) -> None:
    """Make a directory and its parents.

    Raises:
        MisuseError: the path, or one of its parents, is a file.
    """
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise MisuseError(f"{part} is a file, so {path} cannot be a directory of runs; name another directory")
    path.mkdir(parents=True, exist_ok=True)


def _suffix(rank: int, pid: int | None = None) -> str:
    return (f".rank{rank:03d}" if rank else "") + (f".pid{pid}" if pid else "")


class _Place:
    """A path of the layout, joined when it is first asked for: who reads thousands of runs needs few of each."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, directory: RunDir, owner: type | None = None) -> Path:
        found = directory.path.joinpath(*self._parts)
        directory.__dict__[self._name] = found
        return found


class RunDir:
    """The layout of one run's directory.

    Args:
        path: the directory.
    """

    facts = _Place("facts")
    figures = _Place("figures")
    details = _Place("details")
    blobs = _Place("blobs")
    identity = _Place("run.json")
    edits = _Place("edits.jsonl")
    config = _Place("config.yaml")
    train_log = _Place("train.log")
    console_log = _Place("console.log")
    alerts = _Place("facts", "alerts.jsonl")
    watch_lock = _Place("facts", "watch.lock")
    deliveries = _Place("facts", "deliveries.jsonl")
    deliveries_lock = _Place("facts", "deliveries.lock")
    scalars_csv = _Place("facts", "scalars.csv")
    best = _Place("best_val.pt")
    last = _Place("last.pt")
    model = _Place("model.pt")

    def __init__(self, path: Path) -> None:
        self.path = path

    def ensure_facts(self) -> Path:
        """Make the facts directory."""
        make_dir(self.facts)
        return self.facts

    def events(self, rank: int = 0, pid: int | None = None) -> Path:
        """``events.jsonl``, or the file of another rank or of a forked child."""
        return self.facts / f"events{_suffix(rank, pid)}.jsonl"

    def rows(self, number: int, rank: int = 0) -> Path:
        """``metrics.NNN.rows``, or another rank's."""
        return self.facts / f"metrics.{number:03d}{_suffix(rank)}.rows"

    def overflow(self, rank: int = 0, pid: int | None = None) -> Path:
        """``metrics.jsonl``, or the file of another rank or of a forked child."""
        return self.facts / f"metrics{_suffix(rank, pid)}.jsonl"

    def process(self, rank: int = 0) -> Path:
        """Who writes: process id, boot id, host; its modification time is the heartbeat."""
        return self.facts / f"process{_suffix(rank)}.json"

    def exit(self, rank: int = 0) -> Path:
        """How the last attempt ended; absent while it runs and after a kill."""
        return self.facts / f"exit{_suffix(rank)}.json"

    def watch_state(self, rank: int = 0) -> Path:
        """What the watch of a process has learned, to go on from; derived, so that it can be deleted."""
        return self.facts / f".watch{_suffix(rank)}.state"

    def flight(self, number: int, rank: int = 0) -> Path:
        """A dump of the flight recorder."""
        return self.facts / f"flight.{number:03d}{_suffix(rank)}.json.gz"

    def rows_files(self) -> list[Path]:
        """All rows files, oldest number first."""
        return sorted(self._facts_files(ROWS_NAME))

    def sealed_files(self) -> list[Path]:
        """All sealed streams, also those whose rows file is still there; in the order of ``rows_files``."""
        return sorted(self._facts_files(SEALED_NAME), key=unsealed)

    def stream_files(self) -> list[Path]:
        """One file per stream: its rows file, or the sealed one where that has gone; in the order of ``rows_files``."""
        found: dict[str, Path] = {}
        for path in self._facts_files(STREAM_NAME):
            rows = unsealed(path)
            if path is rows or rows.name not in found:
                found[rows.name] = path
        return [found[name] for name in sorted(found)]

    def events_files(self) -> list[Path]:
        """All event files: rank 0 first, then other ranks and forked children."""
        return self._text_files("events")

    def overflow_files(self) -> list[Path]:
        """All ``metrics*.jsonl`` files."""
        return self._text_files("metrics")

    def _text_files(self, stem: str) -> list[Path]:
        pattern = re.compile(rf"^{stem}(\.rank\d+)?(\.pid\d+)?\.jsonl$")
        return sorted(self._facts_files(pattern), key=lambda path: (len(path.name), path.name))

    def _facts_files(self, name: re.Pattern[str]) -> list[Path]:
        try:
            return [self.facts / found for found in os.listdir(self.facts) if name.match(found)]  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def attempt_config(self, attempt: int) -> Path:
        """The configuration of a later attempt, when it is not the first one's."""
        return self.path / f"config.attempt{attempt:03d}.yaml"

    def attempt_provenance(self, attempt: int) -> Path:
        """Where a later attempt came from."""
        return self.facts / f"provenance.attempt{attempt:03d}.json"

    def is_run(self) -> bool:
        """Whether a run is recorded here."""
        return self.identity.is_file() or self.events().is_file()


def sealed(rows: Path) -> Path:
    """Where the stream of a rows file is when it is sealed: ``metrics.000.parquet``."""
    return rows.with_suffix(SEALED_SUFFIX)


def unsealed(path: Path) -> Path:
    """The rows file of a stream, whichever of its two files is given."""
    return path.with_suffix(".rows") if path.name.endswith(SEALED_SUFFIX) else path


def rank_of(file_name: str) -> int:
    """The rank that wrote a file of facts: ``metrics.000.rank003.rows`` is rank 3's."""
    found = re.search(r"\.rank(\d+)\.", file_name)
    return int(found.group(1)) if found else 0


def figure_name(family: str, moment: str, epoch: int, extension: str = "png") -> str:
    """``FAMILY-MOMENT-eNNN.EXT``, e.g. ``losses-on_epoch_end-e019.png``."""
    check_name(family, what="plot family")
    check_name(moment, what="moment")
    return f"{family}-{moment}-e{epoch:03d}.{extension}"


def report_dir_name(name: str, when: dt.datetime) -> str:
    """``report_YYYYMMDD-HHMMSS_NAME``."""
    return f"report_{when:%Y%m%d-%H%M%S}_{check_name(name, what='report name')}"
