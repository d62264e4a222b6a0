"""Finds runs: all of them below a directory, or the one that somebody means by a few characters.

Looking is cheap: directories are listed, and of each run one key of one file is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from barograph.errors import RunNotFoundError
from barograph.facts.rundir import RUN_NAME, RunDir
from barograph.read.edits import apply_edits, deleted_t, read_edits
from barograph.read.identity import RunIdentity, directory_time, identify, read_run_json

SKIPPED: Final = frozenset({"__pycache__", "node_modules"})
MAX_SUGGESTIONS: Final = 8


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """A run and what it may be called by: also by the name that it had before it was renamed."""

    path: Path
    identity: RunIdentity
    recorded_name: str

    def names(self) -> list[str]:
        names = (self.identity.run_id, self.path.name, self.identity.name, self.recorded_name)
        return [name for name in names if name]

    def __str__(self) -> str:
        return f"{self.identity.run_id or '-'}  {self.identity.name}  {self.path}"


def discover_runs(root: str | os.PathLike[str], *, deleted: bool | None = False) -> list[Path]:
    """Every run at or below a directory, oldest first.

    A directory that holds a run is not searched further. Hidden directories, links to directories, and directories
    that may not be read are passed over.

    Args:
        root: where to look.
        deleted: False leaves out the runs that were deleted (``barograph delete``), True finds those alone, None both.

    Raises:
        RunNotFoundError: there is no such directory.
    """
    if not Path(root).is_dir():
        raise RunNotFoundError(
            f"{os.fspath(root)!r} is no directory, so it holds no runs; record one there, or name another directory "
            f"with --root or BAROGRAPH_ROOT"
        )
    found = search(str(Path(root)))
    wanted = [path for path, is_edited in found if deleted is None or deleted is (is_edited and is_deleted(Path(path)))]
    return [Path(path) for path in sorted(wanted, key=lambda path: order_key(path, told_t(path)))]


def is_deleted(path: Path) -> bool:
    """Whether a run was deleted, and not restored."""
    return deleted_t(read_edits(RunDir(path), [])) is not None


def has_runs(root: str | os.PathLike[str]) -> bool:
    """Whether a run lies at or below a directory; looking ends with the first one."""
    return any(True for _ in search(str(Path(root))))


def find_run(name: str, root: str | os.PathLike[str], *, deleted: bool = False) -> Path:
    """The run that ``name`` means.

    Args:
        name: the path of a run's directory; or, below ``root``, a run's id, the name of its directory or its own
            name, old or new, whole or as much of the beginning or the end as no other run has.
        root: where to look for names.
        deleted: look among the runs that were deleted; a path means its run either way.

    Raises:
        RunNotFoundError: there is none, or there are several; the message lists those that come near.
    """
    path = Path(name)
    if RunDir(path).is_run():
        return path
    if path.is_dir():
        num_inside = len(discover_runs(path))
        what = f"holds {num_inside} runs" if num_inside else "holds no run"
        raise RunNotFoundError(f"{name!r} {what} and is none itself; `barograph list {name}` shows what is there")
    if not Path(root).is_dir():
        raise RunNotFoundError(
            f"there is no run {name!r}: it is no directory, and the root {os.fspath(root)!r} does not exist; "
            f"give the run's path, or the directory of runs with --root"
        )
    runs = [_named(path) for path in discover_runs(root, deleted=deleted)]
    for matches in (_equal(runs, name), _partial(runs, name)):
        if len(matches) == 1:
            return matches[0].path
        if matches:
            raise RunNotFoundError(
                f"{name!r} means {len(matches)} runs below {os.fspath(root)!r}; use the id of one of them:\n"
                f"{_listed(matches)}"
            )
    raise RunNotFoundError(_hidden(name, root, deleted=deleted) or _unknown(runs, name, root))


def _named(path: Path) -> _Named:
    recorded = _identity(path)
    edited = apply_edits(recorded, read_edits(RunDir(path), []))
    return _Named(path=path, identity=edited, recorded_name=recorded.name)


def _identity(path: Path) -> RunIdentity:
    directory = RunDir(path)
    return identify(directory, read_run_json(directory, []), [])


def search(
    directory: str, *, is_known: Callable[[str], bool | None] = lambda _path: None
) -> Iterator[tuple[str, bool]]:
    """Every run at or below a directory, in no order, and whether there are edits of it.

    Args:
        directory: where to look, as ``str(Path(...))`` writes it.
        is_known: whether there are edits of the run that a directory is known to hold, so that it need not be looked
            into; None when no run is known there.
    """
    waiting = [directory]
    while waiting:
        current = waiting.pop()
        is_edited = is_known(current)
        if is_edited is not None:
            yield current, is_edited
            continue
        folders, names = _look_into(current)
        if "run.json" in names or ("facts" in folders and RunDir(Path(current)).is_run()):
            yield current, "edits.jsonl" in names
        else:
            start = "" if current == "." else current if current.endswith("/") else f"{current}/"
            waiting += [start + name for name in folders if not name.startswith(".") and name not in SKIPPED]


def _look_into(directory: str) -> tuple[list[str], set[str]]:
    folders, names = [], set()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    names.add(entry.name)
    except OSError:  # it vanished, or may not be read: its runs are not ours to see
        return [], set()
    return folders, names


class _Created(msgspec.Struct, frozen=True):
    """The one key of ``run.json`` that puts runs in order."""

    created_t: float | None = None


_created_decoder: Final = msgspec.json.Decoder(_Created)


def order_key(path: str, t: float | None) -> tuple[float, int, str]:
    """What sorts runs: when it began; directories of one second are told apart by what the run itself says.

    Args:
        path: the run's directory.
        t: what ``told_t`` says.
    """
    found = RUN_NAME.match(path.rpartition("/")[2])
    return t or _guessed_t(Path(path)), int(found["job"]) if found else 0, path


def told_t(path: str) -> float | None:
    """When a run began, in unix seconds, as ``run.json`` or the directory's name tells."""
    try:
        with open(f"{path}/run.json", "rb", buffering=0) as file:  # noqa: PTH123 - thousands of times, and a third of it
            told = _created_decoder.decode(file.read()).created_t
    except (OSError, msgspec.MsgspecError):
        told = None  # another program's run, or a damaged one
    return told or directory_time(Path(path))


def _guessed_t(path: Path) -> float:
    """When it began as its events or its directory tell."""
    return _identity(path).created_t or _changed_t(path)


def _changed_t(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _equal(runs: list[_Named], name: str) -> list[_Named]:
    return [run for run in runs if name in run.names()]


def _partial(runs: list[_Named], name: str) -> list[_Named]:
    return [run for run in runs if name and any(it.startswith(name) or it.endswith(name) for it in run.names())]


def _hidden(name: str, root: str | os.PathLike[str], *, deleted: bool) -> str:
    """What to say when the name means a run on the other side of deletion; nothing when it does not."""
    others = [_named(path) for path in discover_runs(root, deleted=not deleted)]
    found = _equal(others, name) or _partial(others, name)
    if not found:
        return ""
    what, step = ("not deleted", "shows it") if deleted else ("deleted", "brings it back")
    verb = "show" if deleted else "restore"
    return f"the run {name!r} is {what}; `barograph {verb} {found[0].path}` {step}"


def _unknown(runs: list[_Named], name: str, root: str | os.PathLike[str]) -> str:
    import difflib  # noqa: PLC0415 - a name that is found does not need it

    start = f"there is no run {name!r} below {os.fspath(root)!r}"
    if not runs:
        return f"{start}, which holds no runs; record one, or name another directory with --root"
    near: list[_Named] = [run for run in runs if any(name.lower() in other.lower() for other in run.names())]
    for other in difflib.get_close_matches(name, {other for run in runs for other in run.names()}, n=MAX_SUGGESTIONS):
        near += [run for run in runs if other in run.names() and run not in near]
    if not near:
        return f"{start}; `barograph list {os.fspath(root)}` shows the {len(runs)} runs there"
    return f"{start}; near are:\n{_listed(near)}"


def _listed(runs: list[_Named]) -> str:
    shown = [f"  {run}" for run in runs[:MAX_SUGGESTIONS]]
    more = [f"  and {len(runs) - MAX_SUGGESTIONS} more"] if len(runs) > MAX_SUGGESTIONS else []
    return "\n".join(shown + more)
