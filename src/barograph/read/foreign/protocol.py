"""What an importer gives: runs of another tool as plain data, read in place, nothing written.

An importer is found by the entry point group ``barograph.importers``, so a stranger's comes through the same door as
the built-in ones. It never guesses: what it cannot keep it counts in the run's ``fidelity``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, runtime_checkable

import msgspec

from barograph import plugins
from barograph.errors import BarographError, FormatError, RunNotFoundError
from barograph.facts.rundir import RunDir
from barograph.read.catalog import SKIPPED
from barograph.read.foreign.fidelity import Fidelity

GROUP: Final = "barograph.importers"
UNEXPECTED: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""How code says that data is not what it was made for."""
OUTSIDE_REASON: Final = "links to what lies outside the run: it may be anything"

ForeignStatus = Literal["finished", "failed", "killed", "running", "unknown"]


class ForeignMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records that have the same metrics.

    Attributes:
        columns: by metric, one number per record; integers that a float64 cannot hold are ``int``.
        steps: one step per record; they may repeat, go back or be fractional.
        t: unix seconds of each record; NaN where the source does not tell.
        split: e.g. ``train``; ``host`` for samples of the machine.
        attempt: 0 for the first, one more at each resume.
        rank: which process of a distributed run.
    """

    columns: Mapping[str, Sequence[float]]
    steps: Sequence[float]
    t: Sequence[float]
    split: str = "train"
    attempt: int = 0
    rank: int = 0

    @property
    def num_numbers(self) -> int:
        """How many metric values it holds."""
        return len(self.steps) * len(self.columns)


class ForeignText(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a series of texts.

    Attributes:
        name: of the series.
        text: what was logged.
        step: where; None when the source does not tell.
        t: unix seconds; None when the source does not tell.
    """

    name: str
    text: str
    step: float | None = None
    t: float | None = None


class ForeignFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that belongs to the run; it stays where it is.

    Attributes:
        name: its name within the run.
        path: where it lies.
        size_bytes: its size.
    """

    name: str
    path: Path
    size_bytes: int


class ForeignRun(msgspec.Struct, kw_only=True):
    """One run of another tool.

    ``metrics`` may be an iterator, so that a long run need not fit into memory; ``fidelity`` is complete when it is
    exhausted.

    Attributes:
        tool: the importer's name.
        source: the file or directory that was read.
        key: tells this run from the others of the same source, and stays the same when the source grows.
        name: what people call it.
        project: what it belongs to.
        group: runs that belong together.
        tags: words to find it by.
        notes: free text.
        run_id: the tool's own identifier; "" when it has none.
        seed: the seed, when the source names it.
        config: the configuration, nested.
        created_t: unix seconds; None when nothing tells.
        ended_t: unix seconds; None while it runs, and when nothing tells.
        status: how it ended, as far as the source tells; ``unknown`` when it does not.
        reason: more about the status, in words.
        is_deleted: somebody deleted it in the tool; it is imported as a deleted run, hidden and restorable.
        metrics: the numbers.
        events: what happened: unix seconds, moment and payload of each.
        summary: results that stand for the whole run.
        texts: series of texts.
        files: files that belong to the run.
        console: what the run printed.
        provenance: where it came from: host, command line, commit; as the source has it.
        fidelity: what was kept and what could not be.
    """

    tool: str
    source: Path
    key: str
    name: str
    project: str | None = None
    group: str | None = None
    tags: list[str] = []
    notes: str | None = None
    run_id: str = ""
    seed: int | None = None
    config: dict[str, Any] = {}
    created_t: float | None = None
    ended_t: float | None = None
    status: ForeignStatus = "unknown"
    reason: str | None = None
    is_deleted: bool = False
    metrics: Iterable[ForeignMetrics] = ()
    events: list[tuple[float, str, dict[str, Any]]] = []
    summary: dict[str, Any] = {}
    texts: list[ForeignText] = []
    files: list[ForeignFile] = []
    console: str = ""
    provenance: dict[str, Any] = {}
    fidelity: Fidelity = msgspec.field(default_factory=Fidelity)


@runtime_checkable
class Importer(Protocol):
    """Reads what one tool recorded.

    Attributes:
        name: the tool's, as people write it on the command line.
    """

    name: str

    def recognises(self, path: Path) -> bool:
        """Whether ``path``, a file or a directory, is one source of this tool; by names and first bytes, never raises.

        A directory is recognised for what lies in it by itself; its subdirectories are asked about on their own.
        """

    def read(self, path: Path) -> Iterator[ForeignRun]:
        """The runs of a source that was recognised. Nothing is written there.

        Raises:
            FormatError: the source as a whole is not what its name says; damaged parts are counted, not raised.
            OSError: it cannot be read.
        """


@runtime_checkable
class Owner(Protocol):
    """An importer whose source comes with copies of the same numbers, which are no runs of their own."""

    def owns(self, path: Path) -> Iterable[Path]:
        """Files and directories, below a source that was recognised or elsewhere, that are not to be asked about.

        What is below them is not asked about, either. Never raises.
        """


STANDS_BEHIND: Final = {"lightning_csv": "tfevents"}
"""Of two loggers of one training that wrote into one directory: the one that is left out, and the one that is read."""


def importers(names: Iterable[str] | None = None) -> list[Importer]:
    """The installed importers, by name.

    Args:
        names: only these.

    Raises:
        PluginNotFoundError: nobody offers one of the names.
    """
    return [plugins.load(GROUP, name) for name in (plugins.names(GROUP) if names is None else names)]


def whereabouts(path: Path) -> Path:
    """A path from the root, without ``..``; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() gives the names that links lead to


def files_within(folder: Path, *, pattern: str = "*") -> tuple[list[ForeignFile], int]:
    """The files at or below a directory, by name, and how many there are links to something outside it.

    Args:
        folder: the directory; there need not be one.
        pattern: of the files' names.
    """
    inside = f"{os.path.realpath(folder)}/"
    found, num_outside = [], 0
    for path in sorted(folder.rglob(pattern)):
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError:
            size = None  # it went away since the directory was listed
        if size is None:
            continue
        if path.is_symlink() and not os.path.realpath(path).startswith(inside):
            num_outside += 1
        else:
            found.append(ForeignFile(name=path.relative_to(folder).as_posix(), path=path, size_bytes=size))
    return found, num_outside


def read_source(importer: Importer, path: Path) -> Iterator[ForeignRun]:
    """The runs of one source; whatever an importer meets that it was not made for, the other sources can be read.

    Raises:
        FormatError: the source is not what its name says, or the importer failed.
        OSError: it cannot be read.
        ModuleNotFoundError: the importer needs what is not installed.
    """
    try:
        yield from importer.read(path)
    except (BarographError, OSError, ModuleNotFoundError):
        raise
    except UNEXPECTED as error:  # importers are plug-ins, and their input is anybody's
        raise FormatError(
            f"{path} is more than the importer {importer.name} can make sense of ({type(error).__name__}: {error}); "
            f"copy it anew from where it was written, else report this"
        ) from error


def find_foreign(path: str | os.PathLike[str], *, tools: Iterable[str] | None = None) -> list[tuple[str, Path]]:
    """Every source of another tool at or below a path, in the order of paths.

    Directories that hold a run of ours are not searched, nor are hidden ones; links to directories are not followed.

    Args:
        path: a file or a directory.
        tools: names of importers; all that are installed, when not given.

    Returns:
        Name of the importer, and the file or directory that it reads.

    Raises:
        RunNotFoundError: there is no such path.
        PluginNotFoundError: nobody offers one of ``tools``.
    """
    start = Path(path)
    if not start.exists():
        raise RunNotFoundError(f"{os.fspath(path)!r} does not exist; name a file or directory that a tool wrote")
    return _search(start, importers(tools))


def read_foreign(path: str | os.PathLike[str], *, tools: Iterable[str] | None = None) -> Iterator[ForeignRun]:
    """The runs of every source of another tool at or below a path.

    Args:
        path: a file or a directory.
        tools: names of importers; all that are installed, when not given.

    Raises:
        RunNotFoundError: there is no such path, or nothing in it is known to any importer.
        FormatError: a source is not what its name says.
        OSError: a source cannot be read.
    """
    chosen = importers(tools)
    by_name = {importer.name: importer for importer in chosen}
    found = find_foreign(path, tools=by_name)
    if not found:
        raise RunNotFoundError(
            f"{os.fspath(path)!r} holds nothing that an importer knows ({', '.join(by_name) or 'none is installed'}); "
            f"name the directory that the tool wrote"
        )
    for name, source in found:
        yield from read_source(by_name[name], source)


def _search(start: Path, candidates: Sequence[Importer]) -> list[tuple[str, Path]]:
    """Depth first, by name; files that a source of their directory comprises are not asked about again."""
    found: list[tuple[str, Path]] = []
    owned: set[str] = set()
    origin = Path(os.path.realpath(start))
    waiting: list[tuple[Path, Path, frozenset[str]]] = [(start, origin, frozenset())]
    while waiting:
        path, real, asked = waiting.pop()
        is_directory = path.is_dir()
        if str(real) in owned or (is_directory and RunDir(path).is_run()):
            continue
        mine = [each for each in candidates if each.name not in asked and each.recognises(path)]
        names = {each.name for each in mine}
        found += [(each.name, path) for each in mine if STANDS_BEHIND.get(each.name) not in names]
        owned.update(os.path.realpath(place) for each in mine if isinstance(each, Owner) for place in each.owns(path))
        if is_directory:
            waiting += [
                (path / name, real / name, frozenset() if is_folder else frozenset(names))
                for name, is_folder in reversed(_entries(path))
            ]
    if not owned:
        return found
    return [(name, path) for name, path in found if os.path.realpath(path) not in owned]


def _entries(path: Path) -> list[tuple[str, bool]]:
    """The files and directories of a directory, by name; nothing when it may not be read."""
    found = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED and not entry.name.startswith("."):
                        found.append((entry.name, True))
                elif _is_file(entry):
                    found.append((entry.name, False))
    except OSError:
        return []
    return sorted(found)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a link that leads to itself
