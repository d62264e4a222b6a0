"""The two tiers as a person sees them: in a real terminal, in a pipe, and where symbols cannot be shown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest

from barograph.view.terminal.blocks import example_block
from barograph.view.terminal.lines import read_payload

# A loop of 400 steps on the default schedule, recorded on disk and followed there: what is shown is decided by the
# cadence, what it costs by sleeping.
SCRIPT = r"""
import sys, tempfile, time
from pathlib import Path
from barograph.facts.events import EventLog
from barograph.facts.metrics import MetricsLog
from barograph.facts.rundir import RunDir
from barograph.read.follow import Follower
from barograph.record.cadence import Cadence
from barograph.view.terminal.view import TerminalView

step_s, evaluation_s = float(sys.argv[1]), float(sys.argv[2])
directory = RunDir(Path(tempfile.mkdtemp(dir=Path(__file__).parent)))
directory.ensure_facts()
events, metrics = EventLog(directory.events()), MetricsLog(directory, run_id="r1")
follower, view, cadence = Follower(directory), TerminalView(sys.stdout, interval_s=0.2), Cadence()
if view.mode == "rich":
    sys.stdout = view.above
plan = {"total_steps": 400, "log_steps": 10, "eval_steps": 200}
events.append("on_start", {"run_id": "r1", "name": "digits", **plan})
for step in range(1, 401):
    time.sleep(step_s)
    metrics.append({"loss": 1.0 / step}, step=step, split="train", t=time.time())
    tier = cadence.kind(step)
    if tier is not None:
        started_t, seen = time.time(), {}
        if tier == "full":
            time.sleep(evaluation_s)
            seen = {"output": "Paris it is", "output_tokens": 3, "matched": False, "val_loss": 0.25}
            seen["train_loss_window_mean"] = 0.2
        phase = {"name": tier, "path": tier, "started_t": started_t, "step": step}
        events.append("on_phase_end", {**phase, "duration_s": time.time() - started_t})
        text = {"prompt": "What is the capital of France?", "golden": "The capital of France is Paris"}
        events.append(
            "on_example", {"tier": tier, "step": step, **text, "golden_tokens": 15, "example_loss": 0.3245, **seen}
        )
    view.feed(follower.poll())
    if step == 250:
        print("printed by the training script")
        print("Overwrite? [y/n] ", end="", flush=True)
    if step == 350:
        print("y")
events.append("on_check", {"name": "steps", "passed": True, "expected": 400, "got": step})
costs = {"num_fast": 38, "num_full": 2, "fast_median_s": 0.5, "full_median_s": 5.0}
events.append("on_train_end", {"status": "finished", "total_time_s": 2.0, "cadence": costs})
view.feed(follower.drain())
view.close()
print("end of the script")
"""


# The same through the public names, with the numbers of the documented blocks.
RECORDED = r"""
import sys, time
import barograph

texts = {"prompt": "What is the capital of France?", "golden": "The capital of France is Paris", "golden_tokens": 15}
output = "The capital of France is Paris, which is also the largest city"
with barograph.init(project="view", name="paris", dir=sys.argv[1], total_steps=200) as run:
    for step in range(1, 201):
        time.sleep(0.01)
        run.log({"loss": 0.2134}, step=step)
        with run.tier(step) as tier:
            if tier == "fast":
                run.example(step=step, **texts, loss=0.3245)
            elif tier == "full":
                run.example(step=step, **texts, output=output, output_tokens=18, loss=0.2134, val_loss=0.2456)
        if step == 105:
            print("printed by the training script")
            run.alert("look at this", "it is an alert", level="warning")
            run.check("steps", expected=105, got=step)
print("after the run")
"""


@pytest.fixture
def script(tmp_path):
    """The command line of the loop above, without its two arguments."""
    path = tmp_path / "loop.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return [sys.executable, str(path)]


@pytest.fixture
def recorded(tmp_path):
    """The command line of the loop that records through the public names."""
    path = tmp_path / "recorded.py"
    path.write_text(RECORDED, encoding="utf-8")
    return [sys.executable, str(path), str(tmp_path / "run")]


def run_in_pipe(script, **environ):
    """The loop's whole output through a pipe."""
    done = subprocess.run(
        [*script, "0.001", "0.01"], stdout=subprocess.PIPE, check=True, timeout=60, env={**os.environ, **environ}
    )
    return done.stdout


class Terminal:
    """A real terminal: a tmux server of its own with one window."""

    def __init__(self, *, columns=100, lines=200):
        self._socket = f"barograph-{uuid.uuid4().hex}"
        self._size = ("-x", str(columns), "-y", str(lines))

    def tmux(self, *arguments):
        """Run a tmux command against this server."""
        command = ["tmux", "-u", "-f", "/dev/null", "-L", self._socket, *arguments]
        return subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=20).stdout

    def start(self, command, **environ):
        """Start a command; its window stays when it ends."""
        settings = [f"{name}={value}" for name, value in {"LC_ALL": "C.UTF-8", **environ}.items()]
        self.tmux("new-session", "-d", *self._size, "sh")
        self.tmux("set-option", "-g", "history-limit", "10000")
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.tmux("respawn-window", "-k", "env", *settings, *command)

    def screen(self, *, history=False):
        """What is to be seen now, or since the start."""
        return self.tmux("capture-pane", "-p", *(("-S", "-") if history else ()))

    def wait_for(self, *texts, timeout_s=30.0):
        """The screen as soon as every text is on it."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            time.sleep(0.02)
        raise AssertionError(f"{texts} never came; the terminal shows:\n{self.screen(history=True)}")

    def stop(self):
        """End the server."""
        self.tmux("kill-server")


@pytest.fixture
def terminal():
    """A real terminal of 100 columns."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    terminal = Terminal()
    yield terminal
    terminal.stop()


@pytest.mark.spec("S1.2", "S1.7", "S1.41", "S1.42")
def test_the_markers_find_a_fast_log_every_10_steps_and_an_evaluation_every_200(script, tmp_path):
    """In 400 steps grep counts 38 fast logs and 2 full evaluations, and each names its step."""
    path = tmp_path / "terminal.txt"
    path.write_bytes(run_in_pipe(script, PYTHONIOENCODING="utf-8"))
    count = "grep -c 'FAST LOG - Step' terminal.txt; grep -c 'FULL EVAL - Step' terminal.txt"
    counted = subprocess.run(["sh", "-c", count], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert counted.split() == ["38", "2"]
    titles = [line for line in path.read_text(encoding="utf-8").splitlines() if " - Step " in line]
    assert list(range(10, 401, 10)) == [int(line.split()[-1]) for line in titles]
    assert [line.split()[-1] for line in titles if "FULL EVAL" in line] == ["200", "400"]


@pytest.mark.spec("S1.6", "S1.14")
def test_validation_loss_is_shown_at_full_evaluations_only(script):
    """Two of forty blocks have it; the others say that generation was skipped; the cost of both ends the run."""
    text = run_in_pipe(script, PYTHONIOENCODING="utf-8").decode("utf-8")
    assert text.count("Loss Comparison: Train=0.2000 | Val=0.2500 | Gap=+0.0500") == 2
    assert text.count("MODEL: [Skipped - fast log only]") == 38
    assert "38 fast logs of 500 ms (median), 2 full evaluations of 5 s (median)" in text


def test_a_pipe_gets_blocks_and_progress_without_control_codes(script, make):
    """Whole lines only; the blocks are those of a terminal; progress comes now and then."""
    output = run_in_pipe(script, PYTHONIOENCODING="utf-8")
    assert b"\x1b" not in output
    assert b"\r" not in output
    text = output.decode("utf-8")
    assert example_block(read_payload(make.fast(step=10))) in text
    progress = [line for line in text.splitlines() if line.startswith("[")]
    assert progress[-1] == "[##########] 100% step 400/400 loss 0.0025"
    assert 2 <= len(progress) <= 30
    assert text.endswith("end of the script\n")


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_an_encoding_without_symbols_gets_their_ascii_form(script, environ):
    """Every word and marker is there, in plain characters."""
    text = run_in_pipe(script, **environ).decode("ascii")
    assert "\nFAST LOG - Step 10\n" in text
    assert "\nFULL EVAL - Step 200\n" in text
    assert "\n[X] NO MATCH\n" in text
    assert "Gap=+0.0500 [OK]\n" in text
    assert "\n[OK] check steps passed: expected 400, got 400\n" in text


@pytest.mark.spec("S1.21", "S1.22", "S1.41", "S2.22", "S3.14")
def test_a_real_terminal_shows_blocks_above_a_bar_with_a_range(terminal, script, make):
    """The bar is below, moves, knows the next evaluation, and gives the time left as a range after the first."""
    terminal.start([*script, "0.01", "0.5"])
    early = terminal.wait_for("step ", "/400", "eta over", "next full at 200", "FAST LOG - Step 40")
    assert early.rstrip().splitlines()[-2].startswith("digits  ")
    # What is shown as documented: the block of step 40, which the bar below has not touched.
    assert example_block(read_payload(make.fast(step=40))) in _trimmed(early)
    late = terminal.wait_for("FAST LOG - Step 240", "Overwrite? [y/n]", "last fast at")
    rows = late.rstrip().splitlines()
    assert "printed by the training script" in late
    assert rows[-3].rstrip() == "Overwrite? [y/n]"
    assert rows[-2].startswith("digits  ")
    assert "/400  eta " in rows[-2]
    assert "over" not in rows[-2]
    assert "next full at 400" in rows[-1]
    terminal.wait_for("end of the script")
    history = _trimmed(terminal.screen(history=True))
    assert history.count("FAST LOG - Step") == 38
    assert history.count("FULL EVAL - Step") == 2
    assert history.count("printed by the training script") == 1
    assert "Overwrite? [y/n] y\n" in history
    assert "\ndigits  " not in history
    assert "\n[##########] 100% step 400/400 loss 0.0025\nfinished after 2 s\n" in history


@pytest.mark.spec("S1.2", "S1.7", "S1.21", "S1.22", "S1.25", "S1.29", "S2.21", "S2.38", "S3.14")
def test_a_recorded_run_shows_the_documented_blocks_in_a_real_terminal(terminal, recorded, documented):
    """From the recorder through the files to the terminal: word for word, with prints and alerts in between."""
    terminal.start(recorded)
    early = terminal.wait_for("paris  ", "step ", "/200", "FAST LOG - Step 30")
    assert documented["fast"] in _trimmed(early)
    terminal.wait_for("after the run")
    history = _trimmed(terminal.screen(history=True))
    assert documented["full"] in history
    assert history.count("FAST LOG - Step") == 19
    assert history.count("printed by the training script\n") == 1
    assert "\n\N{WARNING SIGN}\ufe0f ALERT [warning] look at this: it is an alert\n" in history.replace(
        "\u26a0 ", "\u26a0\ufe0f "
    )
    assert "\n\N{WHITE HEAVY CHECK MARK} check steps passed: expected 105, got 105\n" in history
    assert "\nfinished after " in history
    assert "\nparis  " not in history


@pytest.mark.spec("S1.21", "S1.42", "S2.21", "S2.38")
def test_a_recorded_run_shows_the_documented_blocks_in_a_pipe(recorded, documented):
    """The same words, and not one control code."""
    done = subprocess.run(
        recorded, stdout=subprocess.PIPE, check=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "utf-8"}
    )
    assert b"\x1b" not in done.stdout
    text = done.stdout.decode("utf-8")
    assert documented["fast"] + "\n" in text
    assert documented["full"] + "\n" in text
    assert text.count("FAST LOG - Step") == 19
    assert "ALERT [warning] look at this: it is an alert\n" in text
    assert "check steps passed: expected 105, got 105\n" in text
    assert "[##########] 100% step 200/200 loss 0.2134\nfinished after " in text


def test_a_real_terminal_without_unicode_gets_the_ascii_form(terminal, script):
    """The bar and the blocks are plain characters."""
    terminal.start([*script, "0.003", "0.1"], PYTHONIOENCODING="ascii")
    assert terminal.wait_for("digits  -", "step ", "/400").isascii()
    terminal.wait_for("end of the script")
    history = terminal.screen(history=True)
    assert "\n[OK] check steps passed: expected 400, got 400\n" in history
    assert history.isascii()


def test_a_dumb_terminal_gets_plain_lines(terminal, script):
    """Where the cursor cannot move there is no bar, and no symbol either."""
    terminal.start([*script, "0.001", "0.01"], TERM="dumb")
    terminal.wait_for("end of the script")
    history = terminal.screen(history=True)
    assert "\nFAST LOG - Step 10\n" in history
    assert "\n[##########] 100% step 400/400 loss 0.0025\n" in history
    assert "digits  " not in history


def test_a_narrow_terminal_keeps_the_bar_on_its_lines(script):
    """At 40 columns the bar is cut, not wrapped, and leaves nothing behind."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    narrow = Terminal(columns=40)
    try:
        narrow.start([*script, "0.003", "0.1"])
        narrow.wait_for("end of the script")
        assert "\ndigits " not in narrow.screen(history=True)
    finally:
        narrow.stop()


def _trimmed(screen):
    """The screen without the spaces that a terminal pads its lines with."""
    return "\n".join(line.rstrip() for line in screen.splitlines()) + "\n"
