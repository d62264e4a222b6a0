"""What may be thrown away of old runs, and the throwing away: planned first, done when a person says yes.

Metrics, events and identities are never thinned. Whatever goes is first written down as an edit of the run, with
names, sizes and SHA-256, so that it is known for ever what was there.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from barograph.errors import MisuseError, RunBusyError
from barograph.facts.blobs import blob_path, hash_file
from barograph.facts.descriptor import temporary_path
from barograph.read.catalog import discover_runs
from barograph.read.edits import Edit, append_edit, deleted_t
from barograph.read.run import RunReader
from barograph.read.status import LIVING

Thin = Literal["checkpoints", "figures", "blobs"]
Kind = Literal["remove", "checkpoints", "figures", "blobs", "compress", "seal"]
THIN: Final = ("checkpoints", "figures", "blobs")
DAY_S: Final = 86_400.0
KEPT_KINDS: Final = ("best", "last")
SERIES: Final = ("image", "audio", "table")
_STAY: Final = ("run.json", "edits.jsonl")
_FIGURE: Final = re.compile(r"^(?P<series>.+)-e(?P<epoch>\d+)(?:-(?P<again>\d+))?\.\w+$")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go.

    Attributes:
        older_than_days: days since a run ended, or was deleted, from which on it is old.
        keep_last: the newest so many runs are left as they are.
        thin: of old runs, ``checkpoints`` but the best and the last, ``figures`` but the last of each family and
            moment, ``blobs`` but the last of each series of images, sounds and tables.
        compress: text logs of old runs are compressed.
        seal: metrics of old runs are sealed.
        remove_deleted: runs that were deleted long ago are removed, but for who they were.
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
        if self.older_than_days < 0 or self.keep_last < 0:
            raise MisuseError(
                f"older_than_days is {self.older_than_days:g} and keep_last {self.keep_last}; use 0 or more"
            )


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done with one run.

    Attributes:
        run: the run's directory.
        kind: ``remove`` the run; thin its ``checkpoints``, ``figures`` or ``blobs``; ``compress`` its logs; ``seal``.
        files: names within the directory.
        size_bytes: what they take up now.
    """

    run: str
    kind: Kind
    files: list[str]
    size_bytes: int


def plan(root: str | os.PathLike[str], policy: Policy, *, now: Callable[[], float] = time.time) -> list[Step]:
    """What the policy comes to for the runs below a directory; nothing is changed.

    Args:
        root: the directory of runs.
        policy: what is to go.
        now: unix seconds.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    limit_t = now() - policy.older_than_days * DAY_S
    steps: list[Step] = []
    if policy.remove_deleted:
        for path in discover_runs(root, deleted=True):
            reader = RunReader(path)
            gone_t = deleted_t(reader.edits)
            if gone_t is not None and gone_t <= limit_t and reader.status().state not in LIVING:
                steps += _steps(path, "remove", _everything(path))
    runs = discover_runs(root)
    for path in runs[: max(0, len(runs) - policy.keep_last)]:
        reader = RunReader(path)
        status = reader.status()
        if status.state not in LIVING and status.since_t is not None and status.since_t <= limit_t:
            steps += _thinning(reader, policy)
    return steps


def _thinning(reader: RunReader, policy: Policy) -> Iterator[Step]:
    finders: dict[Thin, Callable[[RunReader], Iterable[str]]] = {
        "checkpoints": _old_checkpoints,
        "figures": _old_figures,
        "blobs": _old_blobs,
    }
    for thin in THIN:
        if thin in policy.thin:
            yield from _steps(reader.path, thin, finders[thin](reader))
    if policy.compress:
        logs = [file for file in (reader.directory.train_log, reader.directory.console_log) if _size(file)]
        yield from _steps(reader.path, "compress", [file.name for file in logs])
    if policy.seal:
        rows = reader.directory.rows_files()
        yield from _steps(reader.path, "seal", [str(file.relative_to(reader.path)) for file in rows])


def _steps(path: Path, kind: Kind, files: Iterable[str]) -> list[Step]:
    """One step, or none when there is nothing to do."""
    names = list(files)
    size_bytes = sum(_size(path / name) for name in names)
    return [Step(run=str(path), kind=kind, files=names, size_bytes=size_bytes)] if names else []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _everything(path: Path) -> Iterator[str]:
    """Every file of a run but those that say who it was; links are not followed."""
    for folder, folders, names in os.walk(path):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*names, *links):
            file = (Path(folder) / name).relative_to(path)
            if str(file) not in _STAY:
                yield str(file)


def _old_checkpoints(reader: RunReader) -> list[str]:
    """Recorded checkpoints inside the run that are neither best nor last, nor the newest, nor linked to."""
    recorded: dict[str, str] = {}
    for event in reader.events("on_checkpoint"):
        name, kind = event.payload.get("path"), event.payload.get("kind")
        if isinstance(name, str):
            recorded.pop(name, None)
            recorded[name] = str(kind or "")
    directory = reader.directory
    kept = {_resolved(file) for file in (directory.best, directory.last, directory.model)}
    kept |= {_resolved(reader.path / name) for name, kind in recorded.items() if kind in KEPT_KINDS}
    kept |= {_resolved(reader.path / name) for name in list(recorded)[-1:]}
    inside = _resolved(reader.path)
    return [
        name
        for name in recorded
        if (file := reader.path / name).is_file()
        and not file.is_symlink()
        and _resolved(file) not in kept
        and _resolved(file).is_relative_to(inside)
    ]


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _old_figures(reader: RunReader) -> list[str]:
    """Figures of which a later one of the same family and moment is there."""
    last: dict[str, tuple[int, int]] = {}
    found: list[tuple[str, str, tuple[int, int]]] = []
    for path in sorted(reader.directory.figures.glob("*")):
        match = _FIGURE.match(path.name)
        if match and path.is_file():
            place = int(match["epoch"]), int(match["again"] or 1)
            last[match["series"]] = max(last.get(match["series"], place), place)
            found.append((f"figures/{path.name}", match["series"], place))
    return [name for name, series, place in found if place < last[series]]


def _old_blobs(reader: RunReader) -> list[str]:
    """Blobs of series of which a later one was recorded, and to which nothing else refers."""
    newest: dict[tuple[str, str], str] = {}
    passed: dict[str, None] = {}
    kept = set(_digests(reader.record))
    for event in reader.events():
        payload = event.payload
        kind, name, blob = payload.get("kind"), payload.get("name"), payload.get("blob")
        if kind in SERIES and isinstance(blob, dict) and isinstance(blob.get("sha256"), str):
            before = newest.get((str(kind), str(name)))
            newest[str(kind), str(name)] = blob["sha256"]
            passed |= {} if before is None else {before: None}
        else:
            kept |= set(_digests(payload))
    kept |= set(newest.values())
    files = (blob_path(reader.directory.blobs, digest) for digest in passed if digest not in kept)
    return [str(file.relative_to(reader.path)) for file in files if file.is_file()]


def _digests(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("sha256"), str):
            yield node["sha256"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _digests(item)


def removed_digests(edits: Iterable[Edit]) -> set[str]:
    """The SHA-256 of everything that retention has removed from a run."""
    return {
        str(file["sha256"])
        for edit in edits
        if edit.op == "retain"
        for file in edit.payload.get("removed") or []
        if isinstance(file, dict) and file.get("sha256")
    }


def carry_out(step: Step) -> int:
    """Do what a step says.

    Returns:
        Bytes that were freed.

    Raises:
        RunBusyError: the run has been resumed since the plan was made.
        OSError: a file cannot be read, written or removed; what was done until then is written down.
    """
    path = Path(step.run)
    if RunReader(path).status().state in LIVING:
        raise RunBusyError(f"{path} is being recorded, so it is left alone; try again when it has ended")
    match step.kind:
        case "compress":
            return _compress(path, step.files)
        case "seal":
            return _seal(path)
        case _:
            return _remove(path, step)


def _remove(path: Path, step: Step) -> int:
    """Write down what goes, then remove it: nothing can be missing of which nothing tells."""
    removed = [_described(path, name) for name in step.files]
    append_edit(path, "retain", {"what": step.kind, "removed": removed})
    for name in step.files:
        (path / name).unlink(missing_ok=True)
    if step.kind == "remove":
        for folder, _, _ in os.walk(path, topdown=False):
            if Path(folder) != path:
                Path(folder).rmdir()
    return step.size_bytes


def _described(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    if file.is_symlink():
        return {"name": name, "link": str(file.readlink())}
    return {"name": name, "size_bytes": file.stat().st_size, "sha256": hash_file(file)}


def _compress(path: Path, names: Iterable[str]) -> int:
    """Append each log to its ``.gz``; the log goes when that is whole on disk."""
    freed = 0
    for name in names:
        log, packed = path / name, path / f"{name}.gz"
        before = _size(log) + _size(packed)
        temporary = temporary_path(packed)
        try:
            with temporary.open("wb") as writing:
                if packed.exists():
                    writing.write(packed.read_bytes())  # members of a gzip file follow each other
                with log.open("rb") as reading, gzip.GzipFile(fileobj=writing, mode="wb") as member:
                    shutil.copyfileobj(reading, member)
                writing.flush()
                os.fsync(writing.fileno())
            append_edit(path, "retain", {"what": "compress", "compressed": [_described(path, name)]})
            temporary.replace(packed)
        finally:
            temporary.unlink(missing_ok=True)
        log.unlink()
        freed += before - _size(packed)
    return freed


def _seal(path: Path) -> int:
    from barograph.read.archive.seal import seal  # noqa: PLC0415 - pyarrow, for those who seal

    changes = seal(RunReader(path))
    sealed = [change.file for change in changes if not change.left]
    append_edit(path, "retain", {"what": "seal", "sealed": sealed})
    return sum(change.bytes_before - change.bytes_after for change in changes)
