from __future__ import annotations

import errno
import math
import os
import signal
import threading

import pytest
from tests.facts.strategies import exact

from barograph.errors import MisuseError
from barograph.facts.events import EventLog, open_log, to_event
from barograph.facts.kinds import EVENT_RESERVED, MOMENTS
from barograph.facts.log import iterate


@pytest.fixture
def path(run_dir):
    """Where rank 0's events go."""
    return run_dir.events()


@pytest.fixture
def log(path):
    """An open event log whose clock stands still."""
    log = EventLog(path, clock=lambda: 1_800_000_000.5)
    yield log
    log.close()


@pytest.mark.spec("S2.13", "S3.42", "S3.75", "S0.18")
def test_a_line_holds_version_number_time_moment_and_payload(log, path):
    """The documented keys, in the documented order, one JSON object per line."""
    log.append("on_epoch_end", {"epoch": 3, "train_loss": math.nan})
    expected = (
        b'{"schema_version":1,"seq":0,"t":1800000000.5,"moment":"on_epoch_end","epoch":3,"train_loss":null,'
        b'"nonfinite":{"train_loss":"nan"}}\n'
    )
    assert expected == path.read_bytes()


def test_the_returned_event_is_what_a_reader_sees(log, path):
    """Writer and reader agree about the event."""
    written = log.append("custom", {"kind": "note", "x": -math.inf})
    (line,) = iterate(path)
    assert exact(written.payload) == exact(to_event(line).payload)
    assert (written.seq, written.t, written.moment) == (to_event(line).seq, to_event(line).t, to_event(line).moment)


def test_numbers_go_on_without_a_gap_after_a_torn_line(path):
    """Reopened after a cut at any byte of the last line, the log goes on with the number of the lost line."""
    log = EventLog(path)
    for number in range(3):
        log.append("custom", {"number": number})
    log.close()
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for cut in range(last, len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = EventLog(path)
        again.append("custom", {"again": True})
        again.close()
        kept = 3 if cut == len(whole) else 2
        assert list(range(kept + 1)) == [line["seq"] for line in iterate(path)]


def test_numbers_go_on_behind_lines_that_have_none(path):
    """Unversioned lines of other loops, and a last line larger than the tail that is looked at, are passed over."""
    big = b'{"seq":7,"moment":"custom","t":1.0,"text":"' + b"x" * 100_000 + b'"}\n'
    path.write_bytes(b'{"seq":6}\n' + big + b'{"moment":"on_start"}\n')
    log = EventLog(path)
    assert log.append("custom", {}).seq == 8
    log.close()


def test_a_line_that_cannot_be_written_uses_up_no_number(log, path):
    """On a full device the append raises, naming the file, and the number is free for the next line."""
    log.append("custom", {"number": 0})
    fd = log._log.file.fd
    real, full = os.dup(fd), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, fd)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device") as caught:
            log.append("custom", {"number": "lost"})
        assert (errno.ENOSPC, str(path)) == (caught.value.errno, caught.value.filename)
    os.dup2(real, fd)
    os.close(real)
    os.close(full)
    log.append("custom", {"number": 1})
    assert [(line["seq"], line["number"]) for line in iterate(path)] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("key", sorted(EVENT_RESERVED))
def test_a_payload_with_a_reserved_key_is_refused(log, path, key):
    """The message names the key; nothing is written, no number used."""
    with pytest.raises(MisuseError, match=rf"\['{key}'\]; rename"):
        log.append("custom", {key: 1})
    assert path.read_bytes() == b""
    assert log.append("custom", {}).seq == 0


@pytest.mark.parametrize("moment", ["", "two words", "a-b", "1st", "a\nb"])
def test_a_moment_that_is_no_name_is_refused(log, path, moment):
    """Moments are names, so that they can stand in file names."""
    with pytest.raises(MisuseError, match="is no name; use one such as"):
        log.append(moment, {})
    assert path.read_bytes() == b""


@pytest.mark.parametrize("moment", [*MOMENTS, "on_something_new"])
def test_known_and_unknown_moments_are_kept(log, path, moment):
    """A newer writer's moments do not break this reader."""
    log.append(moment, {"x": 1})
    (line,) = iterate(path)
    assert (moment, {"x": 1}) == (to_event(line).moment, to_event(line).payload)


def test_threads_share_numbers_without_gap_or_repeat(log, path):
    """Eight threads write at once; each line is whole and each number is used once."""

    def write(thread):
        for number in range(200):
            log.append("custom", {"thread": thread, "number": number})

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = list(iterate(path))
    assert list(range(1600)) == [line["seq"] for line in lines]
    for index in range(8):
        assert list(range(200)) == [line["number"] for line in lines if line["thread"] == index]


def test_a_signal_in_the_middle_of_an_append_is_recorded_after_it(path):
    """The handler's event waits until the interrupted line is complete; numbers and lines stay whole."""
    log = EventLog(path, clock=lambda: os.kill(os.getpid(), signal.SIGUSR2) or 1.0)
    handled = []

    def handler(_number, _frame):
        handled.append(True)
        log.when_free(lambda: log.append("on_signal", {"name": "SIGUSR2"}, t=2.0))

    previous = signal.signal(signal.SIGUSR2, handler)
    try:
        log.append("custom", {"text": "interrupted"})
    finally:
        signal.signal(signal.SIGUSR2, previous)
        log.close()
    lines = list(iterate(path))
    assert handled == [True]
    assert [(line["seq"], line["moment"]) for line in lines] == [(0, "custom"), (1, "on_signal")]


def test_an_open_log_is_found_by_its_path(log, path):
    """One writer per file: who asks for an open file gets its log, also by another spelling of the path."""
    assert open_log(path) is log
    assert open_log(path.parent / ".." / path.parent.name / path.name) is log
    log.close()
    assert open_log(path) is None
