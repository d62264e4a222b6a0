"""Which files of a run retention may touch: those that the run itself wrote, and of which it is sure.

Nothing is changed here. A name is refused rather than guessed at: links, what is reached through one, and runs within
the run are somebody else's.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from barograph.facts.blobs import blob_path
from barograph.facts.rundir import RUN_NAME, RunDir
from barograph.read.run import RunReader

LOCK: Final = ".retain.lock"
KEPT_KINDS: Final = ("best", "last")
SERIES: Final = ("image", "audio", "table")
_STAY: Final = ("run.json", "edits.jsonl", LOCK)
_FIGURE_NAME: Final = r"(?P<series>[^/]+)-e(?P<epoch>\d+)(?:-(?P<again>\d+))?\.\w+"
_WRITTEN: Final = re.compile(
    rf"facts/.+|figures/{_FIGURE_NAME}|details/\d{{4}}-\d\d-\d\d/[^/]+|blobs/\w\w/[0-9a-f]{{64}}"
    r"|(?:train|console)(?:\.[\d_-]+)?\.log(?:\.gz)?|(?:details/)?[^/]+_comprehensive_\d{8}_\d{6}\.log"
    r"|config(?:\.attempt\d+)?\.yaml|run\.json|(?:edits|reports)\.jsonl|\.\w+\.lock",
    re.DOTALL,
)
"""What Barograph itself writes into a run's directory."""
_FOLDERS: Final = ("facts", "figures", "details", "blobs", ".hydra")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FIGURE: Final = re.compile(_FIGURE_NAME)


def size_bytes_of(path: Path, names: Iterable[str]) -> int:
    """What is free when these files are gone: the content of a file stays while another hard link leads to it."""
    found = [file.lstat() for file in (path / name for name in names) if os.path.lexists(file)]
    links = Counter((it.st_dev, it.st_ino) for it in found)
    whole = {(it.st_dev, it.st_ino): it.st_size for it in found if links[it.st_dev, it.st_ino] >= it.st_nlink}
    return sum(whole.values())


def is_own(path: Path, name: str) -> bool:
    """Whether a name is that of a plain file of the run: no link, not reached through one, not of a run within it."""
    file, home = path / name, _resolved(path)
    if Path(name).is_absolute() or file.is_symlink() or not file.is_file() or _resolved(file) != home / name:
        return False
    between = [home.joinpath(*parts) for parts in _beginnings(Path(name).parts)]
    return not any(RunDir(folder).is_run() for folder in between)


def _beginnings(parts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Of the parts of a name, those of each folder above it: ``a``, then ``a, b``, for ``a/b/c``."""
    return (parts[:count] for count in range(1, len(parts)))


def all_of(reader: RunReader) -> Iterator[str]:
    """Every file of a run but those that say who it was; links are not followed, runs within it are left alone."""
    path = reader.path
    checkpoints = {name for name in _recorded_checkpoints(reader) if is_own(path, name)}
    checkpoints |= {file.name for file in (reader.directory.best, reader.directory.last, reader.directory.model)}
    is_ours = RUN_NAME.match(path.name) is not None  # else the caller named it, and what else is there may be theirs
    for folder, folders, names in os.walk(path):
        at = Path(folder)
        links = [name for name in folders if (at / name).is_symlink()]
        folders[:] = [name for name in folders if not RunDir(at / name).is_run()]
        for found in (*names, *links):
            name = str((at / found).relative_to(path))
            if name not in _STAY and (is_ours or _WRITTEN.fullmatch(name) or name in checkpoints):
                yield name


def _recorded_checkpoints(reader: RunReader) -> dict[str, str]:
    """Kind of each recorded checkpoint, by name, the newest last."""
    recorded: dict[str, str] = {}
    for event in reader.events("on_checkpoint"):
        name, kind = event.payload.get("path"), event.payload.get("kind")
        if isinstance(name, str) and "\0" not in name and not _is_fact(name):
            recorded.pop(name, None)
            recorded[name] = str(kind or "")
    return recorded


def _is_fact(name: str) -> bool:
    """Whether a name is taken by what a run records: whatever an event says, that is no checkpoint."""
    return (
        os.path.normpath(name).partition("/")[0] in _FOLDERS or _WRITTEN.fullmatch(os.path.normpath(name)) is not None
    )


def old_checkpoints(reader: RunReader) -> list[str]:
    """Recorded checkpoints of the run that are neither best nor last, nor the newest, nor linked to."""
    recorded, directory = _recorded_checkpoints(reader), reader.directory
    kept = {_resolved(file) for file in (directory.best, directory.last, directory.model)}
    kept |= {_resolved(reader.path / name) for name, kind in recorded.items() if kind in KEPT_KINDS}
    kept |= {_resolved(reader.path / name) for name in list(recorded)[-1:]}
    kept |= {_resolved(file) for file in reader.path.rglob("*") if file.is_symlink()}
    return [name for name in recorded if is_own(reader.path, name) and _resolved(reader.path / name) not in kept]


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def old_figures(reader: RunReader) -> list[str]:
    """Figures of which a later one of the same family and moment is there."""
    last: dict[str, tuple[int, int]] = {}
    found: list[tuple[str, str, tuple[int, int]]] = []
    for path in sorted(reader.directory.figures.glob("*")):
        match = _FIGURE.fullmatch(path.name)
        if match and is_own(reader.path, f"figures/{path.name}"):
            place = int(match["epoch"]), int(match["again"] or 1)
            last[match["series"]] = max(last.get(match["series"], place), place)
            found.append((f"figures/{path.name}", match["series"], place))
    return [name for name, series, place in found if place < last[series]]


def old_blobs(reader: RunReader) -> list[str]:
    """Blobs of series of which a later one was recorded, and to which nothing else refers."""
    newest: dict[tuple[str, str, str], str] = {}
    passed: dict[str, None] = {}
    ended = reader.exit_record()
    kept = set(_digests([reader.record, reader.watched_alerts(), None if ended is None else ended.summary]))
    for event in reader.events():
        payload = event.payload
        kind, name, blob = payload.get("kind"), payload.get("name"), payload.get("blob")
        if kind in SERIES and isinstance(blob, dict) and isinstance(blob.get("sha256"), str):
            series = str(kind), str(name), str(payload.get("rank"))
            before = newest.get(series)
            newest[series] = blob["sha256"]
            passed |= {} if before is None else {before: None}
        else:
            kept |= set(_digests(payload))
    kept |= set(newest.values())
    gone = [digest for digest in passed if digest not in kept and _DIGEST.fullmatch(digest)]
    names = [str(blob_path(reader.directory.blobs, digest).relative_to(reader.path)) for digest in gone]
    return [name for name in names if is_own(reader.path, name)]


def _digests(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("sha256"), str):
            yield node["sha256"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _digests(item)
