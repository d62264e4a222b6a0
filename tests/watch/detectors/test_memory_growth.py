"""Memory that leaks is told with a forecast; saw-teeth, steps and the growth of the first records are not."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.memory_growth import MemoryGrowth
from barograph.watch.monitor import Monitor


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


def watched(memory, *, num_records=800, total_steps=None, metric="memory_mb", seed=0, noise=1.0):
    """What is told of a memory that is told by the step."""
    rng, monitor = random.Random(seed), Monitor([MemoryGrowth()])
    if total_steps:
        monitor.take(Event(moment="on_start", seq=0, t=0.0, payload={"total_steps": total_steps}))
    rows = [(float(step), 1.0, memory(step) + rng.uniform(0, noise), 1e3 + step) for step in range(num_records)]
    return opened(monitor.take((StreamHeader(run_id="a", columns=["step", "loss", metric, "t"]), rows)))


@pytest.mark.spec("S2.41")
@pytest.mark.parametrize("mb_per_step", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("onset", [0, 300])
def test_a_leak_is_told_within_eighty_records(mb_per_step, onset):
    """Half a megabyte per step and more, from the start or later."""
    (told, *more) = watched(lambda step: 500.0 + mb_per_step * max(step - onset, 0))
    assert more == []
    assert told.alert.type == "memory_growth"
    assert max(onset, 48) <= told.alert.step <= max(onset, 48) + 80
    assert told.alert.since_step <= max(onset, 48) + 16


def test_a_slow_leak_is_told_later():
    """2 % in a thousand steps at first."""
    (told,) = watched(lambda step: 1000.0 + 0.03 * step, num_records=4000)
    assert told.alert.step < 1800


def test_the_forecast_is_a_straight_line():
    """One megabyte per step: twice as large after as many steps as megabytes; critical with a long way to go."""
    for total_steps, severity in ((10_000, "critical"), (400, "warning")):
        (told,) = watched(lambda step: 500.0 + step, total_steps=total_steps)
        at = told.alert.step
        assert severity == told.alert.severity
        at_end = float(told.alert.text.split(" and ")[1].split()[0])
        assert abs(at_end - (500 + total_steps)) < 0.02 * at_end
        doubled = float(told.alert.text.split("twice as large at step ")[1].split()[0])
        assert abs(doubled - (500 + 2 * at)) < 40


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "memory",
    [
        lambda step: 500.0 + 10.0 * min(step, 40),
        lambda step: 500.0 + 7.0 * (step % 61),
        lambda step: 500.0 + (400.0 if step > 333 else 0.0),
        lambda step: 500.0 + 50.0 * (step > 200) + 50.0 * (step > 600) + 50.0 * (step > 1000),
        lambda step: 500.0 + 0.002 * step,
        lambda step: 500.0 + (300.0 if step % 100 > 90 else 0.0),
    ],
    ids=["start", "saw-tooth", "step", "steps", "creep", "evaluations"],
)
def test_healthy_memory_is_silent(memory, seed):
    """Growth in the first records, garbage that is collected, a step, a creep of 0.4 % per thousand steps."""
    assert watched(memory, num_records=3000, seed=seed, noise=5.0) == []


def test_memory_without_a_unit_is_judged_by_its_share():
    """Two per cent and more, in whatever unit it is."""
    assert len(watched(lambda step: 5.0 + 0.01 * step, metric="memory", noise=0.01)) == 1
    assert watched(lambda step: 5.0 + 1e-5 * step, metric="memory", noise=0.01) == []


def test_samples_of_the_machine_are_read_with_the_step_they_were_taken_at():
    """Their own step is a time; the alert speaks of the training's."""
    monitor = Monitor([MemoryGrowth()])
    train = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    host = StreamHeader(run_id="a", columns=["step", "rss_gb", "t"], split="host")
    told = []
    for sample in range(400):
        told += monitor.take((train, [(float(10 * sample), 1.0, 1e9 + 5.0 * sample)]))
        told += monitor.take((host, [(1e9 + 5.0 * sample, 1.0 + 0.01 * sample, 1e9 + 5.0 * sample)]))
    (first, *_) = opened(told)
    assert 10 * 48 <= first.alert.since_step < first.alert.step < 4000


def test_the_incident_ends_when_the_memory_is_given_back():
    """A leak that was stopped is over."""
    monitor = Monitor([MemoryGrowth()])
    rows = [(float(step), 1.0, 500.0 + (2.0 * step if step < 200 else 0.0), 1e3 + step) for step in range(600)]
    told = monitor.take((StreamHeader(run_id="a", columns=["step", "loss", "memory_mb", "t"]), rows))
    assert [it.stage for it in told] == ["opened", "ended"]


def allocate(*, leaks, num_records=200):
    """Rows of a real loop that allocates, and keeps what it allocated or does not."""
    kept, rows = [], []
    tracemalloc.start()
    try:
        for step in range(num_records):
            batch = bytearray(400_000)
            if leaks:
                kept.append(batch)
            rows.append((float(step), 1.0, tracemalloc.get_traced_memory()[0] / 1e6, 1e3 + step))
    finally:
        tracemalloc.stop()
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_list_that_keeps_every_batch_is_told_and_its_twin_is_not():
    """0.4 MB per step by the allocator's own count."""
    header = StreamHeader(run_id="a", columns=["step", "loss", "memory_mb", "t"])
    (told,) = opened(Monitor([MemoryGrowth()]).take((header, allocate(leaks=True))))
    assert "kept with their graph" in told.alert.causes[0]
    assert opened(Monitor([MemoryGrowth()]).take((header, allocate(leaks=False)))) == []
