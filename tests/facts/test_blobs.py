from __future__ import annotations

import hashlib
import threading

import pytest

from barograph.errors import FormatError
from barograph.facts.blobs import BlobRef, blob_path, get_bytes, hash_file, put_bytes, put_file


def files(directory):
    """Every file below a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 10_000], ids=["empty", "small", "large"])
def test_a_blob_is_named_by_its_content_and_comes_back(tmp_path, data):
    """By bytes and by file the same content has the same name, and is stored once."""
    digest = hashlib.sha256(data).hexdigest()
    source = tmp_path / "source"
    source.write_bytes(data)
    blobs = tmp_path / "blobs"
    ref = put_bytes(blobs, data, media_type="image/png")
    assert BlobRef(sha256=digest, size_bytes=len(data), media_type="image/png") == ref
    assert ref == put_file(blobs, source, media_type="image/png")
    assert [f"{digest[:2]}/{digest}"] == files(blobs)
    assert data == get_bytes(blobs, ref)
    assert digest == hash_file(blob_path(blobs, digest))


def test_a_blob_whose_content_changed_is_told(tmp_path):
    """The name is a promise about the bytes."""
    ref = put_bytes(tmp_path, b"truth")
    blob_path(tmp_path, ref.sha256).write_bytes(b"false")
    with pytest.raises(FormatError, match=rf"{ref.sha256} does not have the content .* restore it"):
        get_bytes(tmp_path, ref)


def test_threads_may_store_at_once(tmp_path):
    """The same and different contents, by bytes and by file: blobs are what their names say, no more."""
    contents = [bytes([index]) * 300_000 for index in range(4)]
    for index, content in enumerate(contents):
        (tmp_path / f"source{index}").write_bytes(content)
    blobs = tmp_path / "blobs"
    failures = []

    def store(index):
        try:
            for _ in range(10):
                put_bytes(blobs, contents[index % 2])
                put_file(blobs, tmp_path / f"source{index}")
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=store, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    digests = sorted(hashlib.sha256(content).hexdigest() for content in contents)
    assert [f"{digest[:2]}/{digest}" for digest in digests] == files(blobs)
    assert digests == [hash_file(blob_path(blobs, digest)) for digest in digests]


def test_a_source_that_is_not_there_leaves_nothing(tmp_path):
    """The error is the system's; no temporary file stays."""
    with pytest.raises(FileNotFoundError):
        put_file(tmp_path / "blobs", tmp_path / "none")
    assert files(tmp_path) == []
