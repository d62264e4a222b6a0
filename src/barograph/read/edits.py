"""What people changed about a run afterwards: name, group, tags, notes, deletion, keys that it lacked.

Edits are lines of ``edits.jsonl`` in the run's directory, appended and never changed; recorded facts stay as they
are, and readers lay the edits over them. Nothing here removes anything from the disk.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import MisuseError, RunBusyError
from barograph.facts.codec import encode
from barograph.facts.descriptor import AppendFile
from barograph.facts.log import Damage, scan_text
from barograph.facts.rundir import RunDir, check_name
from barograph.read.columns import unreadable
from barograph.read.identity import RunIdentity

SCHEMA_VERSION: Final = 1
UNDOABLE: Final = frozenset({"rename", "group", "tag", "note", "delete", "restore", "set"})
LOCK_S: Final = 10.0
ADOPTED: Final = "adopted.json"
"""Stands beside the directory of runs that ``foreign.adopt`` keeps in the cache."""
_HEAD: Final = ("schema_version", "id", "t", "who", "op")
_RETRY_S: Final = 0.02


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One edit.

    Attributes:
        id: what an undo refers to.
        op: ``rename``, ``group``, ``tag``, ``note``, ``delete``, ``restore``, ``set``, ``retain`` or ``undo``.
        t: unix seconds.
        who: ``user@host:pid``.
        payload: what it changes, by ``op``.
    """

    id: str
    op: str
    t: float = 0.0
    who: str = ""
    payload: dict[str, Any] = {}


def read_edits(directory: RunDir, damage: list[Damage]) -> list[Edit]:
    """Every edit, oldest first.

    Args:
        directory: the run.
        damage: where to note lines that are no edits, a torn last one among them.
    """
    path, offset = directory.edits, 0
    edits: list[Edit] = []
    try:
        while True:
            scan = scan_text(path, offset)
            damage += scan.damage
            edits += [_as_edit(record, number) for number, record in enumerate(scan.records, start=len(edits))]
            if scan.offset == offset:
                break
            offset = scan.offset
        torn_bytes = path.stat().st_size - offset
    except FileNotFoundError:
        return edits
    except OSError as error:
        damage.append(unreadable(path, error))
        return edits
    if torn_bytes > 0:
        reason = "the last line is torn; the next edit goes below it"
        damage.append(Damage(path=str(path), offset=offset, size_bytes=torn_bytes, reason=reason))
    return edits


def in_force(edits: Iterable[Edit]) -> list[Edit]:
    """The edits that no later one has undone, oldest first."""
    edits = list(edits)
    undone = {edit.payload.get("edit") for edit in edits if edit.op == "undo"}
    return [edit for edit in edits if edit.op != "undo" and edit.id not in undone]


def apply_edits(identity: RunIdentity, edits: Iterable[Edit]) -> RunIdentity:
    """The identity as people see it: name, group, tags and notes as edited; all else as recorded."""
    name, group, notes, tags = identity.name, identity.group, identity.notes, dict.fromkeys(identity.tags)
    for edit in in_force(edits):
        match edit.op, edit.payload:
            case "rename", {"name": str(text)} if text:
                name = text
            case "group", {"group": None | str() as label}:
                group = label
            case "note", {"text": None | str() as text}:
                notes = text
            case "tag", payload:
                tags |= dict.fromkeys(_words(payload.get("add")))
                for tag in _words(payload.get("remove")):
                    tags.pop(tag, None)
            case _:
                pass
    return msgspec.structs.replace(identity, name=name, group=group, notes=notes, tags=list(tags))


def deleted_t(edits: Iterable[Edit]) -> float | None:
    """Unix seconds at which the run was deleted; None when it was not, or was restored."""
    found: float | None = None
    for edit in in_force(edits):
        if edit.op in ("delete", "restore"):
            found = edit.t if edit.op == "delete" else None
    return found


def keys_set(edits: Iterable[Edit]) -> dict[str, Any]:
    """Dotted keys of the configuration that were filled in afterwards; the first to fill one in counts."""
    found: dict[str, Any] = {}
    for edit in in_force(edits):
        keys = edit.payload.get("keys")
        if edit.op == "set" and isinstance(keys, dict):
            found = {**keys, **found}
    return found


def filled_in(config: Mapping[str, Any], keys: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration with dotted keys filled in where it has nothing, and which those are.

    A key is there already when it, a part of it that is no mapping, or something below it is.

    >>> filled_in({"optim": {"lr": 0.1}}, {"optim.lr": 1, "optim.beta": 0.9})
    ({'optim': {'lr': 0.1, 'beta': 0.9}}, {'optim.beta': 0.9})
    """
    whole: dict[str, Any] = dict(config)
    filled = {key: value for key, value in keys.items() if _fill(whole, key, key.split("."), value)}
    return whole, filled


def _fill(node: dict[str, Any], key: str, parts: list[str], value: Any) -> bool:
    if key in node:  # a name with a dot in it
        return False
    first, *rest = parts
    if not rest:
        if first in node:
            return False
        node[first] = value
        return True
    below = node.get(first, {})
    if not isinstance(below, Mapping):
        return False
    branch = dict(below)
    if not _fill(branch, ".".join(rest), rest, value):
        return False
    node[first] = branch
    return True


def refuse_unless_native(path: Path) -> None:
    """Refuse to edit a run that is only a view of what another tool wrote: it goes when the cache is emptied.

    Raises:
        MisuseError: it is one.
    """
    if (path.parent.parent / ADOPTED).is_file():
        raise MisuseError(
            f"{path} is a view, in the cache, of what another tool wrote, and edits would be lost with the cache; make "
            f"runs of it with `barograph import`, then edit those"
        )


def rename(path: Path, name: str) -> Edit:
    """Give a run another name; it is found by the old one, too.

    Raises:
        InvalidNameError: it cannot be a run's name.
    """
    return append_edit(path, "rename", {"name": check_name(name, what="name")})


def regroup(path: Path, group: str | None) -> Edit:
    """Put a run into another group, or into none."""
    return append_edit(path, "group", {"group": None if group is None else check_name(group, what="group")})


def tag(path: Path, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Edit:
    """Give a run tags, or take some away.

    Raises:
        InvalidNameError: a tag cannot be one.
        MisuseError: there is nothing to do, or a tag is both given and taken.
    """
    given, taken = [check_name(it, what="tag") for it in add], list(remove)
    both = sorted(set(given) & set(taken))
    if both or not (given or taken):
        what = f"{both} would be both added and removed" if both else "there is no tag to add or remove"
        raise MisuseError(f"{what}; name each tag once, in `add` or in `remove`")
    return append_edit(path, "tag", {"add": given, "remove": taken})


def note(path: Path, text: str | None) -> Edit:
    """Replace the notes of a run; None leaves it without any."""
    return append_edit(path, "note", {"text": text or None})


def delete(path: Path) -> Edit:
    """Hide a run from lists; nothing is removed.

    Raises:
        MisuseError: it is deleted already.
    """
    return append_edit(path, "delete", {}, check=lambda edits: _must_be(edits, path, deleted=False))


def restore(path: Path) -> Edit:
    """Show a deleted run again.

    Raises:
        MisuseError: it is not deleted, or its files were removed.
    """
    return append_edit(path, "restore", {}, check=lambda edits: _must_be_restorable(edits, path))


def check_deletable(path: Path) -> None:
    """Raise what ``delete`` would, and do nothing.

    Raises:
        MisuseError: it is deleted already.
    """
    _must_be(read_edits(RunDir(path), []), path, deleted=False)


def check_restorable(path: Path) -> None:
    """Raise what ``restore`` would, and do nothing.

    Raises:
        MisuseError: it is not deleted, or its files were removed.
    """
    _must_be_restorable(read_edits(RunDir(path), []), path)


def _must_be_restorable(edits: Sequence[Edit], path: Path) -> None:
    _must_be(edits, path, deleted=True)
    _must_be_whole(edits, path)


def _must_be_whole(edits: Sequence[Edit], path: Path) -> None:
    if any(edit.op == "retain" and edit.payload.get("what") == "remove" for edit in edits):
        raise MisuseError(f"the files of {path} were removed by `barograph retain`; restore them from a copy")


def _must_be(edits: Sequence[Edit], path: Path, *, deleted: bool) -> None:
    if (deleted_t(edits) is not None) is not deleted:
        raise MisuseError(
            f"{path} is not deleted; `barograph list --deleted` shows the runs that are"
            if deleted
            else f"{path} is deleted already; `barograph restore {path}` brings it back"
        )


def set_keys(path: Path, keys: Mapping[str, Any]) -> Edit:
    """Fill in keys of the configuration, by dotted name; those that were recorded go before them."""
    return append_edit(path, "set", {"keys": dict(keys)})


def undo(path: Path) -> Edit:
    """Take back the latest edit that is in force; called again, the one before it. What was removed stays removed.

    Returns:
        The edit that was taken back.

    Raises:
        MisuseError: there is none, or it is a deletion and the files have been removed.
    """
    with _locked(path):
        edits = read_edits(RunDir(path), [])
        standing = [edit for edit in in_force(edits) if edit.op in UNDOABLE]
        if not standing:
            raise MisuseError(f"{path} has no edit to take back; `barograph note {path}` shows its edits")
        if standing[-1].op == "delete":
            _must_be_whole(edits, path)
        _append(path, Edit(id=_new_id(), op="undo", t=time.time(), who=editor(), payload={"edit": standing[-1].id}))
        return standing[-1]


def append_edit(
    path: Path,
    op: str,
    payload: Mapping[str, Any],
    *,
    check: Callable[[list[Edit]], None] = lambda _edits: None,
    now: Callable[[], float] = time.time,
) -> Edit:
    """Append one edit with one write; editors wait for each other where the file system can make them.

    Args:
        path: the run's directory.
        op: what is done.
        payload: JSON data.
        check: looks at the edits so far and raises when this one does not fit.
        now: unix seconds.

    Raises:
        RunBusyError: somebody else is editing the run for ten seconds already.
        OSError: the file cannot be written; nothing of the edit is in it.
    """
    edit = Edit(id=_new_id(), op=op, t=now(), who=editor(), payload=dict(payload))
    with _locked(path):
        check(read_edits(RunDir(path), []))
        _append(path, edit)
    return edit


def editor() -> str:
    """Who this process is: ``user@host:pid``."""
    import getpass  # noqa: PLC0415 - for those who edit

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "-"
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def _append(path: Path, edit: Edit) -> None:
    record = {"schema_version": SCHEMA_VERSION, "id": edit.id, "t": edit.t, "who": edit.who, "op": edit.op}
    line = encode(record | edit.payload) + b"\n"
    file = AppendFile(RunDir(path).edits)
    try:
        file.write(line if _ends_whole(file) else b"\n" + line)
        file.sync()
    finally:
        file.close()


def _ends_whole(file: AppendFile) -> bool:
    """Whether the file ends in a newline; a torn line stays where it is and is skipped by readers."""
    if not file.size_bytes:
        return True
    with file.path.open("rb") as reading:
        reading.seek(-1, os.SEEK_END)
        return reading.read(1) == b"\n"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the run's directory against other editors; without effect where the file system has no such locks."""
    try:
        import fcntl  # noqa: PLC0415 - POSIX only

        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except ImportError:  # pragma: no cover - not POSIX
        yield
        return
    try:
        _wait_for(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), path)
        yield
    finally:
        os.close(fd)


def _wait_for(lock: Callable[[], None], path: Path) -> None:
    give_up_s = time.monotonic() + LOCK_S
    while True:
        try:
            lock()
        except BlockingIOError:
            if time.monotonic() > give_up_s:
                raise RunBusyError(f"{path} is being edited by another process for {LOCK_S:.0f} s; try again") from None
            time.sleep(_RETRY_S)
        except OSError:  # no locks here: one appending write is whole all the same
            return
        else:
            return


def _new_id() -> str:
    return os.urandom(6).hex()


def _as_edit(record: dict[str, Any], number: int) -> Edit:
    t = record.get("t")
    return Edit(
        id=str(record.get("id") or f"line{number}"),
        op=str(record.get("op", "")),
        t=float(t) if isinstance(t, (int, float)) else 0.0,
        who=str(record.get("who", "")),
        payload={key: value for key, value in record.items() if key not in _HEAD},
    )


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
