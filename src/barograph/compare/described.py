"""What a run recorded about itself, by section, as plain nested data: what a comparison of two runs looks at.

Names, ids and times are left out, since they differ between any two runs. Nothing is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader

HASH_SEED: Final = "PYTHONHASHSEED"
"""A seed, whatever else it is: ``set_all_seeds`` sets it, and it explains no more than the seed does."""
_GIT: Final = ("commit", "branch", "remote")
_HOST: Final = ("host", "gpus", "gpu_driver", "container", "python", "platform")


def describe(reader: RunReader, section: str) -> dict[str, Any]:
    """One section of what a run recorded about itself; what was not recorded is left out.

    ``config`` is the configuration; ``seed`` the seed that the caller named; ``code`` the commit, branch, remote, the
    hash of the uncommitted changes and the untracked files; ``packages`` versions by normalised name; ``data`` the
    hash of each artifact, the newest of a name; ``command`` arguments, directory and Hydra's overrides; ``host``
    machine, cards, container and Python; ``environment`` the variables that were kept.

    Args:
        reader: the run.
        section: one of ``SECTIONS``.
    """
    return _SECTIONS[section](reader)


def packages(listed: Any) -> dict[str, str]:
    """Versions by normalised name (PEP 503), sorted.

    >>> packages(["PyYAML==6.0", "some_Thing==1.2"])
    {'pyyaml': '6.0', 'some-thing': '1.2'}
    """
    pairs = [entry.partition("==") for entry in listed or [] if isinstance(entry, str)]
    return dict(sorted((re.sub(r"[-_.]+", "-", name).lower(), version) for name, _, version in pairs))


def artifacts(reader: RunReader) -> dict[str, str]:
    """``sha256:...`` of the content of each artifact, the newest of a name."""
    found: dict[str, str] = {}
    for event in reader.events("custom"):
        blob, name = event.payload.get("blob"), event.payload.get("name")
        if event.payload.get("kind") == "artifact" and isinstance(blob, Mapping) and isinstance(name, str):
            found[name] = f"sha256:{blob.get('sha256')}"
    return dict(sorted(found.items()))


def gaps(reader: RunReader) -> list[str]:
    """Why a run's description is not complete, in words; empty when nothing is known to be missing."""
    provenance = reader.provenance
    if not provenance:
        return ["it recorded no provenance: code, packages, command, machine and environment are unknown"]
    git = _mapping(provenance.get("git"))
    told = [provenance.get(name) for name in ("git_note", "packages_note", "gpu_note", "hydra_note")]
    found = [str(note) for note in [*told, git.get("diff_note")] if note]
    diff = _mapping(git.get("diff"))
    if diff.get("truncated"):
        found.append("its uncommitted changes were cut at the size limit; what lies beyond is unknown")
    if diff.get("num_redacted_lines"):
        found.append(f"credentials were taken out of {diff['num_redacted_lines']} lines of its uncommitted changes")
    return found + _later_attempts(reader.directory)


def _later_attempts(directory: RunDir) -> list[str]:
    found = []
    attempt = 1
    while directory.attempt_provenance(attempt).exists():
        if directory.attempt_config(attempt).exists():
            found.append(
                f"attempt {attempt} continued it with another configuration, {directory.attempt_config(attempt).name}, "
                f"which is not compared"
            )
        attempt += 1
    return found


def _code(reader: RunReader) -> dict[str, Any]:
    """The state of the code; the names of untracked files, since their content was not recorded."""
    git = _mapping(reader.provenance.get("git"))
    untracked = git.get("untracked")
    uncommitted = _mapping(git.get("diff")).get("sha256") or ("none" if git.get("dirty") is False else None)
    return _known(
        {**{name: git.get(name) for name in _GIT}, "uncommitted": uncommitted, "untracked": untracked or None}
    )


def _command(reader: RunReader) -> dict[str, Any]:
    provenance = reader.provenance
    overrides = _mapping(provenance.get("hydra")).get("overrides")
    return _known({"argv": provenance.get("argv"), "cwd": provenance.get("cwd"), "hydra_overrides": overrides})


def _host(reader: RunReader) -> dict[str, Any]:
    found = _known({name: reader.provenance.get(name) for name in _HOST})
    return {**_mapping(found.pop("host", None)), **found}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_SECTIONS: Final[dict[str, Callable[[RunReader], dict[str, Any]]]] = {
    "config": lambda reader: reader.config,
    "seed": lambda reader: _known({"seed": reader.identity.seed}),
    "code": _code,
    "packages": lambda reader: packages(reader.provenance.get("packages")),
    "data": artifacts,
    "command": _command,
    "host": _host,
    "environment": lambda reader: {
        name: value for name, value in _mapping(reader.provenance.get("environment")).items() if name != HASH_SEED
    },
}
SECTIONS: Final = tuple(_SECTIONS)
