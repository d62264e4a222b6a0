"""What recording cost, and that the ledger adds up: accepted = written + pending + lost."""

from __future__ import annotations

import json
import random
import sys

import pytest
from tests.recorded import Recorded

from barograph.record.ledger import SAMPLE_EVERY, CallTimings


def fed(durations, *, long=()):
    """Timings of some durations, in nanoseconds."""
    timings = CallTimings()
    for duration in durations:
        timings.add_short(duration)
    for duration in long:
        timings.add_long(duration)
    return timings


def dull_quantile_us(durations, q):
    """The quantile by sorting."""
    ordered = sorted(durations)
    return ordered[min(len(ordered) - 1, max(0, -(-int(q * len(ordered) * 1000) // 1000) - 1))] / 1000


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("spread", [(1, 20), (500, 4000), (1000, 10_000_000)])
def test_quantiles(q, spread):
    """A quantile is at or above the true one, by less than a bucket, and never above the maximum."""
    generator = random.Random(f"{q} {spread}")
    durations = [round(generator.lognormvariate(0, 1) * generator.randint(*spread)) + 1 for _ in range(5000)]
    found = fed(durations).quantile_us(q, 5000)
    true = dull_quantile_us(durations, q)
    assert true <= found <= min(true * 1.125 + 0.001, max(durations) / 1000)


def test_sampled_calls_stand_for_all():
    """A timed short call stands for many, a long one for itself: in the total and in the quantiles."""
    timings = fed([1000] * 10, long=[1_000_000] * 3)
    assert timings.total_s(613) == pytest.approx((610 * 1000 + 3_000_000) / 1e9)
    assert timings.quantile_us(0.5, 613) == pytest.approx(1.0, rel=0.13)
    assert timings.quantile_us(0.999, 613) == pytest.approx(1000, rel=0.13)


def test_nothing_was_timed():
    """Without a timed call nothing is claimed."""
    assert fed([]).quantile_us(0.5, 0) is None
    assert fed([]).quantile_us(0.5, 10) is None
    assert fed([]).total_s(10) is None
    assert fed([]).total_s(0) == 0.0


def test_extreme_durations():
    """A clock that stands still or stops for an hour makes no error."""
    timings = fed([0, -5, 3600 * 10**9, 10**30])
    assert timings.max_ns == 10**30
    assert timings.quantile_us(0.25, 4) == 0.0


def test_memory_does_not_grow():
    """A million durations take no more room than one."""
    timings = fed([1])
    before = sys.getsizeof(timings._short) + sys.getsizeof(timings._long)
    for duration in range(100_000):
        timings.add_short(duration)
    assert sys.getsizeof(timings._short) + sys.getsizeof(timings._long) == before


@pytest.mark.spec("S1.41")
def test_ledger_of_a_run(new_run):
    """While the run goes on and when it is over, the ledger says what recording cost; both ends say the same."""
    run = new_run()
    for step in range(SAMPLE_EVERY * 20):
        run.log({"loss": 0.5, "lr": 0.1}, step=step)
    before = run.ledger
    run.finish()
    after, found = run.ledger, Recorded(run.dir)
    assert before.written == before.accepted == SAMPLE_EVERY * 20 + 1
    assert after.written == after.accepted == SAMPLE_EVERY * 20 + 2 == len(found.records) + len(found.events)
    assert (after.pending, after.lost, after.failures) == (0, 0, {})
    assert after.log_calls == SAMPLE_EVERY * 20
    assert 0 < after.call_p50_us <= after.call_p99_us <= after.call_max_us
    assert 0 < after.logging_s < after.wall_s
    assert after.share_of_wall == pytest.approx(after.logging_s / after.wall_s)
    facts = run.dir / "facts"
    on_disk = sum(path.stat().st_size for pattern in ("*.rows", "*.jsonl") for path in facts.glob(pattern))
    assert after.bytes == on_disk
    assert found.only("on_train_end")["ledger"]["written"] == after.written - 1  # itself is not written yet
    assert found.exit.ledger["written"] == after.written


def test_ledger_counts_what_is_refused_as_nothing(new_run):
    """Misuse is neither accepted nor lost."""
    run = new_run()
    run.log({"loss": 0.5})
    for bad in ({"loss": "0.5"}, {}, {"step": 1}):
        with pytest.raises(TypeError):
            run.log(bad)
    assert (run.ledger.accepted, run.ledger.lost, run.ledger.log_calls) == (2, 0, 1)


def test_ledger_is_exact_when_the_disk_is_full(record, tmp_path):
    """Where the system takes no more bytes, the ledger says to the fact what is on disk and what is not."""
    script = """
    import json, resource, warnings
    import barograph
    run = barograph.init(dir="run", terminal="off", text_log=None, console=False, host_s=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 + 24 * 100 + 7, resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1000):
            run.log({"loss": step / 7}, step=step)
        ledger = run.ledger
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for step in range(1000, 1010):
        run.log({"loss": step / 7}, step=step)
    run.finish()
    print(json.dumps([ledger.accepted, ledger.written, ledger.lost, len(caught), run.ledger.written, run.ledger.lost]))
    """
    stdout, _ = record(script)
    accepted, written, lost, num_warnings, written_at_end, lost_at_end = json.loads(stdout)
    run = Recorded(tmp_path / "run")
    assert (accepted, lost, num_warnings) == (written + lost, 900, 1)
    assert run.column("loss") == [step / 7 for step in [*range(100), *range(1000, 1010)]]
    assert written_at_end == len(run.records) + len(run.events)
    assert lost_at_end == 900
    assert run.damage == []
    assert "metrics" in run.exit.ledger["failures"]
