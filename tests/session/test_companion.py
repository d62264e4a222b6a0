"""The companion: feeds what the run's files hold, survives what it feeds, and never holds up the end for ever."""

from __future__ import annotations

import os
import threading
import time
import warnings

import pytest
from tests.recorded import Recorded

from barograph.errors import InvalidMetricError, RecordingError, RecordingWarning
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.facts.state import this_process, write_process
from barograph.read.follow import Follower, Rows
from barograph.record.attempt import Attempt
from barograph.record.guard import Guard
from barograph.record.identity import Identity
from barograph.session.companion import Companion, hurry


class Collector:
    """Keeps what it is fed."""

    def __init__(self):
        self.facts = []
        self.num_empty = 0
        self.threads = set()
        self.is_closed = False

    def feed(self, facts):
        """Keep them."""
        self.threads.add(threading.current_thread().name)
        self.facts += facts
        self.num_empty += not facts

    def close(self):
        """Note it."""
        self.is_closed = True

    @property
    def losses(self):
        """The second column of every row."""
        return [row[1] for fact in self.facts if isinstance(fact, Rows) for row in fact.rows]

    @property
    def moments(self):
        """What happened."""
        return [fact.moment for fact in self.facts if isinstance(fact, Event)]


class Broken(Collector):
    """Fails at the first fact."""

    def feed(self, facts):
        """Keep them and fail."""
        super().feed(facts)
        if facts:
            raise RuntimeError("no colour left")


class Hanging(Collector):
    """Does not come back until it is released."""

    def __init__(self):
        super().__init__()
        self.released = threading.Event()

    def feed(self, facts):
        """Wait."""
        self.released.wait(30)
        super().feed(facts)


@pytest.fixture
def attempt(run_dir):
    """The files of a run whose process is recorded."""
    write_process(run_dir.process(), this_process(attempt=0))
    attempt = Attempt(run_dir, Identity(run_id="r1", name="digits"))
    yield attempt
    attempt.close("the test is over")


def wait_until(condition, *, timeout_s: float = 10.0):
    """Wait for the companion."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_facts_reach_every_consumer_once_and_in_order(attempt):
    """While training runs and at its end, each consumer sees each fact once, in the order of its file."""
    first, second = Collector(), Collector()
    companion = Companion(attempt, {"first": first, "second": second}, period_s=0.01)
    companion.start()
    attempt.record("on_start", {"run_id": "r1"})
    for step in range(500):
        attempt.scalars.log({"loss": step / 7}, step=step)
    wait_until(lambda: len(first.losses) == 500)
    attempt.record("on_train_end", {"status": "finished"})
    attempt.scalars.log({"loss": -1.0}, step=500)
    companion.close()
    for consumer in (first, second):
        assert consumer.losses == [*(step / 7 for step in range(500)), -1.0]
        assert consumer.moments == ["on_start", "on_train_end"]
        assert consumer.is_closed


def test_consumers_run_beside_training(attempt):
    """Consumers run in the companion's thread while training runs; the last facts are fed where the run is ended."""
    consumer = Collector()
    companion = Companion(attempt, {"one": consumer}, period_s=0.01)
    companion.start()
    attempt.scalars.log({"loss": 1.0}, step=0)
    wait_until(lambda: consumer.losses == [1.0])
    assert consumer.threads == {"barograph-companion"}
    companion.drain()
    attempt.scalars.log({"loss": 2.0}, step=1)
    companion.close()
    assert consumer.losses == [1.0, 2.0]
    assert threading.current_thread().name in consumer.threads
    assert consumer.is_closed


def test_time_without_a_fact_is_told(attempt):
    """Consumers are fed nothing, now and then, so that what they show moves on during a long evaluation."""
    consumer = Collector()
    companion = Companion(attempt, {"one": consumer}, period_s=0.01)
    companion.start()
    wait_until(lambda: consumer.num_empty > 5)
    companion.close()


def test_failing_consumer_is_reported_once_and_left_out(attempt):
    """A consumer that raises costs itself: it is named once, with its error, and the others go on."""
    broken, sound = Broken(), Collector()
    companion = Companion(attempt, {"terminal": broken, "text log": sound}, period_s=0.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        companion.start()
        for step in range(3):
            attempt.scalars.log({"loss": float(step)}, step=step)
            wait_until(lambda step=step: len(sound.losses) == step + 1)
        companion.close()
    (warning,) = caught
    assert warning.category is RecordingWarning
    assert "recording of terminal failed: RuntimeError: no colour left" in str(warning.message)
    assert broken.losses == [0.0]
    assert sound.losses == [0.0, 1.0, 2.0]
    assert attempt.ledger().failures == {"terminal": "RuntimeError: no colour left"}
    failure = Recorded(attempt.directory.path).only("on_exception")
    assert (failure["source"], failure["message"]) == ("barograph terminal", "no colour left")
    assert "in feed" in failure["traceback"]


def test_failing_consumer_with_strict(run_dir):
    """With ``strict`` a consumer's failure does not kill the thread; it is raised when the run ends."""
    attempt = Attempt(run_dir, Identity(run_id="r1", name="digits"), guard=Guard(strict=True))
    sound = Collector()
    companion = Companion(attempt, {"terminal": Broken(), "text log": sound}, period_s=0.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        companion.start()
        attempt.scalars.log({"loss": 1.0}, step=0)
        wait_until(lambda: sound.losses == [1.0])
        companion.close()
    assert len(caught) == 1
    with pytest.raises(RecordingError, match=r"could not record \(terminal\): no colour left"):
        attempt.guard.raise_deferred()
    attempt.close("the test is over")


def test_hanging_consumer_does_not_hang_the_end(attempt):
    """A consumer that does not come back is left behind after a time limit that is waited for once."""
    hanging = Hanging()
    companion = Companion(attempt, {"terminal": hanging}, period_s=0.01, join_s=0.2)
    companion.start()
    started_s = time.monotonic()
    with pytest.raises(TimeoutError, match=r"did not finish within 0\.2 s; the run's files are whole"):
        companion.drain()
    with pytest.raises(TimeoutError):
        companion.close()
    assert 0.2 <= time.monotonic() - started_s < 2
    assert companion.is_behind
    hanging.released.set()


def test_verdicts_are_whole_when_a_consumer_hangs(new_run, recorded, monkeypatch):
    """Criteria are judged from every fact, also when something that is fed beside the judge never comes back."""
    hanging = Hanging()
    monkeypatch.setattr("barograph.plugins.load", lambda _group, _name: lambda _directory, _config: hanging)
    monkeypatch.setitem(Companion.__init__.__kwdefaults__, "join_s", 0.2)
    run = new_run(watch=False, mirrors=["stuck"], success=["loss < 0.3"])
    time.sleep(0.3)
    run.log({"loss": 0.2}, step=1)
    with pytest.warns(RecordingWarning, match="recording of finish failed: TimeoutError"):
        run.finish()
    hanging.released.set()
    found = recorded(run.dir)
    assert [verdict["passed"] for verdict in found.exit.success] == [True]
    assert found.moments[-1] == "on_train_end"


def test_end_does_not_wait_for_a_child_that_goes_on(record, tmp_path):
    """A forked child that records without pause does not keep the parent's ``finish`` from coming to an end."""
    script = """
    import os, signal, time
    import barograph
    run = barograph.init(dir="run", terminal="off", console=False, host_s=None)
    child = os.fork()
    if child == 0:
        step = 0
        while True:
            run.log({"loss": 1.0}, step=step)
            step += 1
    time.sleep(0.05)
    run.finish()
    os.kill(child, signal.SIGKILL)
    """
    record(script, timeout_s=60)
    assert Recorded(tmp_path / "run").exit.status == "finished"


def test_heartbeat(attempt):
    """The modification time of ``process.json`` is renewed: a reader sees that the process lives."""
    path = attempt.directory.process()
    os.utime(path, (1, 1))
    companion = Companion(attempt, {}, period_s=0.01)
    companion.start()
    wait_until(lambda: path.stat().st_mtime > time.time() - 60)
    companion.close()


def test_moments_are_put_on_the_device(attempt, monkeypatch):
    """Epoch ends and checkpoints are followed by an ``fsync``, outside the training thread."""
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(threading.current_thread().name), real(fd))[1])
    companion = Companion(attempt, {}, period_s=0.01)
    companion.start()
    attempt.record("custom", {"kind": "note"})
    time.sleep(0.1)
    before = len(synced)
    attempt.record("on_epoch_end", {"epoch": 0})
    wait_until(lambda: len(synced) > before)
    companion.close()
    assert before == 0
    assert set(synced) == {"barograph-companion"}


@pytest.mark.spec("S0.9", "S2.38")
def test_host_samples_are_recorded(new_run, recorded):
    """Samples of the machine are metrics of split ``host``; wall time and peak memory stand in the last event."""
    run = new_run(host_s=0.1)
    wait_until(lambda: any(path.read_bytes().find(b'"split":"host"') >= 0 for path in run.dir.glob("facts/*.rows")))
    time.sleep(0.25)
    run.finish()
    samples = [fact for fact in Follower(RunDir(run.dir)).drain() if isinstance(fact, Rows)]
    (stream,) = samples
    assert stream.header.split == "host"
    assert {"rss_gb", "cpu_percent", "memory_used_gb"} <= set(stream.header.columns)
    resources = recorded(run.dir).only("on_train_end")["resources"]
    rss = [row[stream.header.columns.index("rss_gb")] for row in stream.rows]
    assert all(0.01 < value <= resources["peak_rss_gb"] * 1.01 for value in rss)
    assert 0.1 < resources["wall_time_s"] < 60


def test_its_own_cost_is_in_the_ledger(attempt):
    """The processor time of the companion's thread is measured and stands in the ledger."""
    companion = Companion(attempt, {"one": Collector()}, period_s=0.01)
    companion.start()
    for step in range(20_000):
        attempt.scalars.log({"loss": 1.0}, step=step)
    wait_until(lambda: attempt.ledger().companion_cpu_s > 0)
    companion.close()
    assert 0 < attempt.ledger().companion_cpu_s < attempt.wall_s


class Slow(Collector):
    """Takes its time for every row."""

    def feed(self, facts):
        """Keep them, slowly."""
        super().feed(facts)
        time.sleep(sum(len(fact.rows) for fact in facts if isinstance(fact, Rows)) / 10_000)


@pytest.mark.parametrize("is_signalled", [False, True])
def test_end_has_a_time_limit(new_run, recorded, monkeypatch, is_signalled):
    """What cannot be fed in time is left behind and said once; a signal shortens it, and the exit record is there."""
    slow = Slow()
    monkeypatch.setattr("barograph.plugins.load", lambda _group, _name: lambda _directory, _config: slow)
    monkeypatch.setitem(Companion.__init__.__kwdefaults__, "join_s", 30.0 if is_signalled else 0.5)
    monkeypatch.setattr("barograph.session.companion.SIGNAL_JOIN_S", 0.5)
    monkeypatch.setattr("barograph.session.companion._signalled_s", [])
    monkeypatch.setattr("barograph.session.parts.VERDICT_S", 0.0)
    run = new_run(watch=False, mirrors=["slow"], success=["loss < 0.3"])
    for step in range(30_000):
        run.log({"loss": 0.2}, step=step)
    if is_signalled:
        hurry()
    started_s = time.monotonic()
    with pytest.warns(RecordingWarning, match="recording of finish failed: TimeoutError") as caught:
        run.finish()
    assert time.monotonic() - started_s < 2.5
    assert len(caught) == 1
    assert len(slow.losses) < 30_000
    assert slow.losses == [0.2] * len(slow.losses)
    assert slow.is_closed
    exit_record = recorded(run.dir).exit
    assert exit_record.status == "finished"
    (verdict,) = exit_record.success
    assert (verdict["passed"], verdict["reason"]) == (None, "the run ended before all of its facts were read")


def test_clock_that_jumps_back_ends_nothing_early(attempt):
    """Every row is fed at the end, also those that seem to come after it."""
    consumer = Collector()
    companion = Companion(attempt, {"one": consumer}, period_s=0.01)
    for step in range(200_000):
        attempt.scalars.log({"loss": float(step)}, step=step)
    attempt.clock = lambda: 1.0
    companion.drain()
    assert consumer.losses == [float(step) for step in range(200_000)]


def test_misuse_does_not_end_the_thread(attempt):
    """A value that a consumer refuses costs that consumer; the thread goes on with the others."""

    class Refusing(Collector):
        def feed(self, facts):
            if facts:
                raise InvalidMetricError("train_loss='n/a' is no number")

    sound = Collector()
    companion = Companion(attempt, {"scalars.csv": Refusing(), "text log": sound}, period_s=0.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        companion.start()
        for step in range(2):
            attempt.scalars.log({"loss": float(step)}, step=step)
            wait_until(lambda step=step: len(sound.losses) == step + 1)
        companion.close()
    (warning,) = caught
    assert "recording of scalars.csv failed: InvalidMetricError" in str(warning.message)
    assert companion.detached == {"scalars.csv"}
