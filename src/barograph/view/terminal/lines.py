"""What each moment of a run says on the terminal.

Pure functions from an event's payload to lines of text; ``Narrator`` adds which of them to leave out. Missing
keys are left out of a line, and an event that is not as expected is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from barograph.facts.kinds import (
    MOMENTS,
    Event,
    OnCheck,
    OnCheckpoint,
    OnEpochEnd,
    OnExample,
    OnException,
    OnPhaseEnd,
    OnResume,
    OnSignal,
    OnStart,
    OnTrainEnd,
    OnValidationEnd,
    Payload,
    parse,
)
from barograph.view.terminal.blocks import ASCII, UNICODE, Symbols, example_block
from barograph.view.terminal.summary import end_lines
from barograph.view.terminal.wording import duration, fields, number, one_line, size, to_ascii

SPARSE_S: Final = 10.0
VALUE_CHARS: Final = 80
MESSAGE_CHARS: Final = 300
EVENT_CHARS: Final = 120
SEVERE: Final = frozenset({"error", "critical", "fatal"})
ALERTS: Final = frozenset({"alert", "on_alert"})
NOT_SHOWN: Final = frozenset({"attempt", "rank", "kind"})


def read_payload(event: Event) -> Payload | None:
    """The event's payload as the struct of its moment; None when there is none or it does not fit."""
    kind = MOMENTS.get(event.moment)
    if kind is None:
        return None
    try:
        return parse(event, kind)
    except msgspec.ValidationError:
        return None  # the line of an unknown event shows it as it is


class Narrator:
    """Turns events into lines.

    Checkpoint lines are sparse: at most one every ten seconds of the run's own time, the others counted. Fast
    phases are silent; their cost is in the last lines of the run.

    Args:
        ascii_only: escape everything that is not ASCII.

    Attributes:
        symbols: those that the terminal can show.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ascii_only = ascii_only
        self.symbols = ASCII if ascii_only else UNICODE
        self._checkpoint_t: float | None = None
        self._num_hidden = 0

    def lines(self, event: Event, payload: Payload | None) -> list[str]:
        """What to show for ``event``; nothing for some."""
        return [self.plain(line) for line in self._say(event, payload)]

    def plain(self, line: str) -> str:
        """The line as the terminal can show it."""
        return to_ascii(line) if self._ascii_only else line

    def _say(self, event: Event, payload: Payload | None) -> list[str]:
        match payload:
            case OnExample():
                return [example_block(payload, ascii_only=self._ascii_only)]
            case OnCheckpoint():
                return self._checkpoint(event.t, payload)
            case OnPhaseEnd(failed=False):
                return []
            case None:
                return self._other(event, event.moment)
            case _:
                say = _SAY.get(type(payload))
                if say is None:
                    return self._other(event, str(event.payload.get("kind", event.moment)))
                return _with_rank(say(payload, self.symbols), payload.rank)

    def _other(self, event: Event, kind: str) -> list[str]:
        if kind in ALERTS:
            return _alert(event.payload, self.symbols)
        if kind == "summary":
            return []  # the last lines show what it has become
        if kind == "note":
            return [f"note: {one_line(str(event.payload.get('text', '')), limit=MESSAGE_CHARS)}"]
        return _unknown(event, kind)

    def _checkpoint(self, t: float, payload: OnCheckpoint) -> list[str]:
        if self._checkpoint_t is not None and 0 <= t - self._checkpoint_t < SPARSE_S:
            self._num_hidden += 1
            return []
        self._checkpoint_t = t
        hidden, self._num_hidden = self._num_hidden, 0
        parts = [f"{one_line(payload.kind)} {one_line(payload.path)}"]
        if payload.size_bytes:
            parts.append(f"({size(payload.size_bytes)})")
        if payload.step is not None:
            parts.append(f"at step {number(payload.step)}")
        if payload.metrics:
            parts.append(fields(payload.metrics))
        if hidden:
            parts.append(f"and {hidden} more since the last such line")
        return [" ".join(parts)]


def _with_rank(lines: list[str], rank: int) -> list[str]:
    return [f"[rank {rank}] {line}" for line in lines] if rank else lines


def _start(payload: OnStart, _: Symbols) -> list[str]:
    plan = []
    if payload.total_steps:
        plan.append(f"{payload.total_steps} steps")
    if payload.total_epochs:
        plan.append(f"{payload.total_epochs} epochs")
    if payload.log_steps and payload.eval_steps:
        plan.append(f"fast log every {payload.log_steps} steps, full evaluation every {payload.eval_steps}")
    attempt = f", attempt {payload.attempt}" if payload.attempt else ""
    lines = [f"run {one_line(payload.name)} started{attempt}" + (f": {', '.join(plan)}" if plan else "")]
    if payload.run_dir:
        lines.append(f"facts in {one_line(payload.run_dir)}")
    if payload.hypothesis:
        lines.append(f"hypothesis: {one_line(payload.hypothesis, limit=MESSAGE_CHARS)}")
    lines += [f"success when: {one_line(text, limit=MESSAGE_CHARS)}" for text in payload.success]
    return lines


def _epoch(payload: OnEpochEnd, _: Symbols) -> list[str]:
    losses = {"train_loss": payload.train_loss, "val_loss": payload.val_loss}
    values = {name: value for name, value in losses.items() if value is not None} | payload.metrics
    time = f"  ({duration(payload.epoch_time_s)})" if payload.epoch_time_s is not None else ""
    return [f"epoch {payload.epoch}  {fields(values)}".rstrip() + time]


def _validation(payload: OnValidationEnd, _: Symbols) -> list[str]:
    where = ""
    if payload.step is not None:
        where = f" at step {number(payload.step)}"
    elif payload.epoch is not None:
        where = f" at epoch {payload.epoch}"
    return [f"{one_line(payload.split)}{where}  {fields(payload.metrics)}".rstrip()]


def _phase(payload: OnPhaseEnd, symbols: Symbols) -> list[str]:
    where = f" at step {number(payload.step)}" if payload.step is not None else ""
    return [f"{symbols.bad} phase {one_line(payload.name)}{where} failed after {duration(payload.duration_s)}"]


def _check(payload: OnCheck, symbols: Symbols) -> list[str]:
    name = one_line(payload.name)
    start = f"{symbols.good} check {name} passed" if payload.passed else f"{symbols.bad} check {name} FAILED"
    values = (("expected", payload.expected), ("got", payload.got))
    parts = [f"{word} {one_line(str(value), limit=VALUE_CHARS)}" for word, value in values if value is not None]
    if payload.note:
        parts.append(one_line(payload.note, limit=MESSAGE_CHARS))
    return [start + (f": {', '.join(parts)}" if parts else "")]


def _resume(payload: OnResume, _: Symbols) -> list[str]:
    line = f"resumed; attempt {payload.previous_attempt} had ended as {one_line(payload.previous_status)}"
    if payload.repaired:
        line += f"; repaired {', '.join(one_line(name) for name in payload.repaired)}"
    return [line]


def _exception(payload: OnException, symbols: Symbols) -> list[str]:
    what = f"{one_line(payload.type)}: {one_line(payload.message, limit=MESSAGE_CHARS)}"
    if payload.source != "training":
        return [f"{symbols.warning} {one_line(payload.source)} was detached, training goes on: {what}"]
    places = [line.strip() for line in payload.traceback.splitlines() if line.lstrip().startswith('File "')]
    return [f"{symbols.bad} {what}", *(f"  in {one_line(place)}" for place in places[-1:])]


def _signal(payload: OnSignal, symbols: Symbols) -> list[str]:
    return [f"{symbols.warning} signal {one_line(payload.name)} ({payload.signal}) received"]


def _alert(payload: Mapping[str, Any], symbols: Symbols) -> list[str]:
    level = one_line(str(payload.get("severity") or payload.get("level") or "warning"))
    title = one_line(str(payload.get("title") or payload.get("type") or "alert"), limit=VALUE_CHARS)
    text = one_line(str(payload.get("text") or payload.get("message") or ""), limit=MESSAGE_CHARS)
    symbol = symbols.bad if level.lower() in SEVERE else symbols.warning
    where = f" at step {number(payload['step'])}" if payload.get("step") is not None else ""
    return [f"{symbol} ALERT [{level}] {title}{where}" + (f": {text}" if text else "")]


def _unknown(event: Event, kind: str) -> list[str]:
    values = " ".join(f"{name}={value}" for name, value in event.payload.items() if name not in NOT_SHOWN)
    return [one_line(f"event {kind} {values}", limit=EVENT_CHARS)]


_SAY: Final[dict[type[Payload], Callable[[Any, Symbols], list[str]]]] = {
    OnStart: _start,
    OnEpochEnd: _epoch,
    OnValidationEnd: _validation,
    OnPhaseEnd: _phase,
    OnCheck: _check,
    OnResume: _resume,
    OnException: _exception,
    OnSignal: _signal,
    OnTrainEnd: end_lines,
}
