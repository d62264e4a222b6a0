"""One run: ``train(cfg)`` trains a digits classifier and records it with two tiers. The loop reads from top to bottom.

Nothing here changes when nobody records: the losses are the same to the bit, with evaluations and without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import barograph
from barograph_lab.digits.data import NUM_CLASSES, NUM_PIXELS, Split, draw, load_splits
from barograph_lab.digits.model import Classifier, Momentum, global_norm, macro_f1

HYPOTHESIS = "64 hidden units reach a lower validation loss on handwritten digits than a linear classifier"
SUCCESS = ("loss is finite on train", "best val_loss < 0.2 on val", "best accuracy >= 0.95 on val")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run does; recorded whole.

    Attributes:
        name: of the configuration; its seeds share it.
        hidden: number of hidden units; 0 for a linear classifier.
        lr: learning rate at the first step; it falls to 0 along half a cosine.
        seed: of the first weights and the order of batches.
        split_seed: of the split, the same in all runs that are to be compared.
        epochs: how many times every training image is seen.
        batch_size: images per batch.
        momentum: of SGD.
        weight_decay: of SGD.
        log_steps: a fast log every so many steps.
        eval_steps: a full evaluation every so many steps.
        num_followed: how many training images the examples show, in turn.

    Raises:
        ValueError: a number is out of range.
    """

    name: str
    hidden: int = 64
    lr: float = 0.05
    seed: int = 0
    split_seed: int = 0
    epochs: int = 15
    batch_size: int = 27
    momentum: float = 0.9
    weight_decay: float = 0.01
    log_steps: int = 50
    eval_steps: int = 200
    num_followed: int = 3

    def __post_init__(self) -> None:
        for field, least in (("hidden", 0), ("epochs", 1), ("batch_size", 1), ("num_followed", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field}={getattr(self, field)!r} is below {least}; choose at least {least}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr!r} is no learning rate; choose a positive number, e.g. 0.05")


def begin_run(
    cfg: Config, total_steps: int, *, root: Path | None = None, tier: str = "full", terminal: str = "auto"
) -> barograph.Run:
    """Begin to record a run of this study.

    Args:
        cfg: recorded whole.
        total_steps: how many steps are planned.
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
        total_steps=total_steps,
        log_steps=cfg.log_steps,
        eval_steps=cfg.eval_steps,
        terminal=terminal,
    )


def train(cfg: Config, *, begin: Callable[[Config, int], barograph.Run] = begin_run) -> dict[str, Any]:
    """Train one classifier.

    A loss that is not finite ends the run as failed: the number is recorded, and no step is wasted after it.

    Args:
        cfg: what to do.
        begin: begins the recording.

    Returns:
        ``name``, ``seed``, ``run_dir``, ``status``, ``reason`` (None when it finished), ``best_val_loss`` (infinite
        when none was finite), ``test_loss`` and ``test_accuracy`` (NaN when it failed).
    """
    digits = load_splits(split_seed=cfg.split_seed)
    generator = np.random.default_rng(cfg.seed)
    model = Classifier(hidden=cfg.hidden, generator=generator)
    optimiser = Momentum(model.params, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
    num_train = len(digits.train)
    total_steps = cfg.epochs * math.ceil(num_train / cfg.batch_size)
    step, best_val_loss = 0, math.inf

    with begin(cfg, total_steps) as run, np.errstate(over="ignore", invalid="ignore"):
        run.check("number of parameters", expected=_count_params(cfg.hidden), got=model.num_params)
        for epoch in range(cfg.epochs):
            order_N = generator.permutation(num_train)
            epoch_losses = []
            for start in range(0, num_train, cfg.batch_size):
                step += 1
                batch_B = order_N[start : start + cfg.batch_size]
                lr = 0.5 * cfg.lr * (1 + math.cos(math.pi * (step - 1) / total_steps))
                loss, gradients = model.loss_and_gradients(digits.train.x[batch_B], digits.train.y[batch_B])
                run.log({"loss": loss, "lr": lr, "grad_norm": global_norm(gradients)}, step=step, epoch=epoch)
                if not math.isfinite(loss):
                    reason = f"loss is {loss} at step {step}"
                    run.finish("failed", reason=reason)
                    return _result(cfg, run, best_val_loss, reason=reason)
                optimiser.step(gradients, lr=lr)
                epoch_losses.append(loss)

                with run.tier(step) as tier:
                    if tier == "fast":  # no prediction, no validation
                        _show(run, model, digits.train, step, number=step // cfg.log_steps % cfg.num_followed)
                    elif tier == "full":
                        val = evaluate(model, digits.val, loss_name="val_loss")
                        run.log(val, step=step, epoch=epoch, split="val")
                        _show(run, model, digits.train, step, val_loss=val["val_loss"])
                        if val["val_loss"] < best_val_loss:
                            best_val_loss = val["val_loss"]
                            _save(run, model, "best", step, val)
            run.epoch_end(epoch, train_loss=math.fsum(epoch_losses) / len(epoch_losses))

        _save(run, model, "last", step, {"loss": loss})
        with run.phase("test"):
            test = evaluate(_load_best(run, model), digits.test, loss_name="test_loss")
        run.log(test, step=step, epoch=epoch, split="test")
        run.summary["best_val_loss"] = best_val_loss
        run.summary["test_accuracy"] = test["accuracy"]
        return _result(cfg, run, best_val_loss, test=test)


def evaluate(model: Classifier, part: Split, *, loss_name: str) -> dict[str, float]:
    """Loss, accuracy and macro F1 on one part of the data; changes nothing."""
    predicted_N = model.predict(part.x)
    return {
        loss_name: model.loss(part.x, part.y),
        "accuracy": float((predicted_N == part.y).mean()),
        "f1": macro_f1(part.y, predicted_N),
    }


def _count_params(hidden: int) -> int:
    layers = [(NUM_PIXELS, hidden), (hidden, NUM_CLASSES)] if hidden else [(NUM_PIXELS, NUM_CLASSES)]
    return sum((width + 1) * units for width, units in layers)


def _show(
    run: barograph.Run, model: Classifier, part: Split, step: int, *, number: int = 0, val_loss: float | None = None
) -> None:
    """Record one image as an example: drawn, with its class, and with a prediction at a full evaluation."""
    x_1D, golden = part.x[number : number + 1], part.y[number : number + 1]
    index = part.index[number]
    run.example(
        step=step,
        example_id=f"digit-{index}",
        prompt=f"image {index} of 8 x 8 pixels\n{draw(part.pixels[number])}",
        golden=str(golden[0]),
        golden_tokens=1,
        output=None if val_loss is None else str(model.predict(x_1D)[0]),
        output_tokens=None if val_loss is None else 1,
        match="exact",
        loss=model.loss(x_1D, golden),
        val_loss=val_loss,
    )


def _save(run: barograph.Run, model: Classifier, kind: str, step: int, metrics: dict[str, float]) -> None:
    """Write a checkpoint in whole, so that a kill leaves the old one or the new one."""
    path, temporary = _checkpoint(run, kind), run.dir / f".{kind}.npz"
    np.savez(temporary, **model.params)  # type: ignore[arg-type]
    temporary.replace(path)
    run.checkpoint(path, metrics, kind=kind, step=step)


def _load_best(run: barograph.Run, model: Classifier) -> Classifier:
    """The model as it was at its lowest validation loss; as it is, when it was never evaluated."""
    path = _checkpoint(run, "best")
    if path.exists():
        with np.load(path) as saved:
            model.params.update(saved)
    return model


def _checkpoint(run: barograph.Run, kind: str) -> Path:
    return run.dir / {"best": "best_val.npz", "last": "last.npz"}[kind]


def _result(
    cfg: Config,
    run: barograph.Run,
    best_val_loss: float,
    *,
    test: dict[str, float] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {
        "name": cfg.name,
        "seed": cfg.seed,
        "run_dir": run.dir,
        "status": "failed" if test is None else "finished",
        "reason": reason,
        "best_val_loss": best_val_loss,
        "test_loss": math.nan if test is None else test["test_loss"],
        "test_accuracy": math.nan if test is None else test["accuracy"],
    }
