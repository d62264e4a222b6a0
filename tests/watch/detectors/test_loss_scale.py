"""A loss scale that collapses is told; the search at the start and the saw-tooth later on are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.watch.detectors.loss_scale import LossScale
from barograph.watch.monitor import Monitor


def watched(scales, *, checkpoint_step=None, steps=None):
    """What is told of a loss scale, ends left out."""
    monitor = Monitor([LossScale()])
    if checkpoint_step is not None:
        monitor.take(Event(moment="on_checkpoint", seq=0, t=0.0, payload={"path": "last.pt", "step": checkpoint_step}))
    header = StreamHeader(run_id="a", columns=["step", "loss", "loss_scale", "t"])
    steps = steps or range(len(scales))
    rows = [(float(step), 1.0, scale, 1000.0 + step) for step, scale in zip(steps, scales, strict=True)]
    return [told for told in monitor.take((header, rows)) if told.stage != "ended"]


def saw_tooth(num_records, *, growth=60, first=65536.0, fitting=1024.0):
    """The scale of a scaler: halved until it fits, doubled now and then, and taken back in the next record."""
    scale, good, found = first, 0, []
    for _ in range(num_records):
        found.append(scale)
        if scale > fitting:
            scale, good = scale / 2, 0
        else:
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
    return found


@pytest.mark.parametrize("first", [2.0**10, 2.0**16, 2.0**24])
@pytest.mark.parametrize("every", [1, 10])
def test_the_search_and_the_saw_tooth_are_silent(first, every):
    """The first records halve the scale up to fourteen times; later it goes up and down by two."""
    assert watched(saw_tooth(3000, first=first)[::every]) == []


def test_a_scale_that_never_changes_is_silent():
    """A static scale says nothing."""
    assert watched([128.0] * 500) == []


def test_a_collapse_is_told_with_the_checkpoint_before_it():
    """Halvings in each record: told within eight, since the last record that was as usual."""
    scales = saw_tooth(400) + [1024.0 / 2.0**place for place in range(1, 15)] + [2.0**-4] * 50
    (told,) = watched(scales, checkpoint_step=390)
    assert (told.alert.type, told.alert.severity) == ("loss_scale", "critical")
    assert (told.alert.since_step, told.alert.step) == (399.0, 407.0)
    assert "go on from last.pt (step 390), and skip the batches from 399 to 407" in [
        remedy.text for remedy in told.alert.remedies
    ]


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_a_scale_that_is_lost_at_once_is_told_at_the_next_look(scale):
    """A factor of a thousand, or zero, in one record."""
    (told,) = watched(saw_tooth(400) + [scale] * 50)
    assert told.alert.step == 407.0


def test_a_scale_that_came_back_is_over():
    """The incident ends, and a second collapse much later is another one."""
    fall = [1024.0 / 2.0**place for place in range(1, 11)] + [1.0] * 20
    monitor = Monitor([LossScale()])
    scales = saw_tooth(300) + fall + [1024.0] * 400 + fall + [1024.0] * 300
    rows = [(float(step), 1.0, scale, 1000.0 + step) for step, scale in enumerate(scales)]
    told = monitor.take((StreamHeader(run_id="a", columns=["step", "loss", "loss_scale", "t"]), rows))
    assert [it.stage for it in told] == ["opened", "ended", "opened", "ended"]


def scaled_descent(*, breaks_at, num_steps=400):
    """Scales of a real descent with half-precision gradients: from some step on one of them overflows at any scale."""
    rng = np.random.default_rng(0)
    scale, good, weight, found = 2.0**16, 0, 0.0, []
    for step in range(num_steps):
        found.append(scale)
        gradient = 2 * (weight - 3.0) + 0.1 * rng.normal()
        gradient = math.inf if step >= breaks_at else gradient
        with np.errstate(over="ignore"):
            half = np.float16(gradient * scale)
        if np.isfinite(half):
            weight, good = weight - 0.01 * float(half) / scale, good + 1
            if good == 50:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return found


@pytest.mark.spec("S2.24")
def test_a_real_scaler_is_silent_until_its_gradients_overflow_at_any_scale():
    """The same training with and without an infinite gradient from step 250 on."""
    (told,) = watched(scaled_descent(breaks_at=250))
    assert 242 <= told.alert.since_step <= told.alert.step <= 266
    assert watched(scaled_descent(breaks_at=1000)) == []
