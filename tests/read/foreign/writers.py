"""Programs that log with the real tools; run as ``python writers.py KIND [ARGUMENTS]`` in the directory to write to.

What they log stands in constants, so that the tests compare every value with it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path

NUM_STEPS = 40
ODD = [math.nan, math.inf, -math.inf, -0.0, 0.1, 1e-300, 3.4e38]
CONFIG = {"lr": 0.1, "seed": 3, "optim": {"betas": [0.9, 0.99], "name": "adam"}, "flag": True, "nothing": None}


def curve(step: int) -> float:
    """A number that no other step has, and that float32 rounds."""
    return 1 / (step + 3)


def tensorboard() -> None:
    """Torch's writer: old and new scalars, texts, media, hyperparameters, subdirectories, a resumed run."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("tb") as writer:
        for step in range(NUM_STEPS):
            writer.add_scalar("loss", curve(step), step, walltime=1.7e9 + step / 8)
        for step, value in enumerate(ODD):
            writer.add_scalar("odd", value, step - 2)
            writer.add_scalar("new/single", value, step, new_style=True)
            writer.add_scalar("new/double", value, step, new_style=True, double_precision=True)
        writer.add_scalar("repeated", 1.0, 5)
        writer.add_scalar("repeated", 2.0, 5)
        writer.add_scalar("huge step", 0.5, 2**53 + 1)
        writer.add_text("words", "caf\u00e9 **bold**", 1)
        writer.add_histogram("weights", torch.arange(10.0), 1)
        writer.add_image("picture", torch.zeros(3, 4, 4), 1)
        writer.add_pr_curve("pr", torch.tensor([0, 1]), torch.tensor([0.2, 0.8]), 1)
        writer.add_hparams({"lr": 0.1, "layers": 3, "name": "x"}, {"accuracy": 0.5}, run_name="trial")
    for first in (0, 6):  # the second begins where the first had not yet ended
        with SummaryWriter("resumed", filename_suffix=f".{first}") as writer:
            for step in range(first, first + 10):
                writer.add_scalar("loss", first + step, step)
        time.sleep(1.1)  # names tell seconds
    with SummaryWriter("purged") as writer:
        for step in range(4):
            writer.add_scalar("loss", step, step)
    with SummaryWriter("purged", purge_step=2, filename_suffix=".b") as writer:
        writer.add_scalar("other", 9.0, 2)
        writer.add_scalar("loss", 9.0, 2)


def tensorboardx() -> None:
    """TensorboardX's writer, with file rotation by hand: two files of one run whose steps go on."""
    from tensorboardX import SummaryWriter

    for part in range(2):
        writer = SummaryWriter("tbx", filename_suffix=f".{part}")
        for step in range(part * 20, part * 20 + 20):
            writer.add_scalar("loss", curve(step), step)
        writer.add_text("words", f"part {part}", part)
        writer.add_histogram("weights", [1.0, 2.0], 1)
        writer.close()
        time.sleep(1.1)  # names tell seconds


def wandb(how: str = "finish") -> None:
    """One W&B run: every kind of value; ended as ``how`` says."""
    import wandb as sdk

    run = sdk.init(
        project="proj", name=how, group="g", tags=["a", "b"], notes="some notes", config={**CONFIG, "nan": math.nan}
    )
    for step in range(NUM_STEPS):
        run.log({"loss": curve(step), "nested": {"a": step, "b": {"c": 0.25}}, "slash/x": 1e-300 * step})
    for value in ODD:
        run.log({"odd": value})
    run.log({"big": 2**60 + 1, "flag": True, "text": "hello"}, step=100)
    run.log({"histogram": sdk.Histogram([1, 2, 3]), "only": 1.5})
    run.log({"table": sdk.Table(columns=["a"], data=[[1]])})
    run.log({"list": [1, 2], "none": None})
    run.define_metric("accuracy", step_metric="epoch", summary="max")
    for epoch in range(3):
        run.log({"accuracy": [0.5, 0.75, 0.25][epoch], "epoch": epoch})
    run.alert("loss is flat", "for 10 steps")
    print("to the console")
    run.summary["best"] = 0.125
    if how == "fail":
        raise RuntimeError("as asked")
    run.finish()


def wandb_synced() -> None:
    """A W&B run that reads along what tensorboardX writes, in a directory of its own and beside event files."""
    import wandb as sdk
    from tensorboardX import SummaryWriter

    with sdk.init(project="proj", name="synced", sync_tensorboard=True), SummaryWriter("events/synced") as writer:
        for step in range(10):
            writer.add_scalar("loss", curve(step), step)
    with SummaryWriter("events/alone") as writer:
        writer.add_scalar("loss", 1.0, 0)


def wandb_killed() -> None:
    """A W&B run that logs until it is killed."""
    import wandb as sdk

    run = sdk.init(project="proj", name="killed", config={"lr": 0.5})
    for step in range(100_000):
        run.log({"loss": curve(step), "step_again": step})
        if step % 100 == 0:
            time.sleep(0.01)
            print(step, flush=True)


def mlflow() -> None:
    """MLflow's database and its file store, and what MLflow's own client reads from each."""
    import mlflow as sdk

    for uri in (f"sqlite:///{Path.cwd()}/mlflow.db", f"file://{Path.cwd()}/mlruns"):
        sdk.set_tracking_uri(uri)
        experiment = sdk.create_experiment("exp one", artifact_location=f"file://{Path.cwd()}/artifacts/{uri[:4]}")
        sdk.set_experiment(experiment_id=experiment)
        _mlflow_runs(sdk)
        client = sdk.MlflowClient()
        runs = client.search_runs([experiment], run_view_type=sdk.entities.ViewType.ALL)
        told = {run.info.run_name: _mlflow_told(client, run) for run in runs}
        Path(f"told-{uri[:4]}.json").write_text(json.dumps(told), encoding="utf-8")


def _mlflow_runs(sdk) -> None:
    with sdk.start_run(run_name="parent", tags={"team": "x"}, description="some notes"):
        sdk.log_params({"lr": 0.1, "deep/name": "v", "seed": 7, "flag": True, "exponent": "1e-3", "nan": math.nan})
        for step in range(NUM_STEPS):
            sdk.log_metrics({"loss": curve(step), "deep/accuracy": step / 7}, step=step)
        for step, value in enumerate(ODD):
            sdk.log_metric("odd", value, step=step)
        for step, value in ((5, 1.0), (5, 2.0), (-2, 3.0)):
            sdk.log_metric("repeated", value, step=step)
        sdk.log_text("hello", "notes.txt")
        with sdk.start_run(run_name="child", nested=True):
            sdk.log_metric("a", 1.0)
    with contextlib.suppress(ZeroDivisionError), sdk.start_run(run_name="failed"):
        _ = 1 / 0
    sdk.start_run(run_name="deleted")
    sdk.log_metric("a", 3.0)
    deleted = sdk.active_run().info.run_id
    sdk.end_run("KILLED")
    sdk.delete_run(deleted)
    left = sdk.MlflowClient().create_run(sdk.get_experiment_by_name("exp one").experiment_id, run_name="left open")
    sdk.MlflowClient().log_metric(left.info.run_id, "a", 4.0, step=3)


def _mlflow_told(client, run) -> dict:
    """What MLflow's client says of a run; floats as hex, so that JSON keeps them."""
    points = {
        name: [
            [point.timestamp, point.step, float(point.value).hex()] for point in client.get_metric_history(id_, name)
        ]
        for id_ in [run.info.run_id]
        for name in run.data.metrics
    }
    return {"id": run.info.run_id, "params": run.data.params, "tags": run.data.tags, "metrics": points}


def mlflow_writing(uri: str) -> None:
    """Log to a database until killed; a line for every call that returned."""
    import mlflow as sdk

    sdk.set_tracking_uri(uri)
    sdk.set_experiment("live")
    sdk.start_run(run_name="live")
    for step in range(100_000):
        sdk.log_metric("loss", float(step), step=step)
        print(step, flush=True)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    sys.path.pop(0)  # this folder, in which nothing is to be found
    os.environ.setdefault("WANDB_DIR", str(Path.cwd()))
    globals()[kind](*arguments)
