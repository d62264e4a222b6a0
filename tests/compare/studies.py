"""Small real studies to compare: linear regression by gradient descent, recorded in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TRAINING = """
import json, pathlib, sys
import numpy as np
import barograph

def train(config, seed, crash_at=None, **options):
    random = np.random.default_rng(seed)
    inputs, truth = random.normal(size=(80, 4)), np.array([1.0, -2.0, 0.5, 1.5])
    targets = inputs @ truth + config.get("data", {}).get("noise", 0.1) * random.normal(size=80)
    weights = config.get("init_scale", 1.0) * random.normal(size=4)
    with barograph.init(config=config, seed=seed, terminal="off", host_s=None, text_log=None, console=False,
                        **options) as run:
        with np.errstate(over="ignore", invalid="ignore"):
            for epoch in range(config["epochs"]):
                if epoch == crash_at:
                    raise ValueError("a file of the data is missing")
                errors = inputs[:60] @ weights - targets[:60]
                run.log({"loss": np.mean(errors**2)}, step=epoch)
                weights = weights - config["optim"]["lr"] * 2 * inputs[:60].T @ errors / 60
                held_out = np.mean((inputs[60:] @ weights - targets[60:]) ** 2)
                run.log({"loss": held_out, "accuracy": float(np.exp(-held_out))}, step=epoch, split="val")

for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    try:
        train(job.pop("config"), job.pop("seed"), root=sys.argv[2], **job)
    except ValueError as error:
        print(error)
"""


def record_study(folder: Path, jobs: list[dict]) -> Path:
    """Record one run per job, a dict of ``config``, ``seed`` and arguments of ``init``; returns their root."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TRAINING, encoding="utf-8")
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "BAROGRAPH_ROOT"}
    command = [sys.executable, "-W", "error", "train.py", "jobs.json", "runs"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "runs"


def job(*, lr=0.1, noise=0.1, epochs=20, seed=0, **config) -> dict:
    """One run of the study."""
    options = {name: config.pop(name) for name in ("name", "group", "tags", "crash_at") if name in config}
    return {
        "config": {"optim": {"lr": lr}, "data": {"noise": noise}, "epochs": epochs, **config},
        "seed": seed,
    } | options
