"""The facts-first loop: a real training loop that emits its own facts by the documented functions."""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from barograph.facts import append_jsonl_event, append_scalars_csv, build_event_payload
from barograph.facts.rundir import RUN_NAME, figure_name

PATH = Path(__file__).parents[2] / "examples" / "facts_first.py"


@pytest.fixture(scope="module")
def loop():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("facts_first", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def configure(**trainer):
    """A configuration as Hydra makes it."""
    trainer = {"seed": 0, "epochs": 3, "lr": 0.05, **trainer}
    return OmegaConf.create({"phase1": {"trainer": trainer}, "logging": {"make_plots": True, "families": ["losses"]}})


def read_csv(run_dir):
    """The rows of ``scalars.csv``."""
    with (run_dir / "facts" / "scalars.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.spec("S3.11", "S3.12", "S3.13", "S3.16", "S3.61")
def test_the_moments_of_a_training(loop, tmp_path, read_events):
    """One start, one event per epoch with the newest losses and metrics, one end with the total time."""
    loop.train(configure(), tmp_path)
    events = read_events(tmp_path)
    assert ["on_start", *["on_epoch_end"] * 3, "on_train_end"] == [event["moment"] for event in events]
    assert list(range(5)) == [event["seq"] for event in events]
    assert {1} == {event["schema_version"] for event in events}
    epochs = [event for event in events if event["moment"] == "on_epoch_end"]
    assert [event["epoch"] for event in epochs] == [0, 1, 2]
    assert all(event["run_dir"] == str(tmp_path) for event in events)
    assert all(isinstance(event["train_loss"], float) for event in epochs)
    assert all(0 < event["metrics"]["accuracy"] <= 1 for event in epochs)
    assert not any("histories" in event for event in events)
    assert events[-1]["total_time_s"] > 0


@pytest.mark.spec("S3.18", "S3.20")
def test_the_documented_calls(tmp_path, read_events):
    """The calls as they are documented: everything that is handed over is in the event, of the histories the end."""
    outdir, ep, tr, va, cfg = tmp_path, 2, {"loss": 0.5}, {"loss": 0.625}, configure()
    payload = build_event_payload(
        moment="on_epoch_end",
        run_dir=outdir,
        epoch=ep,
        train_loss=tr["loss"],
        val_loss=va["loss"],
        metrics={"perplex": 12.5},
        histories={"train_loss": [0.9, 0.7, 0.5], "val_loss": [0.95, 0.75, 0.625], "lr": [0.1, 0.01, 0.001]},
        cfg=cfg,
    )
    append_jsonl_event(outdir, payload)
    append_scalars_csv(outdir, epoch=ep, train_loss=tr["loss"], val_loss=va["loss"], metrics={"perplex": 12.5})
    (event,) = read_events(outdir)
    assert tuple(event[key] for key in ("moment", "epoch", "train_loss", "val_loss")) == ("on_epoch_end", 2, 0.5, 0.625)
    assert event["metrics"] == {"perplex": 12.5, "lr": 0.001}
    assert read_csv(outdir) == [{"epoch": "2", "train_loss": "0.5", "val_loss": "0.625", "perplex": "12.5"}]


@pytest.mark.spec("S3.19")
def test_the_configuration_becomes_metadata(loop, tmp_path, read_events):
    """Each event has the digest of the configuration and its well-known keys, whichever way it is nested."""
    loop.train(configure(seed=3), tmp_path)
    metadata = [event["metadata"] for event in read_events(tmp_path)]
    assert len({entry["config_sha256"] for entry in metadata}) == 1
    assert tuple(metadata[0][f"phase1.trainer.{key}"] for key in ("seed", "epochs", "lr")) == (3, 3, 0.05)


@pytest.mark.spec("S3.20")
def test_scalars_csv_has_the_events_numbers(loop, tmp_path, read_events):
    """A line per epoch, and each number reads back to the very number of the event."""
    loop.train(configure(), tmp_path)
    for row, event in zip(read_csv(tmp_path), read_events(tmp_path, "on_epoch_end"), strict=True):
        assert str(event["epoch"]) == row["epoch"]
        assert (event["train_loss"], event["val_loss"]) == (float(row["train_loss"]), float(row["val_loss"]))
        assert event["metrics"]["accuracy"] == float(row["accuracy"])


@pytest.mark.spec("S3.14", "S3.15", "S3.17", "S3.59")
def test_train_is_a_function_that_returns_results(loop, tmp_path, read_events):
    """Called from a test, it gives the lowest validation loss and the test loss of the checkpoint that had it."""
    result = loop.train(configure(epochs=4), tmp_path)
    losses = [event["val_loss"] for event in read_events(tmp_path, "on_epoch_end")]
    assert {"best_val_loss", "test_loss"} == set(result)
    assert min(losses) == result["best_val_loss"]
    assert read_events(tmp_path, "on_train_end")[0]["metrics"]["test_loss"] == result["test_loss"]
    assert hasattr(pickle.loads((tmp_path / "best_val.pt").read_bytes()), "predict_proba")


@pytest.mark.spec("S3.59")
def test_the_same_configuration_gives_the_same_losses(loop, tmp_path):
    """Seeded alike, two trainings agree to the bit; with another seed they do not. A namespace serves as well."""
    first, again, other = (
        loop.train(configure(seed=seed), tmp_path / name) for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other
    plain = SimpleNamespace(phase1=SimpleNamespace(trainer=SimpleNamespace(seed=0, epochs=3, lr=0.05)), logging=None)
    assert first == loop.train(plain, tmp_path / "plain")


@pytest.mark.spec("S3.21")
def test_a_handler_of_events_can_draw_from_the_payload(loop, tmp_path, read_events):
    """The optional call gets logging config, families, moment and the payload as written: enough for a figure."""
    losses = []

    def handle_event(cfg_logging, families, moment, payload):
        if not cfg_logging.make_plots or moment != "on_epoch_end":
            return
        losses.append(payload["val_loss"])
        points = " ".join(f"{x},{100 - 40 * y:.3f}" for x, y in enumerate(losses))
        figures = Path(payload["run_dir"], "figures")
        figures.mkdir(exist_ok=True)
        for family in set(families) & set(cfg_logging.families):
            path = figures / figure_name(family, moment, payload["epoch"], "svg")
            path.write_text(f'<svg><polyline points="{points}"/></svg>', encoding="utf-8")

    loop.train(configure(), tmp_path, handle_event)
    assert [event["val_loss"] for event in read_events(tmp_path, "on_epoch_end")] == losses
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert [f"losses-on_epoch_end-e{epoch:03d}.svg" for epoch in range(3)] == names


@pytest.mark.spec("S3.10", "S3.58")
def test_hydra_makes_the_directory_and_any_parameter_is_overridden(run_script, tmp_path, read_events):
    """Run as a program, facts lie beside Hydra's own snapshot, and the command line's value is the one in use."""
    done = run_script("facts_first.py", "phase1.trainer.epochs=2", "phase1.trainer.lr=0.02")
    (run_dir,) = (tmp_path / "outputs" / "runs").iterdir()
    assert RUN_NAME.match(run_dir.name)
    snapshot = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
    assert (snapshot.phase1.trainer.epochs, snapshot.phase1.trainer.lr) == (2, 0.02)
    assert OmegaConf.load(run_dir / ".hydra" / "overrides.yaml") == [
        "phase1.trainer.epochs=2",
        "phase1.trainer.lr=0.02",
    ]
    assert len(read_events(run_dir, "on_epoch_end")) == 2
    assert len(read_csv(run_dir)) == 2
    printed = eval(done.stdout, {"__builtins__": {}})  # the dict that train() returned
    assert math.isfinite(printed["test_loss"])
    assert os.fspath(run_dir) == read_events(run_dir, "on_start")[0]["run_dir"]
