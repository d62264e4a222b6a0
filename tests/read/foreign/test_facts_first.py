"""Run directories of facts-first studies: a table of epochs, Hydra's configuration, no events."""

from __future__ import annotations

import csv
import datetime as dt
import subprocess
import sys
import textwrap

import pytest

from barograph.facts.writers import append_jsonl_event, append_scalars_csv
from barograph.read.foreign.facts_first import importer
from barograph.read.run import RunReader

LOOP = """
import csv, os, sys
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path=None, config_name="config")
def main(cfg):
    out = Path(HydraConfig.get().runtime.output_dir)
    (out / "facts").mkdir()
    with (out / "facts" / "scalars.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "train_loss", "val_loss", "metric_perplex", "epoch_time_s"])
        writer.writeheader()
        for epoch in range(cfg.phase1.trainer.epochs):
            perplex = "" if epoch == 1 else epoch * 0.1
            val_loss = float("nan") if epoch == 2 else 1 / (epoch + 3)
            writer.writerow({"epoch": epoch, "train_loss": 1 / (epoch + 1), "val_loss": val_loss,
                             "metric_perplex": perplex, "epoch_time_s": 1.5})

from hydra.core.config_store import ConfigStore
ConfigStore.instance().store("config", {"phase1": {"trainer": {"epochs": 3, "seed": 11}}, "lr": 0.1})
main()
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run that a real Hydra application left; it must not be changed."""
    root = tmp_path_factory.mktemp("study")
    (root / "loop.py").write_text(textwrap.dedent(LOOP))
    run = root / "run_20251103-140953_experiment_job0"
    command = [sys.executable, "loop.py", f"hydra.run.dir={run}", "lr=0.5"]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=root)
    return run


def only(path):
    """The one run of a directory."""
    (run,) = importer.read(path)
    return run


@pytest.mark.spec("S3.83")
def test_what_one_checks_by_hand_is_what_is_read(study):
    """``.hydra/config.yaml`` is the configuration, with its override; ``facts/scalars.csv`` the epochs, to the bit."""
    run = only(study)
    assert run.config == {"phase1": {"trainer": {"epochs": 3, "seed": 11}}, "lr": 0.5}
    with (study / "facts" / "scalars.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.events) == 3
    for row, (_, moment, payload) in zip(rows, run.events, strict=True):
        assert (moment, repr(payload["epoch"])) == ("on_epoch_end", row["epoch"])
        assert [repr(payload[name]) for name in ("train_loss", "val_loss", "epoch_time_s")] == [
            row[name] for name in ("train_loss", "val_loss", "epoch_time_s")
        ]
        assert [repr(value) for value in payload.get("metrics", {}).values()] == list(
            filter(None, [row["metric_perplex"]])
        )
    assert run.fidelity.kept == {"epochs": 3, "numbers": 11, "settings": 2}


def test_identity_is_that_of_the_directory(study):
    """Name and time are in its name; the seed is where such studies have it; Hydra's overrides are kept."""
    run = only(study)
    began = dt.datetime(2025, 11, 3, 14, 9, 53, tzinfo=dt.UTC).timestamp()
    assert (run.name, run.created_t, run.seed, run.status) == ("experiment", began, 11, "unknown")
    assert run.provenance["hydra_overrides"] == "- lr=0.5\n"
    assert ".hydra/hydra.yaml" in {file.name for file in run.files}


def test_a_run_with_events_is_read_in_place_and_not_imported(tmp_path):
    """Also one of the older schema: there is nothing to convert."""
    append_scalars_csv(tmp_path / "run", epoch=0, train_loss=0.5)
    assert importer.recognises(tmp_path / "run")
    append_jsonl_event(tmp_path / "run", {"moment": "on_epoch_end", "epoch": 0, "train_loss": 0.5})
    assert not importer.recognises(tmp_path / "run")
    (tmp_path / "run" / "facts" / "events.jsonl").write_text('{"event": "on_epoch_end", "timestamp": 5, "epoch": 3}\n')
    assert not importer.recognises(tmp_path / "run")
    assert [(epoch.epoch) for epoch in RunReader(tmp_path / "run").epochs()] == [3]


def test_our_own_table_alone_is_read(tmp_path):
    """``append_scalars_csv`` without an event: the same numbers come back."""
    for epoch in range(3):
        append_scalars_csv(tmp_path, epoch=epoch, train_loss=0.1 * epoch, metrics={"f1": 0.2 * epoch})
    payloads = [payload for _, _, payload in only(tmp_path).events]
    assert [(each["epoch"], each["train_loss"]) for each in payloads] == [(n, 0.1 * n) for n in range(3)]
    assert [list(each["metrics"].values()) for each in payloads] == [[0.2 * n] for n in range(3)]


def test_torn_and_misshapen_rows_are_damage(tmp_path):
    """The last line without its newline, a row of another width, an epoch that is no number."""
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "scalars.csv").write_text("epoch,train_loss\n0,0.5\nx,1\n1\n2,0.25,9\n3,0.125\n4,0.06")
    run = only(tmp_path)
    assert [payload for _, _, payload in run.events] == [
        {"epoch": 0, "train_loss": 0.5},
        {"epoch": 3, "train_loss": 0.125},
    ]
    assert len(run.fidelity.damage) == 4


def test_a_table_with_times_gives_the_epochs_times(tmp_path):
    """A column ``timestamp`` is unix time; without one, the directory's time is taken, and that is said."""
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "scalars.csv").write_text("epoch,timestamp,train_loss\n0,1700000000.5,0.5\n1,,0.25\n")
    run = only(tmp_path)
    assert run.events[0][0] == 1700000000.5
    assert [(change.what, change.count) for change in run.fidelity.changed] == [("times", 1)]
