"""States that a real transformers.Trainer wrote: finished, resumed, cut short; a tiny random model, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.read.foreign.once import once

from barograph.errors import FormatError
from barograph.read.foreign.hf_trainer import FILTER_NOTE, importer

TRAINING = """
import math, sys, torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

config = BertConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
data = [{"input_ids": torch.arange(4), "labels": torch.tensor(place % 2)} for place in range(8)]

class Odd(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **rest):
        if state.global_step == 4 and "loss" in logs:
            state.log_history[-1] |= {"odd": math.nan, "up": math.inf, "down": -math.inf}

def train(out, max_steps, resume=None, seed=3):
    torch.manual_seed(seed)
    arguments = TrainingArguments(output_dir=f"{sys.argv[1]}/{out}", max_steps=max_steps, logging_steps=2,
                                  eval_strategy="steps", eval_steps=4, save_steps=4, report_to=[],
                                  per_device_train_batch_size=2, disable_tqdm=True, use_cpu=True, seed=seed)
    trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=data, eval_dataset=data,
                      callbacks=[Odd()])
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_state()

train("out", 8)
train("resumed", 4)
train("resumed", 8, resume=True)
train("older", 4, seed=5)
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Output directories of one process; they must not be changed."""

    def train(directory):
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", TRAINING, directory]
        subprocess.run(command, check=True, capture_output=True, timeout=170, env=environment)

    return once(tmp_path_factory, "hf_trainer", train)


@pytest.fixture
def trained(outputs):
    """The output directory of 8 steps, with two checkpoints."""
    return outputs / "out"


def only(path):
    """The one run of a directory."""
    (run,) = importer.read(path)
    return run


def records(run, attempt=None):
    """Every number of a run as (attempt, split, step, name, repr), sorted."""
    return sorted(
        (block.attempt, block.split, step, name, repr(value))
        for block in run.metrics
        if attempt in (None, block.attempt)
        for name, column in block.columns.items()
        for step, value in zip(block.steps, column, strict=True)
    )


def expected(path, attempt=0):
    """The same from a state, by a second, dull way."""
    found = []
    for entry in json.loads(path.read_text())["log_history"]:
        split = "train_end" if "train_runtime" in entry else "eval" if "eval_loss" in entry else "train"
        found += [(attempt, split, entry["step"], name, repr(value)) for name, value in entry.items() if name != "step"]
    return sorted(found)


def test_the_longest_history_is_the_run(trained):
    """Of the directory's own state and two checkpoints, every number once; NaN and infinities are values."""
    run = only(trained)
    assert records(run) == expected(trained / "trainer_state.json")
    names = {(split, name) for _, split, _, name, _ in records(run)}
    assert names >= {("train", "loss"), ("train", "grad_norm"), ("eval", "eval_loss"), ("train_end", "train_loss")}
    odd = {name: value for _, _, _, name, value in records(run) if name in ("odd", "up", "down")}
    assert odd == {"odd": "nan", "up": "inf", "down": "-inf"}
    assert b"NaN" in (trained / "trainer_state.json").read_bytes()
    assert run.fidelity.kept["numbers"] == len(expected(trained / "trainer_state.json"))


def test_a_finished_run_says_so_and_sums_up(trained):
    """Status, settings, the model's configuration beside a checkpoint, the numbers of the end."""
    run = only(trained)
    assert (run.name, run.status, run.config["max_steps"], run.config["logging_steps"]) == ("out", "finished", 8, 2)
    assert run.config["model"]["hidden_size"] == 8
    end = json.loads((trained / "trainer_state.json").read_text())["log_history"][-1]
    assert run.summary["train_loss"] == end["train_loss"]
    assert {"checkpoint-4/trainer_state.json", "checkpoint-8/model.safetensors"} <= {file.name for file in run.files}


def test_the_source_is_said_to_average_away_what_is_not_finite(trained):
    """What Trainer did before it wrote cannot be undone, so the account says it."""
    assert FILTER_NOTE in only(trained).fidelity.notes
    assert any("logging_nan_inf_filter" in line for line in only(trained).fidelity.lines())


def test_without_an_own_state_the_newest_checkpoint_counts(trained, tmp_path):
    """As after a kill; steps sort as numbers, not as texts."""
    out = tmp_path / "out"
    shutil.copytree(trained / "checkpoint-8", out / "checkpoint-10")
    shutil.copytree(trained / "checkpoint-4", out / "checkpoint-4")
    run = only(out)
    assert records(run) == expected(trained / "checkpoint-8" / "trainer_state.json")
    shutil.rmtree(out / "checkpoint-10")
    half = only(out)
    assert records(half) == expected(trained / "checkpoint-4" / "trainer_state.json")
    assert (half.status, half.config["model"]["hidden_size"]) == ("unknown", 8)


def test_a_resumed_run_goes_on_and_is_read_once(outputs):
    """Trained to step 4, resumed to step 8: one history, nothing twice."""
    run = only(outputs / "resumed")
    assert records(run) == expected(outputs / "resumed" / "trainer_state.json")
    assert sorted({step for _, split, step, _, _ in records(run) if split == "train"}) == [2, 4, 6, 8]
    assert len({step for _, split, step, _, _ in records(run) if split == "train_end"}) == 1


def test_points_that_were_made_anew_are_an_earlier_attempt(outputs, trained, tmp_path):
    """A checkpoint of an older training in the same directory: its own points are kept apart, not mixed in."""
    out = tmp_path / "out"
    shutil.copytree(outputs / "older" / "checkpoint-4", out / "checkpoint-4")
    shutil.copytree(trained / "checkpoint-8", out / "checkpoint-8")
    shutil.copy(trained / "trainer_state.json", out)
    run = only(out)
    assert records(run, 1) == expected(trained / "trainer_state.json", 1)
    assert records(run, 0) == expected(out / "checkpoint-4" / "trainer_state.json")
    assert [change.what for change in run.fidelity.changed] == ["older records"]


def test_checkpoints_belong_to_their_run(trained, tmp_path):
    """A checkpoint is no source of its own, unless it was copied under another name."""
    assert importer.recognises(trained)
    assert not importer.recognises(trained / "checkpoint-8")
    copied = shutil.copytree(trained / "checkpoint-4", tmp_path / "best")
    assert importer.recognises(copied)
    assert records(only(copied)) == expected(copied / "trainer_state.json")


def test_a_torn_state_is_damage_beside_a_whole_one_and_an_error_alone(trained, tmp_path):
    """The older checkpoint still tells; without one, the error names the file and what to do."""
    out = shutil.copytree(trained, tmp_path / "out")
    for path in (out / "trainer_state.json", out / "checkpoint-8" / "trainer_state.json"):
        path.write_bytes(path.read_bytes()[:-40])
    run = only(out)
    assert records(run) == expected(out / "checkpoint-4" / "trainer_state.json")
    assert len(run.fidelity.damage) == 2
    shutil.rmtree(out / "checkpoint-4")
    with pytest.raises(FormatError, match=r"out has no readable trainer_state\.json .*; copy it anew"):
        only(out)
