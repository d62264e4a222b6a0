"""What a watch has learned is kept: who goes on from there tells what a reading from the beginning tells."""

from __future__ import annotations

import importlib
import math
import random
import struct
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph.facts.codec import encode
from barograph.facts.rows import StreamHeader, encode_header
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, write_exit
from barograph.read.archive.seal import seal
from barograph.read.run import RunReader
from barograph.watch import kept
from barograph.watch.journal import open_journal
from barograph.watch.kept import LEAST_RECORDS, who
from barograph.watch.settings import read_settings
from barograph.watch.watcher import open_kept, open_watcher

T = 1_800_000_000.0
RULES = ["loss > 10 for 3 records", "no facts for 20 s", "lr < 0.5 * median"]
GIVEN = {"rules": RULES, "roles": {"score": "quality"}}
CONFIG = {"lr": 0.1, "model": {"width": 64}}


def written() -> list[tuple[float, str, bytes]]:
    """What a process writes, in the order in which it does: time, file, bytes.

    Two attempts with two rates, events, integers that rows cannot hold, a spike, a silence, a NaN.
    """
    found: list[tuple[float, str, bytes]] = []
    t, rng = T, random.Random(7)

    def event(seq, moment, **payload):
        found.append(
            (t, "events.jsonl", encode({"schema_version": 1, "seq": seq, "t": t, "moment": moment, **payload}) + b"\n")
        )

    seq = 0
    for attempt, (start, stop) in enumerate([(0, 300), (280, 520)]):
        train, val = 2 * attempt, 2 * attempt + 1
        files = {number: f"metrics.{number:03d}.rows" for number in (train, val)}
        header = StreamHeader(run_id="r", columns=["step", "loss", "lr", "t"], attempt=attempt)
        found.append((t, files[train], encode_header(header)))
        header = StreamHeader(run_id="r", columns=["step", "loss", "score", "t"], split="val", attempt=attempt)
        found.append((t, files[val], encode_header(header)))
        event(seq, "on_resume" if attempt else "on_start", attempt=attempt, pid=7)
        seq += 1
        for step in range(start, stop):
            t += 40.0 if step == 333 else 0.1
            loss = 2.0 * rng.uniform(0.95, 1.05) * (30.0 if 200 <= step < 204 else 1.0)
            loss = math.nan if step == 410 else loss
            found.append((t, files[train], struct.pack("<4d", step, loss, 0.1, t)))
            if step % 20 == 19:
                t += 1.5
                found.append((t, files[val], struct.pack("<4d", step, 2.2 * rng.uniform(0.99, 1.01), 0.5, t)))
            if step % 50 == 49:
                line = {"step": step, "t": t, "split": "train", "attempt": attempt, "huge": 2**70, "odd": math.inf}
                found.append((t, "metrics.jsonl", encode(line) + b"\n"))
                event(seq, "on_checkpoint", step=step, path="last.pt", attempt=attempt, note="\udcff", big=2**80)
                seq += 1
        t += 3600.0
    return found


WRITTEN = written()


class Growing:
    """A run whose files grow, a part of the next record torn."""

    def __init__(self, directory: Path):
        self.directory = RunDir(directory)
        self.directory.ensure_facts()
        self.place = 0
        self.torn = ""

    def grow(self, until: int, *, torn: int = 0) -> None:
        """Write up to a record, and so many bytes of the next."""
        if self.torn:  # what was torn is written to its end; a writer that was killed cuts it, which is the same
            path = self.directory.facts / self.torn
            path.write_bytes(path.read_bytes()[: self.whole])
        for _, name, data in WRITTEN[self.place : until]:
            with (self.directory.facts / name).open("ab") as file:
                file.write(data)
        self.place, self.torn = until, ""
        if until < len(WRITTEN) and torn:
            _, self.torn, data = WRITTEN[until]
            path = self.directory.facts / self.torn
            self.whole = path.stat().st_size if path.exists() else 0
            with path.open("ab") as file:
                file.write(data[: min(torn, len(data) - 1)])


def told(found) -> list[bytes]:
    """What was told, one by one, as bytes: NaN is not equal to itself."""
    return [msgspec.msgpack.encode(it) for it in found]


def opened(directory, *, given=GIVEN, config=CONFIG, said=None, **keeping):
    """A watcher and a keeper that keeps whenever it is asked to."""
    keeping = {"every_s": 0.0, "least_records": 1} | keeping
    report = ([] if said is None else said).append
    return open_kept(directory, read_settings(given), config=config, report=report, **keeping)


def polled(watcher, times=2):
    """What is told in some polls: what was read last waits for the next one."""
    return [it for _ in range(times) for it in watcher.poll()]


def replayed(directory):
    """What is told over the whole run."""
    return open_watcher(directory, read_settings(GIVEN), config=CONFIG).finish()


@pytest.fixture
def growing(tmp_path):
    """An empty run."""
    return Growing(tmp_path / "run")


@given(
    cuts=st.lists(
        st.tuples(st.integers(1, len(WRITTEN)), st.integers(0, 40), st.integers(1, 3), st.booleans()),
        min_size=1,
        max_size=6,
    ),
)
@settings(max_examples=25, deadline=None)
def test_whoever_goes_on_tells_the_same(cuts):
    """Cut anywhere, also within a record, however often: nothing is told twice, nothing is lost, to the last byte."""
    with tempfile.TemporaryDirectory() as home:
        growing = Growing(Path(home) / "run")
        said, found = [], []
        watcher, keeper = opened(growing.directory, said=said)
        for until, torn, times, ends in sorted(cuts):
            growing.grow(until, torn=torn)
            found += polled(watcher, times)
            if ends:
                has_news = watcher.num_records != keeper._num_kept
                assert keeper.keep(watcher) == has_news
                if has_news:  # else what was kept is of facts without a record, and they are read again
                    watcher, keeper = opened(growing.directory, said=said)
        growing.grow(len(WRITTEN))
        found += watcher.finish()
        assert told(found) == told(replayed(growing.directory))
        assert said == []
    assert {"rule: loss > 10 for 3 records", "stall", "rule: no facts for 20 s", "non_finite"} <= {
        it.alert.type for it in found
    }


def test_what_was_kept_spares_the_reading(growing):
    """A second watcher takes what is new and nothing else, and knows what the first one knew."""
    growing.grow(400)
    first, keeper = opened(growing.directory)
    first.finish()
    assert keeper.keep(first)
    second, _ = opened(growing.directory)
    assert second.num_records == first.num_records
    assert second.monitor.state() == first.monitor.state()
    assert second.poll() == []
    growing.grow(410)
    second.finish()
    assert second.num_records == first.num_records + sum(name != "events.jsonl" for _, name, _ in WRITTEN[400:410])


def rewrite(path: Path, at: int, data: bytes) -> None:
    """Other bytes in the middle of a file."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(whole)


CHANGES = {
    "shorter": (
        lambda run: (run.facts / "events.jsonl").write_bytes(b""),
        "events.jsonl is not the file that was read",
    ),
    "another head": (lambda run: rewrite(run.rows(0), 20, b"x"), "metrics.000.rows is not the file"),
    "another tail": (lambda run: rewrite(run.rows(0), run.rows(0).stat().st_size - 9, b"x"), "metrics.000.rows is not"),
    "gone": (lambda run: run.rows(1).unlink(), "metrics.001.rows is not the file"),
    "alerts gone": (lambda run: run.alerts.unlink(), "alerts.jsonl is not the file"),
    "flipped": (
        lambda run: rewrite(run.watch_state(), run.watch_state().stat().st_size - 50, b"\xff\xff"),
        "it is damaged",
    ),
    "torn": (lambda run: run.watch_state().write_bytes(run.watch_state().read_bytes()[:-100]), "it is damaged"),
    "torn early": (lambda run: run.watch_state().write_bytes(b'{"who": '), "it cannot be read"),
    "empty": (lambda run: run.watch_state().write_bytes(b""), "it cannot be read"),
    "no text": (lambda run: run.watch_state().write_bytes(b"\xff\xfe\n"), "it cannot be read"),
    "of a later release": (
        lambda run: run.watch_state().write_bytes(
            run.watch_state().read_bytes().replace(kept.FORMAT.encode(), b"barograph-watch/9")
        ),
        "its format is 'barograph-watch/9', not barograph-watch/1",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_read_from_its_beginning(growing, change, reason):
    """Facts come first: a file that is shorter, gone or another, a damaged state; said once, with the reason."""
    growing.grow(450)
    watcher, keeper = opened(growing.directory)
    journal = open_journal(growing.directory, read_settings({}))
    for it in watcher.finish():
        journal.take(it)
    journal.close()
    assert keeper.keep(watcher)
    change(growing.directory)
    said = []
    again, _ = opened(growing.directory, said=said)
    (text,) = said
    assert f"is ignored ({reason}" in text
    assert again.num_records == 0
    assert told(again.finish()) == told(replayed(growing.directory))


@pytest.mark.parametrize(
    "changes",
    [
        {"given": {**GIVEN, "off": ["plateau"]}},
        {"given": {**GIVEN, "rules": RULES[:1]}},
        {"given": {**GIVEN, "roles": {}}},
        {"config": {**CONFIG, "lr": 0.2}},
    ],
    ids=["detectors", "rules", "roles", "configuration"],
)
def test_what_another_watch_learned_is_not_used(growing, changes):
    """Other detectors, rules, roles or another configuration would have told other things: the run is read anew."""
    growing.grow(300)
    watcher, keeper = opened(growing.directory)
    watcher.finish()
    assert keeper.keep(watcher)
    said = []
    again, _ = opened(growing.directory, said=said, **changes)
    (text,) = said
    assert "it is of other detectors, rules, roles, another configuration or another version" in text
    assert again.num_records == 0


def test_a_detector_whose_code_has_changed_is_another_one(tmp_path, monkeypatch):
    """It need not have another name or other fields: what stands in its file counts."""
    module = tmp_path / "own_detector.py"
    hashes = []
    for threshold in (10, 11):
        module.write_text(
            "from barograph.watch.detector import Detector\n"
            "class Own(Detector):\n"
            "    name = 'own'\n"
            "    reads = ('loss',)\n"
            f"    def update(self, sample): return {threshold}\n",
            encoding="utf-8",
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_detector", raising=False)
        kept._hash_of.cache_clear()
        importlib.invalidate_caches()
        hashes += [who([importlib.import_module("own_detector").Own()]) for _ in range(2)]
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3] != hashes[0]


def test_a_state_of_a_monitor_that_cannot_be_read_changes_nothing(growing):
    """A watcher that could not go on is as fresh as it was."""
    growing.grow(300)
    watcher, _ = opened(growing.directory)
    fresh = watcher.state()
    with pytest.raises(ValueError, match="ValidationError"):
        watcher.restore(
            msgspec.msgpack.encode(
                {"monitor": b"\x81\xa7context\x01", "life": {}, "ordered": {"newest_t": 0.0, "lines": []}}
            ),
            [],
        )
    assert watcher.state() == fresh
    assert told(watcher.finish()) == told(replayed(growing.directory))


def test_a_stream_that_was_sealed_since_is_the_same(growing):
    """A finished run's rows become Parquet; whoever resumes it goes on from what was kept all the same."""
    growing.grow(len(WRITTEN))
    first, keeper = opened(growing.directory)
    first.finish()
    assert keeper.keep(first)
    write_exit(growing.directory.exit(), ExitRecord(attempt=1, status="finished", t=WRITTEN[-1][0]))
    seal(RunReader(growing.directory.path))
    assert not growing.directory.rows_files()
    said = []
    second, again = opened(growing.directory, said=said)
    assert (said, second.num_records) == ([], first.num_records)
    assert second.finish() == []
    again._num_kept = 0
    assert again.keep(second), "and what it keeps is of sealed streams"
    third, _ = opened(growing.directory, said=said)
    assert (said, third.num_records) == ([], first.num_records)


def test_it_is_kept_seldom_and_of_long_runs_only(growing):
    """Not before it is time, not without news, and not of a run that is read again in no time."""
    growing.grow(300)
    now_s = [100.0]
    watcher, keeper = opened(growing.directory, every_s=60.0, monotonic=lambda: now_s[0])
    polled(watcher)
    assert [keeper.keep(watcher), keeper.keep(watcher, is_last=True), keeper.keep(watcher, is_last=True)] == [
        False,
        True,
        False,
    ]
    growing.grow(400)
    polled(watcher)
    now_s[0] = 159.0
    assert not keeper.keep(watcher)
    now_s[0] = 161.0
    assert keeper.keep(watcher)
    assert not opened(growing.directory, least_records=LEAST_RECORDS)[1].keep(watcher, is_last=True)


def test_keeping_takes_a_small_share_of_the_time(growing):
    """One that took a second to keep is not kept again for 200."""
    growing.grow(300)
    times = iter([0.0, 100.0, 101.0, 299.0, 302.0, 303.0])
    watcher, keeper = opened(growing.directory, every_s=60.0, monotonic=lambda: next(times))
    polled(watcher)
    kept_ = [keeper.keep(watcher)]
    growing.grow(400)
    polled(watcher)
    assert [*kept_, keeper.keep(watcher), keeper.keep(watcher)] == [True, False, True]


def test_a_disk_that_is_full_is_said_and_nothing_else(growing, monkeypatch):
    """The watch goes on; what was kept before stays."""
    growing.grow(300)
    said = []
    watcher, keeper = opened(growing.directory, said=said)
    polled(watcher)
    assert keeper.keep(watcher)
    before = growing.directory.watch_state().read_bytes()
    growing.grow(400)
    polled(watcher)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "replace_file", refuse)
    assert not keeper.keep(watcher, is_last=True)
    assert "cannot be written ([Errno 28] No space left on device)" in said[0]
    assert growing.directory.watch_state().read_bytes() == before


def test_what_cannot_be_kept_is_not(growing):
    """A configuration with a number of 70 bits: nothing is kept, and the watch goes on."""
    growing.grow(300)
    watcher, keeper = opened(growing.directory, config={"seed": 2**70})
    polled(watcher)
    assert not keeper.keep(watcher)
    assert not growing.directory.watch_state().exists()
