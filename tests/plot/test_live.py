"""Figures during training: a real child process draws, and the training process is left alone."""

from __future__ import annotations

import sys
import threading
import time

import psutil
import pytest

from barograph.errors import BarographError, MisuseError, PlotWarning
from barograph.facts.rundir import RunDir
from barograph.plot.live import LiveFigures, live_figures
from barograph.plot.settings import Settings, read_settings
from barograph.read.follow import Follower

LONG_S = 60.0


def until(condition, timeout_s=LONG_S):
    """Wait for something to be true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.02)


def figures(run):
    """The names of a run's figures."""
    return sorted(path.name for path in (run.dir / "figures").glob("*.png"))


@pytest.mark.spec("S3.47", "S3.60")
def test_figures_appear_while_training_runs(new_run):
    """A moment is handed on, the figure is there before the run ends, and the last one is waited for."""
    run = new_run()
    live = LiveFigures(run.dir, read_settings({"families": ["losses"]}), close_s=LONG_S)
    follower = Follower(RunDir(run.dir))
    run.log({"loss": 1.0}, step=0)
    live.feed(follower.drain())
    assert live._child is None, "a process was started though nothing was to be drawn"
    run.epoch_end(0, train_loss=1.0)
    live.feed(follower.drain())
    until(lambda: live.feed([]) or live.paths)
    assert figures(run) == ["losses-on_epoch_end-e000.png"]
    run.epoch_end(1, train_loss=0.5)
    run.finish()
    live.feed(follower.drain())
    live.close()
    assert figures(run) == [
        "losses-on_epoch_end-e000.png",
        "losses-on_epoch_end-e001.png",
        "losses-on_train_end-e001.png",
    ]
    assert [path.name for path in live.paths] == figures(run)


def dies(live, facts):
    """Feed facts, and go on until the process is found dead."""
    live.feed(facts)
    until(lambda: live.feed([]), timeout_s=20)


@pytest.mark.spec("S3.47")
def test_the_newest_moment_wins(new_run):
    """Fifty epochs at once are not fifty figures: what waits is replaced by what is newer."""
    run = new_run()
    for epoch in range(50):
        run.epoch_end(epoch, train_loss=1.0 / (epoch + 1))
    live = LiveFigures(run.dir, read_settings({"families": ["losses"]}), close_s=LONG_S)
    live.feed(Follower(RunDir(run.dir)).drain())
    live.close()
    assert figures(run) == ["losses-on_epoch_end-e049.png"]


def test_feeding_does_not_wait(new_run):
    """A process that reads nothing does not hold the run up: neither its facts nor, beyond the limit, its end."""
    run = new_run()
    silent = (sys.executable, "-c", "import time; time.sleep(60)")
    live = LiveFigures(run.dir, Settings(), close_s=0.2, command=silent)
    run.epoch_end(0, train_loss=1.0)
    facts = Follower(RunDir(run.dir)).drain()
    began_s = time.monotonic()
    for _ in range(5_000):  # many times what a pipe holds
        live.feed(facts)
    live.close()
    spent_s = time.monotonic() - began_s
    live._child.kill()
    until(lambda: not any(thread.name == "barograph-figures" for thread in threading.enumerate()))
    assert spent_s < 5
    assert live._child.returncode == -9


@pytest.mark.spec("S3.60")
def test_a_process_that_dies_is_told_once(new_run):
    """``feed`` raises with its last words, so that the companion reports it and detaches the part."""
    run = new_run()
    dying = (sys.executable, "-c", "import sys; print('needs matplotlib'); sys.exit(3)")
    live = LiveFigures(run.dir, Settings(), command=dying)
    run.epoch_end(0, train_loss=1.0)
    with pytest.raises(BarographError, match="ended with code 3: needs matplotlib; after that is mended, `barogr"):
        dies(live, Follower(RunDir(run.dir)).drain())
    live.close()


def test_matplotlib_missing_says_what_to_install(new_run, tmp_path, monkeypatch):
    """The process that draws says which extra brings what it lacks."""
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('none', name='matplotlib')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = new_run()
    live = LiveFigures(run.dir, Settings())
    run.epoch_end(0, train_loss=1.0)
    with pytest.raises(BarographError, match=r"pip install 'barograph\[analysis\]'"):
        dies(live, Follower(RunDir(run.dir)).drain())
    live.close()


@pytest.mark.spec("S3.47")
def test_a_failure_of_a_family_is_a_warning(new_run):
    """What the configuration names and nobody offers is told in the training process; the others are drawn."""
    run = new_run()
    live = LiveFigures(run.dir, read_settings({"families": ["nosuch", "losses"]}), close_s=LONG_S)
    run.epoch_end(0, train_loss=1.0)
    live.feed(Follower(RunDir(run.dir)).drain())
    with pytest.warns(PlotWarning, match="there is no figure nosuch"):
        live.close()
    assert figures(run) == ["losses-on_epoch_end-e000.png"]


@pytest.mark.spec("S3.60")
def test_the_process_finishes_after_its_parent_is_killed(start, tmp_path):
    """A training process that is killed leaves its last figure behind, and no process."""
    child = start(
        """
        import os, signal, sys
        import barograph
        from barograph.facts.rundir import RunDir
        from barograph.plot.live import live_figures
        from barograph.read.follow import Follower
        run = barograph.init(dir=sys.argv[1], terminal="off", text_log=None, console=False, host_s=None)
        live = live_figures(run.dir, {"families": ["losses"]})
        assert not {"numpy", "matplotlib"}.intersection(sys.modules), "the training process imports what draws"
        run.epoch_end(0, train_loss=1.0)
        live.feed(Follower(RunDir(run.dir)).drain())
        print(live._child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "run",
    )
    pid = int(child.communicate(timeout=60)[0])
    assert child.returncode == -9
    until((tmp_path / "run" / "figures" / "losses-on_epoch_end-e000.png").is_file)
    until(lambda: has_ended(pid))


def has_ended(pid):
    """Whether a process is gone, or only waits to be asked how it ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.spec("S3.60", "S3.81")
@pytest.mark.parametrize(
    "given", [False, {"make_plots": False}, {"save_artifacts": False}, {"families": []}, {"moments": []}]
)
def test_no_figures_is_no_consumer(tmp_path, given):
    """Nothing is started and nothing is fed where no figures are wanted."""
    assert live_figures(tmp_path, given) is None


def test_figures_are_given_as_true_or_as_a_group(tmp_path):
    """True is every family at its own moments; a group that cannot be read is the caller's mistake, at once."""
    assert live_figures(tmp_path, True)._settings == Settings()
    assert live_figures(tmp_path, {"format": "svg"})._settings.format == "svg"
    with pytest.raises(MisuseError, match=r"logging.format='gif'"):
        live_figures(tmp_path, {"format": "gif"})


def test_other_ranks_and_seldom_moments(new_run):
    """Another rank's epoch, and an example every few steps, start nothing."""
    run = new_run()
    run.example(step=0, prompt="2 + 2", golden="4")
    run.epoch_end(0, train_loss=1.0)
    facts = Follower(RunDir(run.dir)).drain()
    live = LiveFigures(run.dir, Settings())
    live.feed([fact for fact in facts if getattr(fact, "moment", "") != "on_epoch_end"])
    for fact in facts:
        if getattr(fact, "moment", "") == "on_epoch_end":
            fact.payload["rank"] = 1
    live.feed(facts)
    assert live._child is None


@pytest.mark.spec("S3.47", "S3.60")
def test_a_run_draws_while_it_trains(new_run):
    """``init(figures=...)`` is all that a script says; the figures come, and the run ends as it should."""
    run = new_run(figures={"families": ["losses"]})
    for epoch in range(2):
        run.log({"loss": 1.0 / (epoch + 1)}, step=epoch)
        run.epoch_end(epoch, train_loss=1.0 / (epoch + 1))
    run.finish()
    until(lambda: "losses-on_train_end-e001.png" in figures(run))
    assert run.status == "finished"
    assert run.ledger.failures == {}
