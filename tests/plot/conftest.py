"""Runs that were really recorded, for figures."""

from __future__ import annotations

import math

import pytest

from barograph.read.run import RunReader


@pytest.fixture
def logged(new_run, tmp_path):
    """Record values of metrics, one run per test: ``logged(loss=[...], val={...})`` returns its reader."""

    def logged(*, val=None, **metrics) -> RunReader:
        run = new_run(dir=tmp_path / "run", name="a run")
        for split, names in (("train", metrics), ("val", val or {})):
            for name, values in names.items():
                for step, value in enumerate(values):
                    run.log({name: value}, step=step, split=split)
        run.finish()
        return RunReader(run.dir)

    return logged


@pytest.fixture
def resumed(new_run, tmp_path):
    """A run of two attempts: steps 0 to 9, then 6 to 14; NaN at 3, +Inf at 8 of the second, nothing at 4 and 5."""
    for attempt, steps in enumerate((range(10), range(6, 15))):
        run = new_run(dir=tmp_path / "resumed", name="resumed", resume="allow")
        for step in steps:
            if step not in (4, 5):
                value = math.nan if step == 3 else math.inf if (step, attempt) == (8, 1) else step + 100.0 * attempt
                run.log({"loss": value}, step=step)
        run.epoch_end(attempt, train_loss=1.0 + attempt, val_loss=2.0 + attempt, epoch_time_s=0.5)
        run.finish()
    return RunReader(run.dir)


@pytest.fixture
def everything(new_run, tmp_path):
    """A short run that has something for every family."""
    run = new_run(dir=tmp_path / "everything", name="everything", host_s=0.1)
    with run.phase("setup"):
        pass
    for step in range(4):
        numbers = {"loss": 1.0 / (step + 1), "lr": 0.1, "grad_norm": 2.0, "recon_mse": 0.5, "codebook_usage": 0.25}
        numbers |= {"d_loss": 0.7, "D(real)": 0.6, "denoising_loss": 0.4, "samples_per_s": 10.0, "accuracy": 0.5}
        run.log(numbers, step=step)
        run.image("reconstruction", [[0.0, 1.0], [0.5, 0.25]], step=step)
        run.example(step=step, tier="full", prompt="2 + 2", golden="4", output="4" if step % 2 else "5")
    run.epoch_end(0, train_loss=1.0, val_loss=2.0, epoch_time_s=0.5)
    run.finish()
    return RunReader(run.dir)
