"""Lets every verb work on what other tools wrote, in place: native runs of it in the local cache directory.

Nothing is written beside the source. What is in the cache is used again while the files of the source have the sizes
and times that they had, and can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from barograph import plugins
from barograph.errors import BarographWarning, FormatError, MisuseError, RunNotFoundError
from barograph.facts.codec import decode, encode
from barograph.facts.descriptor import replace_file
from barograph.read.catalog import has_runs
from barograph.read.foreign.convert import import_run, imported_runs
from barograph.read.foreign.protocol import find_foreign, importers, read_source
from barograph.read.index.store import default_cache

MANIFEST = "adopted.json"


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A source that could not be read.

    Attributes:
        source: the file or directory.
        tool: the importer that recognised it.
        reason: why not.
    """

    source: str
    tool: str
    reason: str


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache holds of a path.

    Attributes:
        path: the path.
        stamps: size and time of change of each of its files.
        skipped: sources that could not be read.
    """

    path: str
    stamps: dict[str, tuple[int, int]]
    skipped: list[Skipped]


def native_root(path: str | os.PathLike[str]) -> Path:
    """Where the runs of a path are: there, or, when it holds what other tools wrote and no run, in the cache.

    Args:
        path: what a person names as a directory of runs.

    Raises:
        MisuseError: there is no cache directory to read another tool's files through.
        OSError: the cache cannot be written.
    """
    place = Path(path)
    if not os.path.exists(place) or (place.is_dir() and has_runs(place)) or not find_foreign(place):  # noqa: PTH110
        return place
    return adopt(place)


def adopt(path: str | os.PathLike[str], *, cache: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Native runs of what other tools wrote at or below a path.

    A source that cannot be read is warned about; the others are there.

    Args:
        path: a file or a directory of another tool.
        cache: where to keep them; ``BAROGRAPH_CACHE``, else the user's cache directory, when not given.
        environ: where these are named.

    Returns:
        A directory of runs, for every verb that takes a root.

    Raises:
        RunNotFoundError: there is no such path, or nothing in it is known to any importer.
        MisuseError: there is no cache directory.
        OSError: the cache cannot be written.
    """
    source = Path(path).absolute()
    home = cache or default_cache(environ)
    if home is None:
        raise MisuseError(f"{source} needs a cache directory to be read in place; name one with BAROGRAPH_CACHE")
    place = home / "adopted" / hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        stamps = dict(_stamps(source))
        manifest = _read(place / MANIFEST)
        if manifest is None or manifest.stamps != stamps:
            manifest = _Manifest(path=str(source), stamps=stamps, skipped=_renew(source, place / "runs"))
            replace_file(place / MANIFEST, encode(msgspec.to_builtins(manifest)) + b"\n")
    for skipped in manifest.skipped:
        message = f"{skipped.source} was recognised as {skipped.tool} and cannot be read: {skipped.reason}"
        warnings.warn(message, BarographWarning, stacklevel=2)
    return place / "runs"


def _renew(source: Path, root: Path) -> list[Skipped]:
    """Import everything, and drop what the source does not hold any more."""
    found = find_foreign(source)
    if not found:
        known = ", ".join(importer.name for importer in importers()) or "none is installed"
        raise RunNotFoundError(
            f"{str(source)!r} holds nothing that an importer knows ({known}); name the directory that the tool wrote"
        )
    root.mkdir(exist_ok=True)
    known_runs = imported_runs(root)
    by_name = {importer.name: importer for importer in importers({name for name, _ in found})}
    skipped, seen = [], set()
    for name, place in found:
        try:
            for foreign in read_source(by_name[name], place):
                made = import_run(foreign, root, known=known_runs, durable=False, may_shrink=True)
                seen.add(made.run_id)
        except ModuleNotFoundError as error:
            missing = plugins.explain_missing(error)
            if missing is None:
                raise
            skipped.append(Skipped(source=str(place), tool=name, reason=str(missing)))
        except (FormatError, OSError) as error:
            skipped.append(Skipped(source=str(place), tool=name, reason=str(error)))
    for run_id, path in known_runs.items():
        if run_id not in seen:
            shutil.rmtree(path)
    return skipped


def _stamps(source: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Size and time of change of every file."""
    files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())
    beside = [source.with_name(source.name + suffix) for suffix in ("-wal", "-journal")]
    for file in [*files, *(file for file in beside if file.is_file())]:
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue  # it went away since the directory was listed
        yield os.path.relpath(file, source), (stat.st_size, stat.st_mtime_ns)


def _read(path: Path) -> _Manifest | None:
    """What is in the cache; None when there is nothing that can be read."""
    try:
        return msgspec.convert(decode(path.read_bytes()), _Manifest)
    except (FormatError, OSError, msgspec.ValidationError):
        return None  # it is made anew
