"""How Barograph is used, for the type checker: `mypy --strict` reads it, and a test runs it.

A line that ends in `type: ignore` shows misuse that the types must refuse: were it accepted, mypy would report the
comment as unused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import barograph
from barograph import Cadence, Run, TrainingLogger, errors, init, set_all_seeds


def record_a_run(root: Path) -> Run:
    """A whole run by keywords."""
    assert_type(set_all_seeds(7), dict[str, bool])
    with init(
        project="digits",
        name="mlp",
        config={"lr": 0.1},
        root=root,
        group="lr=0.1",
        tags=["baseline"],
        seed=7,
        tier="quick",
        hypothesis="a hidden layer helps",
        success=["loss < 1"],
        total_steps=20,
        terminal="off",
        console=False,
        text_log=None,
        host_s=None,
    ) as run:
        assert_type(run, Run)
        train(run)
    assert_type(run.dir, Path)
    assert_type(run.id, str)
    assert_type(run.status, str)
    assert_type(run.ledger.written, int)
    return run


def train(run: Run) -> None:
    """The calls of a loop."""
    for step in range(1, 21):
        run.log({"loss": 1 / step, "lr": 0.1}, step=step, epoch=0)
        with run.tier(step) as tier:
            if tier == "full":
                run.example(step=step, prompt="2 + 2", golden="4", output="4", val_loss=0.5)
            elif tier == "fast":
                run.example(step=step, prompt="2 + 2", golden="4", loss=0.5)
        if run.should_stop():
            break
    with run.phase("evaluation", step=20) as phase:
        assert_type(run.check("shape", expected=(2, 2), got=(2, 2)), bool)
    assert_type(phase.duration_s, float)
    run.epoch_end(0, train_loss=0.5, val_loss=0.6, metrics={"f1": 0.9})
    run.summary["best_val_loss"] = 0.6
    run.note("it learns")
    run.event("custom", kind="mine", anything={"nested": [1, 2]})
    assert_type(run.figure("losses", b"<svg/>", extension="svg"), Path | None)
    run.artifact("vocabulary", b"a b c")


def use_the_other_names(root: Path) -> None:
    """The tiers, the all-in-one logger, and the errors."""
    cadence = Cadence(log_steps=10, eval_steps=200)
    assert_type(cadence.fast(10), bool)
    with TrainingLogger("music", root, terminal="off", console=False, text_log=None, host_s=None) as logger:
        logger.start_training(total_epochs=1)
        logger.log_batch(batch=0, losses={"reconstruction": 0.45}, learning_rate=1e-4)
        logger.log_epoch(0, {"reconstruction": 0.45})
    try:
        init(terminal="loud")
    except errors.MisuseError as error:
        assert_type(error.args, tuple[Any, ...])


def misuse(run: Run, cadence: Cadence) -> None:
    """Never called: what a type checker must refuse."""
    run.log({"loss": 0.5}, 3, 1)  # type: ignore[call-arg]
    run.example(10, "p", "g")  # type: ignore[call-arg]
    run.phase(7)  # type: ignore[arg-type]
    run.epoch_end("last")  # type: ignore[arg-type]
    run.checkpoint(3.5)  # type: ignore[arg-type]
    run.dir = Path("elsewhere")  # type: ignore[misc]
    cadence.log_steps = 5  # type: ignore[misc]
    barograph.init(seed="7")  # type: ignore[arg-type]
    barograph.init(log_step=10)  # type: ignore[call-arg]
