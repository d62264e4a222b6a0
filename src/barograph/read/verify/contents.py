"""Verifies what events refer to and what was derived: blobs, checkpoints, compressed files, ``scalars.csv``."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from barograph.facts.blobs import blob_path, hash_file
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.read.verify.finding import Finding, Severity, relative, torn_tail

_HEX: Final = frozenset("0123456789abcdef")
_SHA256_CHARACTERS: Final = 64
_CHUNK_BYTES: Final = 1 << 20


class References:
    """What the events of a run refer to, gathered in one pass.

    Attributes:
        blobs: size by SHA-256.
        checkpoints: the newest event of each checkpoint's path that has a SHA-256.
        num_epochs: how many epochs ended, of rank 0.
    """

    def __init__(self, events: Iterable[Event], record: dict[str, Any]) -> None:
        self.blobs: dict[str, Any] = {}
        self.checkpoints: dict[str, str] = {}
        self.num_epochs = 0
        self._take_blobs(record)
        for event in events:
            self._take_blobs(event.payload)
            if event.moment == "on_epoch_end" and "epoch" in event.payload and not event.payload.get("rank"):
                self.num_epochs += 1
            if event.moment == "on_checkpoint" and isinstance(event.payload.get("path"), str):
                self.checkpoints[event.payload["path"]] = str(event.payload.get("sha256") or "")

    def forget(self, digests: Iterable[str]) -> None:
        """Leave out blobs that were removed on purpose."""
        for digest in digests:
            self.blobs.pop(digest, None)

    def _take_blobs(self, node: Any) -> None:
        """References stand anywhere in a record, as ``{"sha256": ..., "size_bytes": ..., "media_type": ...}``."""
        if isinstance(node, list):
            for item in node:
                self._take_blobs(item)
        elif isinstance(node, dict):
            if {"sha256", "size_bytes", "media_type"} <= node.keys():
                self.blobs[str(node["sha256"])] = node["size_bytes"]
            for item in node.values():
                self._take_blobs(item)


def verify_blobs(directory: RunDir, references: References) -> Iterator[Finding]:
    """Verify that every blob is there and has the content that its name says."""
    stored = {path.name: path for path in directory.blobs.glob("??/*") if _is_digest(path.name)}
    for digest, size_bytes in references.blobs.items():
        if digest not in stored:
            file = relative(directory.path, blob_path(directory.blobs, digest))
            message = f"the run refers to this blob of {size_bytes} bytes, and it is not there; restore it from a copy"
            yield Finding(severity="error", code="missing_blob", file=file, message=message)
    for digest, path in sorted(stored.items()):
        yield from _verify_digest(directory.path, path, digest, code="damaged_blob", severity="error")


def verify_checkpoints(directory: RunDir, references: References) -> Iterator[Finding]:
    """Verify the checkpoints that were recorded with a digest and are still there; the newest record of each counts."""
    for name, digest in references.checkpoints.items():
        path = directory.path / name
        if digest and path.is_file():
            yield from _verify_digest(directory.path, path, digest, code="other_checkpoint", severity="warning")


def verify_compressed(directory: RunDir) -> Iterator[Finding]:
    """Verify that compressed files can be unpacked: detail records, flight dumps, rotated text logs."""
    paths = [*directory.details.rglob("*.gz"), *directory.facts.glob("*.gz"), *directory.path.glob("*.gz")]
    for path in sorted(paths):
        try:
            with gzip.open(path) as file:
                while file.read(_CHUNK_BYTES):
                    pass  # reading is the test: the format carries a checksum
        except (OSError, EOFError, zlib.error) as error:
            name, message = relative(directory.path, path), f"it cannot be unpacked ({error}); restore it from a copy"
            yield Finding(severity="error", code="damaged_gzip", file=name, message=message)


def verify_scalars_csv(directory: RunDir, references: References, *, is_live: bool) -> Iterator[Finding]:
    """Verify that ``scalars.csv`` has a row for each epoch; it is derived from the events."""
    path, num_epochs = directory.scalars_csv, references.num_epochs
    if not path.is_file():
        if num_epochs:
            message = f"{num_epochs} epochs ended and it is not there; the events have them all"
            yield Finding(severity="warning", code="scalars_csv", file=relative(directory.path, path), message=message)
        return
    file = relative(directory.path, path)
    try:
        data = path.read_bytes()
    except OSError as error:
        yield Finding(severity="error", code="unreadable", file=file, message=f"it cannot be read: {error.strerror}")
        return
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        yield torn_tail(directory.path, path, offset=len(whole), size_bytes=len(data) - len(whole), is_live=is_live)
    rows = list(csv.reader(whole.decode("utf-8", "replace").splitlines()))
    num_rows = max(0, len(rows) - 1)
    if any(len(row) != len(rows[0]) for row in rows):
        message = "some rows have another number of fields than the header; rebuild it from the events"
        yield Finding(severity="warning", code="scalars_csv", file=file, message=message)
    if num_rows != num_epochs:
        message = f"it has {num_rows} rows for {num_epochs} epochs that ended; the events are what counts"
        severity: Severity = "info" if is_live or num_rows > num_epochs else "warning"
        yield Finding(severity=severity, code="scalars_csv", file=file, message=message)


def verify_leftovers(directory: RunDir) -> Iterator[Finding]:
    """Name what repairs have kept and what interrupted writes have left."""
    for path in sorted(directory.facts.glob("*.cut-*")):
        message = f"{path.stat().st_size} bytes that were no whole record were cut off here when the run was resumed"
        yield Finding(severity="info", code="cut", file=relative(directory.path, path), message=message)
    for folder in (directory.path, directory.facts):
        for path in sorted(folder.glob(".*.tmp")):
            message = "a write of a whole file was interrupted; the file itself is as it was: this one may be deleted"
            yield Finding(severity="info", code="leftover", file=relative(directory.path, path), message=message)


def _is_digest(name: str) -> bool:
    return len(name) == _SHA256_CHARACTERS and _HEX.issuperset(name)


def _verify_digest(root: Path, path: Path, digest: str, *, code: str, severity: Severity) -> Iterator[Finding]:
    file = relative(root, path)
    try:
        found = hash_file(path)
    except OSError as error:
        yield Finding(severity="error", code="unreadable", file=file, message=f"it cannot be read: {error.strerror}")
        return
    if found != digest:
        message = f"its content has the SHA-256 {found}, not {digest} as recorded: restore it from a copy"
        yield Finding(severity=severity, code=code, file=file, message=message)
