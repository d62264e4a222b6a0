"""Sealed and unsealed, a run says the same; whatever happens meanwhile, every fact is there exactly once."""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.archive.making import Maker, digests, everything

import barograph
from barograph.errors import FormatError, MisuseError, RunBusyError
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.facts.state import this_process, write_process
from barograph.read.archive.lock import alone
from barograph.read.archive.seal import seal, unseal
from barograph.read.arrays import read_numbers
from barograph.read.columns import find_streams, iterate_blocks, last_rows
from barograph.read.follow import Follower, Rows
from barograph.read.frames import load_runs
from barograph.read.run import RunReader
from barograph.read.sealed import read_sealed
from barograph.read.verify import verify

PAYLOADS = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8_0000_0000_0001, 0xFFF0_DEAD_BEEF_0001)]
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([-0.0, 5e-324, 2.0**53, 0.1, *PAYLOADS])


def names(path):
    """The streams' files of a run."""
    return [file.name for file in sorted((path / "facts").glob("metrics.*"))]


def rows_of(width):
    """Rows of any numbers; times are not zero."""
    return st.lists(st.tuples(*[numbers] * (width - 1), numbers.filter(bool)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(2, 6), data=st.data())
def test_sealing_and_unsealing_gives_back_every_bit(tmp_path_factory, width, data):
    """Any rows: NaN with payloads, negative zero, subnormals, no row at all; the header's bytes too."""
    made = Maker(tmp_path_factory.mktemp("run") / "run")
    columns = ["step", *[f"m{place}" for place in range(width - 2)], "t"]
    for number in range(2):
        made.stream(number, data.draw(rows_of(width)), columns=columns, attempt=number)
    made.end(attempt=1)
    before, said = digests(made.path), everything(made.path)
    assert [change.left for change in seal(made.reader)] == ["", ""]
    assert names(made.path) == ["metrics.000.parquet", "metrics.001.parquet"]
    assert said == everything(made.path)
    unseal(made.reader)
    assert before == digests(made.path)
    assert names(made.path) == ["metrics.000.rows", "metrics.001.rows"]


def test_every_reader_says_the_same_of_a_sealed_run(made):
    """Two attempts, two splits, another rank, irregular records, damaged places, several row groups."""
    made.log([(step, {"loss": 1.0 / (step + 1), "lr": 0.1}) for step in range(300)])
    made.log([(step, {"loss": -1.0 if step % 7 else math.nan}) for step in range(250, 400)], attempt=1)
    made.log([(7, {"acc": 0.5}), (8, {"big": 2**60 + 1})], split="val", attempt=1)
    made.log([(step, {"loss": 3.0}) for step in range(9)], rank=3)
    first = made.directory.rows(0)
    with first.open("r+b") as file:
        file.seek(4096 + 5 * 32)
        file.write(bytes(64))  # what a power cut leaves
    made.end("failed", attempt=1)
    said = everything(made.path)
    assert [change.left for change in seal(made.reader)] == [""] * 4
    assert made.directory.rows_files() == []
    assert said == everything(made.path)
    assert len(said["damage"]) == 2


def test_a_large_stream_is_sealed_in_groups(made, monkeypatch):
    """Rows from the middle of a group are the same; a follower that starts anew meets each row once."""
    monkeypatch.setattr("barograph.read.archive.parquet.GROUP_BYTES", 0)
    monkeypatch.setattr("barograph.read.archive.parquet.MIN_GROUP_ROWS", 64)
    path = made.stream(0, [(n, n / 7, -n, 1000.0 + n) for n in range(1000)])
    made.end()
    said, (stream,) = everything(made.path), find_streams(made.directory, [])
    tails = {count: last_rows(stream, count) for count in (0, 1, 63, 64, 65, 1000, 2000)}
    seal(made.reader)
    (stream,) = find_streams(made.directory, [])
    assert pq.ParquetFile(stream.path).metadata.num_row_groups == 16
    assert said == everything(made.path)
    assert tails == {count: last_rows(stream, count) for count in tails}
    for limit in (1, 1000, 1 << 20):
        assert sum(len(block) for block in iterate_blocks(stream, [], limit=limit)) == 4000
    assert not path.exists()


@pytest.mark.parametrize("num_read", [0, 1, 500, 999, 1000])
def test_a_follower_goes_on_where_it_stood(made, num_read):
    """Its offset in the rows file is a place in the sealed one, and again in the unsealed one."""
    log = MetricsLog(made.directory, run_id="r1")
    for step in range(num_read):
        log.append({"n": step}, step=step, split="train", t=1000.0 + step)
    follower = Follower(made.directory)
    seen = follower.drain()
    for step in range(num_read, 1000):
        log.append({"n": step}, step=step, split="train", t=1000.0 + step)
    log.close()
    made.end()
    seal(made.reader)
    seen += follower.drain()
    assert follower.drain() == []
    unseal(made.reader)
    assert follower.drain() == []
    assert list(range(1000)) == [row[0] for fact in seen if isinstance(fact, Rows) for row in fact.rows]
    assert follower.damage == []


def test_a_stream_that_is_sealed_between_listing_and_reading_is_read(made, monkeypatch):
    """The rows file was listed and has gone: the sealed one is read; and the other way round."""
    made.stream(0, [(n, 0.5, 1.5, 1000.0 + n) for n in range(10)])
    made.end()
    (stream,) = find_streams(made.directory, [])
    damage = []
    for listed in (made.directory.rows(0), made.directory.rows(0).with_suffix(".parquet")):
        follower = Follower(made.directory)
        with monkeypatch.context() as patch:
            patch.setattr(RunDir, "stream_files", lambda _self, listed=listed: [listed])
            follower.poll()  # the header
            follower._offsets.clear()
            (unseal if listed.suffix == ".parquet" else seal)(made.reader)
            (rows,) = follower.poll()
        assert [row[0] for row in rows.rows] == list(range(10))
        assert sum(map(len, iterate_blocks(stream, damage))) == 40
        assert last_rows(stream, 1) == [(9.0, 0.5, 1.5, 1009.0)]
        assert (damage, follower.damage) == ([], [])


def test_a_stream_that_is_unsealed_between_listing_and_reading_is_read(made):
    """By each way of reading; the other way round is true of rows files, of their number of rows too."""
    made.stream(0, [(n, n / 3, 0.5, 1000.0 + n) for n in range(50)])
    made.end()
    for change in (seal, unseal):
        (stream,) = find_streams(made.directory, [])
        change(made.reader)
        damage = []
        assert stream.num_rows() == 50
        assert read_numbers(stream, damage).shape == (50, 4)
        assert sum(map(len, iterate_blocks(stream, damage))) == 200
        assert [row[0] for row in last_rows(stream, 2)] == [48.0, 49.0]
        assert damage == []


def test_the_newest_value_of_a_sealed_stream_is_found_before_zero_bytes(made):
    """Rows of zeros that a power cut left are sealed too; they hold no fact."""
    path = made.stream(0, [(n, n / 3, 0.5, 1000.0 + n) for n in range(5)])
    with path.open("ab") as file:
        file.write(bytes(32 * 20))
    made.end()
    seal(made.reader)
    assert load_runs([made.path]).last_values()["step"].to_list() == [4.0, 4.0]


def test_a_living_run_is_not_sealed(made):
    """Whoever writes it is named, and no byte changes."""
    path = made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    write_process(made.directory.process(), this_process(attempt=0))
    with pytest.raises(RunBusyError, match=rf"is stalled \(process {os.getpid()} .* wait for it"):
        seal(made.reader)
    assert names(made.path) == [path.name]


def test_a_living_rank_keeps_the_run_from_being_sealed(made):
    """Rank 0 has ended, rank 3 goes on."""
    made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    made.end()
    write_process(made.directory.process(3), this_process(attempt=0))
    with pytest.raises(RunBusyError, match="rank 3 is "):
        seal(made.reader)


def test_a_lost_run_is_not_sealed(made):
    """Nothing shows that it has ended."""
    made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    os.utime(made.directory.events(), (1.0, 1.0))
    with pytest.raises(MisuseError, match=r"is lost .* archive it on the machine that wrote it"):
        seal(made.reader)


def test_a_stream_that_a_forked_child_has_open_is_left(made):
    """The run has ended and its child goes on logging: none of its facts may be lost."""
    made.end()
    log = MetricsLog(made.directory, run_id="r1")  # its header names this very process
    log.append({"n": 1}, step=0, split="train", t=1.0)
    (change,) = seal(made.reader)
    assert change.left == f"process {os.getpid()} still has it open; seal the run when it has ended"
    log.append({"n": 2}, step=1, split="train", t=2.0)
    log.close()
    (change,) = seal(made.reader)
    assert (change.left, change.num_rows) == ("", 2)


def test_a_torn_row_is_kept_beside_the_sealed_file(made):
    """The bytes of a write that was cut short are no fact, and they are not lost."""
    path = made.stream(0, [(n, 1.0, 2.0, 1000.0) for n in range(5)])
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn bytes")
    made.end("killed")
    (change,) = seal(made.reader)
    assert (change.num_rows, change.cut_bytes, change.left) == (5, 10, "")
    assert path.with_name(f"{path.name}.cut-{len(whole)}").read_bytes() == b"torn bytes"
    unseal(made.reader)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its header is not whole"),
        (b'{"format":"barograph-rows/1","he', "its header is not whole"),
        (b"XXXX\n" + bytes(100), "the header of the rows file is damaged"),
        (
            b'{"format":"barograph-rows/1","header_bytes":4096,"run_id":"r","columns":["step","a","a","t"]}'.ljust(4095)
            + b"\n"
            + bytes(32),
            "two of its columns have one name",
        ),
    ],
)
def test_a_file_that_cannot_be_sealed_bit_for_bit_is_left_as_it_is(made, content, reason):
    """With the reason; the others are sealed."""
    made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    odd = made.directory.rows(1)
    odd.write_bytes(content)
    made.end()
    whole, left = seal(made.reader)
    assert (whole.left, left.file) == ("", f"facts/{odd.name}")
    assert [left.bytes_before, left.bytes_after] == [len(content)] * 2
    assert reason in left.left
    assert odd.read_bytes() == content


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from barograph.read.archive.seal import seal, unseal
from barograph.read.run import RunReader
import pyarrow.parquet, hashlib, numpy

verb = {"seal": seal, "unseal": unseal}[sys.argv[1]]
EVENTS = {"open", "os.rename", "os.remove", "os.truncate", "os.utime", "os.chmod", "os.listdir", "os.scandir"}
*copies, warm = sys.argv[2:]
verb(RunReader(Path(warm)))  # what is imported late is imported now
for number, path in enumerate(copies):
    child = os.fork()
    if child == 0:
        counter = itertools.count()
        def kill(event, args):
            if event in EVENTS and next(counter) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill)
        verb(RunReader(Path(path)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("verb", ["seal", "unseal"])
def test_killed_at_any_file_operation_every_fact_is_there_exactly_once(made, tmp_path, verb):
    """SIGKILL before the first, second, ... operation on a file, until none is left; then the same call finishes."""
    for number in range(2):
        made.stream(number, [(n, n / 3, math.nan, 1000.0 + n) for n in range(50)], attempt=number)
    torn = made.directory.rows(1)
    torn.write_bytes(torn.read_bytes() + b"torn")
    made.end("killed", attempt=1)
    if verb == "unseal":
        seal(made.reader)
    said = everything(made.path)
    copies = [shutil.copytree(made.path, tmp_path / f"copy{number}") for number in range(100)]
    warm = shutil.copytree(made.path, tmp_path / "warm")
    command = [sys.executable, "-c", KILLED, verb, *map(str, copies), str(warm)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=170)
    codes = [int(line) for line in done.stdout.split()]
    assert set(codes) == {-9, 0}
    assert codes.count(-9) > 15
    assert codes == sorted(codes), "once it gets through, one more operation makes no difference"
    mixed = 0
    for copy in copies[: codes.count(-9) + 1]:
        mixed += len({file.suffix for file in RunDir(copy).stream_files()}) == 2
        assert said == everything(copy)
        (seal if verb == "seal" else unseal)(RunReader(copy))
        assert said == everything(copy)
        assert {file.suffix for file in RunDir(copy).stream_files()} == {".parquet" if verb == "seal" else ".rows"}
        assert len(names(copy)) - len(list((copy / "facts").glob("*.cut-*"))) == 2
        assert [finding for finding in verify(copy) if finding.severity == "error"] == []
    assert mixed, "some kill fell between the two streams"


def test_one_process_at_a_time(made):
    """Sealing and unsealing at once could each remove the other's source; a lock that a kill left is no obstacle."""
    path = made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    made.end()
    lock = made.path / ".seal.lock"
    with alone(lock, what="seals or unseals"):
        for verb in (seal, unseal):
            with pytest.raises(RunBusyError, match=r"another process seals or unseals .* wait for it"):
                verb(made.reader)
    assert (path.exists(), lock.exists()) == (True, False)
    lock.touch()
    seal(made.reader)
    assert (path.exists(), lock.exists()) == (False, False)


def test_many_that_seal_and_unseal_at_once_lose_nothing(made):
    """Four processes, each in its own mind: the run ends sealed or not, and says what it said."""
    made.stream(0, [(n, n / 3, 0.5, 1000.0 + n) for n in range(200)])
    made.end()
    said = everything(made.path)
    script = """if True:
        import os, sys, time
        from pathlib import Path
        from barograph.errors import RunBusyError
        from barograph.read.archive.seal import seal, unseal
        from barograph.read.run import RunReader
        os.fsync = lambda descriptor: None  # a slow disk would leave the others no turn
        reader, done = RunReader(Path(sys.argv[1])), 0
        print("ready", flush=True)
        sys.stdin.readline()
        start_s = time.monotonic()
        while time.monotonic() < start_s + (2.0 if done else 40.0):
            try:
                done += len((seal, unseal)[int(sys.argv[2])](reader))
            except RunBusyError:
                pass
            time.sleep(0.005)  # gives the others a turn
        print(done)
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", script, made.path, str(n % 2)], **pipes) for n in range(4)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 4  # they begin together, however loaded
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    done = [int(child.communicate(timeout=60)[0]) for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert min(sum(done[0::2]), sum(done[1::2])) > 0
    assert said == everything(made.path)
    assert len(names(made.path)) == 1


def test_where_both_files_are_there_readers_take_the_rows(made):
    """Killed between naming the one and removing the other; `verify` says so, sealing finishes."""
    path = made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    rows = path.read_bytes()
    made.end()
    seal(made.reader)
    path.write_bytes(rows)
    (stream,) = find_streams(made.directory, [])
    assert stream.path == path
    assert [(finding.severity, finding.code) for finding in verify(made.path)] == [("info", "unfinished_seal")]
    (change,) = seal(made.reader)
    assert (change.left, names(made.path)) == ("", ["metrics.000.parquet"])


def test_two_files_that_say_different_things_are_both_kept(made):
    """Somebody copied one of them from another run: neither is touched, both ways."""
    path = made.stream(0, [(0.0, 1.0, 2.0, 3.0)])
    made.end()
    seal(made.reader)
    path.unlink(missing_ok=True)
    made.stream(0, [(0.0, 1.0, 9.0, 3.0)])
    before = {file.name: file.read_bytes() for file in (made.path / "facts").glob("metrics.*")}
    assert "holds other rows" in seal(made.reader)[0].left
    assert "holds something else" in unseal(made.reader)[0].left
    assert before == {file.name: file.read_bytes() for file in (made.path / "facts").glob("metrics.*")}


def test_a_damaged_sealed_file_is_written_anew_from_its_rows(made):
    """Cut by a full disk or a copy that was stopped."""
    path = made.stream(0, [(n, 1.0, 2.0, 1000.0) for n in range(100)])
    rows = path.read_bytes()
    made.end()
    seal(made.reader)
    (sealed,) = made.directory.sealed_files()
    sealed.write_bytes(sealed.read_bytes()[:-100])
    path.write_bytes(rows)
    seal(made.reader)
    unseal(made.reader)
    assert path.read_bytes() == rows


def flipped(path, place):
    """The file with one bit changed."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_changed_bits_are_found_by_verify_and_noted_by_readers(made, monkeypatch):
    """A flipped bit costs the rows of its group, is counted, and never passes for a number."""
    monkeypatch.setattr("barograph.read.archive.parquet.GROUP_BYTES", 0)
    monkeypatch.setattr("barograph.read.archive.parquet.MIN_GROUP_ROWS", 50)
    made.stream(0, [(n, math.sin(n), n / 7, 1000.0 + n) for n in range(150)])
    made.end()
    seal(made.reader)
    (path,) = made.directory.sealed_files()
    middle = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    flipped(path, middle + 200)
    found = everything(made.path)
    (damage,) = found["damage"]
    assert damage[:3] == ("metrics.000", 4096 + 50 * 32, 50 * 32)
    assert found["damage followed"] == found["damage"]
    assert len(found["csv"].splitlines()) == 1 + 2 * 100
    (error,) = [finding for finding in verify(made.path) if finding.severity == "error"]
    assert (error.code, error.file) == ("damaged_seal", "facts/metrics.000.parquet")
    (change,) = unseal(made.reader)
    assert "restore the file from a copy" in change.left
    assert names(made.path) == ["metrics.000.parquet"]


@pytest.mark.parametrize("cut", [3, 8, 9, 200, 10**6], ids=str)
def test_a_cut_sealed_file_is_noted(made, cut):
    """Its end is missing: no reader raises, each says why there are no rows."""
    made.stream(0, [(n, 1.0, 2.0, 1000.0) for n in range(5)])
    made.stream(1, [(n, 1.0, 2.0, 1000.0) for n in range(5)], split="val")
    made.end()
    seal(made.reader)
    first, _ = made.directory.sealed_files()
    first.write_bytes(first.read_bytes()[:-cut])
    found = everything(made.path)
    for damage in (found["damage"], found["damage followed"]):
        assert [place[0] for place in damage] == ["metrics.000"]
    assert len(found["csv"].splitlines()) == 1 + 10
    assert [finding.code for finding in verify(made.path) if finding.severity == "error"] == ["damaged_seal"]


def test_a_parquet_file_of_other_hands_is_no_sealed_stream(made):
    """One that another program wrote under that name is refused with the reason."""
    import pyarrow as pa

    made.end()
    made.directory.ensure_facts()
    other = made.directory.facts / "metrics.000.parquet"
    pq.write_table(pa.table({"step": [1.0], "t": [2.0]}), other)
    with pytest.raises(FormatError, match="its format is None"):
        read_sealed(other)
    (place,) = everything(made.path)["damage"]
    assert "its format is None" in place[3]


def test_footers_are_those_that_pyarrow_reads(made):
    """The footer is read without a Parquet library; columns whose names look like keys do not mislead."""
    columns = ["step", "barograph.num_rows", "\u00e4.b/c", "t"]
    made.stream(0, [(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)], columns=columns, split="val", attempt=2)
    made.end(attempt=2)
    seal(made.reader)
    (path,) = made.directory.sealed_files()
    found, told = read_sealed(path), pq.ParquetFile(path).metadata.metadata
    assert told[b"barograph.header"] == found.header_text
    assert (int(told[b"barograph.num_rows"]), told[b"barograph.rows_sha256"].decode()) == (2, found.rows_sha256)
    assert struct.unpack("<4d", found.last_row) == (5.0, 6.0, 7.0, 8.0)
    assert (found.header.columns, found.header.split, found.header.attempt) == (columns, "val", 2)
    columns = [column.to_pylist() for column in pq.read_table(path).columns]
    assert columns == [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]]


def test_a_thousand_metrics_are_sealed(made):
    """The header alone is larger than a block."""
    columns = ["step", *[f"layer{place}/weight/norm" for place in range(1000)], "t"]
    made.stream(0, [(n, *[n * place / 7 for place in range(1000)], 1000.0) for n in range(20)], columns=columns)
    made.end()
    before = digests(made.path)
    seal(made.reader)
    assert find_streams(made.directory, [])[0].header.columns == columns
    unseal(made.reader)
    assert before == digests(made.path)


def test_a_sealed_run_is_resumed(tmp_path):
    """The next attempt's streams have numbers of their own, steps go on, criteria are judged from all facts."""
    path = tmp_path / "run"
    options = {"dir": path, "terminal": "off", "console": False, "host_s": None}
    with barograph.init(**options, success=["max loss == 10"]) as run:
        for step in range(10):
            run.log({"loss": 10.0 - step}, step=step)
    seal(RunReader(path))
    with barograph.init(**options, resume="must") as run:
        run.log({"loss": 0.25})
        with pytest.raises(RunBusyError):
            seal(RunReader(path))
    assert names(path) == ["metrics.000.parquet", "metrics.001.rows"]
    points = RunReader(path).curve("loss")
    assert [(point.step, point.value, point.attempt) for point in points[-2:]] == [(9.0, 1.0, 0), (10.0, 0.25, 1)]
    assert [verdict["passed"] for verdict in RunReader(path).success()] == [True]
    assert verify(path) == []
    seal(RunReader(path))
    assert names(path) == ["metrics.000.parquet", "metrics.001.parquet"]
    assert [point.value for point in RunReader(path).curve("loss")] == [point.value for point in points]


def test_a_dry_run_tells_the_true_sizes_and_changes_nothing(made):
    """What it says is what sealing then does."""
    made.stream(0, [(n, n / 7, 0.5, 1000.0 + n) for n in range(2000)])
    made.end()
    before = digests(made.path)
    planned = seal(made.reader, dry_run=True)
    assert before == digests(made.path)
    assert planned == seal(made.reader)
    back = unseal(made.reader, dry_run=True)
    assert names(made.path) == ["metrics.000.parquet"]
    assert back == unseal(made.reader)


def test_unsealed_runs_are_read_without_a_parquet_library(made):
    """And of a sealed one who it is, how long its streams are, and its newest row."""
    made.stream(0, [(n, n / 7, 0.5, 1000.0 + n) for n in range(20)])
    made.end()
    script = """if True:
        import sys
        from pathlib import Path
        from barograph.read.overview import overview
        from barograph.read.run import RunReader
        from barograph.read.columns import find_streams, last_rows
        path = Path(sys.argv[1])
        reader = RunReader(path)
        (stream,) = find_streams(reader.directory, [])
        print(stream.num_rows(), last_rows(stream, 1), len(reader.metric_keys()), reader.status().state)
        if stream.sealed is None:
            overview(path), list(reader.facts()), reader.metrics()
        print([name for name in ("pyarrow", "numpy", "polars") if name in sys.modules])
    """
    expected = "20 [(19.0, 2.7142857142857144, 0.5, 1019.0)] 2 finished\n[]\n"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script, made.path], capture_output=True, text=True, check=True)
        assert expected == done.stdout
        seal(made.reader)


def test_without_a_parquet_library_a_follower_says_so_once_and_goes_on(made, monkeypatch):
    """The companion of a resumed run must follow the new facts, whatever is installed there."""
    made.stream(0, [(n, n / 7, 0.5, 1000.0 + n) for n in range(20)])
    made.end()
    seal(made.reader)
    made.stream(1, [(20.0, 1.0, 2.0, 3.0)], attempt=1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    follower = Follower(made.directory)
    with pytest.raises(ModuleNotFoundError, match="pyarrow"):
        follower.poll()
    (rows,) = follower.drain()
    assert rows.rows == [(20.0, 1.0, 2.0, 3.0)]
    assert [damage.reason for damage in follower.damage] == ["cannot be read: there is no pyarrow"]


def test_a_number_takes_seven_bytes_at_most(made):
    """20 000 steps of five metrics whose last bits are noise, step and time included; of float32 values, half of it."""
    import random

    generator = random.Random(0)

    def curve(precision):
        for step in range(20_000):
            noise = generator.gauss(0.0, 1.0)
            values = (
                math.exp(-step / 5000) + 0.05 * noise,
                math.exp(generator.gauss(0.0, 0.5)),
                5e-4 * (1 + math.cos(math.pi * step / 20_000)),
                0.5 + 0.4 * math.tanh(step / 6000) + 0.01 * generator.gauss(0.0, 1.0),
                1e4 + 300 * generator.gauss(0.0, 1.0),
            )
            yield (step, *(struct.unpack(precision, struct.pack(precision, v))[0] for v in values), 1.79e9 + step / 20)

    for number, precision in enumerate(("<d", "<f")):
        made.stream(number, curve(precision), columns=["step", *"abcde", "t"])
    made.end()
    double, single = seal(made.reader)
    bytes_per_number = [change.bytes_after / change.num_rows / change.num_metrics for change in (double, single)]
    assert bytes_per_number[0] <= 7.0
    assert bytes_per_number[1] <= 3.5
    assert double.bytes_before / double.num_rows / double.num_metrics == pytest.approx(11.24, abs=0.01)


def test_a_full_disk_costs_nothing(made, record):
    """Writing fails in the middle: the rows file is as it was, and nothing is left beside it."""
    made.stream(0, [(n, math.sin(n), math.cos(n), 1000.0 + n) for n in range(5000)])
    made.end()
    before, files = digests(made.path), sorted(path.name for path in made.directory.facts.iterdir())
    script = """
    import resource, sys
    from pathlib import Path
    from barograph.read.archive.seal import seal
    from barograph.read.run import RunReader
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        seal(RunReader(Path(sys.argv[1])))
    except OSError as error:
        print(type(error).__name__)
    """
    assert record(script, made.path)[0] == "OSError\n"
    assert before == digests(made.path)
    assert files == sorted(path.name for path in made.directory.facts.iterdir())


def test_streams_are_in_one_order_sealed_or_not(made):
    """By number and rank, each once, whichever of its files is there; other names are none."""
    for number, rank in ((2, 0), (0, 3), (0, 0), (1000, 0)):
        made.stream(number, [(0.0, 1.0, 2.0, 3.0)], rank=rank)
    for name in ("metrics.parquet", "metrics.00.parquet", "metrics.000.parquet.cut-5", ".metrics.000.parquet.1.2.tmp"):
        (made.directory.facts / name).touch()
    made.end()
    before = [path.name for path in made.directory.stream_files()]
    assert before == [path.name for path in made.directory.rows_files()]
    seal(made.reader)
    found = made.directory.stream_files()
    assert [path.with_suffix(".rows").name for path in found] == before
    assert found == made.directory.sealed_files()
    made.directory.rows(2).write_bytes(b"")
    assert {path.name for path in made.directory.stream_files()} - {path.name for path in found} == {"metrics.002.rows"}
