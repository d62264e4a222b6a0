from __future__ import annotations

import hashlib
import math

import msgspec
import pytest
import yaml

from barograph.errors import FormatError
from barograph.report.manifest import Manifest, read_manifest, write_manifest
from barograph.report.number import Number
from barograph.report.query import Query


def number(value):
    """A number of that value."""
    query = Query(of="metric", name="loss", split="val", reduce="min", statistic="mean")
    return Number(id=f"of {value!r}", value=value, query=query, runs=["r0"], n=1, content_sha256="0" * 64)


@pytest.fixture
def manifest():
    """A manifest with numbers that are easily lost on the way."""
    values = [
        0.1,
        1e-7,
        1e300,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        2**60 + 1,
        True,
        None,
        "1e-3",
        "yes",
        "a\u2028b\x85",
    ]
    return Manifest(
        report_id="x",
        name="n\n# not a comment: [",
        kind="sweep",
        title="t",
        created_t=1795176837.311009,
        created="2026-11-20 12:13:57 UTC",
        versions={"python": "3.11"},
        cfg={"inputs": {"select": {"lr": [0.1]}}},
        runs={},
        skipped=[],
        numbers=[number(value) for value in values],
        files={"report.html": "f" * 64},
    )


@pytest.mark.spec("S3.30", "S3.79")
def test_numbers_come_back_exactly(tmp_path, manifest):
    """Every bit of every number, and every text; the manifest is whole."""
    write_manifest(tmp_path / "manifest.yaml", manifest)
    found, is_whole = read_manifest(tmp_path / "manifest.yaml")
    assert is_whole
    assert [repr(it.value) for it in found.numbers] == [repr(it.value) for it in manifest.numbers]
    assert msgspec.structs.replace(found, numbers=[]) == msgspec.structs.replace(manifest, numbers=[])
    assert [it.query for it in found.numbers] == [it.query for it in manifest.numbers]


def test_the_last_line_is_the_hash_of_what_stands_before_it(tmp_path, manifest):
    """Anybody can check it: YAML like the rest, over the bytes before."""
    path = tmp_path / "manifest.yaml"
    write_manifest(path, manifest)
    *_, last = path.read_bytes().splitlines(keepends=True)
    body = path.read_bytes()[: -len(last)]
    assert last == b"manifest_sha256: " + hashlib.sha256(body).hexdigest().encode() + b"\n"
    assert yaml.safe_load(path.read_bytes())["manifest_sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 0.999])
def test_one_byte_shows(tmp_path, manifest, place):
    """Also one of the hash itself."""
    path = tmp_path / "manifest.yaml"
    write_manifest(path, manifest)
    data = bytearray(path.read_bytes())
    at = int(len(data) * place)
    data[at] = ord("7") if data[at] != ord("7") else ord("8")
    path.write_bytes(data)
    try:
        _, is_whole = read_manifest(path)
    except FormatError:
        is_whole = False
    assert not is_whole


@pytest.mark.parametrize("text", ["", "[1", "a: 1\n", "- 1\n", "\x00"])
def test_what_is_no_manifest(tmp_path, text):
    """The error names the file and the next step."""
    (tmp_path / "manifest.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=r"is no manifest of a report: .*; restore it, or report anew"):
        read_manifest(tmp_path / "manifest.yaml")
