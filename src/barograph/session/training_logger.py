"""``TrainingLogger``: the all-in-one training logger's calls, over a run.

logger = TrainingLogger(experiment_name="my_music_experiment", save_dir=Path("./training_runs"),
                        model_config={...}, training_config={...}, data_config={...})
logger.start_training(total_epochs=100)
logger.log_batch(batch=25, losses={"reconstruction": 0.45}, learning_rate=1e-4)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from barograph.errors import MisuseError
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.record.arguments import whole
from barograph.record.run import Run
from barograph.record.values import check_metrics, is_on_device, plain_number
from barograph.session.place import next_step
from barograph.session.start import init

TOTALS: Final = frozenset({"total_loss", "total", "loss"})


class TrainingLogger:
    """Records an experiment batch by batch and epoch by epoch.

    The run begins with ``start_training``, which knows how many epochs are planned.

    Args:
        experiment_name: the run's name.
        save_dir: root directory of runs.
        model_config: recorded as ``config["model"]``.
        training_config: recorded as ``config["training"]``; its ``log_steps`` and ``eval_steps`` set the cadence.
        data_config: recorded as ``config["data"]``.
        enable_tensorboard: ask for the mirror ``tensorboard``.
        enable_wandb: ask for the mirror ``wandb``. A mirror that no installed distribution offers is warned about;
            the run is recorded all the same.
        options: further arguments of ``barograph.init``.

    Attributes:
        run: the run, once training has started.
    """

    def __init__(
        self,
        experiment_name: str,
        save_dir: str | os.PathLike[str] | None = None,
        model_config: Any = None,
        training_config: Any = None,
        data_config: Any = None,
        *,
        enable_tensorboard: bool = False,
        enable_wandb: bool = False,
        **options: Any,
    ) -> None:
        self._name = experiment_name
        self._root = save_dir
        self._config = {"model": model_config, "training": training_config, "data": data_config}
        wanted = {"tensorboard": enable_tensorboard, "wandb": enable_wandb}
        self._mirrors = [*options.pop("mirrors", ()), *(name for name, is_on in wanted.items() if is_on)]
        self._options = options
        self._run: Run | None = None
        self._epoch = 0
        self._last = (0, -1)
        self._first_step = self._next_step = 0
        self._epoch_started_s = 0.0
        self._usage: dict[str, Any] = {}

    @property
    def run(self) -> Run:
        """The run.

        Raises:
            MisuseError: training has not started.
        """
        if self._run is None:
            raise MisuseError(f"experiment {self._name!r} has not started; call start_training(total_epochs=...) first")
        return self._run

    def start_training(self, total_epochs: int | None = None, *, total_batches: int | None = None) -> Run:
        """Begin the run.

        Args:
            total_epochs: how many epochs are planned; the ETA is computed from it.
            total_batches: how many batches are planned in all.

        Returns:
            The run, for everything that this class has no call for.
        """
        if self._run is not None:
            raise MisuseError(
                f"experiment {self._name!r} has started already; make another TrainingLogger for another run"
            )
        training = self._config["training"]
        cadence = {}
        if isinstance(training, Mapping):
            cadence = {key: training[key] for key in ("log_steps", "eval_steps") if key in training}
        self._run = init(
            name=self._name,
            root=self._root,
            config=self._config,
            total_epochs=total_epochs,
            total_steps=total_batches,
            mirrors=self._mirrors,
            **{**cadence, **self._options},
        )
        if self._run.attempt:  # batches that start again at 0 go on from where the last attempt ended
            self._next_step = next_step(RunDir(self._run.dir), rank=self._run.rank)
            self._last = (-1, self._next_step - 1)
        self._epoch_started_s = time.monotonic()
        return self._run

    def log_batch(  # noqa: PLR0917 - the documented signature
        self,
        batch: int,
        losses: Mapping[str, Any],
        learning_rate: Any = None,
        gradient_norm: Any = None,
        throughput_metrics: Mapping[str, Any] | None = None,
        memory_metrics: Mapping[str, Any] | None = None,
        *,
        epoch: int | None = None,
    ) -> None:
        """Record one batch.

        Losses are recorded under their own names, and their sum as ``total_loss`` unless one of them is the total.

        Args:
            batch: number of the batch in its epoch, or over all; steps go on counting when it starts again at 0.
            losses: names and values, e.g. ``reconstruction``, ``kl_divergence``, ``adversarial``.
            learning_rate: recorded as ``learning_rate``.
            gradient_norm: recorded as ``gradient_norm``.
            throughput_metrics: e.g. ``{"samples_per_second": 128}``.
            memory_metrics: in GB, e.g. ``{"gpu_allocated": 3.2, "cpu_rss": 8.5}``; recorded as ``memory/NAME``.
            epoch: number of the epoch; the current one when not given.
        """
        metrics: dict[str, Any] = dict(check_metrics(losses))
        if not TOTALS.intersection(losses):
            metrics["total_loss"] = _sum(losses)
        if learning_rate is not None:
            metrics["learning_rate"] = learning_rate
        if gradient_norm is not None:
            metrics["gradient_norm"] = gradient_norm
        metrics |= throughput_metrics or {}
        metrics |= {f"memory/{name}": value for name, value in (memory_metrics or {}).items()}
        epoch = self._epoch if epoch is None else epoch
        self.run.log(metrics, step=self._step(whole(batch, what="batch"), epoch), epoch=epoch)

    def _step(self, batch: int, epoch: int) -> int:
        """Batches that start again with each epoch go on from where the last epoch ended."""
        if (epoch, batch) != self._last and batch <= self._last[1]:
            self._first_step = self._next_step
        self._last = (epoch, batch)
        step = self._first_step + batch
        self._next_step = step + 1
        return step

    def log_epoch(
        self,
        epoch: int,
        train_losses: Mapping[str, Any] | None = None,
        val_losses: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Event | None:
        """Record the end of an epoch.

        Args:
            epoch: number of the epoch.
            train_losses: mean losses on the training set; ``total_loss`` (or the sum) is the training loss.
            val_losses: the same on the validation set.
            metrics: further numbers.
        """
        now_s = time.monotonic()
        parts = {f"train/{name}": value for name, value in (train_losses or {}).items()}
        parts |= {f"val/{name}": value for name, value in (val_losses or {}).items()}
        event = self.run.epoch_end(
            epoch,
            train_loss=_total(train_losses),
            val_loss=_total(val_losses),
            metrics={**parts, **(metrics or {})},
            epoch_time_s=now_s - self._epoch_started_s,
        )
        if self._usage:
            self.run.data_usage(epoch=epoch, **self._usage)
        self._epoch, self._epoch_started_s = epoch + 1, now_s
        return event

    def log_data_usage(
        self,
        files: Iterable[str] | None = None,
        augmentations: Mapping[str, int] | Iterable[str] | None = None,
        transpositions: Mapping[str, int] | Iterable[str | int] | None = None,
    ) -> None:
        """Count what data was used: files, augmentations, transpositions. The counts are recorded at epoch ends.

        Args:
            files: names of the files that were read.
            augmentations: names, or names and counts, of augmentations that were applied.
            transpositions: semitones, or semitones and counts.
        """
        given = {"files": files, "augmentations": augmentations, "transpositions": transpositions}
        for kind, items in given.items():
            counts = self._usage.setdefault(kind, {}) if items is not None else {}
            pairs = items.items() if isinstance(items, Mapping) else ((item, 1) for item in items or ())
            for item, count in pairs:
                counts[str(item)] = counts.get(str(item), 0) + count

    def end_training(self, status: str = "finished", *, final_metrics: Mapping[str, Any] | None = None) -> None:
        """End the run.

        Args:
            status: ``finished``, ``failed`` or ``killed``.
            final_metrics: results that stand for the whole run; they go into its summary.
        """
        run = self.run
        for name, value in (final_metrics or {}).items():
            run.summary[name] = value
        if self._usage:
            run.data_usage(total=True, **self._usage)
        run.finish(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            self._run.__exit__(kind, error, trace)


EnhancedTrainingLogger = TrainingLogger


def _sum(losses: Mapping[str, Any]) -> Any:
    """The sum of the losses; on a GPU it is computed there, so that nobody waits for the device."""
    if any(map(is_on_device, losses.values())):
        return sum(losses.values())
    return sum(float(plain_number(name, value)) for name, value in losses.items())


def _total(losses: Mapping[str, Any] | None) -> Any:
    if not losses:
        return None
    named = [losses[name] for name in ("total_loss", "total", "loss") if name in losses]
    return named[0] if named else _sum(losses)
