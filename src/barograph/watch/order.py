"""Facts of several files in the order in which they happened, the same live and afterwards.

A poll reads file after file, so what was recorded last in one file is read before what was recorded first in the next.
Here facts wait until every file has been read up to their time: when a poll ends, what was recorded before the newest
fact of the poll *before* it is complete, whatever clock the run had; so is everything when a poll finds nothing. Within
a file the order is that of the file, also where the clock was set back; then nothing waits for it to catch up.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from barograph.facts.kinds import Event
from barograph.facts.rows import Row, StreamHeader
from barograph.read.follow import Fact, Record, Rows

Piece = Event | Record | tuple[StreamHeader, list[Row]]
"""What is handed on: an event, a record, or consecutive rows of one stream."""


class LineState(msgspec.Struct, kw_only=True):
    """What is known of one file, as plain data.

    Attributes:
        stream: the name of the file, of rows; "" of texts.
        key: who the file's facts are of, as JSON, of texts.
        peak_t: the latest time that it has shown.
        is_set_back: whether its newest fact is of an earlier time than one before it.
        times: of the facts that wait, each the latest by then.
        rows: the facts themselves.
        texts: the same, of texts, as JSON: their numbers may be larger than anything else holds.
    """

    stream: str
    key: str
    peak_t: float
    is_set_back: bool
    times: list[float]
    rows: list[Row]
    texts: list[str]


class OrderedState(msgspec.Struct, kw_only=True):
    """What ``Ordered`` knows, as plain data; files in the order in which they were met."""

    newest_t: float
    lines: list[LineState]


class _Line:
    """What waits of one file, oldest first, each with the latest time that the file had shown by then.

    These times never fall, so what is in order up to a time is found by bisection and handed on as one list.
    """

    def __init__(self, key: tuple[object, ...], header: StreamHeader | None) -> None:
        self.name = str(key[:-1])
        self.header = header
        self.peak_t = -math.inf
        self.is_set_back = False
        self.times: list[float] = []
        self.items: list[Any] = []
        self.start = 0  # what stands before has been handed on

    def head(self) -> tuple[float, str]:
        """What decides whose turn it is."""
        return self.times[self.start], self.name

    def add(self, t: float, item: Event | Record | Row) -> None:
        self.is_set_back = t < self.peak_t
        self.peak_t = max(self.peak_t, t)
        self.times.append(self.peak_t)
        self.items.append(item)

    def add_rows(self, rows: Sequence[Row]) -> None:
        """The same for some rows, at once where none is earlier than the one before."""
        times = [row[-1] for row in rows]
        total = sum(times)
        if total == total and self.peak_t <= times[0] and times == sorted(times):  # noqa: PLR0124 - NaN
            self.times += times
            self.items += rows
            self.peak_t, self.is_set_back = times[-1], False
            return
        for t, row in zip(times, rows, strict=True):
            self.add(t, row)

    def take_until(self, limit_t: float, *, is_before: bool) -> list[Any]:
        """Take what it has up to a time; at that very time one fact at least, so that it goes on.

        Args:
            limit_t: unix seconds, no earlier than the first that waits.
            is_before: whether what is of that very time has to wait for other files.
        """
        start, find = self.start, bisect_left if is_before else bisect_right
        end = max(find(self.times, limit_t, start), start + 1)
        if end < len(self.times):
            found, self.start = self.items[start:end], end
            if 2 * end > len(self.times):
                del self.times[:end], self.items[:end]
                self.start = 0
            return found
        found = self.items[start:] if start else self.items
        self.times, self.items, self.start = [], [], 0
        return found


class Ordered:
    """Puts facts in order.

    Attributes:
        num_waiting: how many facts wait.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[object, ...], _Line] = {}
        self._newest_t = -math.inf
        self.num_waiting = 0

    def take(self, facts: Sequence[Fact], *, unread_t: float = math.inf) -> Iterator[Piece]:
        """What is in order after a poll.

        Args:
            facts: all that the poll found.
            unread_t: up to when the files have been read that hold more than the poll took.
        """
        before_t, is_idle = self._newest_t, not facts and unread_t == math.inf
        for fact in facts:
            self._add(fact)
        self._newest_t = max((line.peak_t for line in self._lines.values()), default=-math.inf)
        if is_idle:
            return self._release(math.inf)
        is_stuck = before_t == self._newest_t and any(line.is_set_back for line in self._lines.values())
        until_t = min(before_t, unread_t)
        # up to, and not at, that time: another file may hold more of the same time
        return self._release(until_t if is_stuck else math.nextafter(until_t, -math.inf))

    def rest(self) -> Iterator[Piece]:
        """Everything that waits, when no more will come."""
        return self._release(math.inf)

    def state(self, names: Mapping[int, str]) -> OrderedState:
        """Everything that it knows, to go on from later.

        Args:
            names: by the ``id`` of a header, the file of the stream.

        Raises:
            KeyError: a stream has no name.
            TypeError: a fact has no JSON form.
        """
        lines = [
            LineState(
                stream=names[id(line.header)] if line.header is not None else "",
                key=json.dumps(key) if line.header is None else "",
                peak_t=line.peak_t,
                is_set_back=line.is_set_back,
                times=line.times[line.start :],
                rows=line.items[line.start :] if line.header is not None else [],
                texts=list(map(_as_text, line.items[line.start :])) if line.header is None else [],
            )
            for key, line in self._lines.items()
        ]
        return OrderedState(newest_t=self._newest_t, lines=lines)

    def restore(self, state: OrderedState, headers: Mapping[str, StreamHeader]) -> None:
        """Go on where another one left off.

        Args:
            state: of the other.
            headers: by the file of a stream, the header that its next rows will come with.

        Raises:
            KeyError: a stream has no header.
            ValueError: the state is none of this version's.
        """
        self._newest_t, self.num_waiting = state.newest_t, 0
        self._lines.clear()
        for kept in state.lines:
            header = headers[kept.stream] if kept.stream else None
            line = self._line(tuple(json.loads(kept.key)) if header is None else _key(header), header)
            line.peak_t, line.is_set_back = kept.peak_t, kept.is_set_back
            line.times = kept.times
            line.items = list(kept.rows) if header is not None else list(map(_of_text, kept.texts))
            if len(line.times) != len(line.items):
                raise ValueError(f"{len(line.times)} times of {len(line.items)} facts; read the run from its beginning")
            self.num_waiting += len(kept.times)

    def _add(self, fact: Fact) -> None:
        if isinstance(fact, Rows):
            line = self._line(_key(fact.header), fact.header)
            line.add_rows(fact.rows)
            self.num_waiting += len(fact.rows)
            return
        kind = 1 if isinstance(fact, Record) else 2
        rank = fact.rank if isinstance(fact, Record) else fact.payload.get("rank", 0)
        self._line((kind, rank), None).add(fact.t, fact)
        self.num_waiting += 1

    def _line(self, key: tuple[object, ...], header: StreamHeader | None) -> _Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key, header)
        return line

    def _release(self, until_t: float) -> Iterator[Piece]:
        while True:
            ready = [it for it in self._lines.values() if it.items and it.times[it.start] <= until_t]
            if not ready:
                return
            line = min(ready, key=_Line.head)
            others = [other.times[other.start] for other in ready if other is not line]
            found = line.take_until(min(others, default=until_t), is_before=bool(others))
            self.num_waiting -= len(found)
            if line.header is None:
                yield from found
            else:
                yield line.header, found


def _key(header: StreamHeader) -> tuple[object, ...]:
    return (0, header.split, header.attempt, header.rank, header.pid, *header.columns, id(header))


def _as_text(item: Event | Record) -> str:
    """A fact as JSON in which every number, also one that is not finite, is what it is."""
    return json.dumps({"is_event": isinstance(item, Event), **msgspec.structs.asdict(item)})


def _of_text(text: str) -> Event | Record:
    found = json.loads(text)
    return Event(**found) if found.pop("is_event") else Record(**found)
