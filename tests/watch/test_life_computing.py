"""A run that is silent and computes is slow; one that is silent and waits is stalled: told apart by what it uses."""

from __future__ import annotations

import os
import signal
import time

import msgspec
import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.facts.rundir import RunDir
from barograph.watch.beside import Beside
from barograph.watch.context import Context
from barograph.watch.effort import EVERY_S, SPAN_S, Effort
from barograph.watch.life import COMPUTING_TIMES, Life
from barograph.watch.rhythm import FIRST_S, LEAST_S
from barograph.watch.watcher import Watcher

T = 1_800_000_000.0
TRAIN = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="train")
VAL = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="val")
HOST = StreamHeader(run_id="r", columns=["step", "rss_gb", "cpu_percent", "t"], split="host")


class Facts:
    """The times of a run's facts, made one by one."""

    def __init__(self, *, steps, each_s):
        self.life, self.t, self.told = Life(Context()), T, []
        self.life.take(Event(moment="on_start", seq=0, t=T))
        self.step = 0
        self.steps(steps, each_s=each_s)

    def steps(self, count, *, each_s, header=TRAIN):
        """Records."""
        for _ in range(count):
            self.t += each_s
            self.step += header is TRAIN
            self.told += self.life.take((header, [(float(self.step), 1.0, self.t)]))

    def sample(self, percent, *, after_s):
        """A sample of the machine, so long after the newest fact."""
        self.told += self.life.take((HOST, [(after_s, 1.0, percent, self.t + after_s)]))

    def looked(self, after_s, *, is_computing=None):
        """What is told by one who looks so long after the newest fact."""
        self.told += self.life.wait(self.t + after_s, is_computing=is_computing)

    def words(self):
        """What was told, in short."""
        return [(it.stage, it.alert.type, it.alert.severity) for it in self.told]


@pytest.mark.parametrize("step_s", [0.1, 1.0, 60.0])
def test_a_first_pause_of_twenty_steps_in_which_it_computes_is_no_stall(step_s):
    """Nobody announced it and nobody logs it: neither while it lasts nor when it is over is it told."""
    facts = Facts(steps=40, each_s=step_s)
    for part in range(1, 20 * 20):
        facts.looked(step_s * part / 20, is_computing=True)
    facts.steps(40, each_s=step_s)
    assert facts.told == []


@pytest.mark.parametrize(("step_s", "limit_s"), [(1.0, FIRST_S), (60.0, 60.0 * COMPUTING_TIMES)])
def test_what_computes_for_ever_is_told_in_the_end(step_s, limit_s):
    """Ten minutes, or thirty steps: an endless loop is a stall, too."""
    facts = Facts(steps=40, each_s=step_s)
    facts.looked(limit_s - 1.0, is_computing=True)
    assert facts.told == []
    facts.looked(limit_s + 1.0, is_computing=True)
    assert facts.words() == [("opened", "stall", "critical")]


def test_what_computed_and_then_waits_is_told():
    """As soon as it is seen to wait, dated by the facts: the usual silence after the newest of them."""
    facts = Facts(steps=40, each_s=1.0)
    facts.looked(30.0, is_computing=True)
    facts.looked(31.0, is_computing=False)
    assert facts.words() == [("opened", "stall", "warning")]
    assert facts.told[0].t == pytest.approx(facts.t + LEAST_S)


def test_a_stall_does_not_become_worse_while_it_computes():
    """It waited for its data, was told, and computes now."""
    facts = Facts(steps=40, each_s=1.0)
    facts.looked(10.0, is_computing=False)
    facts.looked(90.0, is_computing=True)
    assert facts.words() == [("opened", "stall", "warning")]
    facts.looked(95.0, is_computing=False)
    assert facts.words()[1:] == [("worse", "stall", "critical")]


def test_what_was_seen_counts_for_one_silence():
    """The next one is judged anew."""
    facts = Facts(steps=40, each_s=1.0)
    facts.looked(5.0, is_computing=True)
    facts.steps(1, each_s=6.0)
    facts.looked(40.0)
    assert [it.stage for it in facts.told] == ["opened"]


@pytest.mark.parametrize(("percent", "stages"), [(95.0, []), (2.0, ["opened", "ended"])])
def test_samples_of_the_machine_tell_a_replay(percent, stages):
    """They are facts: whoever reads them later knows that the process computed, or that it did not."""
    facts = Facts(steps=40, each_s=1.0)
    facts.sample(90.0, after_s=2.0)
    facts.sample(percent, after_s=12.0)
    facts.sample(percent, after_s=22.0)
    facts.steps(1, each_s=25.0)
    assert [it.stage for it in facts.told] == stages


def test_a_sample_of_the_time_before_the_silence_says_nothing_about_it():
    """One of ten seconds of which nine were training."""
    facts = Facts(steps=40, each_s=1.0)
    facts.life._sampled_t = facts.t - 9.0
    facts.sample(95.0, after_s=1.0)
    facts.looked(20.0)
    assert [it.stage for it in facts.told] == ["opened"]


@pytest.mark.parametrize("how", ["val rows", "on_validation_end", "on_checkpoint", "on_phase_end"])
def test_the_first_pause_of_a_kind_is_explained_by_what_ends_it(how):
    """Afterwards it is seen that it was an evaluation, also where nobody saw the process; the next one is measured."""
    facts = Facts(steps=40, each_s=0.5)
    for seconds in (20.0, 20.0, 300.0):
        assert facts.told == []
        if how == "val rows":
            facts.steps(1, each_s=seconds, header=VAL)
        else:
            facts.t += seconds
            facts.told += facts.life.take(Event(moment=how, seq=1, t=facts.t, payload={"name": "evaluation"}))
        facts.steps(40, each_s=0.5)
    assert {it.alert.type for it in facts.told} == {"stall"}


BUSY = "while True: sum(range(1000))"
PARENT = f"""
import signal, subprocess, sys

child = subprocess.Popen([sys.executable, "-c", {BUSY!r}])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(child.kill()))
child.wait()
"""


def test_processes_that_compute_and_such_that_wait(start):
    """Real ones, by the time that the kernel counts; the work of its children is its own; of the dead none is known."""
    scripts = {"computes": BUSY, "waits": "import time; time.sleep(600)", "its child computes": PARENT}
    children = {name: start(script) for name, script in {**scripts, "is stopped": BUSY, "is gone": "pass"}.items()}
    try:
        children["is gone"].wait(timeout=60)
        time.sleep(1.0)  # until each does what it is to do
        children["is stopped"].send_signal(signal.SIGSTOP)
        efforts = {name: Effort(child.pid) for name, child in children.items()}
        assert {name: effort.is_computing() for name, effort in efforts.items()} == dict.fromkeys(children)
        for _ in range(round(SPAN_S / EVERY_S) + 1):
            time.sleep(EVERY_S)
            found = {name: effort.is_computing() for name, effort in efforts.items()}
    finally:
        children["its child computes"].terminate()
        children["its child computes"].wait(timeout=20)
    assert found == {
        "computes": True,
        "waits": False,
        "its child computes": True,
        "is stopped": False,
        "is gone": None,
    }


def test_nothing_is_known_before_there_was_time_to_look():
    """Nor after nobody has looked for long: what was before says nothing about now."""
    now_s = [0.0]
    effort = Effort(os.getpid(), monotonic=lambda: now_s[0])
    found = []
    for now_s[0] in (0.0, 1.0, 2.0, 20.0, 21.0, 22.0):
        sum(range(100_000))
        found.append(effort.is_computing())
    assert [it is None for it in found] == [True, True, False, True, True, False]


RECORDING = """
import sys, time, barograph

run = barograph.init(name="r", dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None)
for step in range(60):
    run.log({"loss": 1.0}, step=step)
    time.sleep(0.02)
print("silent", flush=True)
until = time.monotonic() + 11.0
while time.monotonic() < until:
    sum(range(1000)) if sys.argv[2] == "computes" else time.sleep(0.1)
for step in range(60, 80):
    run.log({"loss": 1.0}, step=step)
run.finish()
"""


@pytest.mark.slow
@pytest.mark.spec("S2.42")
def test_a_process_that_computes_is_slow_and_one_that_sleeps_is_stalled(start, tmp_path):
    """The same silence of eleven seconds, watched from within and from beside, of two real processes."""
    children = {how: start(RECORDING, tmp_path / how, how) for how in ("computes", "sleeps")}
    told = {how: [] for how in children}
    watches = {}
    for how, child in children.items():
        assert child.stdout.readline() == "silent\n", child.stderr.read()
        directory = RunDir(tmp_path / how)
        watches[how] = Beside(directory, Watcher(directory, detectors=[]))
    limit_s = time.monotonic() + 60.0
    while any(child.poll() is None for child in children.values()) and time.monotonic() < limit_s:
        for how, beside in watches.items():
            told[how] += beside._watcher.poll(now_t=time.time() - 0.5, effort=beside._effort)
        time.sleep(0.2)
    for how, beside in watches.items():
        told[how] += beside.finish()
        beside.close()
    assert [(it.stage, it.alert.type) for it in told["sleeps"]] == [("opened", "stall"), ("ended", "stall")]
    assert told["computes"] == []
    assert not RunDir(tmp_path / "computes").alerts.exists()
    lines = RunDir(tmp_path / "sleeps").alerts.read_text(encoding="utf-8").splitlines()
    assert [(it["stage"], it["type"]) for it in map(msgspec.json.decode, lines)] == [
        ("opened", "stall"),
        ("ended", "stall"),
    ]
