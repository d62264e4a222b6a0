from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from barograph.facts.rundir import RunDir
from barograph.read.archive.seal import seal, unseal
from barograph.report.content import combine, read_content


@pytest.fixture
def run(sweep_dir):
    """A finished run."""
    return RunDir(min(sweep_dir.glob("*lr0.2*")))


def test_every_file_of_facts_is_a_part(run):
    """Each part is the plain SHA-256 of a file, a stream's under its name without the extension."""
    content = read_content(run)
    files = {
        "run.json": run.identity,
        "config.yaml": run.config,
        "facts/events.jsonl": run.events(),
        "facts/metrics.jsonl": run.overflow(),
        "facts/exit.json": run.exit(),
        "facts/process.json": run.process(),
        "facts/metrics.000": run.rows(0),
    }
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == content.parts
    assert sum(path.stat().st_size for path in files.values()) == content.size_bytes
    lines = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(content.parts.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == content.sha256 == combine(content.parts)


def test_what_is_derived_or_added_by_readers_does_not_count(run):
    """Rebuilt tables, logs, backlinks, edits, hidden files, cut bytes and the heartbeat leave the hash as it is."""
    before = read_content(run)
    run.scalars_csv.write_text("epoch\n", encoding="utf-8")
    (run.path / "reports.jsonl").write_text("{}\n", encoding="utf-8")
    (run.path / "edits.jsonl").write_text("{}\n", encoding="utf-8")
    (run.path / "train.log").write_text("x", encoding="utf-8")
    (run.facts / ".pyramid").write_bytes(b"1")
    (run.facts / "events.jsonl.cut-7").write_bytes(b"1")
    os.utime(run.process(), (1, 1))
    assert before == read_content(run)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "facts/events.jsonl", "facts/metrics.000.rows"])
def test_one_byte_changes_the_hash(run, name):
    """Of any file of facts; and only its part is another."""
    before = read_content(run)
    path = run.path / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    after = read_content(run)
    changed = {part for part in before.parts if before.parts[part] != after.parts[part]}
    assert changed == {name.removesuffix(".rows")}
    assert before.sha256 != after.sha256


def test_sealing_does_not_change_the_hash(runs):
    """Rows as Parquet hold the same facts; and so they do when they are rows again."""
    reader = runs.readers[0]
    before = read_content(reader.directory)
    seal(reader)
    assert not reader.directory.rows(0).exists()
    sealed = read_content(reader.directory)
    assert (before.sha256, before.parts) == (sealed.sha256, sealed.parts)
    assert sealed.sealed == ["facts/metrics.000"]
    unseal(reader)
    assert before == read_content(reader.directory)


def test_the_place_of_a_run_does_not_count(run, tmp_path):
    """A copy has the same hash."""
    copy = shutil.copytree(run.path, tmp_path / "elsewhere")
    assert read_content(run) == read_content(RunDir(copy))
