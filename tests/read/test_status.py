"""The truth about life and death, with real processes that are really killed, stopped and restarted."""

from __future__ import annotations

import os
import shutil
import signal
import time

import msgspec
import pytest

from barograph.facts.events import EventLog
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.facts.state import ExitRecord, this_process, write_exit, write_process
from barograph.facts.writers import append_jsonl_event
from barograph.read.status import THIS_MACHINE, read_ranks, read_status

RECORDING = """
import sys, time, barograph

run = barograph.init(name="r", dir=sys.argv[1], resume="allow", terminal="off", text_log=None, host_s=None)
for step in range(10):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
    time.sleep(0.01)
"""
WAITING = RECORDING + "print('ready', flush=True)\ntime.sleep(600)\n"
ELSEWHERE = msgspec.structs.replace(THIS_MACHINE, is_here=lambda _record: False)


def in_s(seconds):
    """A clock that is ahead."""
    return lambda: time.time() + seconds


def ready(child):
    """Wait until the child has recorded."""
    assert child.stdout.readline() == "ready\n", child.stderr.read()
    return child


@pytest.fixture
def live(start, tmp_path):
    """A process that has recorded ten facts and goes on living; and its run."""
    return ready(start(WAITING, tmp_path / "run")), tmp_path / "run"


def test_a_run_that_ended_is_finished_since_then(record, tmp_path):
    """The exit record says when it ended."""
    before = time.time()
    record(RECORDING + "run.finish()", tmp_path / "run")
    status = read_status(tmp_path / "run")
    assert (status.state, status.reason) == ("finished", "")
    assert before < status.since_t < time.time()


@pytest.mark.parametrize(
    ("last_line", "exit_code", "expected"),
    [
        ("sys.exit(3)", 3, ("failed", "exit code 3")),
        ("raise ValueError('no such layer')", 1, ("failed", "ValueError: no such layer")),
        ("pass", 0, ("finished", "")),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ("killed", "SIGTERM")),
    ],
)
def test_every_way_to_end_is_told_apart(record, tmp_path, last_line, exit_code, expected):
    """``sys.exit``, an exception, the end of the script and SIGTERM, none of which calls ``finish``."""
    record(RECORDING + last_line, tmp_path / "run", exit_code=exit_code)
    status = read_status(tmp_path / "run")
    assert expected == (status.state, status.reason)


def test_a_living_process_is_running(live):
    """While its process lives and records, a run is running, since it began."""
    child, path = live
    status = read_status(path)
    assert ("running", f"process {child.pid}") == (status.state, status.reason)
    assert time.time() - 60 < status.since_t < time.time()


def test_kill_9_shows_at_once(live):
    """A process that is gone without an exit record was killed, since its last sign of life."""
    child, path = live
    child.kill()
    child.wait()
    status = read_status(path)
    assert status.state == "killed"
    assert status.reason == "the process is gone without an exit record: SIGKILL, out of memory or power"
    assert time.time() - 60 < status.since_t < time.time()


def test_a_zombie_is_dead(live):
    """A killed process that nobody has waited for is no living one."""
    child, path = live
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and its entry is still there
    assert read_status(path).state == "killed"


def test_out_of_memory_is_named_when_the_kernel_killed_in_the_group(live):
    """More kills for memory in the control group than when the run began make that cause likely."""
    child, path = live
    child.kill()
    child.wait()
    directory = RunDir(path)
    began = msgspec.structs.replace(this_process(attempt=0), pid=child.pid, start_ticks=1, oom_kills=1)
    write_process(directory.process(), began)
    machine = msgspec.structs.replace(THIS_MACHINE, oom_kills=lambda: 3)
    assert "out of memory is likely: the kernel has killed 2 process(es)" in read_status(path, machine=machine).reason
    same = msgspec.structs.replace(THIS_MACHINE, oom_kills=lambda: 1)
    assert "likely" not in read_status(path, machine=same).reason


def test_a_stopped_process_is_stalled_until_it_continues(live):
    """SIGSTOP shows at once, with what continues it; after SIGCONT the run is running."""
    child, path = live
    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: read_status(path).state == "stalled")
    assert f"process {child.pid} is stopped by a signal; `kill -CONT {child.pid}` continues it" == (
        read_status(path).reason
    )
    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: read_status(path).state == "running")


def wait_until(condition, timeout_s=10.0):
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_silence_is_measured_against_a_minute_at_least(live):
    """Steps of 10 ms: 50 s of silence are running, 70 s stalled, since the last fact."""
    child, path = live
    assert read_status(path, now=in_s(50)).state == "running"
    status = read_status(path, now=in_s(70))
    assert status.state == "stalled"
    assert status.reason.startswith(f"process {child.pid} lives and recorded nothing for 7")
    assert "(its limit is 60 s)" in status.reason
    assert time.time() - 60 < status.since_t < time.time()


def facts_of_this_process(directory, times, *, phases=(), split="train"):
    """Facts that this process recorded at the given times."""
    write_process(directory.process(), this_process(attempt=0, t=times[0]))
    log = MetricsLog(directory, run_id="r1")
    for step, t in enumerate(times):
        log.append({"loss": 0.5}, step=step, split=split, t=t)
    log.close()
    events = EventLog(directory.events())
    for t, duration_s in phases:
        events.append("on_phase_end", {"name": "full_eval", "duration_s": duration_s}, t=t)
    events.close()


def test_a_slow_run_has_a_longer_limit(run_dir):
    """Steps of 30 s: the limit is 20 of them."""
    facts_of_this_process(run_dir, [1000.0 + 30 * n for n in range(10)])
    last_t = 1270.0
    assert read_status(run_dir.path, now=lambda: last_t + 599).state == "running"
    assert read_status(run_dir.path, now=lambda: last_t + 601).state == "stalled"


def test_a_phase_as_long_as_the_last_is_no_stall(run_dir):
    """A run that evaluated for 200 s may be silent for twice that."""
    facts_of_this_process(run_dir, [1000.0 + n for n in range(10)], phases=[(1009.5, 200.0)])
    assert read_status(run_dir.path, now=lambda: 1009.5 + 399).state == "running"
    assert read_status(run_dir.path, now=lambda: 1009.5 + 401).state == "stalled"


def test_before_a_run_has_a_rhythm_it_has_ten_minutes(run_dir):
    """Loading data may take its time; after ten minutes without steps the run is stalled."""
    facts_of_this_process(run_dir, [1000.0, 1000.1])
    assert read_status(run_dir.path, now=lambda: 1599.0).state == "running"
    assert read_status(run_dir.path, now=lambda: 1601.0).state == "stalled"


def test_samples_of_the_machine_are_no_sign_of_training(run_dir):
    """They go on when training hangs, so they do not keep a run from being stalled."""
    facts_of_this_process(run_dir, [1000.0 + n for n in range(10)])
    log = MetricsLog(run_dir, run_id="r1")
    log.append({"cpu_percent": 3.0}, step=0, split="host", t=1100.0)
    log.close()
    status = read_status(run_dir.path, now=lambda: 1101.0)
    assert (status.state, status.since_t) == ("stalled", 1009.0)


def test_a_process_that_hangs_altogether_is_told_by_its_heartbeat(run_dir):
    """Neither facts nor heartbeat: the companion does not run either, or the files are a copy."""
    facts_of_this_process(run_dir, [1000.0 + n for n in range(10)])
    os.utime(run_dir.process(), (1009.0, 1009.0))
    assert "no heartbeat for 91 s: it hangs, or these files are a copy" in (
        read_status(run_dir.path, now=lambda: 1100.0).reason
    )


def test_on_another_machine_the_heartbeat_tells(live):
    """Fresh: running there. Older than twelve beats: lost, with the host and the age."""
    child, path = live
    assert read_status(path, machine=ELSEWHERE).state == "running"
    status = read_status(path, machine=ELSEWHERE, now=in_s(3600))
    assert status.state == "lost"
    assert status.reason.startswith(f"process {child.pid} on ")
    assert "gave no heartbeat for 360" in status.reason


def test_another_boot_of_this_machine_is_lost(run_dir):
    """After a restart the process id may be anybody's: the run is lost, not running."""
    before = msgspec.structs.replace(this_process(attempt=0), boot_id="another")
    write_process(run_dir.process(), before)
    assert read_status(run_dir.path, now=in_s(61)).state == "lost"


def test_a_process_id_that_was_used_again_is_not_the_run(run_dir):
    """This very process has the id, and another start time: the run is dead."""
    write_process(run_dir.process(), msgspec.structs.replace(this_process(attempt=0), start_ticks=1))
    assert read_status(run_dir.path).state == "killed"


def test_a_copy_of_a_finished_run_is_finished_anywhere(record, tmp_path):
    """What is recorded needs no process."""
    record(RECORDING + "run.finish()", tmp_path / "run")
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert read_status(copy, machine=ELSEWHERE, now=in_s(1e9)).state == "finished"


def test_an_old_copy_of_a_living_run_is_lost(live, tmp_path):
    """A copy that was taken elsewhere gets no heartbeats."""
    _, path = live
    copy = shutil.copytree(path, tmp_path / "copy")
    status = read_status(copy, machine=ELSEWHERE, now=in_s(120))
    assert status.state == "lost"
    assert "these files are an old copy" in status.reason


def test_the_end_of_an_older_attempt_does_not_count(record, start, tmp_path):
    """A finished run that is resumed is running again, and killed when that attempt is killed."""
    path = tmp_path / "run"
    record(RECORDING + "run.finish()", path)
    child = ready(start(WAITING, path))
    assert read_status(path).state == "running"
    child.kill()
    child.wait()
    assert read_status(path).state == "killed"


def test_on_train_end_is_not_believed_while_the_process_lives(run_dir):
    """The event comes before the end: mirrors still close, the exit record is not there."""
    facts_of_this_process(run_dir, [time.time()] * 4)
    append_jsonl_event(run_dir.path, {"moment": "on_train_end", "status": "finished", "total_time_s": 1.0})
    assert read_status(run_dir.path).state == "running"


def test_on_train_end_counts_when_the_process_is_gone(run_dir):
    """Training had ended; only the exit record is missing, and the reason says so."""
    write_process(run_dir.process(), msgspec.structs.replace(this_process(attempt=0), start_ticks=1))
    append_jsonl_event(run_dir.path, {"moment": "on_train_end", "status": "failed", "reason": "E", "total_time_s": 1.0})
    status = read_status(run_dir.path)
    assert (status.state, status.reason) == ("failed", "E; by its last event; there is no exit record")


def test_a_damaged_exit_record_is_named(run_dir):
    """The status is what else tells, and the reason names the file."""
    write_process(run_dir.process(), msgspec.structs.replace(this_process(attempt=0), start_ticks=1))
    run_dir.exit().write_bytes(b'{"attempt": 0, "sta')
    status = read_status(run_dir.path)
    assert status.state == "killed"
    assert "exit.json cannot be read" in status.reason


def test_a_status_of_a_newer_release_is_no_success(run_dir):
    """An unknown word in the exit record is shown, and not taken for finished."""
    write_exit(run_dir.exit(), ExitRecord(attempt=0, status="abandoned", t=5.0))
    status = read_status(run_dir.path)
    assert (status.state, status.reason, status.since_t) == ("failed", "ended with the status 'abandoned'", 5.0)


class TestRunsThatWriteEventsOnly:
    """Loops that emit facts by themselves leave no process record."""

    def test_on_train_end_is_their_end(self, run_dir):
        """Nothing else tells."""
        append_jsonl_event(run_dir.path, {"moment": "on_start"})
        append_jsonl_event(run_dir.path, {"moment": "on_train_end", "total_time_s": 3.0})
        assert read_status(run_dir.path).state == "finished"

    def test_events_that_grow_are_a_sign_of_life(self, run_dir):
        """Within a minute they are running; after that nobody knows."""
        append_jsonl_event(run_dir.path, {"moment": "on_start"})
        assert read_status(run_dir.path).state == "running"
        status = read_status(run_dir.path, now=in_s(120))
        assert status.state == "lost"
        assert "nothing tells whether it lives or how it ended" in status.reason

    def test_a_new_start_after_the_end_is_not_finished(self, run_dir):
        """The last event of a life decides."""
        for moment in ("on_start", "on_train_end", "on_start", "on_epoch_end"):
            append_jsonl_event(run_dir.path, {"moment": moment})
        assert read_status(run_dir.path, now=in_s(120)).state == "lost"

    def test_an_empty_directory_is_lost(self, tmp_path):
        """No file at all says nothing, and raises nothing."""
        assert read_status(tmp_path).state == "lost"


def test_each_rank_has_a_status(run_dir):
    """Rank 0 finished, rank 3 was killed: both are told."""
    dead = msgspec.structs.replace(this_process(attempt=0), start_ticks=1)
    write_process(run_dir.process(), dead)
    write_exit(run_dir.exit(), ExitRecord(attempt=0, status="finished", t=5.0))
    write_process(run_dir.process(3), dead)
    assert {rank: it.state for rank, it in read_ranks(run_dir.path).items()} == {0: "finished", 3: "killed"}


@pytest.mark.parametrize("odd", [[1], {"a": 1}, None])
def test_an_end_of_odd_types_is_told_in_words(run_dir, odd):
    """Another program's last event may hold anything."""
    append_jsonl_event(run_dir.path, {"moment": "on_train_end", "status": odd, "reason": odd, "total_time_s": 1.0})
    status = read_status(run_dir.path)
    assert (status.state, isinstance(status.reason, str)) == ("failed", True)


def test_an_imported_run_of_unknown_end_says_where_it_comes_from(tmp_path):
    """The tool that recorded it did not tell; it is not taken for one of ours that got lost."""
    (tmp_path / "run.json").write_text('{"run_id": "r", "provenance": {"imported_from": {"tool": "tfevents"}}}\n')
    append_jsonl_event(tmp_path, {"moment": "on_start"})
    status = read_status(tmp_path)
    assert status.state == "lost"
    assert status.reason == "imported from tfevents, which does not tell how it ended"
