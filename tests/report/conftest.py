"""A real sweep: linear models fitted by gradient descent, two learning rates, three seeds, one killed, one failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from barograph.errors import BarographWarning
from barograph.read.frames import load_runs
from barograph.report.number import Facts
from barograph.report.run import run_report

TRAINING = """
import json, os, random, signal, sys, barograph

def fit(run, *, lr, seed, epochs=4):
    generator = random.Random(seed)
    data = [(x, 2.0 * x + 1.0 + generator.gauss(0, 0.05)) for x in (generator.uniform(-1, 1) for _ in range(40))]
    train, val = data[:30], data[30:]
    w = b = 0.0

    def loss(pairs):
        return sum((w * x + b - y) ** 2 for x, y in pairs) / len(pairs)

    for epoch in range(epochs):
        for place, (x, y) in enumerate(train):
            error = w * x + b - y
            w, b = w - lr * error * x, b - lr * error
            run.log({"loss": error ** 2}, step=30 * epoch + place)
        run.epoch_end(epoch, train_loss=loss(train), val_loss=loss(val), metrics={"mse": loss(val)})
    run.check("weights", expected=2, got=len([w, b]))
    run.summary["w"] = w
    with open(run.dir / "model.pt", "w", encoding="utf-8") as file:
        json.dump({"w": w, "b": b}, file)

def start(lr, seed, **options):
    return barograph.init(
        project="lines", name=f"lr{lr}", config={"optim": {"lr": lr}, "seed": seed, "data": {"num": 40}}, seed=seed,
        root=sys.argv[1], terminal="off", host_s=None, console=False, hypothesis="a larger step learns faster",
        success=["val_loss < 0.1 by epoch 3", "all loss is finite"], **options,
    )

for lr in (0.05, 0.2):
    for seed in range(3):
        with start(lr, seed) as run:
            fit(run, lr=lr, seed=seed)
            run.log({"big": 2 ** 60 + 1}, step=0)
            if seed == 2:
                run.alert("slow", "it took a while")

try:
    with start(0.2, 3, notes="fails") as run:
        fit(run, lr=0.2, seed=3, epochs=1)
        raise ValueError("no more data")
except ValueError:
    pass

run = start(0.05, 4)
run.log({"loss": 1.0}, step=0)
os.kill(os.getpid(), signal.SIGKILL)
"""
FINISHED, IN_REPORT, ALL = 6, 7, 8


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A directory of eight runs; it must not be changed."""
    folder = tmp_path_factory.mktemp("trained")
    script = folder / "train.py"
    script.write_text(TRAINING, encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "BAROGRAPH_ROOT"}
    done = subprocess.run(
        [sys.executable, script, folder / "runs"],
        cwd=folder,
        env=environ,
        timeout=120,
        check=False,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == -9, done.stderr.decode()
    return folder / "runs"


@pytest.fixture
def sweep_dir(trained, tmp_path) -> Path:
    """A copy of the eight runs, in the directory of a multirun."""
    return shutil.copytree(trained, tmp_path / "outputs" / "multiruns" / "exp_20261120-060000_lr")


@pytest.fixture
def runs(sweep_dir):
    """The seven runs that recorded an end, oldest first."""
    kept = [reader for reader in load_runs(sweep_dir).readers if reader.exit_record() is not None]
    assert len(kept) == IN_REPORT
    return load_runs(kept)


@pytest.fixture
def facts(runs) -> Facts:
    """Their numbers."""
    return Facts(runs)


@pytest.fixture(scope="session")
def made_once(trained, tmp_path_factory) -> Path:
    """The directory ``outputs`` with the sweep and a report of it; it must not be changed."""
    outputs = tmp_path_factory.mktemp("made") / "outputs"
    sweep = shutil.copytree(trained, outputs / "multiruns" / "exp_20261120-060000_lr")
    cfg = {"inputs": {"sweep_dir": str(sweep)}, "outputs": {"dir": str(outputs / "reports")}, "metrics": ["mse"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BarographWarning)
        run_report(cfg, kind="sweep")
    return outputs


@pytest.fixture
def made(made_once, tmp_path) -> Path:
    """A report of the sweep, copied together with its runs."""
    outputs = shutil.copytree(made_once, tmp_path / "outputs")
    (report,) = (outputs / "reports").iterdir()
    return report


@pytest.fixture
def made_of(made) -> Path:
    """The sweep that it is about."""
    (sweep,) = (made.parents[1] / "multiruns").iterdir()
    return sweep


@pytest.fixture
def make(sweep_dir, tmp_path):
    """Make a report of the sweep: ``make(kind="sweep", **settings)``; its warnings are not looked at."""

    def make(kind="sweep", **settings):
        given = {"inputs": {"sweep_dir": str(sweep_dir)}, "outputs": {"dir": str(tmp_path / "outputs" / "reports")}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BarographWarning)
            return run_report({**given, **settings}, kind=kind)

    return make
