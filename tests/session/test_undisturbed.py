"""Looking does not change what is looked at: random state, numbers, and the script's own settings."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import barograph


def random_states():
    """The state of every generator that a training script draws from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()  # noqa: NPY002 - scripts use it


def same(left, right) -> bool:
    """Whether two random states are equal."""
    return left[0] == right[0] and left[2] == right[2] and all(map(np.array_equal, left[1], right[1]))


def test_random_state_is_untouched(tmp_path):
    """Every call of a run, with everything that accompanies it, leaves random, numpy and torch where they were."""
    barograph.set_all_seeds(7)
    before = random_states()
    run = barograph.init(dir=tmp_path / "run", config={"lr": 0.1}, terminal="plain", success=["loss < 1"], seed=7)
    for step in range(1, 21):
        run.log({"loss": 1.0 / step, "tensor": torch.tensor(0.5)}, step=step)
    run.example(step=10, prompt="2 + 2", golden="4", loss=0.5)
    run.example(step=20, prompt="2 + 2", golden="4", output="4", loss=0.5, val_loss=0.6, tier="full")
    with run.phase("evaluation"):
        run.check("finite", passed=True)
    run.histogram("weights", np.linspace(0, 1, 100))
    run.image("digit", np.zeros((8, 8)))
    run.epoch_end(0, train_loss=0.5, val_loss=0.6)
    run.remember(step=20, weights=torch.zeros(3))
    run.details("probe", checkpoint="step_20").write()
    run.summary["best"] = 0.5
    run.finish()
    assert same(before, random_states())


def test_logged_tensors_keep_their_graph_and_values(tmp_path):
    """Logging a loss that has a graph of gradients neither detaches nor changes it."""
    weight = torch.tensor([2.0], requires_grad=True)
    with barograph.init(dir=tmp_path / "run", terminal="off", host_s=None) as run:
        loss = (weight * 3).sum()
        run.log({"loss": loss}, step=0)
        run.remember(step=0, loss=loss)
        loss.backward()
    assert weight.grad.tolist() == [3.0]
    assert loss.item() == 6.0


def test_settings_of_the_process_are_put_back(tmp_path, capsys):
    """When the run is over, streams, working directory, environment, warnings and logging are the script's own."""
    before = (sys.stdout, sys.stderr, Path.cwd(), dict(os.environ), list(warnings.filters), logging.root.handlers[:])
    with barograph.init(dir=tmp_path / "run", terminal="plain", host_s=None):
        print("within the run")
    after = (sys.stdout, sys.stderr, Path.cwd(), dict(os.environ), list(warnings.filters), logging.root.handlers[:])
    assert before == after
    print("after the run")
    assert "after the run" in capsys.readouterr().out
    assert "after the run" not in (tmp_path / "run/console.log").read_text()


def test_signal_handlers_survive_runs_in_a_row(new_run, tmp_path):
    """Run after run chains to the same handlers: no chain grows, and SIGALRM and others are never touched."""
    alarm, hangup = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGHUP)
    new_run(dir=tmp_path / "first").finish()
    first = {
        name: signal.getsignal(getattr(signal, name)) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGALRM", "SIGHUP")
    }
    hooks = (sys.excepthook, sys.exit)
    new_run(dir=tmp_path / "second").finish()
    assert first == {name: signal.getsignal(getattr(signal, name)) for name in first}
    assert hooks == (sys.excepthook, sys.exit)
    assert first["SIGALRM"] is alarm
    assert first["SIGHUP"] is hangup
