"""``Run``: what it says of itself, and that its end is recorded whatever fails on the way there."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from pathlib import Path

import pytest
from tests.recorded import Recorded

from barograph.errors import MisuseError, RecordingError, RecordingWarning, RunClosedError
from barograph.session import endings


def open_files() -> list[str]:
    """What the descriptors of this process refer to."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(str(path.readlink()))
    return found


def test_what_a_run_says_of_itself(new_run):
    """Name, id, directory, attempt, rank and status can be read, while it runs and afterwards."""
    run = new_run(name="digits", config={"lr": 0.1})
    assert (run.name, run.attempt, run.rank, run.status, run.is_fork) == ("digits", 0, 0, "running", False)
    assert (run.dir.name, run.config, len(run.id)) == ("run", {"lr": 0.1}, 12)
    assert repr(run) == f"<Run 'digits' {run.id} running in {os.fspath(run.dir)!r}>"
    run.finish()
    assert (run.status, run.id, run.config) == ("finished", run.id, {"lr": 0.1})
    assert "finished" in repr(run)


@pytest.mark.parametrize("status", ["finished", "failed", "killed"])
def test_finish(new_run, status):
    """The end is one event and one exit record, with the status and the reason; finishing twice is harmless."""
    run = new_run()
    run.log({"loss": 0.5})
    run.finish(status, "because")
    run.finish("finished")
    found = Recorded(run.dir)
    end = found.only("on_train_end")
    assert (run.status, end["status"], end["reason"]) == (status, status, "because")
    assert (found.exit.status, found.exit.reason, found.exit.attempt) == (status, "because", 0)
    assert 0 < end["total_time_s"] <= found.exit.total_time_s < 60


def test_unknown_status(new_run):
    """Another status is refused with the known ones; the run stays open."""
    run = new_run()
    with pytest.raises(MisuseError, match="status 'done' is none of finished, failed, killed; choose one"):
        run.finish("done")
    run.log({"loss": 0.5})
    assert run.status == "running"


def test_as_a_context_manager(new_run, tmp_path):
    """A block that ends finishes the run; one that raises fails it, with the story; one may also finish it itself."""
    with new_run(dir=tmp_path / "a") as run:
        run.log({"loss": 0.5})
    assert Recorded(run.dir).exit.status == "finished"
    with pytest.raises(ZeroDivisionError), new_run(dir=tmp_path / "b") as run:
        _ = 1 / 0
    assert Recorded(run.dir).exit.reason == "ZeroDivisionError: division by zero"
    with new_run(dir=tmp_path / "c") as run:
        run.finish("killed", "time limit")
    assert Recorded(run.dir).exit.reason == "time limit"


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (KeyboardInterrupt(), ("killed", "SIGINT")),
        (SystemExit(), ("finished", None)),
        (SystemExit(0), ("finished", None)),
        (SystemExit(2), ("failed", "exit code 2")),
        (SystemExit("no data"), ("failed", "exit code 'no data'")),
        (GeneratorExit(), ("failed", "GeneratorExit: ")),
        (MemoryError("16 GB"), ("failed", "MemoryError: 16 GB")),
    ],
)
def test_what_may_leave_a_block(new_run, error, ending):
    """Each way out of the block has its status and reason, and goes on to the caller."""

    def leave():
        with run:
            raise error

    run = new_run()
    with pytest.raises(type(error)):
        leave()
    found = Recorded(run.dir)
    assert (found.exit.status, found.exit.reason) == ending
    assert len(found.of("on_exception")) == (ending[0] == "failed" and not isinstance(error, SystemExit))


def test_stopping(new_run):
    """Training is asked to stop, not stopped: the loop looks."""
    run = new_run()
    assert run.should_stop() is False
    run.request_stop("early stopping")
    assert run.should_stop() is True
    run.log({"loss": 0.5})


def test_what_fails_at_the_end_costs_itself(new_run):
    """Something that fails while the run ends is reported; the last event and the exit record are there."""
    run = new_run()

    def fail():
        raise RuntimeError("no colour left")

    run.before_end.append(fail)
    run.after_end.append(fail)
    run.verdicts = fail
    run.resources = fail
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.finish()
    assert [str(warning.message).split(" failed")[0].rpartition("of ")[2] for warning in caught] == [
        "finish",
        "success criteria",
        "host sampler",
    ]
    found = Recorded(run.dir)
    assert (found.moments[-1], found.exit.status) == ("on_train_end", "finished")
    assert list(found.exit.ledger["failures"]) == ["finish", "success criteria", "host sampler"]


def test_strict_raises_when_the_end_is_recorded(new_run):
    """With ``strict`` a failure at the end raises, after the end is on disk and the files are closed."""
    run = new_run(strict=True)

    def fail():
        raise RuntimeError("no colour left")

    run.before_end.append(fail)
    with pytest.warns(RecordingWarning, match="no colour left"), pytest.raises(RecordingError, match="no colour left"):
        run.finish()
    found = Recorded(run.dir)
    assert (found.moments[-1], found.exit.status, run.status) == ("on_train_end", "finished", "finished")
    with pytest.raises(RunClosedError):
        run.log({"loss": 0.5})


def test_warnings_as_errors_do_not_leave_a_run_open(new_run, capsys):
    """Where warnings are errors, one at the end goes to stderr instead of the script, and the run is closed."""
    run = new_run()

    def fail():
        raise RuntimeError("no colour left")

    run.before_end.append(fail)
    run.finish()
    assert "recording of finish failed: RuntimeError: no colour left" in capsys.readouterr().err
    assert run.status == "finished"
    with pytest.raises(RunClosedError):
        run.log({"loss": 0.5})


@pytest.mark.spec("S0.9", "S4.6", "S4.9")
def test_resources_of_a_run(new_run):
    """With the host sampler on, the run ends with its wall time and peak memory."""
    run = new_run(host_s=10.0)
    run.finish()
    resources = Recorded(run.dir).only("on_train_end")["resources"]
    assert 0 < resources["wall_time_s"] < 60
    assert 0.01 < resources["peak_rss_gb"] < 100


def test_files_are_closed(new_run):
    """A run that is over holds no file of its directory open."""
    run = new_run(text_log="train.log", console=True)
    for number in range(5):
        run.log({f"loss{number}": 0.5, "big": 2**60}, step=0)
        run.log({f"loss{number}": 0.5}, step=0)
    run.finish()
    assert [name for name in open_files() if str(run.dir) in name] == []


def test_many_runs_in_one_process(new_run, tmp_path):
    """Run after run leaves no thread, no open file and no open run behind."""
    for number in range(5):
        new_run(dir=tmp_path / str(number)).finish()
    before = (threading.active_count(), len(open_files()))
    for number in range(5, 15):
        new_run(dir=tmp_path / str(number)).finish()
    assert (threading.active_count(), len(open_files())) == before
    assert len(endings._runs) <= 1
