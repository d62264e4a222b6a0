"""What a watch has learned, kept in the run's directory, so that a run that is resumed is not read from its beginning.

Facts come first: what was kept is used when nothing has changed of what it came from (the detectors and the code they
rest on, rules, roles, configuration, and every file up to the place to which it was read), and is ignored otherwise.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from barograph.errors import FormatError
from barograph.facts.descriptor import replace_file
from barograph.facts.rows import StreamHeader, read_header
from barograph.facts.rundir import RunDir, sealed
from barograph.read.follow import Follower
from barograph.read.sealed import read_sealed
from barograph.watch.detector import Detector

FORMAT: Final = "barograph-watch/1"
EVERY_S: Final = 60.0
TIMES_COST: Final = 200.0
"""Between two times that it is kept so many times as long passes as keeping it took: half a percent at most."""
LEAST_RECORDS: Final = 5_000
"""So few are read again in less than a tenth of a second; nothing is kept of them."""
MARK_BYTES: Final = 512
_PACKAGE: Final = Path(__file__).parent
Report = Callable[[str], None]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file was read, and which file it was.

    Attributes:
        name: in the directory of facts; of a stream that of its rows file, also when it is sealed.
        offset: in bytes.
        header: of a stream.
        mark: hash of what stands at the beginning and just before the offset; "" of a stream that was sealed.
    """

    name: str
    offset: int
    mark: str
    header: StreamHeader | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of the file; what was learned stands behind it.

    Attributes:
        who: hash of what judges.
        places: how far the facts were read.
        alerts: how far the alerts had been written down.
        sha256: of what stands behind.
    """

    who: str
    places: list[Place]
    alerts: Place
    sha256: str
    format: str = FORMAT


class Learner(Protocol):
    """What is kept of: ``watch.watcher.Watcher``."""

    @property
    def num_records(self) -> int:
        """How many records it has seen."""

    def places(self) -> list[Place]:
        """How far it has read each file.

        Raises:
            OSError: a file is gone.
        """

    def state(self) -> bytes | None:
        """What it has learned; None while that cannot be kept."""

    def restore(self, state: bytes, places: list[Place]) -> None:
        """Go on with what another one has learned.

        Raises:
            ValueError: it is none of this version's.
        """


class Reader(Follower):
    """A follower that says how far it has read, and goes on from there."""

    def places(self) -> list[Place]:
        """How far each file was read.

        Raises:
            OSError: a file is gone.
        """
        return [
            Place(name=path.name, offset=offset, mark=_mark(path, offset), header=self._headers.get(path))
            for path, offset in self._offsets.items()
            if offset
        ]

    def names(self) -> dict[int, str]:
        """By the ``id`` of a header that facts come with, the name of its file."""
        return {id(header): path.name for path, header in self._headers.items()}

    def go_on(self, places: list[Place]) -> dict[str, StreamHeader]:
        """Go on where another one stood; by name, the headers that facts will come with."""
        facts = self._directory.facts
        self._offsets = {facts / it.name: it.offset for it in places}
        self._headers = {facts / it.name: it.header for it in places if it.header is not None}
        return {path.name: header for path, header in self._headers.items()}


class Keeper:
    """Keeps what a watcher has learned.

    Args:
        directory: the run.
        who: see ``who``.
        rank: of the process that is watched.
        report: told why what was kept is not used.
        monotonic: seconds.
        every_s: how often it is kept at most.
        least_records: of runs with fewer nothing is kept.
    """

    def __init__(
        self,
        directory: RunDir,
        who: str,
        *,
        report: Report,
        rank: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
        least_records: int = LEAST_RECORDS,
    ) -> None:
        self._directory = directory
        self._path = directory.watch_state(rank)
        self._who = who
        self._report = report
        self._monotonic = monotonic
        self._every_s = every_s
        self._least_records = least_records
        self._next_s = monotonic() + every_s
        self._num_kept = 0

    def restore(self, watcher: Learner) -> bool:
        """Let a fresh watcher go on from what was kept; one that cannot is left as it was, and it is said why."""
        try:
            line, _, state = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return False
        except OSError as error:
            self._ignore(str(error))
            return False
        try:
            kept = msgspec.json.decode(line, type=Kept)
            reason = self._reason(kept, state)
            if not reason:
                watcher.restore(state, kept.places)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, KeyError, OSError, FormatError) as error:
            reason = f"it cannot be read: {error}"
        if reason:
            self._ignore(reason)
            return False
        self._num_kept = watcher.num_records
        return True

    def keep(self, watcher: Learner, *, is_last: bool = False) -> bool:
        """Write down what a watcher has learned, where it is time to and there is something new.

        Args:
            watcher: all that it has told is written down.
            is_last: nothing comes after it, so that it is time.

        Returns:
            Whether it was written down.
        """
        started_s = self._monotonic()
        num_records = watcher.num_records
        if num_records == self._num_kept or num_records < self._least_records:
            return False
        if started_s < self._next_s and not is_last:
            return False
        self._next_s = started_s + self._every_s
        state = watcher.state()
        if state is None:
            return False
        try:
            alerts = self._directory.alerts
            size = alerts.stat().st_size if alerts.exists() else 0
            kept = Kept(
                who=self._who,
                places=watcher.places(),
                alerts=Place(name=alerts.name, offset=size, mark=_mark(alerts, size) if size else ""),
                sha256=hashlib.sha256(state).hexdigest(),
            )
            replace_file(self._path, msgspec.json.encode(kept) + b"\n" + state)
        except OSError as error:
            self._report(f"{self._path} cannot be written ({error}); a resumed run is read from its beginning")
            return False
        self._num_kept = num_records
        cost_s = self._monotonic() - started_s
        self._next_s = max(self._next_s, started_s + TIMES_COST * cost_s)
        return True

    def _ignore(self, reason: str) -> None:
        self._report(f"{self._path} is ignored ({reason}), so that the run is read again from its beginning")

    def _reason(self, kept: Kept, state: bytes) -> str:
        """Why what was kept is not to be used; "" when it is."""
        if kept.format != FORMAT:
            return f"its format is {kept.format!r}, not {FORMAT}"
        if hashlib.sha256(state).hexdigest() != kept.sha256:
            return "it is damaged"
        if kept.who != self._who:
            return "it is of other detectors, rules, roles, another configuration or another version"
        for place in [*kept.places, kept.alerts]:
            if place.offset and not _is_same(self._directory.facts / place.name, place):
                return f"{place.name} is not the file that was read, or shorter"
        return ""


def who(detectors: Sequence[Detector], **given: Any) -> str:
    """A hash of what judges: the detectors, fresh, with the code they and the watch consist of, and what was given.

    Args:
        detectors: fresh ones.
        given: whatever else what is told depends on, as plain data: configuration, roles, rules.
    """
    found = hashlib.sha256()
    for detector in detectors:
        found.update(msgspec.json.encode([type(detector).__module__, type(detector).__qualname__]))
        found.update(msgspec.msgpack.encode(detector))
    for path in sorted({*_PACKAGE.glob("*.py"), *_sources(detectors)}):
        found.update(_hash_of(path))
    found.update(repr(sorted(given.items())).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


@cache
def _hash_of(path: Path) -> bytes:
    """Of a file's name and what stands in it; taken once, since what was imported does not change with the file."""
    return hashlib.sha256(path.name.encode() + path.read_bytes()).digest()


def _sources(detectors: Sequence[Detector]) -> Iterator[Path]:
    """The files that the classes of detectors stand in; none of one that was typed in."""
    for detector in detectors:
        for kind in type(detector).__mro__:
            source = getattr(sys.modules.get(kind.__module__), "__file__", None)
            if source is not None and issubclass(kind, Detector) and Path(source).is_file():
                yield Path(source)


def _mark(path: Path, offset: int) -> str:
    """A hash of what stands at the beginning of a file and just before an offset; "" where its stream is sealed."""
    try:
        with path.open("rb") as file:
            found = hashlib.sha256(file.read(min(MARK_BYTES, offset)))
            file.seek(max(0, offset - MARK_BYTES))
            found.update(file.read(min(MARK_BYTES, offset)))
            return found.hexdigest()
    except FileNotFoundError:
        if sealed(path).exists():
            return ""
        raise


def _is_same(path: Path, place: Place) -> bool:
    """Whether a file is the one that was read, as far as it was read."""
    try:
        if path.stat().st_size < place.offset:
            return False
        return place.mark in ("", _mark(path, place.offset)) and (
            place.header is None or read_header(path) == place.header
        )
    except FileNotFoundError:
        if place.header is None or not sealed(path).exists():
            return False
        footer = read_sealed(sealed(path))
        return footer.header == place.header and footer.end >= place.offset
