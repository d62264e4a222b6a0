"""Finds the artifacts of an MLflow run on this machine; reads none of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlparse

from barograph.read.foreign.fidelity import Fidelity
from barograph.read.foreign.protocol import OUTSIDE_REASON, ForeignFile, files_within

ARTIFACTS: Final = "artifacts"
_ID: Final = re.compile(r"[A-Za-z0-9_-]+")


def artifacts(source: Path, *, run_id: str, uri: str, fidelity: Fidelity) -> list[ForeignFile]:
    """The files of a run: where MLflow says, else in their usual place; links that lead out of it are left out.

    A store of other hands may name any directory: only one that ends as MLflow's do, in the run's identifier and
    ``artifacts``, is looked into.

    Args:
        source: the store.
        run_id: of the run.
        uri: where MLflow says they are.
        fidelity: where to count what is not there.
    """
    if not _ID.fullmatch(run_id):
        return []
    scheme, place = _place_of(uri)
    usual = Path(run_id, ARTIFACTS)
    places = [place] if place is not None and place.parts[-2:] == usual.parts else []
    root = source if source.is_dir() else source.parent / "mlruns"
    places += [experiment / usual for experiment in sorted(root.glob("*"))]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        if scheme not in ("", "file"):
            fidelity.lose("directories of artifacts", f"they are elsewhere: {uri}")
        return []
    found, num_outside = files_within(folder)
    fidelity.lose("files", OUTSIDE_REASON, num_outside)
    return found


def _place_of(uri: str) -> tuple[str, Path | None]:
    """The scheme of where the artifacts are said to be, and the directory, when it is one of this machine's."""
    try:
        parts = urlparse(uri)
    except ValueError:
        return "", None
    is_local = parts.scheme in ("", "file") and bool(parts.path)
    return parts.scheme, Path(unquote(parts.path)) if is_local else None
