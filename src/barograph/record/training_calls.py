"""What a training loop says besides numbers: examples, phases, the two tiers, checks, checkpoints, notes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from barograph.errors import MisuseError
from barograph.facts.blobs import hash_file
from barograph.facts.codec import plain
from barograph.facts.kinds import Event, OnCheck, OnCheckpoint, OnEpochEnd, as_payload
from barograph.record.arguments import title, whole, whole_or_none
from barograph.record.attempt import Attempt
from barograph.record.cadence import Cadence, Tier, TierCosts
from barograph.record.detail import DetailConfig, DetailRecord
from barograph.record.examples import TRAIN_WINDOW, build_example
from barograph.record.phases import Phase, PhaseStack
from barograph.record.values import check_metric_name, check_step, plain_number

PHASES: Final[dict[Tier, str]] = {"fast": "fast_log", "full": "full_eval"}
LEVELS: Final = ("info", "warning", "error")


ORIGIN: Final = frozenset({"attempt", "rank"})
EPOCH_COLUMNS: Final = frozenset({"epoch", "train_loss", "val_loss", "epoch_time_s", "attempt"})


class TrainingCalls:
    """Calls of ``Run`` that become events; mixed into it, not used alone.

    Attributes:
        cadence: when fast logs and full evaluations are due.
    """

    cadence: Cadence
    config: dict[str, Any]
    _attempt: Attempt
    _costs: TierCosts
    _phases: PhaseStack
    _detail: DetailConfig

    def _open(self) -> Attempt:
        raise AssertionError("Run says which attempt is open")

    def _record(self, moment: str, payload: Mapping[str, Any]) -> Event | None:
        raise AssertionError(f"Run records {moment!r} with {len(payload)} keys")

    def event(self, moment: str, /, **payload: Any) -> Event | None:
        """Record an event.

        Args:
            moment: ``on_epoch_end``, ``custom``, ...; unknown ones are kept.
            payload: JSON data; numpy and torch values are converted.

        Returns:
            The event; None when it could not be written (``run.ledger`` counts it).

        Raises:
            MisuseError: a key is reserved, or a value has no JSON form; nothing was written.
        """
        taken = ORIGIN.intersection(payload)
        if taken:
            raise MisuseError(
                f"event {moment!r} has the reserved keys {sorted(taken)}: they say who wrote it; rename them"
            )
        try:
            data = {key: plain(value, key) for key, value in payload.items()}
        except TypeError as error:
            raise MisuseError(f"event {moment!r}: {error}") from None
        return self._record(moment, data)

    def epoch_end(
        self,
        epoch: int,
        *,
        train_loss: Any = None,
        val_loss: Any = None,
        metrics: Mapping[str, Any] | None = None,
        epoch_time_s: float | None = None,
    ) -> Event | None:
        """Record ``on_epoch_end``; ``scalars.csv`` gets a line of it.

        Args:
            epoch: number of the epoch.
            train_loss: loss on the training set.
            val_loss: loss on the validation set.
            metrics: further numbers.
            epoch_time_s: how long the epoch took, in seconds.

        Raises:
            MisuseError: the epoch is no integer, or a value is no number; nothing was written.
        """
        ended = OnEpochEnd(
            epoch=whole(epoch, what="epoch"),
            train_loss=None if train_loss is None else float(plain_number("train_loss", train_loss)),
            val_loss=None if val_loss is None else float(plain_number("val_loss", val_loss)),
            metrics=_epoch_metrics(metrics or {}),
            epoch_time_s=None if epoch_time_s is None else float(plain_number("epoch_time_s", epoch_time_s)),
        )
        return self._record("on_epoch_end", as_payload(ended))

    def example(
        self,
        *,
        step: int,
        prompt: str,
        golden: str,
        output: str | None = None,
        loss: Any = None,
        val_loss: Any = None,
        prompt_tokens: int | None = None,
        golden_tokens: int | None = None,
        output_tokens: int | None = None,
        example_id: str | None = None,
        match: str = "contains",
        tier: Tier | None = None,
    ) -> Event | None:
        """Record one example as the model saw it; the terminal shows it as a FAST LOG or FULL EVAL block.

        The loss on one example is recorded as ``example_loss``. The training side of the gap is another number:
        the mean of the newest recorded ``loss`` values of split ``train`` (50 at most), as
        ``train_loss_window_mean`` with its ``n``.

        Args:
            step: training step.
            prompt: the whole input.
            golden: the whole expected text.
            output: the whole generated text; full evaluations only.
            loss: loss on this one example.
            val_loss: loss on the validation set; full evaluations only.
            prompt_tokens: number of tokens of the prompt.
            golden_tokens: the same of the golden text.
            output_tokens: the same of the output.
            example_id: the same id marks the same example through time.
            match: which notion of match decides the mark: ``exact``, ``normalised`` or ``contains``; all three
                are recorded.
            tier: ``fast`` or ``full``; by the cadence, else by whether there is an output, when not given.

        Raises:
            MisuseError: a text is no string, a count of tokens or the step is no integer, the tier or the notion of
                match is unknown, or a fast log has an output or a validation loss. Nothing was written.
        """
        attempt = self._open()
        step = whole(step, what="step")
        if tier is None:
            tier = self.cadence.kind(step) or ("fast" if output is None else "full")
        recent: list[float] = []
        if val_loss is not None:
            with attempt.guard.boundary("metrics"):
                attempt.flush()
                recent = attempt.recent("loss", TRAIN_WINDOW)
        shown = build_example(
            step=step,
            tier=tier,
            prompt=prompt,
            golden=golden,
            output=output,
            loss=loss,
            val_loss=val_loss,
            recent_losses=recent,
            tokens=(prompt_tokens, golden_tokens, output_tokens),
            example_id=example_id,
            match=match,
        )
        return self._record("on_example", as_payload(shown))

    def phase(self, name: str, *, step: float | None = None) -> Phase:
        """A context manager that times its body and records ``on_phase_end``."""
        return Phase(self._record, self._phases, name, step=step, clock=self._open().clock)

    @contextmanager
    def tier(self, step: int) -> Iterator[Tier | None]:
        """Time what the cadence asks for at this step, as phase ``fast_log`` or ``full_eval``.

        Yields:
            ``"fast"``, ``"full"``, or None when nothing is due.

        Example:
            with run.tier(step) as tier:
                if tier == "full": ...
        """
        kind = self.cadence.kind(check_step(step))
        if kind is None:
            yield None
            return
        with self.phase(PHASES[kind], step=step) as phase:
            yield kind
        self._costs.add(kind, phase.duration_s)

    def check(
        self, name: str, expected: Any = None, got: Any = None, passed: bool | None = None, *, note: str | None = None
    ) -> bool:
        """Record whether a statement about the run holds.

        Args:
            name: the statement, e.g. ``LoRA tensors``.
            expected: what should be.
            got: what is.
            passed: the verdict; ``expected == got`` when not given.
            note: free text.

        Returns:
            The verdict.

        Raises:
            MisuseError: the verdict cannot be told from the values, or a value has no JSON form; nothing was written.
        """
        try:
            verdict = bool(expected == got) if passed is None else bool(passed)
            stated = {"expected": plain(expected, "expected"), "got": plain(got, "got")}
        except (TypeError, ValueError, RuntimeError) as error:  # several elements have no one truth
            raise MisuseError(f"check {name!r}: {error}; pass plain values, and passed=True or False") from None
        tested = OnCheck(name=title(name, what="check's name"), passed=verdict, note=note, **stated)
        self._record("on_check", as_payload(tested))
        return verdict

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        metrics: Mapping[str, Any] | None = None,
        *,
        kind: str = "checkpoint",
        step: float | None = None,
        epoch: int | None = None,
        digest: bool = False,
    ) -> Event | None:
        """Record that a checkpoint was written; the file stays where it is.

        Args:
            path: the checkpoint.
            metrics: what was measured there.
            kind: e.g. ``best``, ``last``.
            step: training step.
            epoch: number of the epoch.
            digest: also record its SHA-256; reads the whole file.

        Raises:
            MisuseError: there is no such file.
        """
        file = Path(path)
        if not file.exists():
            raise MisuseError(f"checkpoint {str(file)!r} does not exist; save it first, then record it")
        attempt = self._open()
        measured = {key: plain_number(key, value) for key, value in (metrics or {}).items()}
        at = (None if step is None else check_step(step), whole_or_none(epoch, what="epoch"))
        payload: dict[str, Any] = {}
        with attempt.guard.boundary("checkpoint", lost=1):
            path, home = file.resolve(), attempt.directory.path.resolve()
            written = OnCheckpoint(
                path=str(path.relative_to(home) if path.is_relative_to(home) else path),
                kind=title(kind, what="checkpoint's kind"),
                step=at[0],
                epoch=at[1],
                size_bytes=_size(file),
                sha256=hash_file(file) if digest and file.is_file() else None,
                metrics=measured,
            )
            payload = as_payload(written)
        return self._record("on_checkpoint", payload) if payload else None

    def note(self, text: str, **payload: Any) -> Event | None:
        """Add a finding to the run's journal, with its time."""
        return self.event("custom", kind="note", text=text, **payload)

    def alert(self, title: str, text: str = "", *, level: str = "warning") -> Event | None:
        """Say that something needs a person. It is the script's own statement, so an event, not a watcher's alert.

        Args:
            title: a few words.
            text: the rest.
            level: ``info``, ``warning`` or ``error``.

        Raises:
            MisuseError: another level.
        """
        if level not in LEVELS:
            raise MisuseError(f"alert level {level!r} is none of {', '.join(LEVELS)}; choose one")
        return self.event("custom", kind="alert", title=title, text=text, level=level)

    def data_usage(self, **counts: Any) -> Event | None:
        """Record what data training has used: files, augmentations, transpositions, ... as counts or lists."""
        return self.event("custom", kind="data_usage", **counts)

    def remember(self, step: float | None = None, **data: Any) -> None:
        """Keep data of the last steps in memory; it is written only on an anomaly, crash or signal."""
        attempt = self._open()
        with attempt.guard.boundary("flight recorder"):
            attempt.flight.add("debug", data, step=step)

    def details(self, name: str, *, checkpoint: str, config: Any = None) -> DetailRecord:
        """Begin a detail record at the run's level; its three dated files are made by ``write()``.

        Args:
            name: e.g. ``entropy_probe``.
            checkpoint: name of the checkpoint, e.g. ``step_60``.
            config: the exact config of this analysis; the run's own when not given.
        """
        attempt = self._open()
        return self._detail.new_record(
            name,
            checkpoint=checkpoint,
            directory=attempt.directory.details,
            config=self.config if config is None else config,
            run_id=attempt.identity.run_id,
            on_dropped=lambda level, section, data: attempt.flight.add(f"detail.{level}", {section: data}),
            boundary=lambda part: attempt.guard.boundary(part, misuse=True),
        )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())


def _epoch_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    for key in metrics:
        check_metric_name(key)
        if key in EPOCH_COLUMNS:
            raise MisuseError(f"metric {key!r} of an epoch has an argument of its own; pass {key}=... instead")
    return {key: plain_number(key, value) for key, value in metrics.items()}
