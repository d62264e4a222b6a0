"""Whether a run goes on: a silence that is longer than its own rhythm explains is a stall.

``Life`` judges gaps between facts, and, where somebody looks at a clock, the silence since the newest one. A stall is
dated by the facts alone (the newest one, and how long was allowed after it), so that whoever watches live and whoever
replays the run later say the same. How a run ended is said by ``watch.ending``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import sub
from typing import Any, Final

import msgspec

from barograph.facts.kinds import Event
from barograph.facts.rows import HOST_SPLIT, Row, StreamHeader
from barograph.read.follow import Record, number, whole
from barograph.watch.alert import Alert, Evidence, Remedy, Severity
from barograph.watch.context import Context
from barograph.watch.detector import shown
from barograph.watch.incident import Incident, Stage, Told
from barograph.watch.order import Piece
from barograph.watch.rhythm import FIRST_S, LEAST_S, UNSURE_S, Limit, Rhythm
from barograph.watch.roles import VAL_WORDS
from barograph.watch.rule_syntax import Rule
from barograph.watch.rules import PREFIX

STALL: Final = "stall"
SURE_CONFIDENCE: Final = 0.9
UNSURE_CONFIDENCE: Final = 0.5
PAUSES: Final = {
    "on_validation_end": "an evaluation",
    "on_checkpoint": "a checkpoint",
    "on_epoch_end": "the end of an epoch",
    "on_example": "an example",
}
COMPUTING_TIMES: Final = 30.0
"""So many step times may go by, and ``FIRST_S`` at least, while the process is seen to compute: it is slow."""
COMPUTING_PERCENT: Final = 10.0
"""Of one processor; see ``watch.effort.LEAST_SHARE``."""
CPU: Final = "cpu_percent"
"""What the samples of the machine call the share of a processor that the process and its children take."""
LEAST_AT_ONCE: Final = 3
MOST_AT_ONCE: Final = 64
_BEGINNINGS: Final = frozenset({"on_start", "on_resume"})


class _Silence(msgspec.Struct):
    """What was said about the present silence."""

    opened: Alert
    incident: Incident


class LifeState(msgspec.Struct, kw_only=True):
    """What ``Life`` knows, as plain data."""

    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    last_t: float = math.nan
    attempt: int = 0
    pid: int = 0
    num_facts: int = 0
    has_epochs_alone: bool = False
    is_computing: bool = False
    sampled_t: float = math.nan
    stall: _Silence | None = None
    broken: dict[str, _Silence] = {}


class Life:
    """Judges the silences of one process of a run.

    Silences across attempts are not judged, since nothing tells when the process ended.

    Args:
        context: what is known about the run; the monitor's.
        silences: rules about silence; see ``watch.rules.silences``.
        rank: of the process; facts of others are passed over.

    Attributes:
        rhythm: what was learned.
        last_t: unix seconds of the newest fact; NaN before the first and after the end.
    """

    def __init__(self, context: Context, *, silences: Sequence[Rule] = (), rank: int = 0) -> None:
        self.rhythm = Rhythm()
        self.last_t = math.nan
        self._context = context
        self._rules = tuple(silences)
        self._shortest_s = min([LEAST_S, *(rule.lasts for rule in silences)])
        self._rank = rank
        self._attempt = 0
        self._pid = 0
        self._num_facts = 0
        self._has_epochs_alone = False
        self._is_computing = False  # in the present silence, by what was seen last
        self._sampled_t = math.nan
        self._stall: _Silence | None = None
        self._broken: dict[str, _Silence] = {}

    def state(self) -> LifeState:
        """Everything that it has learned, to go on from later; valid until the next fact."""
        return LifeState(
            rhythm=self.rhythm,
            last_t=self.last_t,
            attempt=self._attempt,
            pid=self._pid,
            num_facts=self._num_facts,
            has_epochs_alone=self._has_epochs_alone,
            is_computing=self._is_computing,
            sampled_t=self._sampled_t,
            stall=self._stall,
            broken=self._broken,
        )

    def restore(self, state: LifeState, *, context: Context) -> None:
        """Go on where another one with the same rules left off.

        Args:
            state: of the other; it belongs to this one from now on.
            context: what is known about the run.
        """
        self._context = context
        self.rhythm, self.last_t = state.rhythm, state.last_t
        self._attempt, self._pid, self._num_facts = state.attempt, state.pid, state.num_facts
        self._has_epochs_alone = state.has_epochs_alone
        self._is_computing, self._sampled_t = state.is_computing, state.sampled_t
        self._stall, self._broken = state.stall, state.broken

    def take(self, piece: Piece) -> list[Told]:
        """Take what happened next; to be called before the monitor takes the same."""
        told: list[Told] = []
        if isinstance(piece, tuple):
            header, rows = piece
            if header.rank == self._rank and header.split == HOST_SPLIT:
                self._samples(header, rows)
            elif header.rank == self._rank:
                self._rows(header, rows, told)
        elif isinstance(piece, Record):
            if piece.rank == self._rank and piece.split != HOST_SPLIT:
                is_evaluation = piece.split.lower() in VAL_WORDS
                self._fact(piece.t, piece.step, piece.attempt, told, is_evaluation=is_evaluation)
        elif piece.payload.get("rank", 0) == self._rank:
            self._event(piece, told)
        return told

    def wait(self, now_t: float, *, is_stopped: bool = False, is_computing: bool | None = None) -> list[Told]:
        """What is told when nothing was recorded until unix time ``now_t``.

        Args:
            now_t: unix seconds.
            is_stopped: whether the process is seen to be stopped: then no pause explains the silence. A replay cannot
                see that, and judges by the rhythm.
            is_computing: whether the process is seen to compute: then it is slow, and no stall. None where nobody can
                see it: the samples of the machine tell, where there are some.
        """
        told: list[Told] = []
        if is_computing is not None:
            self._is_computing = is_computing
        if now_t - self.last_t > self._shortest_s:
            self._judge(now_t, told, is_stopped=is_stopped)
        return told

    def _samples(self, header: StreamHeader, rows: list[Row]) -> None:
        """Whether the process computes, by samples of the machine; each is of the time since the one before it."""
        place = header.columns.index(CPU) if CPU in header.columns else None
        for row in rows:
            is_of_silence = (row[-1] + self._sampled_t) / 2 >= self.last_t
            self._sampled_t = row[-1]
            if place is not None and is_of_silence:
                self._is_computing = row[place] >= COMPUTING_PERCENT

    def _rows(self, header: StreamHeader, rows: list[Row], told: list[Told]) -> None:
        is_evaluation = header.split.lower() in VAL_WORDS
        for place in range(0, len(rows), MOST_AT_ONCE):
            some = rows[place : place + MOST_AT_ONCE]
            if is_evaluation or len(some) < LEAST_AT_ONCE or not self._usual(some, header.attempt):
                for row in some:
                    self._fact(row[-1], row[0], header.attempt, told, is_evaluation=is_evaluation)

    def _usual(self, rows: list[Row], attempt: int) -> bool:
        """Take some records of training at once when each came soon after the one before: nothing is to be judged."""
        is_new = attempt > self._attempt or self._has_epochs_alone or math.isnan(self.last_t)
        if is_new or self._stall is not None or self._broken:
            return False
        times = [row[-1] for row in rows]
        gaps_s = list(map(sub, times, [self.last_t, *times]))
        if not self.rhythm.record_usual(gaps_s, [row[0] for row in rows], longest_s=self._shortest_s):
            return False
        self._num_facts += len(rows)
        self.last_t = times[-1]
        self._is_computing = False
        return True

    def _fact(self, t: float, step: float, attempt: int, told: list[Told], *, is_evaluation: bool) -> None:
        if attempt > self._attempt:
            self._begin(attempt, t, told)
        kind = PAUSES["on_validation_end"] if is_evaluation else ""
        gap_s = self._close(t, told, kind=kind)
        if is_evaluation:
            self.rhythm.pause(kind, gap_s)
            return
        if self._has_epochs_alone:  # until now
            self._has_epochs_alone = False
            self.rhythm.begin(eval_steps=self.rhythm.eval_steps, epoch_steps=self.rhythm.epoch_steps)
        self.rhythm.record(gap_s, step)

    def _event(self, event: Event, told: list[Told]) -> None:
        attempt = whole(event.payload.get("attempt"))
        if attempt > self._attempt or event.moment in _BEGINNINGS:
            self._begin(attempt, event.t, told)
        is_phase = event.moment == "on_phase_end" and event.payload.get("name")
        kind = f"the phase {event.payload['name']}" if is_phase else PAUSES.get(event.moment, "")
        gap_s = self._close(event.t, told, kind=kind)
        if event.moment == "on_start":
            self._announced(event.payload)
        elif event.moment == "on_train_end":
            self.last_t = math.nan
        elif event.moment == "on_epoch_end" and (self._has_epochs_alone or not self.rhythm.num_records):
            self._has_epochs_alone = True
            self.rhythm.record(gap_s, number(event.payload.get("epoch")))
        else:
            self.rhythm.pause(kind or event.moment, gap_s)

    def _begin(self, attempt: int, t: float, told: list[Told]) -> None:
        """An attempt begins; what was silent before it is over, and how long it was silent is not known."""
        self._end(t, told)
        self._attempt = attempt
        self.last_t = t
        self.rhythm.begin(eval_steps=self.rhythm.eval_steps, epoch_steps=self.rhythm.epoch_steps)

    def _announced(self, payload: dict[str, Any]) -> None:
        total_steps, total_epochs, eval_steps = (
            max(number(payload.get(name)), 0.0) for name in ("total_steps", "total_epochs", "eval_steps")
        )
        self._pid = whole(payload.get("pid"))
        epoch_steps = total_steps / total_epochs if total_epochs else 0.0
        self.rhythm.begin(eval_steps=eval_steps, epoch_steps=epoch_steps)

    def _close(self, t: float, told: list[Told], *, kind: str = "") -> float:
        """A fact was recorded at ``t``: what was silent is over. Returns the seconds since the fact before it.

        The first pause of a kind is explained by the fact that ends it: unless it was told meanwhile, it is no stall.
        """
        gap_s = t - self.last_t
        if gap_s > self._shortest_s:
            self._is_computing = self._is_computing or bool(kind and kind not in self.rhythm.pauses)
            self._judge(t, told)
        if self._stall is not None or self._broken:
            self._end(t, told)
        self._num_facts += 1
        self.last_t = t
        self._is_computing = False
        return max(gap_s, 0.0) if gap_s == gap_s else 0.0  # noqa: PLR0124 - NaN before the first fact

    def _judge(self, until_t: float, told: list[Told], *, is_stopped: bool = False) -> None:
        """Say what was to be said about the silence by ``until_t``."""
        gap_s = until_t - self.last_t
        found: list[tuple[float, Told]] = [
            (rule.lasts, self._opened(self._of_rule(rule), self._broken, rule.text))
            for rule in self._rules
            if gap_s > rule.lasts and rule.text not in self._broken
        ]
        limit = self.rhythm.limit()
        if is_stopped:
            limit = msgspec.structs.replace(limit, silence_s=LEAST_S, is_sure=True)
        elif self._is_computing:
            limit = _while_computing(limit)
        if self._stall is None and gap_s > limit.silence_s:
            alert = self._of_stall(limit, is_sure=limit.is_sure)
            self._stall = _Silence(opened=alert, incident=_incident(alert, self._num_facts))
            found.append((limit.silence_s, _told("opened", alert, self._stall.incident)))
        is_unsure = self._stall is not None and self._stall.incident.severity == "warning"
        if self._stall is not None and is_unsure and gap_s > UNSURE_S and not self._is_computing:
            alert = self._of_stall(msgspec.structs.replace(limit, silence_s=UNSURE_S), is_sure=True)
            alert = msgspec.structs.replace(alert, id=f"{alert.id}-sure", incident=self._stall.opened.id)
            self._stall.incident.severity = "critical"
            found.append((UNSURE_S, _told("worse", alert, self._stall.incident)))
        told += [it for _, it in sorted(found, key=lambda pair: pair[0])]

    def _opened(self, alert: Alert, where: dict[str, _Silence], key: str) -> Told:
        where[key] = _Silence(opened=alert, incident=_incident(alert, self._num_facts))
        return _told("opened", alert, where[key].incident)

    def _end(self, t: float, told: list[Told]) -> None:
        over = [*self._broken.values()] + ([self._stall] if self._stall is not None else [])
        for silence in over:
            silence.incident.is_open = False
            told.append(
                Told(
                    stage="ended",
                    alert=silence.opened,
                    incident=_copy(silence.incident),
                    step=self.rhythm.step,
                    t=t,
                )
            )
        self._stall = None
        self._broken.clear()

    def _of_rule(self, rule: Rule) -> Alert:
        text = f"nothing was recorded for {_seconds(rule.lasts)} after step {shown(self.rhythm.step)}"
        evidence = [Evidence(name="seconds without a fact", value=rule.lasts, threshold=rule.lasts)]
        return self._alert(PREFIX + rule.text, rule.severity, f"{text} (rule: {rule.text})", rule.lasts, evidence)

    def _of_stall(self, limit: Limit, *, is_sure: bool) -> Alert:
        step = shown(self.rhythm.step)
        text = f"nothing was recorded for {_seconds(limit.silence_s)} after step {step}"
        evidence = [Evidence(name="seconds without a fact", value=limit.silence_s, threshold=limit.silence_s)]
        if not math.isnan(limit.step_s):
            text += f"; records came every {_seconds(limit.step_s)}"
            evidence.append(Evidence(name="seconds from record to record", value=limit.step_s))
        if limit.pause:
            text += f", and {limit.pause} took {_seconds(limit.pause_s)} at most"
            evidence.append(Evidence(name=f"seconds of {limit.pause}", value=limit.pause_s))
        alert = self._alert(STALL, "critical" if is_sure else "warning", text, limit.silence_s, evidence)
        return msgspec.structs.replace(
            alert,
            causes=_causes(is_sure=is_sure),
            remedies=self._remedies(is_sure=is_sure),
            confidence=SURE_CONFIDENCE if is_sure else UNSURE_CONFIDENCE,
        )

    def _alert(self, kind: str, severity: Severity, text: str, after_s: float, evidence: list[Evidence]) -> Alert:
        step = self.rhythm.step
        identity = f"{kind}-r{self._rank}-a{self._attempt}-s{step:g}-n{self._num_facts}"
        return Alert(
            type=kind,
            severity=severity,
            text=text,
            step=step,
            since_step=step,
            evidence=evidence,
            confidence=1.0,
            t=self.last_t + after_s,
            attempt=self._attempt,
            rank=self._rank,
            id=identity,
            incident=identity,
        )

    def _remedies(self, *, is_sure: bool) -> list[Remedy]:
        found = []
        if not is_sure:
            found.append(Remedy(text="if it is a pause: announce it with eval_steps=, or name it with run.phase(...)"))
        if self._pid:
            found.append(Remedy(text=f"see where it hangs: py-spy dump --pid {self._pid}"))
        checkpoint = self._context.checkpoint_before(self.rhythm.step)
        if checkpoint is not None:
            at, path = checkpoint
            found.append(Remedy(text=f"if it does not come back: stop it and go on from {path} (step {shown(at)})"))
        return found


def _while_computing(limit: Limit) -> Limit:
    steps_s = 0.0 if math.isnan(limit.step_s) else COMPUTING_TIMES * limit.step_s
    return msgspec.structs.replace(limit, silence_s=max(limit.silence_s, FIRST_S, steps_s), is_sure=True)


def _causes(*, is_sure: bool) -> list[str]:
    waiting = [
        "the data loader waits, or one of its workers is gone",
        "a lock, or another process of the run, is waited for",
        "a file system or network does not answer",
    ]
    return waiting if is_sure else ["an evaluation, checkpoint or other pause that nobody announced", *waiting]


def _incident(alert: Alert, record: int) -> Incident:
    return Incident(
        id=alert.id,
        family="life",
        severity=alert.severity,
        types=[alert.type],
        first_step=alert.since_step,
        last_step=alert.step,
        last_record=record,
    )


def _told(stage: Stage, alert: Alert, incident: Incident) -> Told:
    return Told(stage=stage, alert=alert, incident=_copy(incident), step=alert.step, t=alert.t)


def _copy(incident: Incident) -> Incident:
    return msgspec.structs.replace(incident, types=list(incident.types))


def _seconds(value: float) -> str:
    if value < 1.0:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 600.0 else f"{value / 60:.3g} min"  # noqa: PLR2004 - ten minutes
