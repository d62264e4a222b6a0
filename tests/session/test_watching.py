"""A run is watched from within: what is found is shown, written down, and can end a loop that asks."""

from __future__ import annotations

import json
import math
import random
import time
import warnings

import pytest

from barograph.errors import MisuseError, RecordingWarning
from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader
from barograph.view.terminal.view import TerminalView
from barograph.watch.watcher import Watcher

NUM_STEPS = 300
FAULT_STEP = 200


def losses(*, seed=0, fault_step=FAULT_STEP):
    """A loss that falls, and from a step on grows, with noise."""
    luck = random.Random(seed)
    for step in range(NUM_STEPS):
        growth = 0.2 * max(0, step - fault_step)
        yield step, 0.3 + 2 * 0.99**step + growth + 0.02 * luck.random()


def alerts_of(run):
    """The lines of ``alerts.jsonl``."""
    path = RunDir(run.dir).alerts
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.mark.spec("S2.6", "S2.21", "S2.24", "S2.42")
def test_what_is_wrong_is_shown_logged_and_written_down(new_run, capfd):
    """On the terminal, in the text log and in ``alerts.jsonl``: type, step, since when, and what to do."""
    run = new_run(terminal="plain", text_log="train.log", console=False, config={"lr": 0.1})
    for step, loss in losses():
        run.log({"loss": loss, "lr": 0.1}, step=step)
    run.finish()
    shown = capfd.readouterr().out
    (opened,) = [alert for alert in alerts_of(run) if alert["stage"] == "opened"]
    assert (opened["type"], opened["severity"]) == ("divergence", "critical")
    assert FAULT_STEP <= opened["since_step"] <= opened["step"] <= FAULT_STEP + 25
    assert any("learning rate" in remedy["text"] for remedy in opened["remedies"])
    for text in (shown, (run.dir / "train.log").read_text(encoding="utf-8")):
        assert f"ALERT [critical] divergence at step {opened['step']:g}" in text
        assert "do:" in text


def test_live_and_afterwards_the_same_is_told(new_run):
    """What the companion wrote while the run went on is what a replay of its files finds, to the last id."""
    run = new_run()
    for step, loss in losses():
        run.log({"loss": loss, "grad_norm": 1 + loss}, step=step)
        if step % 20 == 0:
            run.log({"loss": loss + 0.1}, step=step, split="val")
            time.sleep(0.02)  # so that the companion has turns in between
    run.finish()
    replayed = Watcher(RunDir(run.dir), config=run.config).finish()
    assert [told.alert.id for told in replayed if told.stage != "ended"] == [
        alert["id"] for alert in alerts_of(run) if alert["stage"] != "ended"
    ]
    assert replayed


def test_a_loop_that_asks_is_ended(new_run):
    """``should_stop`` is true soon after a loss that is not a number, and false before."""
    run = new_run()
    for step in range(50):
        run.log({"loss": 1 / (step + 1)}, step=step)
    assert not run.should_stop()
    run.log({"loss": math.nan}, step=50)
    limit_s = time.monotonic() + 20
    while not run.should_stop() and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert run.should_stop()
    run.finish()


def test_a_terminal_that_is_gone_costs_no_alert(new_run, monkeypatch):
    """Nobody is shown anything any more; what is found is written down as before, and the failure is counted once."""

    def tell(_view, _told):
        raise BrokenPipeError("nobody reads")

    monkeypatch.setattr(TerminalView, "tell", tell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        run = new_run(terminal="plain")
        for step, loss in losses():
            run.log({"loss": loss}, step=step)
        run.log({"loss": math.nan}, step=NUM_STEPS)
        run.finish()
    assert run.ledger.failures == {"showing alerts": "BrokenPipeError: nobody reads"}
    assert {"divergence", "non_finite"} <= {alert["type"] for alert in alerts_of(run)}


def test_a_resumed_run_is_told_nothing_twice_and_may_go_on(new_run, tmp_path):
    """Its first attempt is read again and known; ``should_stop`` is about the attempt that asks."""
    run = new_run(dir=tmp_path / "run")
    for step, loss in losses():
        run.log({"loss": loss if step < 290 else math.nan}, step=step)
    run.finish("failed", reason="diverged")
    before = alerts_of(run)
    run = new_run(dir=tmp_path / "run", resume="must")
    for step, loss in losses(fault_step=NUM_STEPS):
        run.log({"loss": loss}, step=step)
    assert not run.should_stop()
    run.finish()
    assert before
    assert [it["id"] for it in alerts_of(run) if it["attempt"] == 0 and it["stage"] != "ended"] == [
        it["id"] for it in before if it["stage"] != "ended"
    ]


def test_nobody_watches_where_nobody_is_to(new_run):
    """``watch=False``: no alert, no file, and ``should_stop`` stays false."""
    run = new_run(watch=False)
    run.log({"loss": math.nan}, step=0)
    run.finish()
    assert not run.should_stop()
    assert not RunDir(run.dir).alerts.exists()
    assert RunReader(run.dir).num_alerts() == 0


def test_a_healthy_run_leaves_no_trace_of_the_watch(new_run):
    """No alert, no lock file, nothing beside the facts."""
    run = new_run()
    for step, loss in losses(fault_step=NUM_STEPS):
        run.log({"loss": loss}, step=step)
    run.finish()
    names = {path.name for path in RunDir(run.dir).facts.iterdir()}
    assert names.isdisjoint({"alerts.jsonl", "watch.lock", "deliveries.jsonl", "deliveries.lock"})


def test_what_was_in_memory_is_written_at_an_alert(new_run):
    """The flight recorder is dumped, so that the last steps at ``debug`` detail are there to look at."""
    run = new_run()
    for step, loss in losses():
        run.remember(step, loss=loss)
        run.log({"loss": loss}, step=step)
    run.finish()
    assert list(RunDir(run.dir).facts.glob("flight.*.json.gz"))


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        ({"of": ["plateau"]}, "watch has no 'of'"),
        ({"off": ["plato"]}, r"there is no 'plato' \(is 'plateau' meant\?\)"),
        ({"rules": ["loss >"]}, "loss >"),
        ({"roles": {"x": "los"}}, "role 'los' of 'x' is none of"),
    ],
)
def test_what_cannot_be_is_said_before_anything_begins(new_run, tmp_path, watch, message):
    """The message names what is wrong; no directory is made."""
    with pytest.raises(MisuseError, match=message):
        new_run(dir=tmp_path / "run", watch=watch)
    assert not (tmp_path / "run").exists()
