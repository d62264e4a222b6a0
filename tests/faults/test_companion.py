"""What runs beside training may fail or hang: training goes on, and its facts are whole.

The parts that fail are mirrors of an installed distribution, found by entry point like anybody's.
"""

from __future__ import annotations

import json
import time

import pytest

from barograph.facts.rundir import RunDir
from barograph.facts.state import read_exit
from barograph.read.follow import Event, Follower, Rows

MIRRORS = """
import time

class Failing:
    def __init__(self, directory, config):
        self.num_feeds = 0

    def feed(self, facts):
        self.num_feeds += 1
        if self.num_feeds > 1:
            raise RuntimeError("the mirror broke")

    def close(self):
        raise AssertionError("a mirror that broke is closed")

class Hanging(Failing):
    def feed(self, facts):
        time.sleep(3600)

class Exploding(Failing):
    def __init__(self, directory, config):
        raise OSError("no such server")
"""
POINTS = """
[barograph.mirrors]
failing = broken_mirrors:Failing
hanging = broken_mirrors:Hanging
exploding = broken_mirrors:Exploding
"""
TRAIN = """
import json, sys, time
import barograph
started = time.perf_counter()
run = barograph.init(dir="run", mirrors=[sys.argv[1]], terminal="off", host_s=None)
slowest = 0.0
for step in range(20_000):
    before = time.perf_counter()
    run.log({"loss": step / 7}, step=step)
    slowest = max(slowest, time.perf_counter() - before)
    if step % 5_000 == 0:
        run.event("custom", n=step)
        time.sleep(0.3)  # the companion has its turns
run.epoch_end(0, train_loss=0.5)
trained = time.perf_counter() - started
run.finish()
print(json.dumps([trained, time.perf_counter() - started - trained, run.ledger.lost, run.ledger.failures]))
"""


@pytest.fixture
def installed(tmp_path):
    """Environment in which a distribution with broken mirrors is installed."""
    site = tmp_path / "site"
    info = site / "broken_mirrors-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken_mirrors.py").write_text(MIRRORS, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-mirrors\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    return {"PYTHONPATH": str(site)}


@pytest.mark.spec("S3.60")
@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("failing", "RuntimeError: the mirror broke"),
        ("exploding", "OSError: no such server"),
        ("hanging", "did not finish within 10 s"),
    ],
)
def test_a_broken_mirror_harms_neither_training_nor_facts(record, tmp_path, installed, mirror, reason):
    """Every fact is on disk, the other parts went on where they could, and the failure is told once, by name."""
    stdout, stderr = record(TRAIN, mirror, env=installed)
    trained_s, ended_s, lost, failures = json.loads(stdout)
    assert lost == 0
    assert trained_s < 10
    assert ended_s < (16 if mirror == "hanging" else 5)
    assert any(reason in told for told in failures.values()), failures
    assert stderr.count("RecordingWarning") == len(failures)
    run = RunDir(tmp_path / "run")
    facts = Follower(run).drain()
    assert [*range(20_000)] == [row[0] for fact in facts if isinstance(fact, Rows) for row in fact.rows]
    moments = [fact.moment for fact in facts if isinstance(fact, Event)]
    assert [moments[0], moments.count("custom"), moments[-1]] == ["on_start", 4, "on_train_end"]
    told = [fact.payload for fact in facts if isinstance(fact, Event) and fact.moment == "on_exception"]
    assert all(payload["source"].startswith("barograph ") for payload in told)
    assert read_exit(run.exit()).status == "finished"
    if mirror != "hanging":
        assert run.scalars_csv.read_text(encoding="utf-8") == "epoch,train_loss\n0,0.5\n"


def test_a_companion_that_is_killed_by_its_reader_is_replaced_by_the_files(record, tmp_path):
    """What the companion would have derived can be derived later: nothing of the facts depends on it."""
    record(
        """
        import os, time
        import barograph
        run = barograph.init(dir="run", terminal="off", host_s=None)
        for step in range(100):
            run.log({"loss": 1.0}, step=step)
        os._exit(0)  # nothing is closed, drained or told
        """
    )
    started = time.monotonic()
    facts = Follower(RunDir(tmp_path / "run")).drain()
    assert sum(len(fact.rows) for fact in facts if isinstance(fact, Rows)) == 100
    assert read_exit(RunDir(tmp_path / "run").exit()) is None
    assert time.monotonic() - started < 5
