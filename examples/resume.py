# /// script
# requires-python = ">=3.11"
# dependencies = ["barograph"]
# ///
"""Kill and resume: the same command again goes on from the last checkpoint, as the run's next attempt.

Usage: python resume.py DIRECTORY [STEP]; with STEP it kills itself after that step, so: python resume.py fit 230,
then python resume.py fit, which goes on from step 200.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import barograph

STEPS, SAVE_STEPS, LR = 400, 100, 0.02


def save(path: Path, state: dict) -> None:
    """Write a checkpoint in whole: a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state), encoding="utf-8")
    temporary.replace(path)


def main(directory: Path, kill_step: int | None) -> None:
    """Fit a line to noisy points, one point per step; a step's point depends on its number alone."""
    checkpoint = directory / "last.json"
    with barograph.init("examples", "resume", dir=directory, resume="allow", total_steps=STEPS) as run:
        state = {"step": 0, "slope": 0.0, "offset": 0.0}
        if checkpoint.exists():
            state = json.loads(checkpoint.read_text(encoding="utf-8"))
            run.note(f"attempt {run.attempt} goes on from step {state['step']}")
        for step in range(state["step"] + 1, STEPS + 1):
            noise = random.Random(step)
            x = noise.uniform(-1, 1)
            error = state["slope"] * x + state["offset"] - (3 * x + 1 + noise.gauss(0, 0.1))
            state["slope"] -= LR * 2 * error * x
            state["offset"] -= LR * 2 * error
            state["step"] = step
            run.log({"loss": error**2, "slope": state["slope"], "offset": state["offset"]}, step=step)
            if step % SAVE_STEPS == 0:
                save(checkpoint, state)
                run.checkpoint(checkpoint, kind="last", step=step)
            if step == kill_step:
                os.kill(os.getpid(), signal.SIGKILL)
        run.summary["slope"] = state["slope"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
