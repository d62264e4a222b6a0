"""Lists the runs below a root with the help of its index; the answer is that of the runs' own files.

To put runs in order, a directory and its ``run.json`` are looked at; to show a run, all of its files. Runs that may
be recording are read anew each time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from barograph.facts.rundir import RunDir
from barograph.read.catalog import discover_runs, is_deleted, order_key, search, told_t
from barograph.read.index.stamps import (
    Grounds,
    Stamp,
    are_unchanged,
    grounds,
    newest_ns,
    stamp,
    stamps_of,
    this_machine,
)
from barograph.read.index.store import Store, UnusableError, default_cache, index_path
from barograph.read.overview import LastValue, Overview, overview
from barograph.read.status import Status, read_status
from barograph.version import VERSION

SETTLED_S: Final = 2.0
"""Files that changed more recently are not believed: some file systems tell times to two seconds."""
FORM: Final = ":".join(("1", VERSION, *(",".join(kind.__struct_fields__) for kind in (Overview, LastValue, Status))))

_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()

T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What finding and ordering a run needs.

    Attributes:
        folder: stamp of the run's directory.
        identity: stamp of ``run.json``.
        edits: stamp of ``edits.jsonl``.
        t: unix seconds at which the run began, when ``run.json`` or the directory's name tell.
        deleted: whether it was deleted.
    """

    folder: Stamp
    identity: Stamp | None
    edits: Stamp | None
    t: float | None
    deleted: bool


class _Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What showing a run needs; ``overview`` is without its path."""

    stamps: list[tuple[str, Stamp | None]]
    grounds: Grounds
    machine: str
    overview: msgspec.Raw


_pack: Final = msgspec.msgpack.Encoder().encode
_head_decoder: Final = msgspec.msgpack.Decoder(_Head)
_body_decoder: Final = msgspec.msgpack.Decoder(_Body)
_overview_decoder: Final = msgspec.msgpack.Decoder(Overview)


def indexed_overviews(root: str | os.PathLike[str], *, cache_dir: Path | None = None) -> list[Overview]:
    """What ``[overview(path) for path in discover_runs(root)]`` gives, from the index where that knows.

    Args:
        root: the directory of runs.
        cache_dir: where indexes are; ``default_cache()`` when not given.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    with RunIndex(root, cache_dir=cache_dir) as index:
        return index.overviews(index.paths())


class RunIndex:
    """The runs below a root, for one look at them: ``paths``, then ``overviews`` of those that are to be shown.

    Use it in a ``with`` block, at whose end what was learned is saved.

    Args:
        root: the directory of runs.
        cache_dir: where indexes are; ``default_cache()`` when not given.
        use: False reads the runs alone and touches no index.
        rebuild: believe nothing of what the index holds.
        now: unix seconds.

    Attributes:
        root: the directory of runs.
        note: why the index is not used; "" when it is.
        num_read: how many runs were read, because the index did not hold them as they are.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        cache_dir: Path | None = None,
        use: bool = True,
        rebuild: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.root = Path(root)
        self.note = ""
        self.num_read = 0
        self._now = now
        self._start = {".": "", "/": "/"}.get(str(self.root), f"{self.root}/")
        self._stored: dict[str, _Head] = {}
        self._known: set[str] = set()
        self._has_searched = False
        self._heads: dict[str, _Head] = {}
        self._bodies: dict[str, _Body] = {}
        self._store = self._open(cache_dir or default_cache()) if use else None
        if self._store is not None:
            self._read_heads(self._store, rebuild=rebuild)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def _open(self, cache_dir: Path | None) -> Store | None:
        if cache_dir is None:
            self.note = "there is no home directory for it; name a directory with BAROGRAPH_CACHE"
            return None
        try:
            return Store(index_path(self.root, cache_dir), form=FORM, root=os.path.realpath(self.root))
        except (UnusableError, ValueError) as error:  # a root with a NUL has no path; whoever looks there says so
            self.note = str(error)
            return None

    def _pass_over(self, error: Exception) -> None:
        """Go on without the index."""
        self.note = str(error)
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read_heads(self, store: Store, *, rebuild: bool) -> None:
        try:
            if rebuild:
                store.clear()
            self._stored = {_name(key): _head_decoder.decode(head) for key, head in store.heads().items()}
        except UnusableError as error:
            self._pass_over(error)

    def paths(self, *, deleted: bool | None = False, newest: int | None = None) -> list[Path]:
        """What ``discover_runs(root, deleted=deleted)`` gives.

        Args:
            deleted: as there.
            newest: only this many, of the newest runs.

        Raises:
            RunNotFoundError: there is no such directory.
        """
        if self._store is None or not self.root.is_dir():
            return _last(discover_runs(self.root, deleted=deleted), newest)
        for path, is_edited in search(str(self.root), is_known=self._is_known):
            key = path[len(self._start) :]
            self._heads[key] = self._stored[key] if key in self._known else _look_at(path, is_edited=is_edited)
        self._has_searched = True
        wanted = [(key, head) for key, head in self._heads.items() if deleted is None or deleted is head.deleted]
        order = sorted(order_key(self._path(key), head.t) for key, head in _candidates(wanted, newest))
        return [Path(path) for *_, path in _last(order, newest)]

    def _path(self, key: str) -> str:
        return self._start + key if key else str(self.root)

    def _is_known(self, path: str) -> bool | None:
        key = path[len(self._start) :]
        head = self._stored.get(key)
        if head is None or not _is_as_it_was(path, head):
            return None
        self._known.add(key)
        return head.edits is not None

    def overviews(self, paths: Iterable[Path]) -> list[Overview]:
        """The line of each of these runs, which ``paths`` has found."""
        wanted = [str(path) for path in paths]
        bodies = self._stored_bodies([path[len(self._start) :] for path in wanted])
        return [self._overview(path, bodies.get(path[len(self._start) :])) for path in wanted]

    def _stored_bodies(self, keys: list[str]) -> dict[str, bytes]:
        if self._store is None:
            return {}
        try:
            found = self._store.bodies([os.fsencode(key) for key in keys if key in self._stored])
        except UnusableError as error:
            self._pass_over(error)
            return {}
        return {os.fsdecode(key): body for key, body in found.items()}

    def _overview(self, path: str, stored: bytes | None) -> Overview:
        found = None if stored is None else self._believed(path, stored)
        return self._read(path) if found is None else found

    def _believed(self, path: str, stored: bytes) -> Overview | None:
        """What the index holds of a run; None when the run is not as it was."""
        try:
            body = _body_decoder.decode(stored)
            head = self._heads[path[len(self._start) :]]
            known = {"run.json": head.identity, "edits.jsonl": head.edits}
            if not are_unchanged(path, body.stamps, known):
                return None
            line = _overview_decoder.decode(body.overview)
        except msgspec.MsgspecError:
            return None
        status = line.status
        if body.grounds == "machine" and body.machine != self._machine:
            return None
        if body.grounds == "age":
            status = read_status(path)
            if status.state != line.status.state:
                return None
        return msgspec.structs.replace(line, path=path, status=status)

    def _read(self, path: str) -> Overview:
        now_t = self._now()
        stamps, rests_on = stamps_of(path), grounds(path, now_t=now_t)
        line = overview(Path(path), now=self._now)
        self.num_read += 1
        if self._store is not None and _is_lasting(line, rests_on) and _is_settled([it for _, it in stamps], now_t):
            try:
                packed = msgspec.Raw(_pack(msgspec.structs.replace(line, path="")))
            except (OverflowError, UnicodeEncodeError):  # an integer beyond 64 bits, a name that is no text
                return line
            key = path[len(self._start) :]
            self._bodies[key] = _Body(stamps=stamps, grounds=rests_on, machine=self._machine, overview=packed)
        return line

    @cached_property
    def _machine(self) -> str:
        return this_machine()

    def save(self) -> None:
        """Write what was learned, and let go of the index."""
        if self._store is None:
            return
        now_t = self._now()
        entries: dict[bytes, tuple[bytes, bytes | None]] = {}
        for key, head in self._heads.items():
            body = self._bodies.get(key)
            is_new = key not in self._known
            if (is_new or body is not None) and _is_settled((head.folder, head.identity, head.edits), now_t):
                entries[os.fsencode(key)] = (_pack(head), None if body is None else _pack(body))
        gone = [os.fsencode(key) for key in self._stored.keys() - self._heads.keys()] if self._has_searched else []
        try:
            if entries or gone:
                self._store.update(entries, gone)
        except UnusableError as error:
            self._pass_over(error)
            return
        self._store.close()
        self._store = None


def _candidates(heads: list[tuple[str, _Head]], newest: int | None) -> list[tuple[str, _Head]]:
    """Those that may be among the newest by the time alone; to tell runs of one second apart costs more."""
    told = sorted(head.t for _, head in heads if head.t)
    if newest is None or not 0 < newest < len(told):
        return heads
    return [(key, head) for key, head in heads if not head.t or head.t >= told[-newest]]


def _last(found: list[T], count: int | None) -> list[T]:
    return found if count is None else found[max(0, len(found) - count) :]


def _name(path: bytes) -> str:
    """``os.fsdecode``, at a quarter of its price where it is called ten thousand times."""
    return path.decode(_ENCODING, _ERRORS)


def _look_at(path: str, *, is_edited: bool) -> _Head:
    """Stamps are taken before the files are read."""
    folder, identity, edits = stamp(path), stamp(f"{path}/run.json"), stamp(f"{path}/edits.jsonl")
    return _Head(
        folder=folder or (0, 0, 0, 0),  # it has gone since it was found; the next look finds out
        identity=identity,
        edits=edits,
        t=told_t(path),
        deleted=is_edited and is_deleted(Path(path)),
    )


def _is_as_it_was(path: str, head: _Head) -> bool:
    if stamp(path) != head.folder or (head.edits is not None and stamp(f"{path}/edits.jsonl") != head.edits):
        return False
    if head.identity is None:
        return RunDir(Path(path)).is_run()  # another program's run is one by its events
    return stamp(f"{path}/run.json") == head.identity


def _is_lasting(line: Overview, rests_on: Grounds) -> bool:
    """Whether a line may be kept: nothing living, and no words about where the run happens to be."""
    is_over = rests_on in ("files", "machine") or (rests_on == "age" and line.status.state == "lost")
    return is_over and line.path not in line.status.reason


def _is_settled(stamps: Iterable[Stamp | None], now_t: float) -> bool:
    return newest_ns(stamps) < (now_t - SETTLED_S) * 1e9
