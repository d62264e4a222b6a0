"""The CSV files of a real Lightning training, compared with what its loop logged."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys

import pytest
from tests.read.foreign.once import once

from barograph.read.foreign.lightning_csv import importer

TRAINING = """
import json, math, sys, warnings
warnings.simplefilter("ignore")
import torch
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

logged = []

class Loud(CSVLogger):
    def log_metrics(self, metrics, step=None):
        logged.append([step, {name: repr(getattr(value, "item", lambda: value)()) for name, value in metrics.items()}])
        super().log_metrics(metrics, step)

class Model(pl.LightningModule):
    def __init__(self, lr=0.1, widths=(2, 1)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(*widths)

    def training_step(self, batch, place):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("odd", math.nan if place == 1 else math.inf if place == 2 else -0.1)
        return loss

    def validation_step(self, batch, place):
        self.log("val_loss", self.layer(batch[0]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

data = torch.utils.data.TensorDataset(torch.arange(16.0).reshape(8, 2) / 16)
root = sys.argv[1]
for version in range(2):
    logged.clear()
    trainer = pl.Trainer(max_epochs=2, logger=Loud(root, name="exp"), log_every_n_steps=1, accelerator="cpu",
                         enable_progress_bar=False, enable_model_summary=False, default_root_dir=root)
    trainer.fit(Model(lr=0.1 * (version + 1)), torch.utils.data.DataLoader(data, batch_size=2),
                torch.utils.data.DataLoader(data, batch_size=4))
    with open(f"{root}/logged-{version}.json", "w") as file:
        json.dump(logged, file)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with two versions of one experiment; it must not be changed."""

    def train(directory):
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", TRAINING, directory]
        subprocess.run(command, check=True, capture_output=True, timeout=170, env=environment)

    return once(tmp_path_factory, "lightning", train)


def records(run):
    """Every number of a run as (step, name, repr), sorted."""
    return sorted(
        (step, name, repr(float(value)))
        for block in run.metrics
        for name, column in block.columns.items()
        for step, value in zip(block.steps, column, strict=True)
    )


def only(path):
    """The one run of a directory."""
    (run,) = importer.read(path)
    return run


@pytest.mark.parametrize("version", [0, 1])
def test_every_number_is_what_the_loop_logged(trained, version):
    """Steps and values to the bit, NaN and infinity among them; an empty cell is no record."""
    logged = json.loads((trained / f"logged-{version}.json").read_text())
    expected = sorted(
        (step, name, repr(float(value))) for step, record in logged for name, value in record.items() if name != "step"
    )
    run = only(trained / "exp" / f"version_{version}")
    assert records(run) == expected
    assert {name for _, name, _ in expected} >= {"train_loss_step", "train_loss_epoch", "val_loss", "epoch", "odd"}
    assert run.fidelity.kept["numbers"] == len(expected)
    assert (run.fidelity.lost, run.fidelity.damage, run.texts) == ([], [], [])


def test_a_second_reader_counts_the_same_cells(trained):
    """Python's own CSV reader finds as many cells that are not empty."""
    path = trained / "exp" / "version_0"
    with (path / "metrics.csv").open(newline="") as file:
        cells = [cell for row in csv.DictReader(file) for name, cell in row.items() if cell and name != "step"]
    assert len(records(only(path))) == len(cells)


def test_identity_and_hyperparameters(trained):
    """A version is a run of its experiment's group; its hyperparameters are the config; its checkpoints are named."""
    run = only(trained / "exp" / "version_1")
    assert (run.name, run.group, run.key) == ("exp-version_1", "exp", "")
    assert run.config == {"lr": 0.2, "widths": [2, 1]}
    assert [file.path.suffix for file in run.files] == [".ckpt"]
    assert all(math.isnan(t) for block in run.metrics for t in block.t)
    assert run.status == "unknown"


def test_version_directories_are_the_sources(trained, tmp_path):
    """Not the experiment above them; not a table without steps."""
    assert importer.recognises(trained / "exp" / "version_0")
    assert not importer.recognises(trained / "exp")
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    assert not importer.recognises(tmp_path)


def test_a_torn_row_is_damage_not_a_number(trained, tmp_path):
    """Cut in its last line, the file gives the rows before it."""
    whole = (trained / "exp" / "version_0" / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(whole[:-4])
    run = only(tmp_path)
    last = whole.rindex(b"\n", 0, -2) + 1
    assert [(place.offset, place.size_bytes) for place in run.fidelity.damage] == [(last, len(whole) - 4 - last)]
    (tmp_path / "metrics.csv").write_bytes(whole[:last])
    assert records(only(tmp_path)) == records(run)


def test_rows_of_another_width_are_counted_and_texts_kept(tmp_path):
    """A row with too few cells, or without a step, is damage; a cell that is no number is a text."""
    (tmp_path / "metrics.csv").write_text("a,note,ok,step\r\n1.5,x,True,0\r\n2\r\n3,,,\r\n4,,False,2\r\n")
    run = only(tmp_path)
    assert records(run) == [(0, "a", "1.5"), (0, "ok", "1.0"), (2, "a", "4.0"), (2, "ok", "0.0")]
    assert [(text.name, text.text, text.step) for text in run.texts] == [("note", "x", 0)]
    assert [(place.offset, place.size_bytes) for place in run.fidelity.damage] == [(30, 3), (33, 6)]
