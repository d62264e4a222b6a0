"""How processes end without a signal: each ending happens for real, in a process of its own."""

from __future__ import annotations

import pytest
from tests.recorded import Recorded

OPEN = """
import os, signal, sys, threading, time
import barograph

def begin(dir="run", **options):
    return barograph.init(dir=dir, terminal="off", console=False, text_log=None, host_s=None, **options)

"""


@pytest.mark.spec("S4.10")
@pytest.mark.parametrize("block", ["with run:", "if run:"])
def test_exception_is_recorded_whole_and_still_raised(record, tmp_path, block):
    """A crash leaves the full stack trace with its causes and the last facts, and the script fails as ever."""
    script = (
        OPEN
        + f"""
def lowest():
    raise ValueError("no batch 17")

def training_step():
    try:
        lowest()
    except ValueError as error:
        raise RuntimeError("training broke") from error

run = begin()
{block}
    run.log({{"loss": 0.25}}, step=3)
    run.remember(step=3, activations=[1.0, 2.0])
    training_step()
"""
    )
    _, stderr = record(script, exit_code=1)
    run = Recorded(tmp_path / "run")
    crash = run.only("on_exception")
    assert (crash["type"], crash["message"]) == ("RuntimeError", "training broke")
    for part in (
        "in lowest",
        "in training_step",
        "ValueError: no batch 17",
        "direct cause",
        "RuntimeError: training broke",
    ):
        assert part in crash["traceback"]
        assert part in stderr
    assert [row["loss"] for row in crash["last_facts"]["rows"].values()] == [0.25]
    assert (tmp_path / "run" / crash["flight"]).is_file()
    assert (run.exit.status, run.exit.reason) == ("failed", "RuntimeError: training broke")
    assert run.moments == ["on_start", "on_exception", "on_train_end"]


def test_exception_in_a_thread(record, tmp_path):
    """A thread that fails is recorded; the run goes on, and a thread that calls ``sys.exit`` has not failed."""
    script = (
        OPEN
        + """
with begin() as run:
    for target in (lambda: 1 / 0, sys.exit):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    run.log({"loss": 0.5}, step=1)
"""
    )
    _, stderr = record(script)
    run = Recorded(tmp_path / "run")
    assert run.only("on_exception")["type"] == "ZeroDivisionError"
    assert "ZeroDivisionError" in stderr
    assert (run.exit.status, run.column("loss")) == ("finished", [0.5])


@pytest.mark.parametrize("block", ["with run:", "if run:"])
@pytest.mark.parametrize(
    ("argument", "exit_code", "ending"),
    [
        ("3", 3, ("failed", "exit code 3")),
        ("'no data'", 1, ("failed", "exit code 'no data'")),
        ("0", 0, ("finished", None)),
        ("", 0, ("finished", None)),
    ],
)
def test_sys_exit(record, tmp_path, block, argument, exit_code, ending):  # noqa: PLR0917 - three of them are cases
    """``sys.exit`` ends the process with its code, and the run with what the code stands for."""
    record(OPEN + f"run = begin()\n{block}\n    sys.exit({argument})\n", exit_code=exit_code)
    run = Recorded(tmp_path / "run")
    assert ending == (run.exit.status, run.exit.reason)
    assert run.moments == ["on_start", "on_train_end"]


def test_sys_exit_that_was_caught(record, tmp_path):
    """A ``sys.exit`` that somebody catches ends nothing: a run that goes on logging afterwards has finished."""
    script = (
        OPEN
        + """
run = begin()
try:
    sys.exit(2)
except SystemExit:
    run.log({"loss": 0.5}, step=1)
"""
    )
    record(script)
    assert (Recorded(tmp_path / "run").exit.status, Recorded(tmp_path / "run").exit.reason) == ("finished", None)


def test_os_exit_leaves_every_fact(record, tmp_path):
    """``os._exit`` runs nothing: the facts are there, and the absence of an exit record tells how the run ended."""
    record(
        OPEN + "run = begin()\nfor step in range(50):\n    run.log({'loss': 1.0 / (step + 1)})\nos._exit(7)\n",
        exit_code=7,
    )
    run = Recorded(tmp_path / "run")
    assert [1.0 / (step + 1) for step in range(50)] == run.column("loss")
    assert run.exit is None
    record(OPEN + "begin(resume='must').finish()\n")
    assert Recorded(tmp_path / "run").only("on_resume")["previous_status"] == "killed"


@pytest.mark.parametrize("statement", ["run = begin()", "begin()"])
def test_process_that_just_ends(record, tmp_path, statement):
    """A run that nobody finishes is finished when the process ends, also one that the script holds no name of."""
    record(OPEN + f"{statement}\n")
    run = Recorded(tmp_path / "run")
    assert run.moments == ["on_start", "on_train_end"]
    assert run.exit.status == "finished"


@pytest.mark.parametrize(
    ("last", "exit_code", "status"),
    [("", 0, "finished"), ("1 / 0", 1, "failed"), ("os.kill(os.getpid(), signal.SIGTERM)", -15, "killed")],
)
def test_several_open_runs_end_together(record, tmp_path, last, exit_code, status):
    """Every open run records the end of the process; one that was finished before stays as it was."""
    script = (
        OPEN
        + f"""
first, second, done = begin("first"), begin("second"), begin("done")
done.finish()
first.log({{"loss": 1.0}})
second.log({{"loss": 2.0}})
{last}
"""
    )
    record(script, exit_code=exit_code)
    runs = {name: Recorded(tmp_path / name) for name in ("first", "second", "done")}
    assert [status, status, "finished"] == [run.exit.status for run in runs.values()]
    assert [run.column("loss") for run in runs.values()] == [[1.0], [2.0], []]
    assert [len(run.of("on_train_end")) for run in runs.values()] == [1, 1, 1]


def test_nested_runs(record, tmp_path):
    """An exception that passes through two blocks ends both runs, each with the whole story."""
    script = (
        OPEN
        + """
with begin("outer") as outer, begin("inner") as inner:
    outer.log({"loss": 1.0})
    inner.log({"loss": 2.0})
    raise ValueError("stop")
"""
    )
    record(script, exit_code=1)
    for name, loss in (("outer", 1.0), ("inner", 2.0)):
        run = Recorded(tmp_path / name)
        assert ("failed", "ValueError: stop", [loss]) == (run.exit.status, run.exit.reason, run.column("loss"))
        assert run.only("on_exception")["type"] == "ValueError"


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_builtin_exit(record, tmp_path, word):
    """``exit(1)`` and ``quit(1)`` are noted as ``sys.exit(1)`` is."""
    record(OPEN + f"run = begin()\n{word}(1)\n", exit_code=1)
    ended = Recorded(tmp_path / "run").exit
    assert (ended.status, ended.reason) == ("failed", "exit code 1")
