"""Follows a run's files as they grow: each fact once, in the order of its file.

The companion in the training process, ``barograph tail`` in another, and a replay over a finished run read through
this one class, so that they see the same facts. It remembers a byte offset per file and never waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from barograph.errors import FormatError
from barograph.facts.events import to_event
from barograph.facts.kinds import Event
from barograph.facts.log import SCAN_BYTES as TEXT_BYTES
from barograph.facts.log import Damage, TextScan, scan_text
from barograph.facts.rows import SCAN_BYTES, Row, RowScan, StreamHeader, read_header, scan_rows
from barograph.facts.rundir import SEALED_SUFFIX, RunDir, rank_of, sealed, unsealed

if TYPE_CHECKING:
    from barograph.read.sealed import Sealed

MAX_NUMBER: Final = 2**31 - 1
"""Of attempts and ranks, so that tables hold them in 32 bits."""
RECORD_KEYS: Final = frozenset({"step", "t", "split", "attempt", "rank", "run_id"})


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive rows of one stream; each row has one number per column of the header."""

    header: StreamHeader
    rows: list[Row]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record of ``metrics.jsonl``: keys too many, or an integer too large, for rows."""

    step: float
    t: float
    metrics: dict[str, Any]
    split: str = "train"
    attempt: int = 0
    rank: int = 0


Fact = Event | Rows | Record


class Consumer(Protocol):
    """What is done with facts: the terminal, the text log, ``scalars.csv``, the judge of criteria."""

    def feed(self, facts: Sequence[Fact]) -> None:
        """Take the next facts, in order; none, now and then, when time has passed without one."""

    def close(self) -> None:
        """No more facts will come."""


class Follower:
    """Reads what is new in a run's facts.

    Args:
        directory: the run.
        rank: read the files of this rank alone (and of its forked children); of all ranks, when not given.

    Attributes:
        damage: places that hold no fact, in the order they were met.
        unread_t: up to when the last poll read the files that may hold more than it took; infinite when none does.
    """

    def __init__(self, directory: RunDir, *, rank: int | None = None) -> None:
        self._directory = directory
        self._rank = rank
        self._offsets: dict[Path, int] = {}
        self._headers: dict[Path, StreamHeader] = {}
        self._sealed: dict[Path, Sealed] = {}
        self._refused: set[Path] = set()
        self._has_no_parquet = False
        self.damage: list[Damage] = []
        self.unread_t = math.inf

    def poll(self) -> list[Fact]:
        """What is new since the last poll; at most some megabytes per file, so a backlog takes several polls."""
        facts: list[Fact] = []
        self.unread_t = math.inf
        streams = self._mine(self._directory.stream_files())
        for path in sorted(streams, key=_is_rows):  # sealed ones first: what they need may be missing
            facts += self._poll_rows(path)
        for path in self._mine(self._directory.overflow_files()):
            facts += map(_to_record, self._poll_text(path))
        for path in self._mine(self._directory.events_files()):
            facts += map(to_event, self._poll_text(path))
        return facts

    def drain(self) -> list[Fact]:
        """Everything that is new."""
        facts: list[Fact] = []
        while new := self.poll():
            facts += new
        return facts

    def _mine(self, paths: list[Path]) -> list[Path]:
        return paths if self._rank is None else [path for path in paths if rank_of(path.name) == self._rank]

    def _poll_text(self, path: Path) -> list[dict[str, Any]]:
        while True:
            before = self._offsets.get(path, 0)
            scan = scan_text(path, before)
            if not self._has_moved(path, scan) or scan.records:
                if scan.records and scan.offset - before >= TEXT_BYTES // 2:
                    self.unread_t = min(self.unread_t, number(scan.records[-1].get("t")))
                return scan.records

    def _poll_rows(self, path: Path) -> list[Fact]:
        if path in self._refused:
            return []
        stream = unsealed(path)  # the offset is that of the rows file, also when it has been sealed since
        header = self._headers.get(stream) or self._read_header(path, stream)
        if header is None:
            return []
        while True:
            before = self._offsets.get(stream, 0)
            scan = self._scan(path, stream, header)
            if not self._has_moved(stream, scan) or scan.rows:
                if scan.rows and scan.offset - before >= SCAN_BYTES // 2:
                    self.unread_t = min(self.unread_t, scan.rows[-1][-1])
                return [Rows(header=header, rows=scan.rows)] if scan.rows else []

    def _scan(self, path: Path, stream: Path, header: StreamHeader) -> RowScan:
        offset = self._offsets.get(stream, 0)
        try:
            if path == stream:
                return scan_rows(path, header, offset)
            return self._scan_sealed(path, offset)
        except FileNotFoundError:  # it was sealed or unsealed since the directory was listed
            if path == stream:
                return self._scan_sealed(sealed(stream), offset)
            return scan_rows(stream, header, offset)

    def _scan_sealed(self, path: Path, offset: int) -> RowScan:
        from barograph.read.sealed import scan_sealed  # noqa: PLC0415 - a run that records has no use for it

        try:
            footer = self._footer(path)
            if not self._has_no_parquet:
                return scan_sealed(footer, offset)
            self._refuse(path, "cannot be read: there is no pyarrow")
        except FormatError as error:
            self._refuse(path, str(error))
        except ModuleNotFoundError:  # said once; whoever goes on polling gets what can be read without it
            self._has_no_parquet = True
            raise
        return RowScan(rows=[], offset=offset, damage=[])

    def _footer(self, path: Path) -> Sealed:
        from barograph.read.sealed import read_sealed  # noqa: PLC0415 - the same

        found = self._sealed.get(path)
        if found is None:
            found = self._sealed[path] = read_sealed(path)
        return found

    def _has_moved(self, path: Path, scan: TextScan | RowScan) -> bool:
        """Note where a scan ended. One that moved and found nothing met damage only: there may be facts behind it."""
        before = self._offsets.get(path, 0)
        self._offsets[path] = scan.offset
        self.damage += scan.damage
        return scan.offset > before

    def _read_header(self, path: Path, stream: Path) -> StreamHeader | None:
        try:
            header = self._footer(path).header if path.name.endswith(SEALED_SUFFIX) else read_header(path)
        except FileNotFoundError:
            return None
        except FormatError as error:
            self._refuse(path, str(error))
            return None
        if header is not None:
            self._headers[stream] = header
        return header

    def _refuse(self, path: Path, reason: str) -> None:
        self._refused.add(path)
        self.damage.append(Damage(path=str(path), offset=0, size_bytes=path.stat().st_size, reason=reason))


def _is_rows(path: Path) -> bool:
    return not path.name.endswith(SEALED_SUFFIX)


def _to_record(line: dict[str, Any]) -> Record:
    return Record(
        step=number(line.get("step")),
        t=number(line.get("t")),
        split=str(line.get("split", "train")),
        attempt=whole(line.get("attempt")),
        rank=whole(line.get("rank")),
        metrics={key: value for key, value in line.items() if key not in RECORD_KEYS},
    )


def is_number(value: Any) -> bool:
    """Whether a value of a JSON record is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> float:
    """The value where it is a number, else 0."""
    return value if is_number(value) else 0.0


def whole(value: Any, otherwise: int = 0) -> int:
    """The value where it can number an attempt or a rank, else another one: records of other hands hold anything."""
    return value if type(value) is int and 0 <= value <= MAX_NUMBER else otherwise
