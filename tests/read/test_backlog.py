"""The backlog of a run ends, also while the run goes on."""

from __future__ import annotations

from barograph.facts.metrics import MetricsLog
from barograph.read.backlog import read_backlog
from barograph.read.follow import Follower


def test_a_writer_that_is_faster_than_the_reader_does_not_hold_it(run_dir):
    """Each poll finds new facts; the one that is newer than the call is the last."""
    log = MetricsLog(run_dir, run_id="r1")
    log.append({"loss": 1.0}, step=0, split="train", t=100.0)
    parts = []
    for number, facts in enumerate(read_backlog(Follower(run_dir), now=lambda: 102.5)):
        parts.append(facts)
        log.append({"loss": 1.0}, step=number + 1, split="train", t=101.0 + number)
        assert number < 10, "it follows for ever"
    log.close()
    assert [[row[-1] for fact in facts for row in fact.rows] for facts in parts] == [[100.0], [101.0], [102.0], [103.0]]


def test_a_run_at_rest_is_read_to_its_end(run_dir):
    """Everything, once; then nothing."""
    log = MetricsLog(run_dir, run_id="r1")
    for step in range(200_000):
        log.append({"loss": 1.0}, step=step, split="train", t=100.0)
    log.close()
    follower = Follower(run_dir)
    parts = list(read_backlog(follower))
    assert sum(len(fact.rows) for facts in parts for fact in facts) == 200_000
    assert len(parts) > 1
    assert list(read_backlog(follower)) == []
