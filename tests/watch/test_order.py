"""Facts of several files come in one order, however the files were cut into polls."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.read.follow import Record, Rows
from barograph.watch.order import Ordered

TRAIN = StreamHeader(run_id="r", columns=["step", "loss", "t"])
VAL = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="val")
FORKED = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="val", pid=7)
FILES = (TRAIN, VAL, FORKED, "records", "events")


def fact(file, serial: int, t: float):
    """A fact of a file; its serial number tells it from the others."""
    if file == "events":
        return Event(moment="on_log", seq=serial, t=t)
    if file == "records":
        return Record(step=float(serial), t=t, metrics={})
    return Rows(header=file, rows=[(float(serial), 0.0, t)])


def serials(pieces) -> list[int]:
    """The serial numbers of facts, in the order in which they were handed on."""
    found = []
    for piece in pieces:
        if isinstance(piece, tuple):
            found += [int(row[0]) for row in piece[1]]
        else:
            found.append(piece.seq if isinstance(piece, Event) else int(piece.step))
    return found


def at_once(facts) -> list[int]:
    """The order of a reader that comes when everything is there."""
    ordered = Ordered()
    return [*serials(ordered.take(facts)), *serials(ordered.rest())]


def live(written, cuts) -> list[int]:
    """The order of a reader that polls while facts are written.

    A poll reads one file after the other, and facts are written meanwhile: ``cuts`` says for each poll how much there
    was when each file's turn came.
    """
    ordered, found = Ordered(), []
    num_read = dict.fromkeys(map(id, FILES), 0)
    for cut in [*cuts, [len(written)] * len(FILES)]:
        facts = []
        for file, until in zip(FILES, cut, strict=True):
            mine = [(serial, t) for serial, (it, t) in enumerate(written[:until]) if it is file]
            facts += [fact(file, serial, t) for serial, t in mine[num_read[id(file)] :]]
            num_read[id(file)] = max(num_read[id(file)], len(mine))
        if facts:  # one that finds nothing is another case: nothing of that time comes any more
            found += serials(ordered.take(facts))
    assert ordered.num_waiting + len(found) == len(written)
    return found + serials(ordered.rest())


@st.composite
def recordings(draw):
    """Facts with their files and times, in the order in which they were written, and polls among them."""
    size = draw(st.integers(1, 40))
    gaps = draw(st.lists(st.sampled_from((0.0, 0.0, 1.0, 2.5)), min_size=size, max_size=size))
    times = [sum(gaps[: place + 1]) for place in range(size)]
    written = [(draw(st.sampled_from(FILES)), t) for t in times]
    cuts, until = [], 0
    while until < size:
        written_meanwhile = draw(st.lists(st.integers(0, 2), min_size=len(FILES), max_size=len(FILES)))
        cuts.append([until := min(until + num, size) for num in (written_meanwhile[0] + 1, *written_meanwhile[1:])])
    return written, cuts


@given(recordings())
def test_the_order_is_the_same_however_files_are_cut_into_polls(recording):
    """Live, with facts written while a poll goes from file to file, and afterwards: one order, and by time."""
    written, cuts = recording
    facts = [fact(file, serial, t) for file in FILES for serial, (it, t) in enumerate(written) if it is file]
    order = at_once(facts)
    assert live(written, cuts) == order
    assert [written[serial][1] for serial in order] == sorted(t for _, t in written)


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=30))
def test_a_file_keeps_its_order_where_the_clock_was_set_back(times):
    """Within one file nothing is sorted."""
    assert at_once([fact(TRAIN, serial, t) for serial, t in enumerate(times)]) == list(range(len(times)))


def test_a_file_that_is_read_first_waits_for_the_others():
    """What one poll found in the first file is handed on when the next has shown that nothing older is left."""
    ordered = Ordered()
    assert serials(ordered.take([fact(TRAIN, 2, 5.0)])) == []
    assert serials(ordered.take([fact("events", 1, 4.0), fact(TRAIN, 3, 6.0)])) == [1]
    assert serials(ordered.take([fact(TRAIN, 4, 7.0)])) == [2]
    assert ordered.num_waiting == 2


def test_a_poll_that_finds_nothing_hands_everything_on():
    """The last record before a hang is looked at, though nothing comes after it."""
    ordered = Ordered()
    assert serials(ordered.take([fact(TRAIN, 1, 5.0), fact(VAL, 2, 5.0)])) == []
    assert serials(ordered.take([])) == [1, 2]
    assert ordered.num_waiting == 0


def test_a_clock_that_was_set_back_holds_nothing_up():
    """Facts whose time is before what their file has shown go on at the next poll, not when the clock has caught up."""
    ordered = Ordered()
    serials(ordered.take([fact(TRAIN, 0, 3600.0)]))
    handed_on = [serials(ordered.take([fact(TRAIN, n, float(n))])) for n in range(1, 5)]
    assert handed_on == [[0, 1], [2], [3], [4]]


def test_a_file_that_holds_more_than_a_poll_takes_holds_the_others_up():
    """With a backlog, facts of other files wait until it has been read up to their time."""
    ordered = Ordered()
    ordered.take([fact(VAL, 9, 9.0), fact(TRAIN, 1, 1.0)], unread_t=1.0)
    assert serials(ordered.take([fact(TRAIN, 2, 2.0)], unread_t=2.0)) == [1]
    assert serials(ordered.take([fact(TRAIN, 3, 8.0)])) == [2, 3]
    assert serials(ordered.rest()) == [9]


def test_consecutive_rows_of_a_stream_come_together():
    """A chunk is not taken apart where nothing lies between its rows."""
    ordered = Ordered()
    rows = Rows(header=TRAIN, rows=[(float(n), 0.0, float(n)) for n in range(5)])
    list(ordered.take([rows, fact("events", 7, 2.5)]))
    pieces = list(ordered.rest())
    assert [len(piece[1]) if isinstance(piece, tuple) else "event" for piece in pieces] == [3, "event", 2]


@pytest.mark.parametrize("t", [math.nan, -math.inf, 0.0])
def test_a_fact_without_a_time_is_not_lost(t):
    """A record of another hand that has no time, or none that is a number, comes out."""
    ordered = Ordered()
    found = serials(ordered.take([fact("records", 1, t), fact(TRAIN, 2, 5.0)]))
    assert found + serials(ordered.rest()) == [1, 2]
