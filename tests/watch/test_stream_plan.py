"""Who is asked when: those that rest, evaluations that come with each record, and what is taken at once around them."""

from __future__ import annotations

import math
import random
from typing import ClassVar

import msgspec
import pytest

from barograph.facts.rows import StreamHeader
from barograph.testing.streams import BASIC, broken, healthy, wild
from barograph.watch.detector import FOREVER, Detector
from barograph.watch.monitor import Monitor
from barograph.watch.signal import WARM_RECORDS
from barograph.watch.stream_plan import MANY_EVALUATIONS, StreamPlan
from barograph.watch.watcher import load_detectors

TRAIN = StreamHeader(run_id="r", columns=["step", "loss", "t"])
BOTH = StreamHeader(run_id="r", columns=["step", "loss", "val_loss", "t"])
VAL = StreamHeader(run_id="r", columns=["step", "loss", "t"], split="val")
ROLES = (*BASIC, "accuracy", "throughput", "val_accuracy", "quality", "memory", "update_ratio", "dead_fraction")


class Resting(Detector):
    """Looks at every third block, and never again after the fifth look."""

    name: ClassVar[str] = "resting"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    pace: ClassVar[str] = "block"

    seen: list[float] = msgspec.field(default_factory=list)

    def update(self, sample):
        """Keep the step."""
        self.seen.append(sample.step)
        self.rests_until = FOREVER if len(self.seen) == 5 else sample.context.num_records + 24


class OfEvaluations(Detector):
    """Keeps the steps at which it is shown an evaluation."""

    name: ClassVar[str] = "of_evaluations"
    reads: ClassVar[tuple[str, ...]] = ("val_loss",)

    seen: list[float] = msgspec.field(default_factory=list)

    def update(self, sample):
        """Keep the step."""
        if "val_loss" in sample.signals:
            self.seen.append(sample.step)


class OfBoth(OfEvaluations):
    """The same, of one that reads the loss as well and can be left alone."""

    name: ClassVar[str] = "of_both"
    reads: ClassVar[tuple[str, ...]] = ("loss", "val_loss")
    calm_z: ClassVar[float | None] = 4.0

    def calm_below(self, role):
        """Each evaluation is looked at."""
        return math.inf if role == "loss" else -math.inf


def rows(start, stop, *, num_values=1):
    """Records of a loss, or of two, around their level."""
    rng = random.Random(start)
    return [
        (float(step), *(math.exp(rng.gauss(0, 0.1)) for _ in range(num_values)), 1e9 + step)
        for step in range(start, stop)
    ]


def outcome(monitor, pieces):
    """What is told, as bytes, because NaN is not equal to itself."""
    return msgspec.msgpack.encode([told for piece in pieces for told in monitor.take(piece)])


@pytest.mark.parametrize("size", [1, 5, 200])
def test_one_that_rests_is_not_asked(size):
    """Asked at the ends of blocks only, when as many records have come as it waits for; after that not at all."""
    monitor = Monitor([Resting()])
    for start in range(0, 200, size):
        monitor.take((TRAIN, rows(start, start + size)))
    assert monitor.detectors[0].seen == [7.0, 31.0, 55.0, 79.0, 103.0]


@pytest.mark.parametrize("make", [healthy, broken, wild])
def test_those_who_rest_would_do_nothing(make):
    """All built-in detectors that are woken before each record tell and know the same as those that are let rest."""
    arguments = {"seed": 5, "roles": ROLES, "num_records": 1500}
    stream = make("cosine_restarts", **arguments) if make is healthy else make(**arguments)
    resting, woken = Monitor(load_detectors()), Monitor(load_detectors())
    told, others = outcome(resting, stream.pieces(64)), []
    for piece in stream.pieces(1):
        for detector in woken.detectors:
            detector.rests_until = 0
        others += woken.take(piece)
    assert any(detector.rests_until for detector in resting.detectors)
    for detector in (*resting.detectors, *woken.detectors):
        detector.rests_until = 0
    assert msgspec.msgpack.encode(others) == told
    assert woken.state() == resting.state()


@pytest.mark.parametrize("size", [1, 7, 64, 1024])
def test_evaluations_that_come_with_each_record_are_looked_at_each_eighth(size):
    """A metric that is called a validation loss and comes with each step for long is looked at each eighth time."""
    monitor = Monitor([OfEvaluations(), OfBoth()])
    recorded = rows(0, 1024, num_values=2)
    for start in range(0, 1024, size):
        monitor.take((BOTH, recorded[start : start + size]))
    expected = [*map(float, range(MANY_EVALUATIONS)), *map(float, range(MANY_EVALUATIONS + 7, 1024, 8))]
    assert [it.seen for it in monitor.detectors] == [expected] * 2


def test_what_is_known_of_evaluations_is_kept():
    """One that goes on in the middle of a block looks at the same evaluations."""
    recorded = rows(0, 1024, num_values=2)
    whole, first, second = (Monitor([OfEvaluations(), OfBoth()]) for _ in range(3))
    whole.take((BOTH, recorded))
    first.take((BOTH, recorded[:701]))
    second.restore(first.state())
    second.take((BOTH, recorded[701:]))
    assert second.state() == whole.state()


def test_rare_evaluations_are_all_looked_at():
    """One evaluation in ten steps is one, however many there were."""
    monitor = Monitor([OfEvaluations()])
    for start in range(0, 8000, 10):
        monitor.take((TRAIN, rows(start, start + 10)))
        monitor.take((VAL, rows(start + 9, start + 10)))
    assert monitor.detectors[0].seen == [float(step) for step in range(9, 8000, 10)]


class Usual(Detector):
    """Has to be asked for a loss above a bound, or four noises from what was expected."""

    name: ClassVar[str] = "usual"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    calm_z: ClassVar[float | None] = 4.0

    bound: float = math.inf

    def update(self, sample):
        """Look."""

    def calm_below(self, role):
        """Up to the bound."""
        return self.bound


@pytest.mark.parametrize(
    ("place", "value", "bound"), [(5, math.nan, math.inf), (3, 30.0, math.inf), (6, 0.0, math.inf), (4, 1.5, 1.45)]
)
def test_what_comes_before_an_unusual_value_is_usual(place, value, bound):
    """A value that is not finite, one far away, one without a logarithm, one above a bound: found where they are."""
    monitor = Monitor([Usual(bound=bound)])
    monitor.take((TRAIN, rows(0, 4 * WARM_RECORDS)))
    loss = monitor.context.signals["loss"]
    plan = StreamPlan("train", [(1, loss)], monitor.detectors, count=loss.count)
    values = [1.0 + 0.01 * (at % 3) for at in range(8)]
    values[place] = value
    columns = [tuple(map(float, range(8))), tuple(values), tuple(1e9 + at for at in range(8))]
    assert plan.scaled(list(zip(*columns, strict=True)), columns) is None
    assert plan.num_usual(columns) == place
