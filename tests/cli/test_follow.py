"""``barograph follow --watch``: a run watched from another process, which says what training cannot say itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cli.conftest import environment

from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader
from barograph.watch.actions.record import as_line
from barograph.watch.settings import Settings
from barograph.watch.watcher import open_watcher

FOLLOW = "import sys, barograph.cli as c; c.VERBS.setdefault('follow', ''); sys.exit(c.main(['follow', *sys.argv[1:]]))"
RECORDING = """
import os, signal, sys, time, barograph

run = barograph.init(name="live", dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None,
                     watch=False)

while not os.path.exists(os.path.join(sys.argv[1], "facts", "watch.lock")):
    time.sleep(0.02)  # until somebody watches

def steps(first, last):
    for step in range(first, last):
        time.sleep(0.02)
        run.log({"level": 30.0 if step == 40 else 1.0 + step % 7}, step=step)

steps(0, 60)
with open(os.path.join(sys.argv[1], "last.pt"), "w") as file:
    file.write("weights")
run.checkpoint(os.path.join(sys.argv[1], "last.pt"), step=59)
steps(60, 120)
"""
ENDS = {
    "a step that hangs": "time.sleep(11); steps(120, 130); run.finish()",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "out of memory": "raise MemoryError('no room for the batch')",
    "silently ended": "os._exit(0)",
    "long evaluations": """
for first in (120, 160, 200):
    with run.phase("eval"):
        time.sleep(3.2 if first < 200 else 9.0)
    steps(first, first + 40)
run.finish()
""",
}
WITHIN_S = 10.0
RULE_TOLD = [("opened", "rule: level > 20"), ("ended", "rule: level > 20")]


class Watched(NamedTuple):
    """A run that was watched to its end: lines of JSON with the time of their coming, and how the watch ended."""

    path: Path
    lines: list[tuple[float, dict]]
    code: int
    ended_t: float

    def told(self):
        """Stage and type of what was told."""
        return [(line["stage"], line["type"]) for _, line in self.lines]


def watching(*args, **options):
    """``barograph follow`` in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", FOLLOW, *map(str, args)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", **options}
    return subprocess.Popen(command, env=environment(), **options)


def watch_one(name, folder, results):
    """Train, watch, end as the name says."""
    script, path = folder / f"{name}.py", folder / name
    script.write_text(RECORDING + ENDS[name], encoding="utf-8")
    with (folder / f"{name}.txt").open("w", encoding="utf-8") as noise:
        child = subprocess.Popen([sys.executable, script, path], cwd=folder, env=environment(), stderr=noise)
    while not (path / "facts" / "process.json").exists():
        time.sleep(0.02)
    follow, lines, ended_t = watching(path, "--watch", "--json", "--rule", "level > 20"), [], []
    waiter = threading.Thread(target=lambda: (child.wait(), ended_t.append(time.time())))
    waiter.start()
    try:
        for line in follow.stdout:
            lines.append((time.time(), json.loads(line)))
            if name == "stopped" and lines[-1][1]["type"] == "stall":
                child.kill()
        code = follow.wait(timeout=30)
        error = follow.stderr.read()
    finally:
        follow.kill()
        follow.communicate()
        child.kill()
        waiter.join()
    assert not error
    results[name] = Watched(path, lines, code, ended_t[0])


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Six real runs, each with a watcher beside it, all at once, since most of their time is waiting."""
    folder, results = tmp_path_factory.mktemp("watched"), {}
    threads = [threading.Thread(target=watch_one, args=(name, folder, results)) for name in ENDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == set(ENDS)
    return results


def last_t(found, step):
    """When a step was recorded."""
    series = RunReader(found.path).series("level")
    return dict(zip(series.steps, series.t, strict=True))[step]


def test_a_step_that_hangs_is_told_while_it_hangs(watched):
    """Within 10 s of the last fact, with its cause and what to do; its end too; the run finishes: exit code 0."""
    found = watched["a step that hangs"]
    assert found.told() == [*RULE_TOLD, ("opened", "stall"), ("ended", "stall")]
    told_t, line = found.lines[2]
    assert 8.0 < told_t - last_t(found, 119) < WITHIN_S
    assert (line["step"], line["since_step"]) == (119, 119)
    assert line["causes"][0].endswith("lives, its heartbeat goes on: its main thread waits or computes")
    assert line["remedies"][-1]["text"] == "if it does not come back: stop it and go on from last.pt (step 59)"
    assert found.code == 0


def test_a_stopped_process_is_told_as_such(watched):
    """SIGSTOP: a stall whose cause and remedy are the signal; then it is killed, which is told too."""
    found = watched["stopped"]
    assert found.told() == [*RULE_TOLD, ("opened", "stall"), ("opened", "killed")]
    told_t, line = found.lines[2]
    assert told_t - last_t(found, 119) < WITHIN_S
    assert line["severity"] == "critical"
    assert re.fullmatch(r"process \d+ is stopped by a signal \(SIGSTOP, \^Z\)", line["causes"][0])
    assert re.fullmatch(r"continue it: kill -CONT \d+", line["remedies"][0]["text"])
    assert found.lines[3][0] - found.ended_t < WITHIN_S
    assert found.code == 1


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("killed", "killed", "the run was killed by SIGKILL after step 119: it could not say so, the kernel does"),
        ("out of memory", "out_of_memory", "the run ran out of memory after step 119: MemoryError: no room"),
        ("silently ended", "lost", "the process ended silently after step 119: exit code 0, and the run was not"),
    ],
)
def test_an_end_is_told_at_once_as_what_it_is(watched, name, kind, text):
    """A killed, an out-of-memory and a silently ended process, each by its name; exit code 1."""
    found = watched[name]
    assert found.told() == [*RULE_TOLD, ("opened", kind)]
    told_t, line = found.lines[2]
    assert told_t - found.ended_t < WITHIN_S
    assert line["severity"] == "fatal"
    assert line["text"].startswith(text)
    assert found.code == 1


def test_an_evaluation_is_no_stall(watched):
    """Evaluations of 3 s were seen, so that one of 9 s is no stall, though steps take 20 ms."""
    found = watched["long evaluations"]
    assert found.told() == RULE_TOLD
    assert found.code == 0


@pytest.mark.parametrize("name", ENDS)
def test_what_was_told_stands_in_the_run(watched, name):
    """The lines are those of ``alerts.jsonl``, each once."""
    found = watched[name]
    text = RunDir(found.path).alerts.read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == [line for _, line in found.lines]


@pytest.mark.parametrize("name", ["a step that hangs", "long evaluations", "killed"])
def test_a_replay_tells_the_same(watched, name):
    """Over the finished run the same alerts at the same times; only what was seen of the process is missing."""
    found = watched[name]
    replayed = map(as_line, open_watcher(RunDir(found.path), Settings(rules=("level > 20",))).finish())
    keys = ("id", "stage", "type", "severity", "text", "step", "since_step", "evidence", "incident")
    expected = [{key: line[key] for key in keys} for _, line in found.lines if line["type"] != "killed"]
    assert [{key: line[key] for key in keys} for line in replayed] == expected


@pytest.mark.parametrize("name", ["a step that hangs", "killed", "silently ended"])
def test_watching_again_tells_nothing_twice(watched, name):
    """A watcher that begins anew finds everything and tells what is new, which is nothing."""
    found = watched[name]
    before = RunDir(found.path).alerts.read_bytes()
    follow = watching(found.path, "--watch", "--json", "--rule", "level > 20")
    assert follow.communicate(timeout=60) == ("", "")
    assert follow.returncode == found.code
    assert before == RunDir(found.path).alerts.read_bytes()


@pytest.mark.spec("S2.21")
def test_what_a_person_sees(watched, tmp_path):
    """What is watched, the alert with its time, and how the run ended; no colours in a pipe."""
    path = shutil.copytree(watched["silently ended"].path, tmp_path / "live")  # another rule adds to its alerts
    follow = watching(path, "--watch", "--rule", "level > 25 for 1 records")
    text, error = follow.communicate(timeout=60)
    lines = text.splitlines()
    assert not error
    assert re.fullmatch(r"watching live \(killed\) with \d+ detectors? and 1 rule", lines[0])
    assert re.match(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  .* ALERT \[warning\] rule: level > 25 for 1 records at step 40", lines[1]
    )
    assert lines[2] == "   level is 30 at step 40 (rule: level > 25 for 1 records)"
    assert "\x1b" not in text
    assert lines[-2] == "1 message of before, in the run's facts/alerts.jsonl"
    assert lines[-1].startswith("killed: the process is gone without an exit record")


def test_without_watch_it_is_tail(cli_follow, watched):
    """The events as ``tail --follow`` shows them, until the run ends."""
    path = watched["killed"].path
    command = [sys.executable, "-m", "barograph.cli", "tail", "--follow", path, "-n", "3"]
    tail = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert cli_follow(path, "-n", "3") == (0, tail.stdout, "")
    assert "killed" in tail.stdout


@pytest.fixture
def cli_follow():
    """Follow to the end: exit code, output, errors."""

    def run(*args):
        follow = watching(*args)
        text, error = follow.communicate(timeout=60)
        return follow.returncode, text, error

    return run


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--rule", "loss > 3"], "--rule needs --watch; add it"),
        (["--watch", "-n", "3"], "argument -n: with --watch there are no events to show"),
        (["--watch", "--rule", "loss >"], "cannot read the rule, expected a number, a metric"),
        (["--watch", "--off", "nonsense"], "watch['off']: there is no 'nonsense'"),
        (["--watch", "--webhook", "nowhere"], "is no address"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_watched(cli_follow, watched, args, expected):
    """One line or a few on stderr and exit code 2; no traceback."""
    code, text, error = cli_follow(watched["killed"].path, *args)
    assert (code, text) == (2, "")
    assert expected in error
    assert "Traceback" not in error


def test_interrupting_the_watch_leaves_the_run_alone(start, tmp_path):
    """^C ends the watcher, with the code of an interruption; the run goes on and can be watched again."""
    child = start(RECORDING + "sys.stdin.readline()", tmp_path / "run", stdin=subprocess.PIPE)
    while not (tmp_path / "run" / "facts" / "process.json").exists():
        time.sleep(0.02)
    follow = watching(tmp_path / "run", "--watch")
    assert "watching live (running)" in follow.stdout.readline()
    os.kill(follow.pid, signal.SIGINT)
    follow.communicate(timeout=30)
    assert follow.returncode == 130
    again = watching(tmp_path / "run", "--watch")
    assert "watching live (running)" in again.stdout.readline()
    child.stdin.write("\n")
    child.stdin.flush()
    text, _ = again.communicate(timeout=60)
    assert text.splitlines()[-1] == "finished"
    assert again.returncode == 0
