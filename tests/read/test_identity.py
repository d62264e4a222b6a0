"""Who a run is, also where nobody wrote it down."""

from __future__ import annotations

import pytest

from barograph.facts.rundir import RunDir
from barograph.facts.writers import append_jsonl_event
from barograph.read.identity import directory_time, identify, read_config, read_run_json


def identity_of(path):
    """The identity, and what was found damaged."""
    directory, damage = RunDir(path), []
    return identify(directory, read_run_json(directory, damage), damage), damage


def test_a_loop_that_writes_events_only_has_the_name_of_its_directory(tmp_path):
    """And the time of its first event."""
    path = tmp_path / "run_20251103-140953_vq_tokens_job0"
    append_jsonl_event(path, {"moment": "on_start", "t": 1762178993.5})
    identity, damage = identity_of(path)
    assert (identity.name, identity.created_t, identity.run_id) == ("vq_tokens", 1762178993.5, "")
    assert damage == []


def test_what_the_first_event_says_comes_first(tmp_path):
    """Name, id and project."""
    append_jsonl_event(tmp_path, {"moment": "on_start", "run_id": "r9", "name": "vq", "project": "p", "t": 5.0})
    identity, _ = identity_of(tmp_path)
    assert (identity.name, identity.run_id, identity.project) == ("vq", "r9", "p")


def test_without_an_event_the_directory_tells_the_time(tmp_path):
    """UTC, to the second."""
    path = tmp_path / "run_20251103-140953_vq_job0"
    path.mkdir()
    assert identity_of(path)[0].created_t == 1762178993.0


@pytest.mark.parametrize("name", ["full", "run_20251399-140953_vq_job0"])
def test_a_directory_without_a_time(tmp_path, name):
    """Any name, and a month that is none."""
    assert directory_time(tmp_path / name) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b'{"run_id": "a", "tags": 5}\n', "Expected `array`"), (b"{", "not a JSON line"), (b"\0\0", "not a JSON line")],
)
def test_a_damaged_identity_is_noted(tmp_path, content, reason):
    """The directory's name stands in."""
    (tmp_path / "run.json").write_bytes(content)
    identity, damage = identity_of(tmp_path)
    assert identity.name == tmp_path.name
    assert [reason in found.reason for found in damage] == [True]


@pytest.mark.spec("S3.83", "S3.41")
def test_hydras_configuration_is_read_where_hydra_runs(tmp_path):
    """``.hydra/config.yaml`` is the exact config of a run that has none of its own."""
    hydra = tmp_path / ".hydra"
    hydra.mkdir()
    (hydra / "config.yaml").write_text("phase1:\n  trainer: {seed: 3, epochs: 20}\n", encoding="utf-8")
    assert read_config(RunDir(tmp_path), []) == {"phase1": {"trainer": {"seed": 3, "epochs": 20}}}


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", "\0"])
def test_a_damaged_configuration_is_noted(tmp_path, content):
    """No YAML, or no mapping."""
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    damage = []
    assert read_config(RunDir(tmp_path), damage) == {}
    assert len(damage) == 1


def test_an_empty_configuration_is_empty(tmp_path):
    """And no damage."""
    (tmp_path / "config.yaml").write_text("{}\n", encoding="utf-8")
    damage = []
    assert (read_config(RunDir(tmp_path), damage), damage) == ({}, [])


@pytest.mark.parametrize("num_bytes", [4000, 200_000])
@pytest.mark.parametrize("opening", [b"[", b"- ", b"{a: "])
def test_a_configuration_nested_without_end_is_damage(tmp_path, num_bytes, opening):
    """Whichever parser reads it: nothing raises, and the process lives."""
    directory = RunDir(tmp_path)
    directory.config.write_bytes(opening * (num_bytes // len(opening)))
    damage = []
    config = read_config(directory, damage)
    assert config == {}
    assert [str(directory.config)] == [found.path for found in damage]


def test_a_configuration_that_is_long_or_deep_ends_no_process(tmp_path):
    """A long one is read as it stands; one nested a hundred thousand levels deep is damage, by either parser."""
    run = RunDir(tmp_path)
    run.config.write_text("".join(f"key{place}: [{place}, 0.5]\n" for place in range(1000)), encoding="utf-8")
    damage = []
    assert read_config(run, damage) == {f"key{place}": [place, 0.5] for place in range(1000)}
    assert damage == []
    run.config.write_text("key: " + "[" * 100_000, encoding="utf-8")
    assert read_config(run, damage) == {}
    assert [it.path for it in damage] == [str(run.config)]
