"""What a run's facts are, as hashes: equal as long as no recorded fact changed, whatever was derived or sealed since.

Hashed are ``run.json``, the configurations and ``facts/``; not what can be rebuilt (``scalars.csv``, hidden files),
what readers and watchers add for themselves (edits, backlinks, deliveries), and bytes that a repair kept aside. A
sealed stream hashes as the rows it holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from barograph.facts.log import Damage
from barograph.facts.rows import encode_header
from barograph.facts.rundir import RunDir
from barograph.read.columns import find_streams, iterate_blocks

_ROOT_FILES: Final = ("run.json", "config.yaml", "config.attempt*.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml")
_IMPORTED: Final = re.compile(rb'"imported_t":[\d.e+-]+')
_DERIVED: Final = frozenset({"scalars.csv", "watch.lock", "deliveries.jsonl", "deliveries.lock"})


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one run.

    Attributes:
        sha256: over the parts, in their order.
        size_bytes: of the files as they lie there.
        parts: by file, relative to the run; a stream of rows without its extension. The SHA-256 of each.
        sealed: parts that lie there as Parquet.
    """

    sha256: str
    size_bytes: int
    parts: dict[str, str]
    sealed: list[str] = []


def read_content(directory: RunDir) -> Content:
    """Hash the facts of a run as they are now.

    Raises:
        OSError: a file cannot be read.
    """
    parts: dict[str, str] = {}
    size_bytes = 0
    sealed: list[str] = []
    for path in _files(directory):
        size_bytes += path.stat().st_size
        name = path.relative_to(directory.path).as_posix()
        stem = name.removesuffix(path.suffix)
        if path.suffix == ".rows":
            parts[stem] = hash_file(path)
        elif path.suffix == ".parquet":
            if stem not in parts:  # until a seal is finished both are there, and the rows count
                parts[stem] = _hash_sealed(directory, path)
                sealed.append(stem)
        elif name == directory.identity.name:
            parts[name] = _hash_identity(path)
        else:
            parts[name] = hash_file(path)
    return Content(sha256=combine(parts), size_bytes=size_bytes, parts=parts, sealed=sealed)


def hash_edits(directory: RunDir) -> str:
    """SHA-256 of the edits of a run; "" when it has none. They are no facts, but names and groups follow them.

    Raises:
        OSError: they cannot be read.
    """
    return hash_file(directory.edits) if directory.edits.is_file() else ""


def combine(parts: Mapping[str, str]) -> str:
    """One hash of several, by name."""
    return hash_lines(f"{name}\0{sha256}" for name, sha256 in sorted(parts.items()))


def hash_lines(lines: Iterable[str]) -> str:
    """SHA-256 of lines of text."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")).hexdigest()


def _hash_identity(path: Path) -> str:
    """The hash of ``run.json``; when another tool's run was imported is no fact of it: the cache is made anew."""
    return hashlib.sha256(_IMPORTED.sub(b'"imported_t":0', path.read_bytes())).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(directory: RunDir) -> list[Path]:
    """Files that hold facts; rows before the Parquet of the same number."""
    found = [path for pattern in _ROOT_FILES for path in directory.path.glob(pattern)]
    inside = directory.facts.iterdir() if directory.facts.is_dir() else ()
    found += [path for path in inside if path.name not in _DERIVED and path.name[0] != "." and ".cut-" not in path.name]
    return sorted((path for path in found if path.is_file()), key=lambda path: (path.suffix == ".parquet", path))


def _hash_sealed(directory: RunDir, path: Path) -> str:
    """The hash that the stream's rows file had: of its header and of every number, read from the Parquet."""
    damage: list[Damage] = []
    for stream in find_streams(directory, damage):
        if stream.path == path:
            digest = hashlib.sha256(encode_header(stream.header))
            for block in iterate_blocks(stream, damage):
                digest.update(block.tobytes())
            if not damage:
                return digest.hexdigest()
    return hash_file(path)
