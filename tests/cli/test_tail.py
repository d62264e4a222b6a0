"""``barograph tail``: the run's own blocks, from another process."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from barograph.cli.tail import follow, show_backlog
from barograph.facts.kinds import Event
from barograph.facts.metrics import MetricsLog
from barograph.facts.writers import append_jsonl_event
from barograph.read.follow import Follower
from barograph.read.status import Status

FULL_BLOCK = """\
================================================================================
\U0001f50d FULL EVAL - Step 20
================================================================================
\U0001f4dd PROMPT:
What is the capital of France?...

\u2705 GOLDEN (1 tokens):
Paris...

\U0001f916 MODEL:
It is Paris...

\u2705 MATCH
\U0001f4c9 LOSS ON THIS EXAMPLE: 0.5000
\U0001f4ca Loss Comparison: Train=0.1736 | Val=0.2500 | Gap=+0.0764 \u26a0\ufe0f
================================================================================
"""
LIVE = """
import sys, time, barograph
run = barograph.init(name="live", dir=sys.argv[1], terminal="off", host_s=None, total_steps=1000)
for step in range(5):
    run.log({"loss": 0.5}, step=step)
run.check("before", passed=True)
print("ready", flush=True)
sys.stdin.readline()
run.check("while", passed=True)
print("said", flush=True)
sys.stdin.readline()
"""


def test_the_blocks_are_those_of_the_runs_own_terminal(cli, root, ids):
    """The documented block, word for word, read back from facts."""
    text = cli("--root", root, "tail", ids["mlp"], "-n", "100").stdout
    assert FULL_BLOCK in text
    assert text.count("FAST LOG") == 2
    assert text.startswith("run mlp started: 40 steps, fast log every 10 steps, full evaluation every 20\n")


def test_only_the_latest_events(cli, root, ids):
    """Older ones are not shown, but they count: the progress line knows all steps and epochs."""
    text = cli("--root", root, "tail", ids["mlp"], "-n", "2").stdout
    assert text.splitlines()[:2] == [
        "\u2705 check shapes passed: expected [8, 8], got [8, 8]",
        "[#########-] 97% step 39/40 epochs 1 loss 0.025  val/loss 0.75  lr 0.1  val/accuracy 0.5",
    ]
    assert text.splitlines()[2].startswith("finished after ")
    assert "LOG" not in text


def test_how_a_killed_run_ended_is_said_last(cli, root, ids):
    """There is no event of it; where it stood is shown, and the status."""
    lines = cli("--root", root, "tail", ids["killed"]).stdout.splitlines()
    assert re.fullmatch(r"step 99 loss 1", lines[-2])
    assert lines[-1] == "killed: the process is gone without an exit record: SIGKILL, out of memory or power"


def test_json_lines_are_those_of_the_file(cli, root, ids):
    """The last two events as they stand in ``events.jsonl``."""
    (run,) = root.glob("*mlp*")
    text = cli("--root", root, "tail", ids["mlp"], "-n", "2", "--json").stdout
    recorded = (run / "facts" / "events.jsonl").read_text(encoding="utf-8").splitlines()[-2:]
    assert [json.loads(line) for line in text.splitlines()] == [json.loads(line) for line in recorded]
    assert cli("--root", root, "tail", ids["mlp"], "-n", "0", "--json").stdout == ""


@contextmanager
def following(run, *args, **options):
    """``barograph tail --follow`` in a process of its own, which is gone when the block ends."""
    command = [sys.executable, "-m", "barograph.cli", "tail", "--follow", *args, run]
    tail = subprocess.Popen(command, **{"stdout": subprocess.PIPE, "text": True, "encoding": "utf-8", **options})
    try:
        yield tail
    finally:
        tail.kill()
        tail.communicate()


@pytest.fixture
def live(start, tmp_path):
    """A run that waits to be told to go on; ``go_on(n)`` lets it pass its next n stops."""
    child = start(LIVE, tmp_path / "run", stdin=subprocess.PIPE)
    assert child.stdout.readline() == "ready\n"

    def go_on(stops):
        child.stdin.write("\n" * stops)
        child.stdin.flush()

    child.go_on = go_on
    return child


def test_following_shows_what_comes_and_ends_with_the_run(live, tmp_path):
    """What was there, what is recorded while it looks, and the end; then it returns by itself."""
    with following(tmp_path / "run") as tail:
        assert "started" in tail.stdout.readline()
        while "before" not in tail.stdout.readline():
            pass
        live.go_on(1)
        assert "while passed" in tail.stdout.readline()
        live.go_on(1)
        rest = tail.stdout.read()
        assert tail.wait(timeout=30) == 0
    assert "step 4/1000" in rest
    assert "finished after" in rest


def test_following_a_run_that_is_killed(live, tmp_path):
    """It says so, instead of waiting for ever."""
    with following(tmp_path / "run") as tail:
        assert "started" in tail.stdout.readline()
        live.kill()
        live.wait()
        assert tail.stdout.read().splitlines()[-1].startswith("killed: the process is gone")
        assert tail.wait(timeout=30) == 0


def test_interrupting_leaves_the_run_alone(live, tmp_path):
    """^C ends the looking, with its own exit code and no traceback."""
    with following(tmp_path / "run", stderr=subprocess.PIPE) as tail:
        while "before" not in tail.stdout.readline():
            pass
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(timeout=30), tail.stderr.read()) == (130, "")
    assert live.poll() is None


def test_a_terminal_gets_a_bar_that_is_taken_away(live, tmp_path):
    """What is older than the tail counts in it, and nothing above it is overwritten."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color"}
    with following(tmp_path / "run", "-n", "1", stdin=theirs, stdout=theirs, stderr=theirs, env=env) as tail:
        os.close(theirs)
        shown = read_until(ours, "step 4/1000")
        assert "check before passed" in shown
        assert "started" not in shown
        assert "\x1b[1A" not in shown.split("step 4/1000")[0], "it moved up before anything was drawn"
        live.go_on(2)
        rest = read_until(ours, "finished after")
        assert tail.wait(timeout=30) == 0
    os.close(ours)
    assert "while passed" in rest


def read_until(terminal, text, timeout_s=30.0):
    """What a pseudo terminal shows until a text comes."""
    shown = b""
    while text.encode() not in shown:
        ready, _, _ = select.select([terminal], [], [], timeout_s)
        assert ready, shown
        shown += os.read(terminal, 1 << 16)
    return shown.decode("utf-8")


class Remembering:
    """Keeps what it is shown and what only counts."""

    def __init__(self):
        self.shown, self.counted = [], []

    def feed(self, facts):
        """Shown."""
        self.shown += facts

    def remember(self, facts):
        """Not shown."""
        self.counted += facts

    def shows(self, event):
        """Checks can be seen, phases cannot."""
        return event.moment == "on_check"

    def close(self):
        """Nothing to do."""


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_every_fact_is_shown_or_counted_once(run_dir, count):
    """The last ones are shown, in order; phases that went well are no events to look at."""
    log = MetricsLog(run_dir, run_id="r")
    for step in range(10):
        log.append({"loss": 1.0}, step=step, split="train", t=1.0)
        append_jsonl_event(run_dir.path, {"moment": "on_phase_end", "name": "p", "duration_s": 1.0})
        append_jsonl_event(run_dir.path, {"moment": "on_check", "name": f"c{step}", "passed": True})
    log.close()
    screen = Remembering()
    show_backlog(Follower(run_dir), screen, count=count)
    shown = [event for event in screen.shown if event.moment == "on_check"]
    assert [event.payload["name"] for event in shown] == [f"c{step}" for step in range(10)][10 - min(count, 10) :]
    seqs = [fact.seq for fact in [*screen.counted, *screen.shown] if isinstance(fact, Event)]
    assert sorted(seqs) == list(range(20))
    assert sum(len(fact.rows) for fact in screen.counted if not isinstance(fact, Event)) == 10


def test_following_ends_after_the_last_fact(run_dir):
    """A run that ended while nobody looked: what it recorded at its end is shown before the following ends."""
    states = iter(["running", "stalled", "finished"])
    screen = Remembering()
    ticks = iter(range(1000))

    def status():
        append_jsonl_event(run_dir.path, {"moment": "on_check", "name": "c", "passed": True})
        return Status(state=next(states))

    worker = threading.Thread(
        target=follow,
        args=(Follower(run_dir), screen),
        kwargs={"status": status, "sleep": lambda _s: None, "clock": lambda: float(next(ticks))},
    )
    worker.start()
    worker.join(timeout=30)
    assert not worker.is_alive()
    assert len(screen.shown) == 3
