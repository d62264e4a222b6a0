"""Big things by content: a blob's name is the SHA-256 of its bytes, so the same thing is stored once.

Events refer to blobs by ``BlobRef``; a blob never changes after it is written.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.descriptor import replace_file, temporary_path

_CHUNK_BYTES: Final = 1 << 20


class BlobRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where a blob is and what it is.

    Attributes:
        sha256: hex digest of the content; the blob lies at ``blobs/AB/ABCDEF...``.
        size_bytes: size of the content.
        media_type: e.g. ``image/png``.
    """

    sha256: str
    size_bytes: int
    media_type: str = "application/octet-stream"


def blob_path(directory: Path, sha256: str) -> Path:
    """Path of a blob below the run's ``blobs`` directory."""
    return directory / sha256[:2] / sha256


def put_bytes(directory: Path, data: bytes, *, media_type: str = "application/octet-stream") -> BlobRef:
    """Store bytes.

    Raises:
        OSError: the blob could not be written; nothing of it is there.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = blob_path(directory, digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    return BlobRef(sha256=digest, size_bytes=len(data), media_type=media_type)


def put_file(directory: Path, source: Path, *, media_type: str = "application/octet-stream") -> BlobRef:
    """Store a copy of a file without reading it whole into memory."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(directory / "incoming")
    hasher, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as reading, temporary.open("wb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                hasher.update(chunk)
                writing.write(chunk)
                size += len(chunk)
        path = blob_path(directory, hasher.hexdigest())
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return BlobRef(sha256=hasher.hexdigest(), size_bytes=size, media_type=media_type)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def get_bytes(directory: Path, ref: BlobRef) -> bytes:
    """Read a blob back.

    Raises:
        FormatError: the content is not what its name says.
    """
    data = blob_path(directory, ref.sha256).read_bytes()
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise FormatError(f"blob {ref.sha256} does not have the content its name says; restore it from a copy")
    return data
