"""A training that becomes slower is told; pauses, noise, slow first steps and faster steps are not."""

from __future__ import annotations

import math
import random
import time

import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.throughput_drop import ThroughputDrop
from barograph.watch.monitor import Monitor

ONSET = 400


def opened(told):
    """Without the ends."""
    return [it for it in told if it.stage != "ended"]


def times(factor, *, num_records=800, seed=0, spread=0.2):
    """Seconds per step, times a factor that is told by the step."""
    rng = random.Random(seed)
    return [0.1 * factor(step) * math.exp(rng.gauss(0.0, spread)) for step in range(num_records)]


def watched(seconds, *, metric="step_time_s"):
    """What is told when these times are logged as a step time, as a throughput, or not at all."""
    columns, rows, t = ["step", "loss", *([metric] if metric else []), "t"], [], 1000.0
    for step, elapsed_s in enumerate(seconds):
        t += elapsed_s
        value = {"step_time_s": [elapsed_s], "samples_per_second": [32 / elapsed_s], "": []}[metric]
        rows.append((float(step), 1.0, *value, t))
    return opened(Monitor([ThroughputDrop()]).take((StreamHeader(run_id="a", columns=columns), rows)))


METRICS = ["step_time_s", "samples_per_second", ""]


@pytest.mark.spec("S2.41")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("factor", "within"), [(3.0, 25), (10.0, 24)])
def test_a_drop_is_told(metric, seed, factor, within):
    """However it is logged; the alert says since when, within eight steps."""
    (told,) = watched(times(lambda step: 1.0 if step < ONSET else factor, seed=seed), metric=metric)
    assert (told.alert.type, told.alert.severity) == ("throughput_drop", "warning")
    assert ONSET <= told.alert.step <= ONSET + within
    assert abs(told.alert.since_step - ONSET) <= 8


@pytest.mark.parametrize("metric", METRICS)
def test_stalls_that_are_new_are_told(metric):
    """Every eighth record takes thirty times as long: the median does not move, the time is lost all the same.

    Where the times are those between blocks of records, it is a block that takes four times as long.
    """
    seconds = times(lambda step: 30.0 if step >= ONSET and step % 8 == 0 else 1.0)
    (told,) = watched(seconds, metric=metric)
    assert ("of the time" if metric else "times as long as usual") in told.alert.text
    assert ONSET <= told.alert.step <= ONSET + 48


@pytest.mark.parametrize("metric", METRICS)
def test_stalls_that_were_there_from_the_start_are_silent(metric):
    """A pause every tenth record is how this run is."""
    assert watched(times(lambda step: 40.0 if step % 10 == 0 else 1.0), metric=metric) == []


def test_a_training_that_becomes_slower_and_slower_is_told():
    """By two thirds over the run, evenly."""
    (told,) = watched(times(lambda step: 1.0 + 2.0 * step / 2000, num_records=2000))
    assert "longer and longer" in told.alert.text


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_noise_and_pauses_are_silent(metric, seed):
    """Slow first steps, an evaluation every hundred, ten per cent of outliers, a noise of half."""
    rng = random.Random(seed)
    pause = lambda step: (  # noqa: E731 - a curve
        30.0 if step < 3 else 50.0 if step % 100 == 99 else 3.0 if rng.random() < 0.1 else 1.0
    )
    assert watched(times(pause, num_records=3000, seed=seed, spread=0.5), metric=metric) == []


def test_a_training_that_becomes_faster_is_silent():
    """Also when it goes back to where it was at first."""
    assert watched(times(lambda step: 1.0 if not 200 <= step < 260 else 0.2)) == []


def test_evaluations_are_not_step_times():
    """The time between two records that holds an evaluation, a checkpoint or a resume says nothing about the step."""
    monitor, told, t = Monitor([ThroughputDrop()]), [], 1000.0
    train = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    val = StreamHeader(run_id="a", columns=["step", "loss", "t"], split="val")
    for step in range(600):
        if step > 300:  # after every step from here on
            t += 5.0
            if step % 2:
                told += monitor.take((val, [(float(step), 1.0, t)]))
            else:
                told += monitor.take(Event(moment="on_checkpoint", seq=step, t=t, payload={"step": step}))
        t += 0.1
        told += monitor.take((train, [(float(step), 1.0, t)]))
    assert told == []


def test_the_loader_is_named_when_its_time_rose():
    """With the time that the loader takes in the records, cause and advice are about it alone; else not about it."""
    for data_factor, expected in ((10.0, "the loader: data_time_s rose"), (1.0, "not the loader")):
        rng, rows, t = random.Random(0), [], 1000.0
        for step in range(600):
            slow = step >= ONSET
            t += 0.5 if slow else 0.1
            data_s = 0.01 * (data_factor if slow else 1.0) * math.exp(rng.gauss(0, 0.1))
            rows.append((float(step), 1.0, 0.5 if slow else 0.1, data_s, t))
        header = StreamHeader(run_id="a", columns=["step", "loss", "step_time_s", "data_time_s", "t"])
        (told,) = opened(Monitor([ThroughputDrop()]).take((header, rows)))
        assert told.alert.causes[0].startswith(expected)


def test_the_incident_ends_when_the_speed_is_back():
    """It is over some records after the last slow one."""
    rows, t = [], 1000.0
    for step, elapsed_s in enumerate(times(lambda step: 5.0 if ONSET <= step < ONSET + 80 else 1.0)):
        t += elapsed_s
        rows.append((float(step), 1.0, elapsed_s, t))
    told = Monitor([ThroughputDrop()]).take(
        (StreamHeader(run_id="a", columns=["step", "loss", "step_time_s", "t"]), rows)
    )
    assert [it.stage for it in told] == ["opened", "ended"]


def work(sleep_s, *, num_records=160):
    """Rows of a real loop whose loader sleeps."""
    rows = []
    for step in range(num_records):
        time.sleep(sleep_s(step))
        rows.append((float(step), 1.0, time.time()))
    return rows


@pytest.mark.spec("S2.24")
def test_a_real_loader_that_sleeps_is_told():
    """Twelve times as long as before; nothing but the times of the records says so."""
    header = StreamHeader(run_id="a", columns=["step", "loss", "t"])
    (told,) = opened(Monitor([ThroughputDrop()]).take((header, work(lambda step: 0.001 if step < 120 else 0.012))))
    assert 120 <= told.alert.step <= 144


@pytest.mark.parametrize("metric", METRICS)
def test_a_run_that_is_as_slow_as_it_began_is_silent(metric):
    """What was fast for a while, on a machine that was idle then, and is as before, has not become slower."""
    assert watched(times(lambda step: 0.35 if 80 <= step < 500 else 1.0), metric=metric) == []
    assert len(watched(times(lambda step: 0.35 if step < 500 else 1.0), metric=metric)) == 1
