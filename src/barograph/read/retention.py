"""What may be thrown away of old runs, and the throwing away: planned first, done when a person says yes.

Metrics, events and identities are never thinned, and nothing is touched that a link leads to or that belongs to
somebody else: another run, or the directory that the caller named. Whatever goes is first written down as an edit of
the run, with names, sizes and SHA-256, so that it is known for ever what was there.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from barograph.errors import MisuseError, RunBusyError
from barograph.facts.blobs import hash_file
from barograph.facts.descriptor import temporary_path
from barograph.facts.rundir import RunDir
from barograph.read.archive.lock import alone
from barograph.read.catalog import discover_runs
from barograph.read.edits import Edit, append_edit, deleted_t, read_edits
from barograph.read.run import RunReader
from barograph.read.status import ENDED, LIVING, read_ranks, read_status
from barograph.read.thinning import LOCK, all_of, is_own, old_blobs, old_checkpoints, old_figures, size_bytes_of

Thin = Literal["checkpoints", "figures", "blobs"]
Kind = Literal["remove", "checkpoints", "figures", "blobs", "compress", "seal"]
THIN: Final = ("checkpoints", "figures", "blobs")
DAY_S: Final = 86_400.0
LOST_S: Final = DAY_S
"""How long a run of which nobody knows the end must have been silent: a machine may only be cut off, or asleep."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go.

    Attributes:
        older_than_days: days since a run ended, or was deleted, from which on it is old.
        keep_last: the newest so many runs are left as they are.
        thin: of old runs, ``checkpoints`` but the best and the last, ``figures`` but the last of each family and
            moment, ``blobs`` but the last of each series of images, sounds and tables.
        compress: text logs of old runs are compressed.
        seal: metrics of old runs are sealed.
        remove_deleted: runs that were deleted long ago are removed, but for who they were. Of a directory that the
            caller named, only what Barograph wrote there, and recorded checkpoints: the rest may be anything.
    """

    older_than_days: float = 30.0
    keep_last: int = 0
    thin: Sequence[Thin] = ()
    compress: bool = False
    seal: bool = False
    remove_deleted: bool = False

    def __post_init__(self) -> None:
        unknown = [word for word in self.thin if word not in THIN]
        if unknown:
            raise MisuseError(f"cannot thin {', '.join(unknown)}; choose from {', '.join(THIN)}")
        if not self.older_than_days >= 0 or self.keep_last < 0:  # NaN is neither
            raise MisuseError(
                f"older_than_days is {self.older_than_days:g} and keep_last {self.keep_last}; use 0 or more"
            )


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done with one run.

    Attributes:
        run: the run's directory.
        kind: ``remove`` the run; thin its ``checkpoints``, ``figures`` or ``blobs``; ``compress`` its logs; ``seal``.
        files: names within the directory.
        size_bytes: what they take up now; a file that has another hard link elsewhere takes up nothing of its own.
        rest_t: unix seconds since when the run was at rest when this was planned; None when nothing tells.
    """

    run: str
    kind: Kind
    files: list[str]
    size_bytes: int
    rest_t: float | None = None


def plan(root: str | os.PathLike[str], policy: Policy, *, now: Callable[[], float] = time.time) -> list[Step]:
    """What the policy comes to for the runs below a directory; nothing is changed.

    Args:
        root: the directory of runs.
        policy: what is to go.
        now: unix seconds.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    now_t = now()
    limit_t = now_t - policy.older_than_days * DAY_S
    steps: list[Step] = []
    for path in discover_runs(root, deleted=True) if policy.remove_deleted else []:
        reader, rest = RunReader(path), _rest(path, now_t)
        gone_t = _deleted_t(reader)
        if rest.is_sure and gone_t is not None and max(gone_t, rest.t or gone_t) <= limit_t:
            steps += _steps(path, "remove", all_of(reader), rest.t)
    runs = discover_runs(root)
    for path in runs[: max(0, len(runs) - policy.keep_last)]:
        rest = _rest(path, now_t)
        if rest.is_sure and rest.t is not None and rest.t <= limit_t:
            steps += _thinning(RunReader(path), policy, rest)
    return steps


class _Rest(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run is at rest.

    Attributes:
        is_sure: whether no process of it can be writing.
        has_ended: whether each of its processes is known to have ended.
        t: unix seconds of the last that it did; None when nothing tells.
    """

    is_sure: bool
    has_ended: bool
    t: float | None


def _rest(path: Path, now_t: float) -> _Rest:
    """What all processes of a run come to, of every rank."""
    found = [read_status(path, now=lambda: now_t), *read_ranks(path, now=lambda: now_t).values()]
    t = None if found[0].since_t is None else max(status.since_t or 0.0 for status in found)
    is_sure = all(
        status.state in ENDED or (status.state not in LIVING and now_t - (status.since_t or 0.0) >= LOST_S)
        for status in found
    )
    return _Rest(is_sure=is_sure, has_ended=all(status.state in ENDED for status in found), t=t)


def _deleted_t(reader: RunReader) -> float | None:
    """When it was deleted; for an edit that does not tell the time, when the edits last changed."""
    told = deleted_t(reader.edits)
    return reader.directory.edits.stat().st_mtime if told is not None and not told > 0 else told


def _thinning(reader: RunReader, policy: Policy, rest: _Rest) -> Iterator[Step]:
    finders: dict[Thin, Callable[[RunReader], Iterable[str]]] = {
        "checkpoints": old_checkpoints,
        "figures": old_figures,
        "blobs": old_blobs,
    }
    for thin in THIN:
        if thin in policy.thin:
            yield from _steps(reader.path, thin, finders[thin](reader), rest.t)
    if policy.compress:
        logs = [log.name for log in (reader.directory.train_log, reader.directory.console_log) if _has_text(log)]
        yield from _steps(reader.path, "compress", logs, rest.t)
    if policy.seal and rest.has_ended:
        rows = reader.directory.rows_files()
        yield from _steps(reader.path, "seal", [str(file.relative_to(reader.path)) for file in rows], rest.t)


def _steps(path: Path, kind: Kind, files: Iterable[str], rest_t: float | None) -> list[Step]:
    """One step, or none when there is nothing to do."""
    names = list(files)
    size_bytes = size_bytes_of(path, names)
    return [Step(run=str(path), kind=kind, files=names, size_bytes=size_bytes, rest_t=rest_t)] if names else []


def _has_text(log: Path) -> bool:
    return is_own(log.parent, log.name) and log.stat().st_size > 0


def removed_digests(edits: Iterable[Edit]) -> set[str]:
    """The SHA-256 of everything that retention has removed from a run."""
    return {
        str(file["sha256"])
        for edit in edits
        if edit.op == "retain"
        for file in edit.payload.get("removed") or []
        if isinstance(file, dict) and file.get("sha256")
    }


def carry_out(step: Step, *, now: Callable[[], float] = time.time) -> int:
    """Do what a step says.

    Args:
        step: of ``plan``.
        now: unix seconds.

    Returns:
        Bytes that were freed.

    Raises:
        RunBusyError: the run is being recorded or thinned, or was resumed or restored since the plan was made.
        OSError: a file cannot be read, written or removed; what was done until then is written down.
    """
    path = Path(step.run)
    with alone(path / LOCK, what="thins"):
        rest = _rest(path, now())
        if not rest.is_sure:
            raise RunBusyError(f"{path} is being recorded, so it is left alone; try again when it has ended")
        if rest.t != step.rest_t:
            raise RunBusyError(f"{path} was resumed since the plan was made, so it is left alone; make a new plan")
        match step.kind:
            case "compress":
                return sum(_compress(path, name) for name in step.files)
            case "seal":
                return _seal(path)
            case _:
                return _remove(path, step)


def _remove(path: Path, step: Step) -> int:
    """Write down what goes, then remove it: nothing can be missing of which nothing tells."""
    removed = [_described(path, name) for name in step.files]
    freed = size_bytes_of(path, step.files)

    def check(edits: list[Edit]) -> None:
        if step.kind == "remove" and deleted_t(edits) is None:
            raise RunBusyError(f"{path} was restored since the plan was made, so it is left alone; make a new plan")

    append_edit(path, "retain", {"what": step.kind, "removed": removed}, check=check)
    for name in step.files:
        (path / name).unlink(missing_ok=True)
    if step.kind == "remove":
        left = {
            folder for name in step.files for folder in (path / name).parents if folder not in (path, *path.parents)
        }
        for folder in sorted(left, key=lambda it: len(it.parts), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    return freed


def _remove_empty(path: Path, names: Iterable[str]) -> None:
    """Remove the folders, within a directory, that held these files and hold nothing now."""
    stay = {path, *path.parents}
    folders = {folder for name in names for folder in (path / name).parents} - stay
    for folder in sorted(folders, key=lambda it: len(it.parts), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _described(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    found = file.lstat()
    if stat.S_ISLNK(found.st_mode):
        return {"name": name, "link": str(file.readlink())}
    if not stat.S_ISREG(found.st_mode):  # a pipe or a socket: to read it is to wait
        return {"name": name, "mode": stat.filemode(found.st_mode)}
    return {"name": name, "size_bytes": found.st_size, "sha256": hash_file(file)}


def _compress(path: Path, name: str) -> int:
    """Append a log to its ``.gz``; the log goes when that is whole on disk."""
    log, packed = path / name, path / f"{name}.gz"
    before = size_bytes_of(path, [name, packed.name])
    described = _described(path, name)
    if not _is_packed(path, described):
        temporary = temporary_path(packed)
        try:
            with temporary.open("wb") as writing:
                if packed.exists():
                    writing.write(packed.read_bytes())  # members of a gzip file follow each other
                with log.open("rb") as reading, gzip.GzipFile(fileobj=writing, mode="wb") as member:
                    shutil.copyfileobj(reading, member)
                writing.flush()
                os.fsync(writing.fileno())
            shutil.copystat(log, temporary)
            packed_bytes = temporary.stat().st_size
            append_edit(
                path, "retain", {"what": "compress", "compressed": [described | {"packed_bytes": packed_bytes}]}
            )
            temporary.replace(packed)
        finally:
            temporary.unlink(missing_ok=True)
    log.unlink()
    return before - packed.stat().st_size


def _is_packed(path: Path, described: Mapping[str, Any]) -> bool:
    """Whether an earlier call was stopped when all was done but the removal of the log."""
    log, packed = path / described["name"], path / f"{described['name']}.gz"
    last = [(edit.t, it) for edit in read_edits(RunDir(path), []) for it in _compressed(edit, described["name"])][-1:]
    return any(
        it.get("sha256") == described["sha256"]
        and log.stat().st_mtime <= t
        and packed.exists()
        and packed.stat().st_size == it.get("packed_bytes")
        for t, it in last
    )


def _compressed(edit: Edit, name: str) -> list[dict[str, Any]]:
    files = edit.payload.get("compressed") if edit.op == "retain" else None
    return [it for it in files if isinstance(it, dict) and it.get("name") == name] if isinstance(files, list) else []


def _seal(path: Path) -> int:
    from barograph.read.archive.seal import seal  # noqa: PLC0415 - pyarrow, for those who seal

    changes = seal(RunReader(path))
    sealed = [change.file for change in changes if not change.left]
    if sealed:
        append_edit(path, "retain", {"what": "seal", "sealed": sealed})
    return sum(change.bytes_before - change.bytes_after for change in changes)
