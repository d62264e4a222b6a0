"""``manifest.yaml``: what a report was made of, every number of it, and the hash of each of its files.

Its own last line holds the SHA-256 of all bytes before that line, so that an edit of the manifest shows as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.descriptor import replace_file
from barograph.report.number import Number

SCHEMA_VERSION: Final = 1
SEAL: Final = b"manifest_sha256: "
MAX_WIDTH: Final = (1 << 31) - 1
"""One value, one line: what the C library takes at most."""


class RunEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A run that the report is about.

    Attributes:
        dir: relative to the report's directory.
        path: absolute, as it was.
        run_id: unique for all time; "" when it has none.
        name: what people call it.
        status: what it was doing when the report was made.
        content_sha256: over its facts.
        size_bytes: of its facts.
        parts: the SHA-256 of each file of facts.
        edits_sha256: of the edits that were laid over them (names, tags, keys filled in); "" when there were none.
        checkpoint: the file that inference ran, relative to the run; None when none was run.
        checkpoint_sha256: its hash.
    """

    dir: str
    path: str
    run_id: str
    name: str
    status: str
    content_sha256: str
    size_bytes: int
    parts: dict[str, str]
    edits_sha256: str = ""
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None


class SkippedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was left out, and why."""

    dir: str
    reason: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``manifest.yaml`` holds.

    Attributes:
        schema_version: of the manifest.
        report_id: unique for all time.
        name: of the report.
        kind: of the report.
        title: its heading.
        created_t: unix seconds.
        created: the same, UTC, for people.
        versions: of what made it.
        cfg: its configuration.
        runs: by key.
        skipped: what was left out.
        numbers: every number that it shows.
        files: the SHA-256 of each other file of the report.
    """

    schema_version: int = SCHEMA_VERSION
    report_id: str
    name: str
    kind: str
    title: str
    created_t: float
    created: str
    versions: dict[str, str]
    cfg: dict[str, Any]
    runs: dict[str, RunEntry]
    skipped: list[SkippedEntry]
    numbers: list[Number]
    files: dict[str, str]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, atomically.

    Raises:
        OSError: it cannot be written.
    """
    import yaml  # noqa: PLC0415 - 15 ms that `import barograph` need not pay

    plain = msgspec.to_builtins(manifest)
    text = yaml.dump(plain, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=MAX_WIDTH, encoding="utf-8")
    body: bytes = text
    replace_file(path, body + SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n")


def _dumper() -> Any:
    """YAML written by the C library where there is one, every value where it stands."""
    import yaml  # noqa: PLC0415 - the same

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return type("Dumper", (base,), {"ignore_aliases": lambda _self, _data: True})


def read_manifest(path: Path) -> tuple[Manifest, bool]:
    """Read a manifest.

    Returns:
        The manifest, and whether its bytes are those that were written.

    Raises:
        FormatError: it cannot be read as one.
        OSError: there is none, or it cannot be read.
    """
    import yaml  # noqa: PLC0415 - the same

    data = path.read_bytes()
    body, _, seal = data.rpartition(SEAL)
    is_whole = hashlib.sha256(body).hexdigest().encode() + b"\n" == seal
    try:
        plain = yaml.load(body or data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe one
        return msgspec.convert(plain, Manifest, strict=False), is_whole
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        reason = " ".join(str(error).split())
        raise FormatError(f"{path} is no manifest of a report: {reason}; restore it, or report anew") from error
