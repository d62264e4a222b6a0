"""Silences judged by a run's own rhythm, and ends told for what they are, with real processes that really die."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import msgspec
import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.facts.rundir import RunDir
from barograph.facts.state import read_process, this_process
from barograph.read.status import Status, read_status
from barograph.watch.beside import Beside
from barograph.watch.context import Context
from barograph.watch.death import Death, DeathWatch
from barograph.watch.ending import ending
from barograph.watch.life import Life
from barograph.watch.rhythm import FIRST_S, LEAST_S, UNNAMED, UNSURE_S, Rhythm
from barograph.watch.rules import silences
from barograph.watch.watcher import Watcher

T = 1_800_000_000.0
TRAIN = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="train")
VAL = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="val")


class Facts:
    """A run's facts, made one by one: what is told about their times, and what would be told now."""

    def __init__(self, *, rules=(), **announced):
        self.life = Life(Context(), silences=silences(rules))
        self.t, self.step, self.seq = T, 0, 0
        self.told = []
        self.event("on_start", pid=123, **announced)

    def event(self, moment, *, after_s=0.0, **payload):
        """An event, some seconds after the fact before it."""
        self.t += after_s
        self.seq += 1
        self.told += self.life.take(Event(moment=moment, seq=self.seq, t=self.t, payload=payload))

    def steps(self, count, *, each_s, header=TRAIN):
        """Records of training, one per step."""
        for _ in range(count):
            self.t += each_s
            self.step += header is TRAIN
            self.told += self.life.take((header, [(float(self.step), 1.0, self.t)]))

    def evaluation(self, seconds):
        """An evaluation that logs its loss."""
        self.steps(1, each_s=seconds, header=VAL)

    def waited(self, seconds):
        """What is told when nothing has come for so long; asked every tenth of it, as if live."""
        return [it for part in range(1, 11) for it in self.life.wait(self.t + seconds * part / 10)]


def words(told):
    """What is told, in short."""
    return [(it.stage, it.alert.type, it.alert.severity, it.t) for it in told]


@pytest.mark.parametrize(("step_s", "limit_s"), [(0.01, LEAST_S), (1.0, LEAST_S), (20.0, 60.0), (100.0, 300.0)])
def test_three_step_times_or_eight_seconds_are_a_stall(step_s, limit_s):
    """A silence is allowed to last three of the run's own step times, and never less than 8 s."""
    facts = Facts()
    facts.steps(40, each_s=step_s)
    assert facts.waited(limit_s) == []
    told = facts.waited(1.1 * limit_s)
    assert [(it.stage, it.alert.type, it.step) for it in told] == [("opened", "stall", 40.0)]
    assert told[0].t == pytest.approx(facts.t + limit_s)


@pytest.mark.spec("S2.42")
def test_a_stall_is_told_with_numbers_and_advice():
    """The text has the silence and the usual step time; the advice names the process and the checkpoint."""
    facts = Facts()
    facts.steps(40, each_s=30.0)
    facts.life._context.checkpoints = [(20.0, "last.pt")]
    (told,) = facts.waited(91.0)
    alert = told.alert
    assert alert.severity == "critical"
    assert alert.text == "nothing was recorded for 90 s after step 40; records came every 30 s"
    assert [(it.name, it.value) for it in alert.evidence] == [
        ("seconds without a fact", 90.0),
        ("seconds from record to record", 30.0),
    ]
    assert [it.text for it in alert.remedies] == [
        "see where it hangs: py-spy dump --pid 123",
        "if it does not come back: stop it and go on from last.pt (step 20)",
    ]


def test_a_stall_is_over_when_something_is_recorded_and_not_repeated():
    """It is told once however often one looks, its end once, and the next one anew."""
    facts = Facts()
    facts.steps(40, each_s=30.0)
    assert len(facts.waited(500.0)) == 1
    facts.steps(1, each_s=500.0)
    facts.steps(10, each_s=30.0)
    assert words(facts.told) == [("ended", "stall", "critical", facts.t - 300.0)]
    assert [it.stage for it in facts.waited(1600.0)] == ["opened"]


def test_the_first_steps_may_take_long():
    """Compiling, filling caches: ten minutes before the first steps have been timed."""
    facts = Facts()
    facts.steps(1, each_s=FIRST_S - 1)
    facts.steps(2, each_s=300.0)
    assert facts.told == []
    assert facts.waited(FIRST_S - 1) == []
    assert [it.alert.type for it in facts.waited(FIRST_S + 10)] == ["stall"]


@pytest.mark.parametrize("how", ["val rows", "on_validation_end", "on_checkpoint", "phase", "on_epoch_end"])
def test_a_pause_that_was_seen_before_is_none(how):
    """Each kind of pause has its own time: 20 s every 50 steps is no stall there, and one anywhere else."""
    facts = Facts()

    def pause(seconds):
        if how == "val rows":
            facts.evaluation(seconds)
        elif how == "phase":
            facts.event("on_phase_end", after_s=seconds, name="sampling", duration_s=seconds)
        else:
            facts.event(how, after_s=seconds, path="last.pt", step=facts.step, epoch=1)

    for _ in range(3):
        facts.steps(50, each_s=0.1)
        pause(20.0)
    facts.told.clear()
    facts.steps(50, each_s=0.1)
    assert facts.waited(55.0) == []
    pause(40.0)
    facts.steps(10, each_s=0.1)
    assert facts.told == []
    assert words(facts.waited(9.0)) == [("opened", "stall", "critical", pytest.approx(facts.t + LEAST_S))]


def test_a_pause_that_lasts_far_too_long_is_a_stall():
    """Three times what such a pause has taken."""
    facts = Facts()
    for _ in range(3):
        facts.steps(50, each_s=0.1)
        facts.evaluation(20.0)
    facts.told.clear()
    facts.steps(50, each_s=0.1)
    (told,) = facts.waited(65.0)
    assert told.t == pytest.approx(facts.t + 60.0)
    assert told.alert.text.endswith("and an evaluation took 20 s at most")


@pytest.mark.parametrize("announced", [{"eval_steps": 200}, {"total_steps": 2000, "total_epochs": 10}])
def test_the_first_announced_evaluation_may_take_long(announced):
    """Nobody has measured it, but it was announced for this step; elsewhere the same silence is told."""
    facts = Facts(**announced)
    facts.steps(200, each_s=0.1)
    assert facts.waited(300.0) == []
    facts.steps(20, each_s=0.1)
    assert [it.alert.type for it in facts.waited(9.0)] == ["stall"]


def test_a_first_pause_that_nobody_announced_is_told_as_what_it_may_be():
    """A warning at first, which names the pause as likeliest, critical after a minute; when it ends it is learned."""
    facts = Facts()
    facts.steps(100, each_s=0.1)
    first, second = facts.waited(90.0)
    assert words([first, second]) == [
        ("opened", "stall", "warning", pytest.approx(facts.t + LEAST_S)),
        ("worse", "stall", "critical", pytest.approx(facts.t + UNSURE_S)),
    ]
    assert first.alert.causes[0] == "an evaluation, checkpoint or other pause that nobody announced"
    assert (first.alert.id, first.alert.id) == (second.alert.incident, first.incident.id)
    assert first.alert.id != second.alert.id
    facts.evaluation(90.0)
    facts.steps(100, each_s=0.1)
    facts.told.clear()
    facts.evaluation(90.0)
    assert facts.told == []


def test_a_slow_record_is_a_pause_without_a_name():
    """A loop that says nothing about its evaluations: what comes every 100 steps is expected every 100 steps."""
    facts = Facts()
    for _ in range(4):
        facts.steps(99, each_s=0.1)
        facts.steps(1, each_s=30.0)
    facts.told.clear()
    assert list(facts.life.rhythm.pauses) == [UNNAMED]
    facts.steps(99, each_s=0.1)
    facts.steps(1, each_s=45.0)
    assert facts.told == []


def test_several_records_of_one_step_are_one_step():
    """Loss, learning rate and speed logged one after another: a step is what lies between steps."""
    rhythm = Rhythm()
    for step in range(20):
        for gap_s in (20.0, 0.001, 0.001):
            rhythm.record(gap_s, float(step))
    assert rhythm.step_s() == pytest.approx(20.002)
    assert rhythm.limit().silence_s == pytest.approx(60.006)
    assert rhythm.pauses == {}


def test_a_run_of_epochs_alone_has_the_rhythm_of_its_epochs():
    """Loops that record the ends of epochs and nothing else."""
    facts = Facts()
    for epoch in range(6):
        facts.event("on_epoch_end", after_s=100.0, epoch=epoch, train_loss=1.0)
    assert facts.told == []
    assert facts.waited(299.0) == []
    assert [it.alert.type for it in facts.waited(310.0)] == ["stall"]


@pytest.mark.parametrize("live", [True, False])
def test_a_gap_between_facts_was_the_same_stall(live):
    """Whoever reads the facts later finds what was told then: same id, same time, same words."""
    facts = Facts(rules=["no facts for 30 s"])
    facts.steps(40, each_s=0.5)
    told = facts.waited(100.0) if live else []
    facts.steps(1, each_s=100.0)
    told += facts.told
    assert words(told) == [
        ("opened", "stall", "warning", T + 28.0),
        ("opened", "rule: no facts for 30 s", "warning", T + 50.0),
        ("worse", "stall", "critical", T + 80.0),
        ("ended", "rule: no facts for 30 s", "warning", T + 120.0),
        ("ended", "stall", "warning", T + 120.0),
    ]
    assert [it.alert.id for it in told[:3]] == [
        "stall-r0-a0-s40-n41",
        "rule: no facts for 30 s-r0-a0-s40-n41",
        "stall-r0-a0-s40-n41-sure",
    ]


def test_silence_between_attempts_and_after_the_end_is_not_judged():
    """Nothing tells when the process ended, so that a night between two attempts is no stall."""
    facts = Facts()
    facts.steps(40, each_s=0.5)
    facts.event("on_resume", after_s=36000.0, attempt=1)
    facts.event("on_start", attempt=1)
    facts.steps(10, each_s=0.5)
    facts.event("on_train_end", status="finished")
    assert facts.told == []
    assert facts.waited(36000.0) == []


def test_other_processes_and_samples_of_the_machine_are_no_signs_of_life():
    """The machine is sampled when training hangs, and rank 1 goes on when rank 0 hangs."""
    facts = Facts()
    facts.steps(40, each_s=0.1)
    for seconds in range(20):
        for changes in ({"split": "host"}, {"rank": 1}):
            header = msgspec.structs.replace(TRAIN, **changes)
            assert facts.life.take((header, [(1.0, 1.0, facts.t + seconds)])) == []
    assert [it.alert.type for it in facts.waited(9.0)] == ["stall"]


def test_a_clock_that_is_set_back_is_no_stall():
    """An hour back, and on."""
    facts = Facts()
    facts.steps(40, each_s=0.1)
    facts.t -= 3600.0
    facts.steps(40, each_s=0.1)
    assert facts.told == []
    assert [it.alert.type for it in facts.waited(9.0)] == ["stall"]


DYING = """
import os, signal, sys, time, barograph

run = barograph.init(name="r", dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None)
for step in range(20):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
print("ready", flush=True)
sys.stdin.readline()
"""
SILENT_ENDS = {
    "os._exit(0)": Death(signal=0, exit_code=0, oom_kills=0),
    "os._exit(7)": Death(signal=0, exit_code=7, oom_kills=0),
    "os.kill(os.getpid(), signal.SIGKILL)": Death(signal=9, oom_kills=0),
    "os.kill(os.getpid(), signal.SIGSEGV)": Death(signal=11, oom_kills=0),
}


def held(start, tmp_path, last_line, *, prefix=()):
    """A process that has recorded and waits to be told to end, and the watch over its death."""
    child = start(DYING + last_line, tmp_path / "run", stdin=-1, prefix=prefix)
    assert child.stdout.readline() == "ready\n", child.stderr.read()
    return child, DeathWatch(read_process(RunDir(tmp_path / "run").process(0)))


@pytest.mark.parametrize("is_waited_for", [True, False])
@pytest.mark.parametrize(("last_line", "expected"), SILENT_ENDS.items())
def test_the_kernel_tells_how_a_process_died(start, tmp_path, last_line, expected, is_waited_for):
    """By itself or by a signal, whether or not its parent has waited for it."""
    child, watch = held(start, tmp_path, last_line)
    assert not watch.has_ended()
    assert watch.death() == Death()
    child.stdin.write("\n")
    child.stdin.flush()
    assert watch.wait(30.0)
    if is_waited_for:
        child.wait()
    if is_waited_for and tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 15):
        expected = msgspec.structs.replace(expected, signal=None, exit_code=None)
    found = watch.death()
    assert msgspec.structs.replace(found, oom_kills=0) == expected
    watch.close()


def test_a_process_that_cannot_be_held_on_to_is_unknown():
    """One that is gone, one that has the id of another, one of another machine."""
    mine = this_process(attempt=0)
    for changes in ({"pid": 2**22 - 1, "start_ticks": 1}, {"start_ticks": 1}, {"host": "elsewhere"}):
        watch = DeathWatch(msgspec.structs.replace(mine, **changes))
        assert not watch.is_held
        assert not watch.has_ended()
        assert watch.death() == Death()


@contextlib.contextmanager
def memory_group(name, limit_bytes):
    """A control group with a limit of memory; the file to write a process id to. Skips where none can be made."""
    version_1, version_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    groups = {controllers: group.lstrip("/") for _, controllers, group in (line.split(":", 2) for line in lines)}
    if "memory" in groups:
        group, limit = version_1 / groups["memory"] / name, "memory.limit_in_bytes"
    else:
        group, limit = version_2 / groups.get("", "") / name, "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (group / limit).write_text(str(limit_bytes), encoding="ascii")
            for file in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                if (group / file).exists():
                    (group / file).write_text("0" if "max" in file else str(limit_bytes), encoding="ascii")
        except OSError as error:
            pytest.skip(f"no limit of memory can be set here: {error}")
        yield group / "cgroup.procs"
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


HOARDING = """
hoard = []
while True:
    hoard.append(bytearray(1 << 22))
"""


@pytest.mark.root
def test_a_process_that_the_kernel_kills_for_memory_is_out_of_memory(start, tmp_path):
    """A real limit of a real control group: the kernel kills, and the alert says so and what to do."""
    with memory_group(f"barograph-test-{os.getpid()}", 256 << 20) as procs:
        child, watch = held(start, tmp_path, HOARDING, prefix=["sh", "-c", f'echo $$ > {procs}; exec "$@"', "sh"])
        child.stdin.write("\n")
        child.stdin.flush()
        assert watch.wait(60.0)
        assert child.wait() == -signal.SIGKILL
        death = watch.death()
        watch.close()
    assert death.is_out_of_memory()
    assert death.oom_kills == 1
    told = ending(
        read_status(tmp_path / "run"), Context(config={"batch_size": 64}, num_records=20, step=19), death=death
    )
    assert (told.alert.type, told.alert.severity) == ("out_of_memory", "fatal")
    assert told.alert.text == "the run ran out of memory after step 19: the kernel killed it"
    assert told.alert.remedies[0].change == {"batch_size": 32}


def told_end(start, tmp_path, last_line):
    """What is told at the end of a process that is watched while it ends like this."""
    child = start(DYING + last_line, tmp_path / "run", stdin=-1)
    assert child.stdout.readline() == "ready\n", child.stderr.read()
    directory = RunDir(tmp_path / "run")
    beside = Beside(directory, Watcher(directory, detectors=[]))
    child.stdin.write("\n")
    child.stdin.flush()
    told = []
    status = beside.run(told.extend)
    beside.close()
    assert child.wait(timeout=30) is not None
    return status, told


CHECKPOINT = """
path = os.path.join(sys.argv[1], "last.pt")
open(path, "w").write("weights")
run.checkpoint(path, step=10)
"""


ENDS = {
    "os.kill(os.getpid(), signal.SIGKILL)": ("killed", "fatal", "the run was killed by SIGKILL after step 19"),
    "os.kill(os.getpid(), signal.SIGTERM)": ("killed", "fatal", "the run was killed by SIGTERM after step 19"),
    "os.kill(os.getpid(), signal.SIGINT)": ("killed", "warning", "the run was interrupted by SIGINT after step 19"),
    "os.kill(os.getpid(), signal.SIGSEGV)": ("killed", "fatal", "the process crashed by SIGSEGV after step 19"),
    "os._exit(0)": ("lost", "fatal", "the process ended silently after step 19: exit code 0, and the run was not"),
    "raise ValueError('no such layer')": ("failed", "fatal", "the run failed after step 19: ValueError: no such"),
    "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(1 << 34)": (
        *("out_of_memory", "fatal"),
        "the run ran out of memory after step 19: MemoryError",
    ),
}


@pytest.mark.parametrize(("last_line", "expected"), ENDS.items())
def test_every_end_is_told_as_what_it_is(start, tmp_path, last_line, expected):
    """Real processes: killed, interrupted, crashed, ended silently, failed, out of memory."""
    _, (told,) = told_end(start, tmp_path, CHECKPOINT + last_line)
    kind, severity, text = expected
    assert (told.alert.type, told.alert.severity) == (kind, severity)
    assert told.alert.text.startswith(text)
    assert told.alert.remedies[-1].text == (
        'go on from last.pt (step 10) with barograph.init(..., resume="allow"); steps after 10 are to be done again'
    )


def test_a_run_that_finishes_has_nothing_to_tell(start, tmp_path):
    """Its end is no alert."""
    status, told = told_end(start, tmp_path, "run.finish()")
    assert (status.state, told) == ("finished", [])


def test_without_anybody_watching_nothing_is_guessed():
    """Gone without a record: killed or ended silently cannot be told apart, and both are named."""
    status = Status(state="killed", reason="the process is gone without an exit record", since_t=T)
    told = ending(status, Context())
    assert told.alert.type == "killed"
    assert told.alert.text == (
        "the process is gone before its first record: it said nothing; SIGKILL, out of memory, os._exit or power"
    )
    assert told.alert.remedies[0].text.startswith("begin again: there is no checkpoint")


@pytest.mark.parametrize(
    ("reason", "expected", "remedy"),
    [
        (
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "out_of_memory",
            "PYTORCH_CUDA_ALLOC_CONF",
        ),
        ("OSError: [Errno 12] Cannot allocate memory", "out_of_memory", "fewer loader workers"),
        ("RuntimeError: shape mismatch", "failed", "begin again"),
    ],
)
def test_what_a_failure_says_about_memory(reason, expected, remedy):
    """An exception about memory, of the machine or of a card, is out of memory."""
    told = ending(Status(state="failed", reason=reason, since_t=T), Context())
    assert told.alert.type == expected
    assert any(it.text.startswith(remedy) for it in told.alert.remedies)


def test_a_lost_run_is_told_as_lost():
    """A machine that is gone, as the status says it."""
    reason = "process 7 on elsewhere gave no heartbeat for 90 s"
    told = ending(Status(state="lost", reason=reason, since_t=T), Context(num_records=1, step=5))
    assert (told.alert.type, told.alert.severity) == ("lost", "critical")
    assert told.alert.text == f"the run was lost after step 5: {reason}"
    assert (told.alert.t, told.alert.id) == (T, "end-r0-a0")
