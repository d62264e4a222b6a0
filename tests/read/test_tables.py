"""Many runs as tables."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from barograph.facts.builders import build_event_payload
from barograph.facts.writers import append_jsonl_event, append_scalars_csv
from barograph.read.catalog import discover_runs
from barograph.read.run import RunReader
from barograph.read.tables import load_tables


def load(root):
    """The tables of every run below a directory."""
    return load_tables([RunReader(path) for path in discover_runs(root)])


@pytest.fixture
def root(recorded, tmp_path):
    """A recorded run, and one of a loop that emits facts by itself."""
    shutil.copytree(recorded, tmp_path / "run", symlinks=True)
    foreign = tmp_path / "run_20301103-140953_vq_job0"
    config = {"phase1": {"trainer": {"seed": 3}}}
    append_jsonl_event(foreign, build_event_payload("on_start", foreign, cfg=config))
    for epoch, loss in enumerate([0.5, 0.25]):
        payload = build_event_payload("on_epoch_end", foreign, epoch=epoch, train_loss=loss, val_loss=2 * loss)
        append_jsonl_event(foreign, payload)
        append_scalars_csv(foreign, epoch=epoch, train_loss=loss, val_loss=2 * loss)
    append_jsonl_event(foreign, build_event_payload("on_train_end", foreign, total_time_s=3.5))
    hydra = foreign / ".hydra"
    hydra.mkdir()
    (hydra / "config.yaml").write_text("phase1: {trainer: {seed: 3}}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.spec("S3.41")
def test_load_tables_aggregates_into_tables(root):
    """One row per run, one per epoch, columns of one length."""
    runs, per_epoch, order = load(root)
    assert [str(root / "run"), str(root / "run_20301103-140953_vq_job0")] == order == runs["run_dir"]
    assert runs["name"] == ["mlp", "vq"]
    assert runs["status"] == ["finished", "finished"]
    assert runs["num_epochs"] == [2, 2]
    assert runs["final_train_loss"] == [0.025, 0.25]
    assert runs["best_val_loss"] == [0.75, 0.5]
    assert runs["config.optim.lr"] == [1e-3, None]
    assert runs["config.phase1.trainer.seed"] == [None, 3]
    assert runs["summary.accuracy"] == [0.5, None]
    assert runs["total_time_s"][1] == 3.5
    assert {2} == {len(column) for column in runs.values()}
    assert (per_epoch[order[1]]["epoch"], per_epoch[order[1]]["val_loss"]) == ([0, 1], [1.0, 0.5])
    assert per_epoch[order[0]]["accuracy"] == [0.5, 0.5]


@pytest.mark.spec("S3.75")
def test_epochs_are_those_of_scalars_csv(root):
    """``scalars.csv`` and the events say the same; the table comes from the events."""
    _, per_epoch, order = load(root)
    for path in order:
        with Path(path, "facts", "scalars.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        table = per_epoch[path]
        for name in ("epoch", "train_loss", "val_loss"):
            assert [repr(float(row[name])) for row in rows] == [repr(float(value)) for value in table[name]]


def test_tables_can_be_written_by_column(root):
    """Any program that takes columns takes them; here CSV."""
    runs, _, _ = load(root)
    text = io.StringIO()
    csv.writer(text).writerows([runs.keys(), *zip(*runs.values(), strict=True)])
    assert len(text.getvalue().splitlines()) == 3


def test_a_run_without_epochs_has_an_empty_table(run_dir):
    """With the columns that every epoch has."""
    append_jsonl_event(run_dir.path, {"moment": "on_start"})
    runs, per_epoch, order = load(run_dir.path)
    assert per_epoch[order[0]] == {"epoch": [], "attempt": [], "train_loss": [], "val_loss": [], "epoch_time_s": []}
    assert runs["best_val_loss"] == [None]
