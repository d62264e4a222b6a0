"""The index of runs answers as the runs' own files do, whatever happens to them or to it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from barograph.errors import RunNotFoundError
from barograph.facts.codec import encode
from barograph.facts.events import EventLog
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, this_process, write_exit, write_process
from barograph.read import edits
from barograph.read.catalog import discover_runs
from barograph.read.index import RunIndex, default_cache, index_path, indexed_overviews, listing, stamps
from barograph.read.index.store import Store
from barograph.read.overview import overview

NOW_T = 2_000_000_000.0


def at_rest():
    """A clock so far ahead that every file has come to rest."""
    return NOW_T


def make_run(path, *, name="mlp", t=1e9, steps=3, attempt=0, status="finished"):
    """Record an attempt of a run, in a directory that may hold earlier ones."""
    directory = RunDir(path)
    directory.ensure_facts()
    if not directory.identity.exists():
        directory.identity.write_bytes(encode({"run_id": f"{name}-{t:.0f}", "name": name, "created_t": t}) + b"\n")
        directory.config.write_text("lr: 0.1\n", encoding="utf-8")
    process = this_process(attempt=attempt, t=t)
    dead = msgspec.structs.replace(process, pid=2**22 + 1, start_ticks=5)
    write_process(directory.process(), process if status == "running" else dead)
    log = EventLog(directory.events())
    log.append("on_resume" if attempt else "on_start", {"attempt": attempt, "previous_attempt": attempt - 1})
    metrics = MetricsLog(directory, run_id=name, attempt=attempt)
    for step in range(steps):
        metrics.append({"loss": 1.0 / (step + 1)}, step=step, split="train", t=t + step)
    metrics.close()
    if status in ("finished", "failed"):
        log.append("on_train_end", {"attempt": attempt, "status": status, "total_time_s": 3.0})
        write_exit(directory.exit(), ExitRecord(attempt=attempt, status=status, t=t + steps, total_time_s=3.0))
    else:
        directory.exit().unlink(missing_ok=True)
    log.close()
    return path


@pytest.fixture
def root(tmp_path):
    """Three finished runs, one of them in a sweep's directory."""
    make_run(tmp_path / "runs" / "run_20261120-061500_a_job0", name="a", t=3e9)
    make_run(tmp_path / "runs" / "sweep" / "run_20261120-061500_b_job0", name="b", t=2e9)
    make_run(tmp_path / "runs" / "c", name="c", t=1e9, status="failed")
    return tmp_path / "runs"


@pytest.fixture
def cache(tmp_path):
    """Where the index goes."""
    return tmp_path / "cache"


def as_bytes(lines):
    """Overviews to compare: NaN is equal to itself here."""
    return [msgspec.json.encode(line) for line in lines]


def direct(root, *, deleted=False):
    """The answer without an index."""
    return [overview(path, now=at_rest) for path in discover_runs(root, deleted=deleted)]


def ask(root, cache, *, deleted=False, newest=None, now=at_rest):
    """The answer with it, and how many runs were read."""
    with RunIndex(root, cache_dir=cache, now=now) as index:
        lines = index.overviews(index.paths(deleted=deleted, newest=newest))
    assert index.note == ""
    return lines, index.num_read


def test_the_second_look_reads_no_run(root, cache):
    """And says the same as the first, which says what the runs say."""
    first, num_first = ask(root, cache)
    second, num_second = ask(root, cache)
    assert [line.name for line in first] == ["c", "b", "a"]
    assert as_bytes(direct(root)) == as_bytes(first) == as_bytes(second)
    assert (num_first, num_second) == (3, 0)


def test_the_newest_are_those_at_the_end(root, cache):
    """Only they are read."""
    lines, num_read = ask(root, cache, newest=1)
    assert ([line.name for line in lines], num_read) == (["a"], 1)
    assert ask(root, cache, newest=0) == ([], 0)
    assert [line.name for line in ask(root, cache, newest=2)[0]] == ["b", "a"]


def rewritten(path):
    """Other content of the same size and the same times, as an editor that restores times leaves it."""
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "renamed": lambda run: edits.rename(run, "other"),
    "name edited by hand": lambda run: (run / "run.json").write_bytes(
        (run / "run.json").read_bytes().replace(b'"name":"c"', b'"name":"z"')
    ),
    "moved in time by hand": lambda run: (run / "run.json").write_bytes(
        (run / "run.json").read_bytes().replace(b"1000000000", b"4000000000")
    ),
    "identity removed": lambda run: (run / "run.json").unlink(),
    "a fact appended": lambda run: append(run / "facts" / "events.jsonl", b'{"moment":"on_check"}\n'),
    "an alert": lambda run: append(run / "facts" / "alerts.jsonl", b'{"title":"flat"}\n'),
    "damaged in place": lambda run: rewritten(run / "facts" / "exit.json"),
    "a rows file cut": lambda run: os.truncate(run / "facts" / "metrics.000.rows", 4096 + 24),
    "a rows file removed": lambda run: (run / "facts" / "metrics.000.rows").unlink(),
    "facts removed": lambda run: shutil.rmtree(run / "facts"),
    "resumed": lambda run: make_run(run, name="c", t=1e9, steps=9, attempt=1),
    "resumed and killed": lambda run: make_run(run, name="c", t=1e9, steps=9, attempt=1, status="killed"),
    "removed": shutil.rmtree,
    "moved": lambda run: run.rename(run.with_name("d")),
    "replaced": lambda run: (shutil.rmtree(run), make_run(run, name="e", t=5e9)),
    "hidden": lambda run: run.rename(run.with_name(".c")),
    "a run within it": lambda run: make_run(run / "facts" / "inner"),
}


def append(path, data):
    """Add bytes at the end."""
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_answer_is_that_of_the_files(root, cache, change):
    """One run changes; the others are not read again."""
    ask(root, cache)
    time.sleep(0.02)  # clocks of file systems tick a few milliseconds apart
    CHANGES[change](root / "c")
    lines, num_read = ask(root, cache)
    assert as_bytes(direct(root)) == as_bytes(lines)
    assert num_read <= 1


def test_deleted_runs_are_among_the_deleted(root, cache):
    """Before and after, whichever are asked for."""
    ask(root, cache)
    edits.delete(root / "c")
    assert [line.name for line in ask(root, cache)[0]] == ["b", "a"]
    assert [line.name for line in ask(root, cache, deleted=True)[0]] == ["c"]
    edits.restore(root / "c")
    assert [line.name for line in ask(root, cache, deleted=None)[0]] == ["c", "b", "a"]
    assert ask(root, cache, deleted=True)[0] == []


def test_a_run_of_another_program_goes_with_its_events(root, cache):
    """It has no ``run.json``, and the times of its directory do not tell that its events have gone."""
    other = root / "other"
    (other / "facts").mkdir(parents=True)
    (other / "facts" / "events.jsonl").write_text('{"moment": "on_start", "t": 5}\n')
    assert len(ask(root, cache)[0]) == 4
    (other / "facts" / "events.jsonl").unlink()
    assert as_bytes(direct(root)) == as_bytes(ask(root, cache)[0])
    assert len(ask(root, cache)[0]) == 3


def test_files_that_changed_a_moment_ago_are_not_believed(root, cache):
    """A second change in the same tick of a clock would leave the same stamp."""
    assert [ask(root, cache, now=time.time)[1] for _ in range(2)] == [3, 3]
    later_t = time.time() + listing.SETTLED_S + 1
    assert [ask(root, cache, now=lambda: later_t)[1] for _ in range(2)] == [3, 0]


def test_a_living_run_is_read_each_time(root, cache):
    """Its line grows with it."""
    make_run(root / "live", name="live", t=4e9, status="running")
    assert [ask(root, cache)[1] for _ in range(3)] == [4, 1, 1]
    assert as_bytes(direct(root)) == as_bytes(ask(root, cache)[0])


def test_a_killed_run_is_believed_on_the_machine_that_saw_it_die(root, cache, monkeypatch):
    """After a restart, or elsewhere, nobody knows how it ended."""
    make_run(root / "dead", name="dead", t=4e9, status="killed")
    assert [ask(root, cache)[1] for _ in range(2)] == [4, 0]
    monkeypatch.setattr(listing, "this_machine", lambda: "another")
    assert ask(root, cache)[1] == 1


def test_the_age_of_a_lost_run_goes_on(root, cache):
    """Its machine is another one: the words about its heartbeat are those of now, and only its state is looked at."""
    make_run(root / "lost", name="lost", t=4e9, status="killed")
    record = msgspec.structs.replace(this_process(attempt=0, t=1e9), host="elsewhere")
    write_process(RunDir(root / "lost").process(), record)
    beat_t = time.time() - 10_000
    os.utime(RunDir(root / "lost").process(), (beat_t, beat_t))
    first = ask(root, cache)[0][-1]
    time.sleep(1.1)
    lines, num_read = ask(root, cache)
    assert (first.status.state, lines[-1].status.state, num_read) == ("lost", "lost", 0)
    ages_s = [float(re.search(r"no heartbeat for (\d+) s", line.status.reason)[1]) for line in (first, lines[-1])]
    assert ages_s[0] < ages_s[1] < 10_000 + 60
    assert msgspec.structs.replace(lines[-1], status=first.status) == first
    os.utime(RunDir(root / "lost").process())  # it lives after all
    assert ask(root, cache)[0][-1].status.state == "running"


def test_a_name_that_is_no_text_is_listed_too(root, cache):
    """Its path has no UTF-8; the index keys paths by their bytes."""
    make_run(root / os.fsdecode(b"caf\xe9"), name="cafe", t=4e9)
    for _ in range(2):
        assert list(map(repr, direct(root))) == list(map(repr, ask(root, cache)[0]))


def test_the_root_may_be_a_run_and_may_be_named_in_any_way(root, cache, monkeypatch):
    """Relative, as ``.``, with a slash at the end: paths are those that ``discover_runs`` gives."""
    monkeypatch.chdir(root)
    for name in (".", "sweep", "sweep/", "../runs", root / "c", "c"):
        for _ in range(2):
            assert as_bytes(direct(name)) == as_bytes(ask(name, cache)[0])


def test_a_root_that_is_not_there_says_so(tmp_path, cache):
    """As ``discover_runs`` does."""
    with pytest.raises(RunNotFoundError, match=r"is no directory.*--root"):
        indexed_overviews(tmp_path / "nowhere", cache_dir=cache)


OPENED = """
import os, sys
from pathlib import Path
from barograph.read.index.store import Store
from barograph.read.overview import overview
seen = set()
def note(event, args):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], (str, Path)):
        seen.add(str(args[0]))
overview(Path(sys.argv[1]))  # what is imported on the way is not meant
sys.addaudithook(note)
overview(Path(sys.argv[1]))
print("\\n".join(sorted(name for name in seen if name.startswith(sys.argv[1] + "/"))))
"""


def test_every_file_that_a_line_comes_from_is_stamped(copy):
    """Which files an overview opens is asked of the interpreter, so that a new one cannot be forgotten here."""
    done = subprocess.run([sys.executable, "-c", OPENED, copy], capture_output=True, text=True, check=True)
    opened = {os.path.relpath(name, copy) for name in done.stdout.splitlines()}
    assert {"run.json", "facts", "facts/events.jsonl", "facts/exit.json", "facts/metrics.000.rows"} <= opened
    assert opened - {name for name, _ in stamps.stamps_of(str(copy))} == set()


class TestTheFile:
    """Whatever is wrong with the file of the index, the answer is right and nobody is bothered."""

    @pytest.fixture
    def file(self, root, cache):
        """The index's file, filled."""
        ask(root, cache)
        return index_path(root, cache)

    @pytest.mark.parametrize("content", [b"", b"no database at all" * 400, b"SQLite format 3\0" + bytes(4000)])
    def test_a_damaged_one_is_made_anew(self, root, cache, file, content):
        """The first look reads every run, the second none."""
        file.write_bytes(content)
        lines, num_read = ask(root, cache)
        assert as_bytes(direct(root)) == as_bytes(lines)
        assert (num_read, ask(root, cache)[1]) == (3, 0)

    @pytest.mark.parametrize("offset", range(0, 12288, 512))
    def test_damage_anywhere_costs_no_more_than_time(self, root, cache, file, offset):
        """Bytes in the middle are overwritten: the answer is right, at the latest the third look reads no run."""
        data = bytearray(file.read_bytes())
        data[offset : offset + 200] = b"\xa5" * len(data[offset : offset + 200])
        file.write_bytes(data)
        for _ in range(2):
            with RunIndex(root, cache_dir=cache, now=at_rest) as index:
                assert as_bytes(direct(root)) == as_bytes(index.overviews(index.paths()))
        assert ask(root, cache)[1] == 0

    def test_entries_of_another_form_are_forgotten(self, root, cache, file, monkeypatch):
        """A later version of the program reads what it can understand, its own."""
        monkeypatch.setattr(listing, "FORM", "another")
        assert [ask(root, cache)[1] for _ in range(2)] == [3, 0]

    def test_entries_that_cannot_be_read_are_read_from_the_runs(self, root, cache, file):
        """The database is whole, what stands in it is not."""
        with sqlite3.connect(file) as database:
            database.execute(
                "update runs set body = cast(replace(body, x'66696e6973686564', x'66696e6973686565') as blob)"
            )
        database.close()
        assert as_bytes(direct(root)) == as_bytes(ask(root, cache)[0])
        with sqlite3.connect(file) as database:
            database.execute("update runs set head = x'c1', body = null")
        database.close()
        assert as_bytes(direct(root)) == as_bytes(ask(root, cache)[0])
        assert ask(root, cache)[1] == 0

    def test_one_that_another_process_holds_is_passed_over(self, root, cache, file):
        """With a note that says why; the next look uses it again."""
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("begin exclusive")
        with RunIndex(root, cache_dir=cache, now=at_rest) as index:
            assert as_bytes(direct(root)) == as_bytes(index.overviews(index.paths()))
        assert "database is locked" in index.note
        holder.close()
        assert ask(root, cache)[1] == 0

    def test_one_that_is_locked_when_it_is_to_be_written_is_left(self, root, cache, file):
        """What was learned is learned again next time."""
        edits.rename(root / "c", "other")
        holder = sqlite3.connect(file, isolation_level=None)
        with RunIndex(root, cache_dir=cache, now=at_rest) as index:
            holder.execute("begin immediate")
            assert as_bytes(direct(root)) == as_bytes(index.overviews(index.paths()))
        assert "locked" in index.note
        holder.close()
        assert [ask(root, cache)[1] for _ in range(2)] == [1, 0]

    def test_a_cache_that_cannot_be_made_is_passed_over(self, root, tmp_path):
        """A file stands where the directory should be."""
        (tmp_path / "file").write_text("")
        with RunIndex(root, cache_dir=tmp_path / "file" / "cache", now=at_rest) as index:
            assert as_bytes(direct(root)) == as_bytes(index.overviews(index.paths()))
        assert "Not a directory" in index.note

    def test_without_a_home_there_is_no_index(self, root, monkeypatch):
        """The note says how to name a place."""
        monkeypatch.setattr(listing, "default_cache", lambda: None)
        with RunIndex(root, now=at_rest) as index:
            assert as_bytes(direct(root)) == as_bytes(index.overviews(index.paths()))
        assert "BAROGRAPH_CACHE" in index.note

    def test_it_is_never_beside_the_runs(self, root, cache, file):
        """The root has the files that it had; the index is one file in the cache, of this root alone."""
        assert sorted(path.name for path in root.iterdir()) == ["c", "run_20261120-061500_a_job0", "sweep"]
        assert [path.name for path in cache.iterdir()] == [file.name]
        assert index_path(root / "sweep", cache) != file

    def test_runs_that_have_gone_leave_it(self, root, cache, file):
        """It does not grow for ever."""
        shutil.rmtree(root / "c")
        ask(root, cache)
        with sqlite3.connect(file) as database:
            (count,) = database.execute("select count(*) from runs").fetchone()
        database.close()
        assert count == 2

    def test_rebuilding_reads_every_run(self, root, cache, file):
        """And believes nothing of what was there."""
        with RunIndex(root, cache_dir=cache, now=at_rest, rebuild=True) as index:
            index.overviews(index.paths())
        assert (index.num_read, ask(root, cache)[1]) == (3, 0)

    def test_several_processes_at_once(self, root, cache):
        """Six look at once, at an index that is not there yet: each has the right answer."""
        script = """
import sys
from pathlib import Path
from barograph.read.index import indexed_overviews
print([line.name for line in indexed_overviews(sys.argv[1], cache_dir=Path(sys.argv[2]))])
"""
        command = [sys.executable, "-c", script, root, cache]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        assert {child.communicate(timeout=60)[0] for child in children} == {"['c', 'b', 'a']\n"}
        assert [child.returncode for child in children] == [0] * 6


def test_where_the_cache_is(tmp_path, monkeypatch):
    """Our own variable, then the desktop's standard (absolute paths only), then the home directory, then nowhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache({"BAROGRAPH_CACHE": "x", "XDG_CACHE_HOME": "/y"}) == Path("x")
    assert default_cache({"XDG_CACHE_HOME": "/y"}) == Path("/y/barograph")
    assert default_cache({"XDG_CACHE_HOME": "y"}) == tmp_path / ".cache" / "barograph"

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache({}) is None


NAMES = st.sampled_from(["a", "b", "c", "sweep/a", "sweep/b", "run_20261120-061500_x_job3"])


class Life(RuleBasedStateMachine):
    """Runs come, grow, change, move and go; after each step the index says what the files say."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root, self.cache = self.folder / "runs", self.folder / "cache"
        self.root.mkdir()

    def teardown(self):
        """Leave nothing."""
        shutil.rmtree(self.folder)

    def runs(self):
        """Those that there are, deleted ones among them."""
        return discover_runs(self.root, deleted=None)

    @rule(name=NAMES, t=st.integers(1, 5), status=st.sampled_from(["finished", "failed", "killed", "running"]))
    def record(self, name, t, status):
        """A new run, or another attempt of one."""
        path = self.root / name
        attempts = len(list(path.glob("facts/metrics.*.rows")))
        make_run(path, name=name.replace("/", "-"), t=t * 1e8, attempt=attempts, status=status)

    @precondition(lambda self: self.runs())
    @rule(data=st.data(), name=NAMES)
    def move(self, data, name):
        """A run's directory gets another path."""
        source, target = data.draw(st.sampled_from(self.runs())), self.root / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)

    @precondition(lambda self: self.runs())
    @rule(data=st.data())
    def remove(self, data):
        """A run goes, with all its files."""
        shutil.rmtree(data.draw(st.sampled_from(self.runs())))

    @precondition(lambda self: self.runs())
    @rule(data=st.data(), op=st.sampled_from(["rename", "tag", "delete", "restore", "undo"]))
    def edit(self, data, op):
        """Somebody edits a run."""
        run = data.draw(st.sampled_from(self.runs()))
        gone = edits.deleted_t(edits.read_edits(RunDir(run), [])) is not None
        if op == "rename":
            edits.rename(run, data.draw(st.sampled_from("xyz")))
        elif op == "tag":
            edits.tag(run, add=["t"])
        elif op == "undo" and any(it.op in edits.UNDOABLE for it in edits.in_force(edits.read_edits(RunDir(run), []))):
            edits.undo(run)
        elif op == ("restore" if gone else "delete"):
            getattr(edits, op)(run)

    @precondition(lambda self: self.runs())
    @rule(
        data=st.data(),
        name=st.sampled_from(
            ["run.json", "config.yaml", "facts/exit.json", "facts/events.jsonl", "facts/metrics.000.rows"]
        ),
        byte=st.integers(0, 255),
    )
    def damage(self, data, name, byte):
        """A byte of a file is another one, its size and its times are not."""
        path = data.draw(st.sampled_from(self.runs())) / name
        if path.is_file() and path.stat().st_size:
            content, before = bytearray(path.read_bytes()), path.stat()
            content[len(content) // 2] = byte
            path.write_bytes(content)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(content=st.sampled_from([b"", b"damaged", None]))
    def lose_the_index(self, content):
        """The index's file goes, or holds something else."""
        path = index_path(self.root, self.cache)
        if content is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            path.write_bytes(content)

    @invariant()
    def the_index_says_what_the_files_say(self):
        """For the runs that are shown, and for all of them."""
        time.sleep(0.012)  # so that no two steps fall into one tick of the file system's clock
        for deleted in (False, None):
            expected = [overview(path, now=at_rest) for path in discover_runs(self.root, deleted=deleted)]
            with RunIndex(self.root, cache_dir=self.cache, now=at_rest) as index:
                found = index.overviews(index.paths(deleted=deleted))
            assert index.note == ""
            assert list(map(timeless, expected)) == list(map(timeless, found))


def timeless(line):
    """A line without what the clock says while it is made."""
    status = (
        msgspec.structs.replace(line.status, reason="") if line.status.state in ("running", "stalled") else line.status
    )
    return repr(msgspec.structs.replace(line, status=status))


TestLife = Life.TestCase
TestLife.settings = hypothesis.settings(max_examples=12, stateful_step_count=20, deadline=None)


def test_ten_thousand_directories_are_put_in_order_in_a_moment(tmp_path, cache):
    """A tenth of that here: from a warm index the newest twenty of 1 000 runs, none of them read."""
    for number in range(1000):
        path = tmp_path / "runs" / f"run_20261120-061500_a_job{number}"
        path.mkdir(parents=True)
        (path / "run.json").write_bytes(encode({"run_id": str(number), "name": "a", "created_t": 1e9 + number}))
    ask(tmp_path / "runs", cache, newest=20)
    began_s = time.perf_counter()
    lines, num_read = ask(tmp_path / "runs", cache, newest=20)
    took_s = time.perf_counter() - began_s
    print(f"20 of 1000 runs on {socket.gethostname()} in {1000 * took_s:.0f} ms")
    assert [line.run_id for line in lines] == [str(number) for number in range(980, 1000)]
    assert num_read == 0
    assert took_s < 0.5


def test_two_versions_at_once_do_not_mix(root, cache):
    """What one of them learned is not written into what the other has begun anew; nobody sees an error."""
    with RunIndex(root, cache_dir=cache, now=at_rest) as ours:
        lines = ours.overviews(ours.paths())
        with RunIndex(root, cache_dir=cache, now=at_rest) as theirs:
            theirs._store.close()
            theirs._store = Store(index_path(root, cache), form="another", root=str(root))
            theirs.overviews(theirs.paths())
    assert ours.note == f"{index_path(root, cache)}: another version of Barograph has begun it anew"
    assert as_bytes(direct(root)) == as_bytes(lines)
    with sqlite3.connect(index_path(root, cache)) as database:
        assert database.execute("select format from about").fetchall() == [("another",)]
    database.close()
    assert ask(root, cache)[1] == 3


@pytest.mark.parametrize("statement", ["drop table runs", "drop table about"])
def test_an_index_that_lacks_a_table_is_made_anew(root, cache, statement):
    """Whoever took it away."""
    ask(root, cache)
    database = sqlite3.connect(index_path(root, cache))
    database.execute(statement)
    database.close()
    assert as_bytes(direct(root)) == as_bytes(ask(root, cache)[0])
    assert ask(root, cache)[1] == 0


def test_the_newest_of_one_second_and_of_no_time(tmp_path, cache):
    """The same as the end of the whole list, whatever the number asked for."""
    for place, t in enumerate([3e9, 1e9, 3e9, 2e9, 3e9, 0.0]):
        make_run(tmp_path / "runs" / f"run_20261120-061500_x_job{place}", name=f"r{place}", t=t)
    make_run(tmp_path / "runs" / "plain", name="plain", t=0.0)
    whole = [line.name for line in ask(tmp_path / "runs", cache)[0]]
    for count in range(9):
        assert [line.name for line in ask(tmp_path / "runs", cache, newest=count)[0]] == whole[max(0, 7 - count) :]
