"""A run, watched while it is recorded and afterwards: the same facts give the same alerts."""

from __future__ import annotations

import random
import threading
from typing import ClassVar

import msgspec
import pytest

from barograph.errors import PluginNotFoundError
from barograph.facts.rundir import RunDir
from barograph.watch.detector import Detector
from barograph.watch.detectors.non_finite import NonFinite
from barograph.watch.watcher import GROUP, Watcher, load_detectors


class Spike(Detector):
    """A loss above ten."""

    name: ClassVar[str] = "loss_spike"
    reads: ClassVar[tuple[str, ...]] = ("loss",)

    def update(self, sample):
        """Say so, with what is known of the metric."""
        loss = sample.signals["loss"]
        self.is_active = loss.value > 10.0
        if not self.is_active or self.is_quiet(sample):
            return None
        return self.alert(sample, f"{loss.z} {loss.noise} {loss.median}", severity="warning")


def fresh(directory) -> Watcher:
    """A watcher that has seen nothing, with every detector that is offered and one that is sure to speak."""
    others = [it for it in load_detectors() if it.name not in ("loss_spike", "non_finite")]
    return Watcher(RunDir(directory), detectors=[Spike(), NonFinite(), *others])


def train(run, *, start: int = 0, stop: int = 600) -> None:
    """Record a training with two rates, epochs, a checkpoint, a spike at step 200 and NaN at step 500."""
    rng = random.Random(start)
    for step in range(start, stop):
        loss = 2.0 * rng.uniform(0.95, 1.05) * (30.0 if step == 200 else 1.0)
        run.log({"loss": float("nan") if step >= 500 else loss, "lr": 0.1}, step=step)
        if step % 20 == 19:
            run.log({"loss": 2.2 * rng.uniform(0.99, 1.01)}, step=step, split="val")
        if step % 100 == 99:
            run.log({f"odd_{step}_{number}": 2**70 for number in range(3)}, step=step)


def told(found) -> bytes:
    """What was told, as bytes: NaN is not equal to itself."""
    return msgspec.msgpack.encode(found)


def test_live_and_afterwards_are_the_same(new_run):
    """A watcher that polls in another thread while the run records tells what a replay of the finished run tells."""
    run = new_run(host_s=0.1)
    live, is_over, found = fresh(run.dir), threading.Event(), []

    def watch():
        while not is_over.is_set():
            found.extend(live.poll())

    thread = threading.Thread(target=watch)
    thread.start()
    train(run)
    run.finish()
    is_over.set()
    thread.join()
    found += live.finish()
    replay = fresh(run.dir)
    afterwards = replay.finish()
    assert {"loss_spike", "non_finite"} <= {it.alert.type for it in afterwards}
    assert told(found) == told(afterwards)
    assert live.monitor.context.num_records == replay.monitor.context.num_records == 600 + 30 + 6


def test_alerts_come_while_the_run_goes_on(new_run):
    """The spike is told two polls after it was recorded, long before the run is over."""
    run = new_run()
    watcher = fresh(run.dir)
    train(run, stop=260)
    found = [*watcher.poll(), *watcher.poll()]
    assert next(it.alert.step for it in found if it.alert.type == "loss_spike") == 200.0


def test_a_watcher_that_comes_late_or_stops_and_goes_on_tells_the_same(new_run):
    """The state of a monitor that was kept is enough to go on with, given the rest of the facts."""
    run = new_run()
    train(run, stop=300)
    first = fresh(run.dir)
    before = first.finish()
    train(run, start=300)
    run.finish()
    whole = fresh(run.dir).finish()
    assert told(before + first.finish()) == told(whole)


def test_a_resumed_run_is_watched_on(new_run, tmp_path):
    """A second attempt that repeats steps brings no alarm of its own and counts as one."""
    first = new_run(dir=tmp_path / "resumed")
    train(first, stop=150)
    first.finish()
    second = new_run(dir=tmp_path / "resumed", resume="must")
    train(second, start=100, stop=190)
    second.finish()
    watcher = fresh(tmp_path / "resumed")
    assert watcher.finish() == []
    assert (watcher.monitor.context.attempt, watcher.monitor.context.resumed_step) == (1, 100.0)


def test_a_run_of_many_metrics_is_watched_through_a_backlog(new_run):
    """A run whose files are larger than one poll takes gives the same, read in many polls or to the end at once."""
    run = new_run()
    wide = {f"metric_{number}": 1.0 for number in range(100)}
    for step in range(3000):
        run.log({"loss": 60.0 if step == 2500 else 2.0 + 0.1 * (step % 3), **wide}, step=step)
    run.finish()
    slowly = fresh(run.dir)
    polls = [slowly.poll() for _ in range(8)]
    found = [it for poll in polls for it in poll] + slowly.finish()
    assert 2500.0 in [it.alert.step for it in found if it.alert.type == "loss_spike"]
    assert told(found) == told(fresh(run.dir).finish())


def test_every_detector_is_loaded_by_its_name():
    """Without names, all that are offered, fresh each time; with names, those."""
    one, other = load_detectors(), load_detectors()
    assert [it.name for it in one] == [it.name for it in other]
    assert not {id(it) for it in one} & {id(it) for it in other}
    with pytest.raises(PluginNotFoundError, match=rf"'loss_spiky' in {GROUP}"):
        load_detectors(["loss_spiky"])
