from __future__ import annotations

import itertools
import math
import shutil
import struct
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from barograph.facts.events import EventLog
from barograph.facts.kinds import Event
from barograph.facts.log import TextLog, repair_text
from barograph.facts.metrics import MetricsLog
from barograph.facts.rows import RowStream, StreamHeader, repair_rows
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower, Record, Rows

RANKS = (0, 1)


def marks(facts) -> list[tuple]:
    """Who wrote each fact and its number, in the order in which the reader met them."""
    found = []
    for fact in facts:
        if isinstance(fact, Rows):
            place = fact.header.columns.index("n")
            found += [("metric", fact.header.rank, fact.header.attempt, int(row[place])) for row in fact.rows]
        elif isinstance(fact, Record):
            found.append(("metric", fact.rank, fact.attempt, fact.metrics["n"]))
        else:
            found.append(("event", fact.payload["rank"], fact.payload["attempt"], fact.payload["n"]))
    return found


class Writer:
    """What one rank of one attempt has open."""

    def __init__(self, directory: RunDir, rank: int, attempt: int):
        self.rank, self.attempt = rank, attempt
        self.metrics = MetricsLog(directory, run_id="r1", rank=rank, attempt=attempt, max_streams=2)
        self.events = EventLog(directory.events(rank))

    def close(self):
        """Close everything."""
        self.metrics.close()
        self.events.close()


class Following(RuleBasedStateMachine):
    """Any interleaving of appends, new streams, torn writes, resumes and polls; ranks 0 and 1."""

    followers = Bundle("followers")

    @initialize()
    def begin(self):
        """An empty run with a writer per rank."""
        self.root = Path(tempfile.mkdtemp())
        self.directory = RunDir(self.root / "run")
        self.directory.ensure_facts()
        self.writers = {rank: Writer(self.directory, rank, 0) for rank in RANKS}
        self.numbers = itertools.count()
        self.written = []
        self.seen = defaultdict(list)

    def teardown(self):
        """At the end each follower has seen each fact of its ranks once, those of one file in their order."""
        if not hasattr(self, "root"):
            return
        for writer in self.writers.values():
            writer.close()
        fresh = Follower(self.directory)
        self.seen[fresh, None] = []
        for (follower, rank), polled in self.seen.items():
            seen = polled + marks(follower.drain())
            mine = [mark for mark in self.written if rank in (None, mark[1])]
            assert sorted(mine) == sorted(seen)
            events = [mark for mark in seen if mark[0] == "event"]
            for writer in RANKS:
                assert sorted(m for m in events if m[1] == writer) == [m for m in events if m[1] == writer]
            assert follower.poll() == []
            assert follower.damage == []
        shutil.rmtree(self.root)

    @rule(rank=st.sampled_from(RANKS), keys=st.sampled_from(["", "a", "ab", "abc", "b"]), big=st.booleans())
    def log(self, rank, keys, big):
        """Record numbers: known keys, new keys (a new stream), too many sets or too large a number (overflow)."""
        writer, number = self.writers[rank], next(self.numbers)
        values = {"n": number, **dict.fromkeys(keys, 0.5)} | ({"big": 2**60} if big else {})
        writer.metrics.append(values, step=number, split="train", t=1.0 + number)
        self.written.append(("metric", rank, writer.attempt, number))

    @rule(rank=st.sampled_from(RANKS), text=st.sampled_from(["", "x" * 10, "\n\u2028\0"]))
    def record(self, rank, text):
        """Record an event."""
        writer, number = self.writers[rank], next(self.numbers)
        writer.events.append("custom", {"n": number, "rank": rank, "attempt": writer.attempt, "text": text})
        self.written.append(("event", rank, writer.attempt, number))

    @rule(rank=st.sampled_from(RANKS), torn_bytes=st.integers(0, 15))
    def resume(self, rank, torn_bytes):
        """The writer is killed in the middle of a write to each of its files; the next attempt repairs them."""
        writer = self.writers[rank]
        writer.close()
        for path in self.files(rank):
            with path.open("ab") as file:
                file.write(b'{"torn":12345678'[:torn_bytes])
        for follower, only in list(self.seen):
            if only in (None, rank):  # a reader looks while the torn bytes are there
                self.seen[follower, only] += marks(follower.poll())
        for path in self.files(rank):
            assert torn_bytes == (repair_rows(path) if path.suffix == ".rows" else repair_text(path))
        self.writers[rank] = Writer(self.directory, rank, writer.attempt + 1)

    def files(self, rank):
        """The files of facts of one rank."""
        suffix = f".rank{rank:03d}" if rank else ""
        names = [path.name for path in self.directory.facts.iterdir() if ".cut-" not in path.name]
        mine = [name for name in names if (".rank" in name) == bool(rank) and (suffix in name)]
        return [self.directory.facts / name for name in mine]

    @rule(target=followers, rank=st.sampled_from([None, *RANKS]))
    def follow(self, rank):
        """Somebody begins to follow the run, or one rank of it."""
        follower = Follower(self.directory, rank=rank)
        self.seen[follower, rank] = []
        return follower, rank

    @rule(key=followers)
    def poll(self, key):
        """A follower looks."""
        self.seen[key] += marks(key[0].poll())

    @rule(key=consumes(followers))
    def drain(self, key):
        """A follower reads everything that is new, so far."""
        self.seen[key] += marks(key[0].drain())


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_reader_beside_a_busy_writer_sees_each_fact_once(run_dir, start):
    """A process writes 20 000 rows and 2 000 events without pause; another one polls and misses and repeats nothing."""
    child = start(
        """
        import sys
        from pathlib import Path
        from barograph.facts.events import EventLog
        from barograph.facts.metrics import MetricsLog
        from barograph.facts.rundir import RunDir
        directory = RunDir(Path(sys.argv[1]))
        metrics, events = MetricsLog(directory, run_id="r1"), EventLog(directory.events())
        for number in range(20_000):
            keys = "abcdefgh"[: number // 2_500]
            metrics.append({"n": number, **dict.fromkeys(keys, 0.5)}, step=number, split="train", t=1.0 + number)
            if number % 10 == 0:
                events.append("custom", {"n": number, "text": "x" * (number % 5_000), "rank": 0, "attempt": 0})
        """,
        run_dir.path,
    )
    follower, seen, polls = Follower(run_dir), [], 0
    while child.poll() is None:
        seen += marks(follower.poll())
        polls += 1
    seen += marks(follower.drain())
    assert child.returncode == 0, child.communicate()[1]
    assert list(range(20_000)) == [number for kind, *_, number in seen if kind == "metric"]
    assert list(range(0, 20_000, 10)) == [number for kind, *_, number in seen if kind == "event"]
    assert polls > 3
    assert follower.damage == []


@pytest.fixture
def stream(run_dir):
    """A stream that is open for writing."""
    stream = RowStream(run_dir.rows(0), StreamHeader(run_id="r1", columns=["step", "n", "t"]))
    yield stream
    stream.close()


def test_a_hole_in_rows_longer_than_a_poll_does_not_stop_the_reader(run_dir, stream):
    """Behind two megabytes of zeros the rows are read by one ``drain``."""
    stream.append((0.0, 0.0, 1.0))
    with run_dir.rows(0).open("ab") as file:
        file.write(bytes(24 * 100_000))
    stream.append((1.0, 1.0, 1.0))
    follower = Follower(run_dir)
    assert [number for *_, number in marks(follower.drain())] == [0, 1]
    assert len(follower.damage) == 100_000


def test_a_poll_says_how_far_it_read_the_files_that_hold_more(run_dir, stream):
    """Two megabytes of rows take several polls: until the last, what is recorded later may be waiting in this file."""
    rows = [(float(step), 0.5, 1.0 + step) for step in range(100_000)]
    with run_dir.rows(0).open("ab") as file:
        file.write(b"".join(struct.pack("<3d", *row) for row in rows))
    follower = Follower(run_dir)
    (first,) = follower.poll()
    assert follower.unread_t == first.rows[-1][-1] < rows[-1][-1]
    follower.drain()
    assert follower.unread_t == math.inf


def test_broken_lines_longer_than_a_poll_do_not_stop_the_reader(run_dir):
    """Behind nine megabytes of lines that are no facts the next fact is read by one ``drain``."""
    with run_dir.events().open("wb") as file:
        file.write((b"broken" * 20_000 + b"\n") * 80)
        file.write(b'{"schema_version":1,"seq":0,"t":1.0,"moment":"custom","rank":0,"attempt":0,"n":2}\n')
    follower = Follower(run_dir)
    assert [number for *_, number in marks(follower.drain())] == [2]
    assert len(follower.damage) == 80


def test_a_damaged_stream_is_counted_once_and_the_others_are_read(run_dir, stream):
    """A header that cannot be read costs its own stream alone, and is named once however often one polls."""
    stream.append((0.0, 7.0, 1.0))
    broken = run_dir.rows(1)
    broken.write_bytes(b"\0" * 5000)
    follower = Follower(run_dir)
    assert [number for *_, number in marks(follower.poll())] == [7]
    assert follower.poll() == []
    assert [(str(broken), 0, 5000)] == [(damage.path, damage.offset, damage.size_bytes) for damage in follower.damage]


def test_a_stream_whose_header_is_not_there_yet_is_read_when_it_is(run_dir, stream):
    """A file that was created a moment ago is no damage."""
    stream.append((0.0, 7.0, 1.0))
    whole = run_dir.rows(0).read_bytes()
    late = run_dir.rows(1)
    follower = Follower(run_dir)
    assert len(follower.drain()) == 1
    for cut in (0, 1, 100, 4095, 4096, 4119):
        late.write_bytes(whole[:cut])
        assert follower.poll() == []
    late.write_bytes(whole)
    assert [number for *_, number in marks(follower.poll())] == [7]
    assert follower.damage == []


def test_unreadable_events_become_events(run_dir):
    """Lines of foreign loops and of newer writers are facts too; what is no object is damage."""
    run_dir.events().write_text(
        '{"event": "on_start", "timestamp": 3}\n[]\n{"schema_version": 7, "moment": "on_dream", "t": 1}\n{"a": 1}\n',
        encoding="utf-8",
    )
    follower = Follower(run_dir)
    assert [fact.moment for fact in follower.poll() if isinstance(fact, Event)] == ["on_start", "on_dream", "custom"]
    assert len(follower.damage) == 1


def test_a_thousand_idle_polls_are_cheap(run_dir):
    """A poll of a run in which nothing happens reads no data: a thousand of them take less than a second."""
    log = TextLog(run_dir.events())
    for number in range(1000):
        log.append({"n": number, "text": "x" * 1000})
    log.close()
    follower = Follower(run_dir)
    assert len(follower.drain()) == 1000
    started = time.process_time()
    for _ in range(1000):
        assert follower.poll() == []
    assert time.process_time() - started < 1.0


def test_a_directory_without_facts_has_none(tmp_path):
    """Neither a missing directory nor a file in its place is an error."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "file"):
        assert Follower(RunDir(path)).drain() == []
