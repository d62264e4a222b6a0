"""One run that holds a little of everything, recorded once; tests that change it take a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import math, sys, barograph

with barograph.init(
    project="digits", name="mlp", dir=sys.argv[1], terminal="off", host_s=None,
    seed=7, group="g", tags=["small", "first"],
    config={"optim": {"lr": 1e-3, "betas": [0.9, 0.99]}, "seed": 7}, hypothesis="a line is enough",
    success=["loss < 0.3 by step 100 on train", "val_loss < 0.01"], log_steps=10, eval_steps=20, total_steps=40,
) as run:
    for step in range(40):
        run.log({"loss": 1.0 / (step + 1), "grad": math.inf if step == 5 else 1.0}, step=step, epoch=step // 20)
        with run.tier(step) as tier:
            if tier:
                full = tier == "full"
                run.example(step=step, prompt="7 x 6", golden="42", output="42" if full else None, loss=0.5,
                            val_loss=0.25 if full else None, example_id="e1")
        if step % 20 == 19:
            run.log({"loss": 0.75, "accuracy": 0.5}, step=step, split="val")
            run.epoch_end(step // 20, train_loss=1.0 / (step + 1), val_loss=math.nan if step > 20 else 0.75,
                          metrics={"accuracy": 0.5})
    run.log({"big": 2**63 + 1}, step=39)
    run.check("shapes", expected=[8, 8], got=[8, 8])
    run.check("LoRA tensors", expected=392, got=391)
    run.alert("loss is flat", "for 10 steps", level="warning")
    run.summary["accuracy"] = 0.5
    run.artifact("notes.txt", b"a blob", media_type="text/plain")
    weights = run.dir / "best_val.pt"
    weights.write_bytes(b"weights")
    run.checkpoint(weights, {"val_loss": 0.75}, kind="best", step=19, digest=True)
    record = run.details("entropy_probe", checkpoint="step_60")
    record.minimal(core_results={"deltaH1": 2.659, "deltaH_true": math.nan, "bars_dot": 0.25})
    record.detailed(sequences={"E_batch": [{"text": "a"}, {"text": "b"}]})
    record.write()
"""


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    """The run; it must not be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    subprocess.run([sys.executable, script, folder / "run"], check=True, cwd=folder, env=dict(os.environ), timeout=120)
    return folder / "run"


@pytest.fixture
def copy(recorded, tmp_path) -> Path:
    """A copy of the run, to be damaged."""
    return shutil.copytree(recorded, tmp_path / "copy", symlinks=True)
