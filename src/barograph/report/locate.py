"""Finds the runs of a report where they are now: beside it, where they were, or by their id below a root.

Where several directories have one id (copies), the one that holds the facts of the report is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from barograph.errors import MisuseError
from barograph.facts.rundir import RunDir
from barograph.read.catalog import discover_runs
from barograph.read.foreign.adopt import native_root
from barograph.read.identity import read_run_json
from barograph.report.content import read_content
from barograph.report.directory import ReportDir
from barograph.report.manifest import Manifest, RunEntry


class Locator:
    """Finds the runs of one report.

    Args:
        directory: of the report.
        manifest: of the report.
        root: where runs that are not where they were are looked for; nowhere when None.
    """

    def __init__(self, directory: ReportDir, manifest: Manifest, root: str | os.PathLike[str] | None) -> None:
        self._directory = directory
        self._manifest = manifest
        self._root = root
        self._adopted = list(_adopted(manifest))
        self._taken: set[Path] = set()

    def usual(self, entry: RunEntry) -> Path:
        """Where a run lay relative to the report."""
        return Path(os.path.normpath(self._directory.path / entry.dir))

    def find(self, entry: RunEntry) -> Path | None:
        """Where a run is now; None when it is not found.

        Where it was relative to the report it is taken for the run whatever its ``run.json`` says: an edit of it must
        not send us to an older copy.
        """
        if RunDir(self.usual(entry)).is_run():
            return self.usual(entry)
        path = Path(entry.path)
        if RunDir(path).is_run() and (not entry.run_id or _run_id(path) == entry.run_id):
            return path
        return self._by_id(entry)

    def _by_id(self, entry: RunEntry) -> Path | None:
        found = [path for path in self._known.get(entry.run_id, ()) if path not in self._taken] if entry.run_id else []
        if len(found) > 1:
            same = [path for path in found if read_content(RunDir(path)).sha256 == entry.content_sha256]
            found = same or found
        if found:
            self._taken.add(found[0])
        return found[0] if found else None

    @cached_property
    def _known(self) -> dict[str, list[Path]]:
        """Every run below the root and what was adopted from other tools, by id; deleted ones too."""
        given = [] if self._root is None else [Path(self._root)]
        found: dict[str, list[Path]] = {}
        for place in [*given, *self._adopted]:
            for path in discover_runs(place, deleted=None) if place.is_dir() else ():
                found.setdefault(_run_id(path), []).append(path)
        return found


def _adopted(manifest: Manifest) -> Iterator[Path]:
    """Where the runs of another tool's files are, made anew where the cache does not hold them as they are now."""
    inputs = manifest.cfg.get("inputs", {})
    for given in (inputs.get("sweep_dir"), *(inputs.get("runs") or ())):
        if not isinstance(given, str) or not Path(given).exists():
            continue
        try:
            place = native_root(given)
        except (MisuseError, OSError):  # without a cache the runs are not found, and that is told
            continue
        if place != Path(given):
            yield place


def _run_id(path: Path) -> str:
    found = read_run_json(RunDir(path), []).get("run_id")
    return found if isinstance(found, str) else ""
