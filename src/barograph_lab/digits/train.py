"""One run: ``train(cfg)`` trains a digits classifier and records it with two tiers. The loop reads from top to bottom.

Nothing here changes when nobody records: the losses are the same to the bit, with evaluations and without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import barograph
from barograph_lab.digits.data import NUM_CLASSES, NUM_PIXELS, Ints, Split, draw, load_splits
from barograph_lab.digits.model import Classifier, Momentum, global_norm, macro_f1

HYPOTHESIS = "64 hidden units reach a lower validation loss on handwritten digits than a linear classifier"
SUCCESS = ("loss is finite on train", "best val_loss < 0.15 on val", "best accuracy >= 0.95 on val")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run does; recorded whole.

    Attributes:
        name: of the configuration; its seeds share it.
        hidden: number of hidden units; 0 for a linear classifier.
        lr: learning rate at the first step; it falls to 0 along half a cosine.
        seed: of the first weights and the order of batches.
        split_seed: of the split, the same in all runs that are to be compared.
        steps: how many batches.
        batch_size: images per batch.
        momentum: of SGD.
        weight_decay: of SGD.
        log_steps: a fast log every so many steps.
        eval_steps: a full evaluation every so many steps.
        num_followed: how many training images are looked at again and again.

    Raises:
        ValueError: a number is out of range.
    """

    name: str
    hidden: int = 64
    lr: float = 0.05
    seed: int = 0
    split_seed: int = 0
    steps: int = 600
    batch_size: int = 32
    momentum: float = 0.9
    weight_decay: float = 0.003
    log_steps: int = 50
    eval_steps: int = 200
    num_followed: int = 3

    def __post_init__(self) -> None:
        for field, least in (("hidden", 0), ("steps", 1), ("batch_size", 1), ("num_followed", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field}={getattr(self, field)!r} is below {least}; choose at least {least}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr!r} is no learning rate; choose a positive number, e.g. 0.05")


def begin_run(
    cfg: Config,
    *,
    root: Path | None = None,
    tier: str = "full",
    terminal: str = "auto",
) -> barograph.Run:
    """Begin to record a run of this study.

    Args:
        cfg: recorded whole.
        root: where runs go; as ``barograph.init`` decides when not given.
        tier: ``quick`` or ``full``.
        terminal: what is shown; see ``barograph.init``.
    """
    return barograph.init(
        project="digits",
        name=f"{cfg.name}-seed{cfg.seed}",
        config=cfg,
        root=root,
        group=cfg.name,
        seed=cfg.seed,
        tier=tier,
        hypothesis=HYPOTHESIS,
        success=SUCCESS,
        total_steps=cfg.steps,
        log_steps=cfg.log_steps,
        eval_steps=cfg.eval_steps,
        terminal=terminal,
    )


def train(cfg: Config, *, begin: Callable[[Config], barograph.Run] = begin_run) -> dict[str, Any]:
    """Train one classifier.

    A loss that is not finite ends the run as failed: the number is recorded, and no step is wasted after it.

    Args:
        cfg: what to do.
        begin: begins the recording.

    Returns:
        ``name``, ``seed``, ``status``, ``steps``, ``best_val_loss``, ``test_loss``, ``test_accuracy`` and ``run_dir``;
        a number that was never measured is NaN.
    """
    digits = load_splits(split_seed=cfg.split_seed)
    generator = np.random.default_rng(cfg.seed)
    model = Classifier(hidden=cfg.hidden, generator=generator)
    optimiser = Momentum(model.params, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
    result: dict[str, Any] = {
        "name": cfg.name,
        "seed": cfg.seed,
        "status": "finished",
        "best_val_loss": math.nan,
        "test_loss": math.nan,
        "test_accuracy": math.nan,
    }
    with begin(cfg) as run, np.errstate(over="ignore", invalid="ignore"):  # what diverges is recorded, not warned of
        result["run_dir"] = run.dir
        run.check("number of parameters", expected=_expected_params(cfg.hidden), got=model.num_params)
        epoch_losses: list[float] = []
        for step, epoch, batch, is_last in _batches(cfg, len(digits.train), generator):
            lr = 0.5 * cfg.lr * (1 + math.cos(math.pi * (step - 1) / cfg.steps))
            loss, gradients = model.loss_and_gradients(digits.train.x_ND[batch], digits.train.y_N[batch])
            run.log({"loss": loss, "lr": lr, "grad_norm": global_norm(gradients)}, step=step, epoch=epoch)
            result["steps"] = step
            if not math.isfinite(loss):
                result["status"] = "failed"
                run.finish("failed", reason=f"loss is {loss} at step {step}")
                return result
            optimiser.step(gradients, lr=lr)

            with run.tier(step) as tier:
                if tier == "fast":
                    _show(run, model, digits.train, cfg, step)
                elif tier == "full":
                    val = evaluate(model, digits.val)
                    scores = {"val_loss": val["loss"], "accuracy": val["accuracy"], "f1": val["f1"]}
                    run.log(scores, step=step, epoch=epoch, split="val")
                    _show(run, model, digits.train, cfg, step, val_loss=val["loss"])
                    if not val["loss"] >= result["best_val_loss"]:  # also when there is none yet
                        result["best_val_loss"] = val["loss"]
                        _save(run, model, "best", step, scores)

            epoch_losses.append(loss)
            if is_last:
                run.epoch_end(epoch, train_loss=math.fsum(epoch_losses) / len(epoch_losses))
                epoch_losses.clear()

        _save(run, model, "last", cfg.steps, {"loss": loss})
        with run.phase("test"):
            _restore(run, model, "best")
            test = evaluate(model, digits.test)
        run.log({"test_loss": test["loss"], "accuracy": test["accuracy"], "f1": test["f1"]}, step=step, split="test")
        result |= {"test_loss": test["loss"], "test_accuracy": test["accuracy"]}
        run.summary["best_val_loss"] = result["best_val_loss"]
        run.summary["test_accuracy"] = result["test_accuracy"]
    return result


def evaluate(model: Classifier, part: Split) -> dict[str, float]:
    """Loss, accuracy and macro F1 on one part of the data; changes nothing."""
    predicted_N = model.predict(part.x_ND)
    return {
        "loss": model.loss(part.x_ND, part.y_N),
        "accuracy": float((predicted_N == part.y_N).mean()),
        "f1": macro_f1(part.y_N, predicted_N),
    }
