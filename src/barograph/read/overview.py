"""One line per run: what a table of many runs shows of each. Reads the ends of files where that is enough."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from barograph.errors import FormatError
from barograph.facts.log import Damage
from barograph.facts.rows import HOST_SPLIT
from barograph.facts.rundir import RunDir
from barograph.read.columns import Stream, find_streams, iterate_blocks, iterate_overflow, last_rows, unreadable
from barograph.read.digest import Digest
from barograph.read.metrics import count_nonfinite
from barograph.read.run import RunReader
from barograph.read.status import ENDED, LIVING, Status

VAL_SPLITS: Final = ("val", "valid", "validation", "eval", "dev")


class LastValue(msgspec.Struct, frozen=True, kw_only=True):
    """The newest value of a metric.

    Attributes:
        name: the metric.
        split: e.g. ``train``; None for a value of an event.
        value: the number.
        step: where, when it stands at a step.
        epoch: where, when it stands at an epoch.
    """

    name: str
    value: float
    split: str | None = None
    step: float | None = None
    epoch: int | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a table.

    Attributes:
        path: the run's directory.
        run_id: unique for all time; "" when it has none.
        name: what people call it.
        project: what it belongs to.
        group: runs that belong together.
        tier: ``quick`` or ``full``.
        seed: the seed that the caller named.
        status: what it is doing.
        started_t: unix seconds.
        duration_s: wall time of the latest attempt.
        num_attempts: how many there were.
        step: the newest step of the latest attempt.
        loss: the newest training loss.
        val_loss: the newest validation loss.
        num_criteria: how many success criteria were judged or stated.
        num_met: how many of them hold; None before they are judged.
        num_alerts: what somebody should look at.
        num_checks: how many checks ran.
        num_checks_failed: how many of them failed.
        nonfinite_counts: how many recorded numbers are ``nan``, ``inf``, ``-inf``.
        num_lost: how many facts could not be written; None while that is not known.
        num_damaged: how many places of its files hold no fact.
    """

    path: str
    run_id: str
    name: str
    project: str | None
    group: str | None
    tier: str | None
    seed: int | None
    status: Status
    started_t: float | None
    duration_s: float | None
    num_attempts: int
    step: float | None
    loss: LastValue | None
    val_loss: LastValue | None
    num_criteria: int
    num_met: int | None
    num_alerts: int
    num_checks: int
    num_checks_failed: int
    nonfinite_counts: dict[str, int]
    num_lost: int | None
    num_damaged: int


def overview(path: Path, *, now: Callable[[], float] = time.time) -> Overview:
    """The line of one run.

    Args:
        path: the run's directory.
        now: unix seconds.
    """
    reader = RunReader(path)
    identity, status, ended, digest = reader.identity, reader.status(), reader.exit_record(), reader.digest()
    damage: list[Damage] = []
    newest = _Newest(reader.directory, damage)
    lost = None if ended is None else ended.ledger.get("lost")
    verdicts = [] if status.state not in ENDED else reader.success()
    return Overview(
        path=str(path),
        run_id=identity.run_id,
        name=identity.name,
        project=identity.project,
        group=identity.group,
        tier=identity.tier,
        seed=identity.seed,
        status=status,
        started_t=identity.created_t,
        duration_s=_duration_s(reader, status, now()),
        num_attempts=max(1, len(digest.attempts)),
        step=newest.step,
        loss=newest.loss() or _epoch_loss(digest),
        val_loss=newest.val_loss() or _event_val_loss(digest),
        num_criteria=max(len(verdicts), len(identity.success)),
        num_met=sum(verdict.get("passed") is True for verdict in verdicts) if verdicts else None,
        num_alerts=reader.num_alerts(),
        num_checks=len(digest.checks),
        num_checks_failed=sum(not check.passed for check in digest.checks),
        nonfinite_counts=_added(newest.nonfinite_counts(), digest.nonfinite_counts),
        num_lost=lost if isinstance(lost, int) else None,
        num_damaged=len(damage) + len(reader.damage),
    )


def _duration_s(reader: RunReader, status: Status, now_t: float) -> float | None:
    """Wall time of the latest attempt."""
    ended = reader.exit_record()
    if status.state in ENDED and ended is not None and ended.t == status.since_t:
        return ended.total_time_s
    started_t = reader.started_t()
    end_t = now_t if status.state in LIVING else status.since_t
    return None if started_t is None or end_t is None else max(0.0, end_t - started_t)


def _epoch_loss(digest: Digest) -> LastValue | None:
    epoch = digest.last_epoch
    if epoch is None or epoch.train_loss is None:
        return None
    return LastValue(name="train_loss", value=epoch.train_loss, epoch=epoch.epoch)


def _event_val_loss(digest: Digest) -> LastValue | None:
    return None if digest.last_val_loss is None else LastValue(name="val_loss", **digest.last_val_loss)


def _added(*counts: Mapping[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return {kind: total[kind] for kind in ("nan", "inf", "-inf") if total[kind]}


class _Newest:
    """The newest record of each stream, of the latest attempt that recorded metrics."""

    def __init__(self, directory: RunDir, damage: list[Damage]) -> None:
        self._directory = directory
        self._damage = damage
        streams = find_streams(directory, damage)
        self._streams = [stream for stream in streams if stream.header.split != HOST_SPLIT]
        self._values: list[tuple[float, LastValue]] = []
        self.step: float | None = None
        latest = max((stream.header.attempt for stream in self._streams), default=0)
        for stream in self._streams:
            if stream.header.attempt == latest and stream.header.rank == 0:
                self._take(stream)
        self._values.sort(key=lambda pair: -pair[0])

    def _take(self, stream: Stream) -> None:
        names = stream.header.columns[1:-1]
        for step, *values, t in _last_row(stream, self._damage):
            self.step = step if self.step is None else max(step, self.step)
            for name, value in zip(names, values, strict=True):
                self._values.append((t, LastValue(name=name, value=value, split=stream.header.split, step=step)))

    def loss(self) -> LastValue | None:
        """The training loss: ``loss`` or ``train_loss`` of split ``train``, else what is named like one."""
        return self._first(
            lambda it: it.split == "train" and it.name in ("loss", "train_loss", "train/loss"),
            lambda it: it.split == "train" and "loss" in it.name and "val" not in it.name,
        )

    def val_loss(self) -> LastValue | None:
        """The validation loss: of a validation split, or named so."""
        return self._first(
            lambda it: it.split in VAL_SPLITS and it.name in ("loss", "val_loss"),
            lambda it: it.name in ("val_loss", "val/loss", "valid_loss", "eval_loss"),
            lambda it: it.split in VAL_SPLITS and "loss" in it.name,
        )

    def _first(self, *wishes: Callable[[LastValue], bool]) -> LastValue | None:
        return next((found for wish in wishes for _, found in self._values if wish(found)), None)

    def nonfinite_counts(self) -> Counter[str]:
        """How many recorded numbers are not finite, by kind, in all attempts and ranks."""
        counts: Counter[str] = Counter()
        for stream in self._streams:
            for block in iterate_blocks(stream, self._damage):
                if not math.isfinite(sum(block)):
                    counts.update(count_nonfinite(block))
        for columns in iterate_overflow(self._directory, self._damage):
            for values in columns.values.values():
                counts.update(count_nonfinite(values))
        return counts


def _last_row(stream: Stream, damage: list[Damage]) -> Sequence[Sequence[float]]:
    try:
        return last_rows(stream, 1)
    except (FormatError, OSError) as error:
        damage.append(unreadable(stream.path, error))
        return []
