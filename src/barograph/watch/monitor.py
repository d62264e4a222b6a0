"""Facts in, what a person is told out: keeps the metrics' statistics, asks the detectors, groups their alerts.

It reads no file and no clock, so live, beside another process and over a finished run it is the same.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from barograph.facts.kinds import Event
from barograph.facts.rows import Row, StreamHeader
from barograph.read.follow import Record, is_number, number
from barograph.watch.alert import Alert, Moved
from barograph.watch.cause import cause_of
from barograph.watch.context import Context, flat_config
from barograph.watch.detector import Detector, Sample
from barograph.watch.incident import PRECEDENCE, Incidents, Told
from barograph.watch.order import Piece
from barograph.watch.roles import HOST_SPLIT, role_of
from barograph.watch.signal import BLOCK, Signal
from barograph.watch.stream_plan import StreamPlan
from barograph.watch.surprise import BEYOND_TAIL

MAX_SIGNALS: Final = 512
"""More metrics than so many are not watched, so that memory is bounded."""
MAX_FLOAT: Final = sys.float_info.max
SETTLE_RECORDS: Final = 16
MIN_CALM: Final = 3
MOVED_RECORDS: Final = 20
MOVED_Z: Final = 4.0
MAX_MOVED: Final = 5


class Monitor:
    """Watches the facts of one process of a run.

    Args:
        detectors: those that are asked; each instance belongs to one monitor.
        config: the run's configuration.
        roles: roles of metrics, declared; the others are told by their names.
        rank: of the process; facts of others are passed over.

    Attributes:
        context: what is known about the run.
        incidents: what was found.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        config: Mapping[str, Any] | None = None,
        roles: Mapping[str, str] | None = None,
        rank: int = 0,
    ) -> None:
        known = {name: place for place, name in enumerate(PRECEDENCE)}
        self.detectors = sorted(detectors, key=lambda it: (known.get(it.name, len(known)), it.name))
        self.context = Context(config=flat_config(config or {}))
        self.incidents = Incidents()
        self._read = {name for it in self.detectors for name in it.reads}
        self._roles = dict(roles or {})
        self._rank = rank
        self._sample = Sample(self.context)
        self._streams: dict[int, tuple[StreamHeader, StreamPlan]] = {}
        self._plans: dict[tuple[str, tuple[str, ...]], StreamPlan] = {}
        self._counts: dict[tuple[str, tuple[str, ...]], tuple[int, bool]] = {}

    def take(self, piece: Piece) -> list[Told]:
        """Take what happened next."""
        if isinstance(piece, tuple):
            header, rows = piece
            return self._rows(header, rows) if header.rank == self._rank else []
        if isinstance(piece, Event):
            return self._event(piece) if piece.payload.get("rank", 0) == self._rank else []
        return self._record(piece) if piece.rank == self._rank else []

    def _event(self, event: Event) -> list[Told]:
        self.context.take_event(event)
        if event.moment != "on_epoch_end":
            return []
        payload = event.payload
        values = {key: payload[key] for key in ("train_loss", "val_loss") if is_number(payload.get(key))}
        fresh = {key: value for key, value in values.items() if self._is_fresh(key)}
        epoch = number(payload.get("epoch"))
        return self._loose_values(fresh, epoch, event.t, "epoch", payload.get("attempt", 0)) if fresh else []

    def _is_fresh(self, name: str) -> bool:
        """Whether the epochs are where this role comes from: not when steps have brought it."""
        role = role_of(name, "epoch", declared=self._roles) or role_of(name, declared=self._roles)
        signal = self.context.signals.get(role.name) if role else None
        return role is not None and (signal is None or signal.split == "epoch")

    def _record(self, record: Record) -> list[Told]:
        values = {name: value for name, value in record.metrics.items() if is_number(value)}
        return self._loose_values(values, record.step, record.t, record.split, record.attempt)

    def _loose_values(self, values: dict[str, Any], step: float, t: float, split: str, attempt: Any) -> list[Told]:
        """Values that did not come as rows, as one row of a stream of their own."""
        kept = {name: value for name, value in values.items() if isinstance(value, float) or abs(value) <= MAX_FLOAT}
        if (split, tuple(kept)) not in self._plans and len(self._plans) >= MAX_SIGNALS:
            return []
        plan = self._plan(split, tuple(kept))
        row = (_float(step), *map(float, kept.values()), _float(t))
        return self._take_rows(plan, [row], attempt if isinstance(attempt, int) else 0)

    def _rows(self, header: StreamHeader, rows: list[Row]) -> list[Told]:
        known = self._streams.get(id(header))
        if known is None or known[0] is not header:
            known = self._streams[id(header)] = header, self._plan(header.split, tuple(header.columns[1:-1]))
        return self._take_rows(known[1], rows, header.attempt)

    def _plan(self, split: str, names: tuple[str, ...]) -> StreamPlan:
        plan = self._plans.get((split, names))
        if plan is None:
            signals = [(place, it) for place, name in enumerate(names, start=1) if (it := self._signal(name, split))]
            count, is_frequent = self._counts.pop((split, names), (0, False))
            plan = StreamPlan(split, signals, self.detectors, count=count, is_frequent=is_frequent)
            self._plans[split, names] = plan
        return plan

    def _signal(self, name: str, split: str) -> Signal | None:
        """The statistics of a metric; None for one too many, and for samples of the machine that nobody reads."""
        key = f"{split}/{name}"
        known = self.context.all_signals.get(key)
        if known is not None:
            return known
        role = role_of(name, "train" if split == "epoch" else split, declared=self._roles)
        is_unread = split == HOST_SPLIT and role is None and self._read.isdisjoint((name, key))
        if is_unread or len(self.context.all_signals) >= MAX_SIGNALS:
            return None
        if role is not None and role.name in self.context.signals:
            role = None  # the first metric of a role has it
        signal = self.context.all_signals[key] = Signal.of(name, split, role)
        if role is not None:
            self.context.signals[role.name] = signal
        return signal

    def _take_rows(self, plan: StreamPlan, rows: list[Row], attempt: int) -> list[Told]:
        told: list[Told] = []
        self._sample.signals, self._sample.split = plan.with_roles, plan.split
        if attempt > self.context.attempt and rows:
            self.context.begin_attempt(attempt, rows[0][0])
        place, num_rows = 0, len(rows)
        while place < num_rows:
            num = 0
            if num_rows - place >= MIN_CALM and plan.count >= plan.careful_until:
                num = self._take_calm(plan, rows, place)
            if not num:
                num = 1
                self._take_row(plan, rows[place], told)
            self._taken(plan, num, told)
            place += num
        return told

    def _take_row(self, plan: StreamPlan, row: Row, told: list[Told]) -> None:
        """Take a record, and ask those who are to be asked for what is not finite."""
        self._go_on(plan, row, 1)
        step = row[0]
        for place, signal in plan.signals:
            signal.take(row[place], step)
        if plan.lr is not None:
            self.context.schedule.take(plan.lr.value, step)
        total = sum(row)
        if total - total != 0.0:
            self._sample.nonfinite = [(it, row[place]) for place, it in plan.signals if not math.isfinite(row[place])]
            self._ask(plan.nonfinite, told)

    def _go_on(self, plan: StreamPlan, row: Row, num: int) -> None:
        """So many records have come; this is the newest."""
        context, sample = self.context, self._sample
        if plan.split != HOST_SPLIT:  # of the machine's samples the step is a time
            context.num_records += num
            context.records_in_attempt += num
            context.step = row[0]
        context.t = sample.t = row[-1]
        sample.step = context.step
        if sample.nonfinite:
            sample.nonfinite = []

    def _taken(self, plan: StreamPlan, num: int, told: list[Told]) -> None:
        """Ask the others about the newest of so many records."""
        plan.count += num
        is_block = not plan.count % BLOCK
        if is_block or not plan.is_frequent:
            self._ask(plan.by_record, told)
        else:
            self._sample.signals = plan.without_evaluations
            self._ask(plan.by_record, told)
            self._sample.signals = plan.with_roles
        if is_block:
            if not self._sample.nonfinite:  # those that were asked at an odd record can find it over
                for detector in plan.nonfinite:
                    if detector.is_active:
                        self._ask([detector], told)
            self._ask(plan.by_block, told)
            if plan.has_evaluations and not plan.is_frequent:
                plan.see_how_often(self.context.num_records)
        if self.incidents.open and self.context.num_records % SETTLE_RECORDS == 0:
            self._settle(told)

    def _take_calm(self, plan: StreamPlan, rows: list[Row], place: int) -> int:
        """Take some records at once when they are so usual that no detector would do anything before the last of them.

        The outcome is that of taking them one by one; it is what makes fast loops and replays cheap. A record that
        closes a block is the last.

        Returns:
            How many; 0 when the next has to be taken alone.
        """
        num = min(plan.num_unasked(), len(rows) - place)
        if self.incidents.open:
            num = min(num, SETTLE_RECORDS - self.context.num_records % SETTLE_RECORDS)
        if num < MIN_CALM:
            return 0
        if not plan.is_calm():
            return 0
        chunk = rows[place : place + num]
        columns = list(zip(*chunk, strict=True))
        scaled = plan.scaled(chunk, columns)
        if scaled is None:  # what comes before the first that is not usual can be taken at once all the same
            num = plan.num_usual(columns)
            plan.careful_until = plan.count + num + 1
            chunk, columns = chunk[:num], [column[:num] for column in columns]
            scaled = plan.scaled(chunk, columns) if num >= MIN_CALM else None
        if scaled is None:
            return 0
        steps = columns[0]
        for (column, signal, _), found in zip(plan.measured, scaled, strict=True):
            signal.take_calm(columns[column], steps, found)
        for column, signal in plan.plain:
            signal.pass_calm(columns[column], steps)
            if signal is plan.lr:
                self.context.schedule.take_many(columns[column], steps)
        plan.pass_calm(columns)
        self._go_on(plan, chunk[-1], num)
        return num

    def _ask(self, detectors: Sequence[Detector], told: list[Told]) -> None:
        num_records = self.context.num_records
        for detector in detectors:
            if detector.rests_until > num_records:
                continue
            alert = detector.update(self._sample)
            if alert is not None:
                self._put(alert, told)

    def _put(self, alert: Alert, told: list[Told]) -> None:
        """Tell an alert, or, where it would open an incident, what is visibly its cause."""
        incidents, num_records = self.incidents, self.context.num_records
        cause = cause_of(alert, self.detectors, self._sample) if incidents.opens(alert.type) else None
        if cause is not None:
            told += filter(None, [incidents.take(self._complete(cause), num_records)])
        told += filter(None, [incidents.take(self._complete(alert), num_records, is_explained=cause is not None)])

    def _complete(self, alert: Alert) -> Alert:
        context = self.context
        return msgspec.structs.replace(
            alert,
            t=self._sample.t,
            attempt=context.attempt,
            rank=self._rank,
            id=f"{alert.type}-r{self._rank}-a{context.attempt}-s{alert.step:g}-n{context.num_records}",
            moved_first=self._moved(alert),
        )

    def _moved(self, alert: Alert) -> list[Moved]:
        """What left its usual range around the onset, earliest first."""
        found = [
            (moved.step, -abs(moved.surprise), moved.metric, moved)
            for signal in self.context.all_signals.values()
            if signal.is_warm()
            and (moved := signal.moved(since=MOVED_RECORDS, least=max(MOVED_Z, BEYOND_TAIL * signal.tail)))
            and moved.step <= alert.step
        ]
        return [moved for *_, moved in sorted(found, key=lambda it: it[:3])[:MAX_MOVED]]

    def _settle(self, told: list[Told]) -> None:
        active = {detector.name for detector in self.detectors if detector.is_active}
        context = self.context
        told += self.incidents.settle(active, context.num_records, step=context.step, t=context.t)

    def state(self) -> bytes:
        """Everything it has learned, to go on from later; a few kilobytes per metric."""
        counts = self._counts | {key: (plan.count, plan.is_frequent) for key, plan in self._plans.items()}
        return msgspec.msgpack.encode(
            {
                "context": self.context,
                "incidents": self.incidents,
                "counts": sorted((*key, *count) for key, count in counts.items()),
                "roles": {role: f"{it.split}/{it.name}" for role, it in self.context.signals.items()},
                "detectors": {it.name: it for it in self.detectors},
            }
        )

    def restore(self, state: bytes) -> None:
        """Go on where another monitor with the same detectors left off.

        Raises:
            msgspec.MsgspecError: the state is none of this version's.
        """
        found = msgspec.msgpack.decode(state, type=dict[str, msgspec.Raw])
        self.context = msgspec.msgpack.decode(found["context"], type=Context)
        roles = msgspec.msgpack.decode(found["roles"], type=dict[str, str])
        self.context.signals = {role: self.context.all_signals[key] for role, key in roles.items()}
        self.incidents = msgspec.msgpack.decode(found["incidents"], type=Incidents)
        states = msgspec.msgpack.decode(found["detectors"], type=dict[str, msgspec.Raw])
        self.detectors = [
            msgspec.msgpack.decode(states[it.name], type=type(it)) if it.name in states else it for it in self.detectors
        ]
        self._sample = Sample(self.context)
        counts = msgspec.msgpack.decode(found["counts"], type=list[tuple[str, tuple[str, ...], int, bool]])
        self._counts = {(split, names): (count, is_frequent) for split, names, count, is_frequent in counts}
        self._streams.clear()
        self._plans.clear()


def _float(value: float) -> float:
    """A number as a float: an integer that is too large for one, which JSON can hold, as the largest of its sign."""
    return float(max(min(value, MAX_FLOAT), -MAX_FLOAT)) if isinstance(value, int) else value
