"""The training loop of FaultBench: reads from top to bottom, logs real numbers, and lets one fault meddle.

Step times are those of a machine of its own, so that a busy machine is not mistaken for a slow loader.
"""

from __future__ import annotations

import copy
import resource
import time
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

import barograph
from bench.faults import models, schedules
from bench.faults.injected.fault import Fault
from bench.faults.recipe import Recipe, config_of
from bench.faults.scaler import LossScaler

STATM: Final = Path("/proc/self/statm")
PAGE_BYTES: Final = 4096
MIB: Final = 2**20
NOTHING: Final = Fault()


class Stopwatch:
    """Times a step as on a machine of its own: time on the processor, and what the loader waited of its own will.

    The time in which the step could have run, but others did, is none of its affair.
    """

    def __init__(self) -> None:
        self._wall_s, self._busy_s, self._num_waits = self._now()
        self._waited_s, self._started_s = 0.0, self._busy_s

    @staticmethod
    def _now() -> tuple[float, float, int]:
        return time.perf_counter(), time.thread_time(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    def loaded(self) -> None:
        """The batch is there."""
        wall_s, busy_s, num_waits = self._now()
        if num_waits > self._num_waits:
            self._waited_s = wall_s - self._wall_s - (busy_s - self._busy_s)

    def elapsed_s(self) -> float:
        """Since it was made."""
        return time.thread_time() - self._started_s + self._waited_s


def resident_mb() -> float:
    """Resident memory of this process."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE_BYTES / MIB


class Trainer:
    """One training.

    Args:
        recipe: what to train.
        seed: of everything that is drawn.
        fault: what goes wrong, if anything.
        onset: from which step on.
        unlogged: metrics that are not logged.

    Attributes:
        task: model and data.
        parameters: of the task.
        optimizer: of these.
        active: the fault, once it has begun.
        generator: draws batches.
        step: the step that is being made.
        batch_size: of this step.
        losses: what a leaking loop keeps.
    """

    def __init__(
        self, recipe: Recipe, seed: int, *, fault: Fault = NOTHING, onset: int = 0, unlogged: tuple[str, ...] = ()
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.seed, self.onset, self._unlogged = recipe, seed, onset, frozenset(unlogged)
        self.fault, self.active = fault, NOTHING
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.fault_generator = torch.Generator().manual_seed(seed + 2)
        self.task = models.build(recipe, seed)
        self.parameters = list(self.task.parameters())
        self.optimizer = make_optimizer(recipe, self.parameters)
        self.scaler = LossScaler(growth_steps=recipe.growth_steps) if recipe.is_scaled else None
        self.clip = recipe.clip
        self.step = 0
        self.batch_size = recipe.batch_size
        self._saved: dict[str, Any] = {}

    def train(self, directory: Path) -> None:
        """Train from the first step to the last, recording into a directory."""
        recipe = self.recipe
        run = self._begin_run(directory, resume=None)
        is_resumed = False
        while self.step < recipe.steps:
            if recipe.resume_step and not is_resumed:
                if self.step == recipe.resume_step - recipe.repeat_steps:
                    self._save()
                if self.step == recipe.resume_step:
                    run.finish(status="killed", reason="interrupted")
                    run = self._begin_run(directory, resume="must")
                    self._restore()
                    is_resumed = True
            self._one_step(run)
            self.step += 1
        run.finish()

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer | None = None) -> dict[str, float]:
        """Take a gradient and make a step; return the norms that are known then."""
        parameters = self.parameters
        for parameter in parameters:
            parameter.grad = None
        if optimizer is not None:
            parameters = [it for group in optimizer.param_groups for it in group["params"]]
        loss = self.active.loss(loss)
        (loss * self.scaler.scale if self.scaler else loss).backward()
        self.active.gradients()
        is_finite = self.scaler.unscale(parameters) if self.scaler else True
        grads = [it.grad for it in parameters if it.grad is not None]
        values = {"grad_norm": float(nn.utils.get_total_norm(grads)), **self.task.layer_norms()}
        if self.clip and is_finite:
            nn.utils.clip_grads_with_norm_(parameters, self.clip, torch.tensor(values["grad_norm"]))
        is_logged = self.step % self.recipe.log_every == 0
        before = self._weights() if is_logged else None
        if is_finite:
            (optimizer or self.optimizer).step()
        if before is not None:
            values["update_ratio"] = float((self._weights() - before).norm() / before.norm())
        if self.scaler:
            values["loss_scale"] = self.scaler.scale
            self.scaler.update(is_finite=is_finite)
        return values

    def _weights(self) -> Tensor:
        return torch.cat([it.detach().flatten() for it in self.parameters])

    def _one_step(self, run: barograph.Run) -> None:
        recipe, step = self.recipe, self.step
        if self.fault is not NOTHING and step == self.onset and self.active is NOTHING:
            self.active = self.fault
            self.fault.start(self)
        lr = self.active.rate(recipe.lr * schedules.factor(recipe.schedule, step, recipe.steps))
        for optimizer in (self.optimizer, *self.task.other_optimizers):
            for group in optimizer.param_groups:
                group["lr"] = lr
        self.batch_size = recipe.batch_size * 2 ** (step // recipe.ramp_steps if recipe.ramp_steps else 0)
        watch = Stopwatch()
        batch = self.active.batch(self.task.batch(self))
        watch.loaded()
        values = self.task.step(self, batch)
        self.active.after()
        elapsed_s = watch.elapsed_s()
        values["lr"] = lr
        if recipe.speed == "throughput":
            values["throughput"] = self.batch_size / elapsed_s
        elif recipe.speed:
            values[recipe.speed] = elapsed_s * 1e3
        if recipe.has_memory and step % recipe.log_every == 0:
            values["memory_mb"] = resident_mb()
        if step % recipe.log_every == 0:
            self._log(run, values, "train")
        if recipe.eval_every and (step + 1) % recipe.eval_every == 0 and self.active.evaluates():
            self._evaluate(run)

    def _evaluate(self, run: barograph.Run) -> None:
        with run.phase("evaluation", step=self.step):
            values = self.task.evaluate()
            if self.recipe.eval_pause_s:
                time.sleep(self.recipe.eval_pause_s)
        self._log(run, values, "val")
        if self.recipe.has_checkpoints and (self.step + 1) % (5 * self.recipe.eval_every) == 0:
            path = run.dir / "checkpoints" / f"step_{self.step}.pt"
            path.parent.mkdir(exist_ok=True)
            torch.save(self.task.state_dict(), path)
            run.checkpoint(path, step=self.step)

    def _log(self, run: barograph.Run, values: dict[str, float], split: str) -> None:
        reported = self.active.report(values, split)
        kept = {
            "full": reported,
            "three": {key: reported[key] for key in ("loss", "lr", "grad_norm") if key in reported},
            "loss": {key: reported[key] for key in ("loss",) if key in reported},
        }[self.recipe.keys if split == "train" else "full"]
        logged = {name: value for name, value in kept.items() if name not in self._unlogged}
        if logged:
            run.log(logged, step=self.step, split=split)

    def _begin_run(self, directory: Path, *, resume: str | None) -> barograph.Run:
        return barograph.init(
            dir=directory,
            name=directory.name,
            config=config_of(self.recipe, self.seed),
            seed=self.seed,
            total_steps=self.recipe.steps,
            eval_steps=self.recipe.eval_every or None,
            terminal="off",
            text_log=None,
            console=False,
            host_s=None,
            watch=False,
            resume=resume,
        )

    def _save(self) -> None:
        parts = {"task": self.task.state_dict(), "optimizer": self.optimizer.state_dict()}
        self._saved = {"step": self.step, **copy.deepcopy(parts)}

    def _restore(self) -> None:
        """Go on from what was saved, with batches drawn anew, as most data loaders do."""
        self.task.load_state_dict(self._saved["task"])
        self.optimizer.load_state_dict(self._saved["optimizer"])
        self.step = self._saved["step"]
        self.generator.manual_seed(self.seed + 100)


def make_optimizer(recipe: Recipe, parameters: list[nn.Parameter], *, lr: float | None = None) -> torch.optim.Optimizer:
    """The optimiser that the recipe names."""
    rate, decay = recipe.lr if lr is None else lr, recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, rate, weight_decay=decay)
        case "momentum":
            return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, rate, fused=True)
        case "adam_gan":
            return torch.optim.Adam(parameters, rate, betas=(0.5, 0.999), fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay or 0.01, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, weight_decay=decay)
        case other:
            raise ValueError(f"optimizer {other!r} is not known; name sgd, momentum, adam, adam_gan, adamw or rmsprop")


def warm_up() -> None:
    """Load what the first training of a process would wait for; processes that part from this one have it then."""
    torch.set_num_threads(1)
    trainer = Trainer(Recipe(name="warm_up", family="mlp"), 0)
    trainer.task.step(trainer, trainer.task.batch(trainer))
