import errno
import fcntl
import os
import signal
import subprocess
import time

import pytest

from barograph.facts.log import scan_text
from barograph.watch.actions.claim import ClaimedLog

HOLD = """
import os, sys, time
from pathlib import Path
from barograph.watch.actions.claim import ClaimedLog

log = ClaimedLog(Path(sys.argv[1]), Path(sys.argv[2]), report=print)
log.poll()
assert log.is_writer
log.append({"from": "child"})
if sys.argv[3] == "fork" and os.fork() == 0:
    sys.stdin.read()  # goes on when the one that wrote has been killed
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def paths(tmp_path):
    """The file and its lock."""
    return tmp_path / "alerts.jsonl", tmp_path / "watch.lock"


@pytest.fixture
def claim(paths):
    """``claim()`` is one more reader of the same file, which would like to write."""
    logs, told = [], []

    def claim() -> ClaimedLog:
        logs.append(ClaimedLog(*paths, report=told.append))
        return logs[-1]

    claim.told = told
    yield claim
    for log in logs:
        log.close()


def test_the_first_writes_and_the_second_reads(claim):
    """The second sees each of the first one's records once, and may not write."""
    first, second = claim(), claim()
    assert (first.poll(), first.is_writer) == ([], True)
    assert (second.poll(), second.is_writer) == ([], False)
    first.append({"number": 1})
    first.append({"number": 2})
    assert second.poll() == [{"number": 1}, {"number": 2}]
    assert (second.poll(), second.is_writer) == ([], False)
    with pytest.raises(AssertionError):
        second.append({"number": 3})


def test_the_second_takes_over_when_the_first_has_gone(claim, paths):
    """It has then seen all that the first one wrote, also what came after its last look."""
    first, second = claim(), claim()
    first.poll()
    second.poll()
    first.append({"number": 1})
    first.close()
    assert (second.poll(), second.is_writer) == ([{"number": 1}], True)
    second.append({"number": 2})
    assert scan_text(paths[0]).records == [{"number": 1}, {"number": 2}]


def test_what_is_written_at_the_last_moment_is_seen(claim, monkeypatch):
    """What the first one writes between the second one's last look and its taking the lock is not missed."""
    first, second = claim(), claim()
    first.poll()
    lock = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        first.append({"number": 1})
        first.close()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert (second.poll(), second.is_writer) == ([{"number": 1}], True)


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_killed_writer_gives_way(how, claim, paths, start):
    """After ``kill -9`` the next poll takes over, also while a forked child of the killed process lives on."""
    child = start(HOLD, *paths, how, stdin=subprocess.PIPE)
    assert child.stdout.readline() == "ready\n"
    log = claim()
    assert (log.poll(), log.is_writer) == ([{"from": "child"}], False)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    limit_s = time.monotonic() + 10  # the forked child lets go as soon as it has its first turn
    while not log.is_writer and time.monotonic() < limit_s:
        assert log.poll() == []
        time.sleep(0.01)
    assert log.is_writer


def test_what_a_killed_writer_tore_is_cut(claim, paths):
    """Half a line is no record: it is kept beside the file, and the next record stands on a line of its own."""
    paths[0].write_bytes(b'{"number":1}\n{"numb')
    log = claim()
    assert log.poll() == [{"number": 1}]
    log.append({"number": 2})
    assert paths[0].read_bytes() == b'{"number":1}\n{"number":2}\n'
    assert paths[0].with_name("alerts.jsonl.cut-13").read_bytes() == b'{"numb'


def test_a_closed_one_does_not_come_back(claim):
    """After ``close`` a poll does not take the lock again."""
    first, second = claim(), claim()
    first.poll()
    first.close()
    first.close()
    assert (first.poll(), first.is_writer) == ([], False)
    second.poll()
    assert second.is_writer


def test_where_nothing_is_written_there_is_no_file(claim, paths):
    """To be the writer makes a lock, and no empty file that would say that there is something."""
    log = claim()
    log.poll()
    assert log.is_writer
    assert not paths[0].exists()


def test_before_there_are_facts_nothing_is_made(claim, paths, tmp_path):
    """A watcher that is there before its run makes no directory, says nothing, and writes when there is one."""
    log = ClaimedLog(tmp_path / "run" / "alerts.jsonl", tmp_path / "run" / "watch.lock", report=claim.told.append)
    assert (log.poll(), log.is_writer) == ([], False)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    log.poll()
    assert (claim.told, log.is_writer) == ([], True)
    log.close()


def test_who_may_not_write_reads_and_says_so_once(record, paths, without_privileges, tmp_path):
    """In somebody else's run alerts are read; that they cannot be written is said once, with the next step."""
    paths[0].write_bytes(b'{"number":1}\n')
    script = """
    import sys
    from pathlib import Path
    from barograph.watch.actions.claim import ClaimedLog

    log = ClaimedLog(Path(sys.argv[1]), Path(sys.argv[2]), report=print)
    print(log.poll(), log.is_writer)
    print(log.poll(), log.is_writer)
    """
    tmp_path.joinpath("child-0.py").touch()
    tmp_path.chmod(0o555)
    try:
        stdout, _ = record(script, *paths, prefix=without_privileges)
    finally:
        tmp_path.chmod(0o755)
    said, first, second = stdout.splitlines()
    assert f"{paths[0]} cannot be written ([Errno 13] Permission denied" in said
    assert said.endswith("free the cause")
    assert (first, second) == ("[{'number': 1}] False", "[] False")


def test_without_locks_there_is_one_writer_by_agreement(claim, monkeypatch):
    """On a file system without locks the alerts are written all the same, and it is said what that asks for."""

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    log = claim()
    log.poll()
    assert log.is_writer
    (said,) = claim.told
    assert "without locks" in said
    assert said.endswith("let one at a time watch this run")
