"""The monitor: what it asks of whom, what it adds to an alert, and that it can stop and go on anywhere."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph.facts.kinds import Event
from barograph.facts.rows import StreamHeader
from barograph.read.follow import Record
from barograph.testing.streams import broken, healthy, wild
from barograph.watch.detector import Detector
from barograph.watch.monitor import MAX_SIGNALS, Monitor

TRAIN = StreamHeader(run_id="r", columns=["step", "loss", "lr", "t"])


class Seen(Detector):
    """Keeps what it was shown, as (step, loss)."""

    name: ClassVar[str] = "seen"
    reads: ClassVar[tuple[str, ...]] = ("loss",)

    steps: list[float] = msgspec.field(default_factory=list)
    values: list[float] = msgspec.field(default_factory=list)

    def update(self, sample):
        """Keep it."""
        self.steps.append(sample.step)
        self.values.append(sample.signals["loss"].value)


class ByBlock(Seen):
    """The same, every eighth record."""

    name: ClassVar[str] = "by_block"
    pace: ClassVar[str] = "block"


class OfNonFinite(Seen):
    """The same, for records that hold a value that is not finite."""

    name: ClassVar[str] = "of_nonfinite"
    reads: ClassVar[tuple[str, ...]] = ("*",)
    pace: ClassVar[str] = "nonfinite"

    def update(self, sample):
        """Keep it."""
        self.steps.append(sample.step)
        self.values += [value for _, value in sample.nonfinite]


class Every(Detector):
    """Gives an alert for every record above five."""

    name: ClassVar[str] = "every"
    reads: ClassVar[tuple[str, ...]] = ("loss",)

    def update(self, sample):
        """Say so."""
        loss = sample.signals["loss"]
        self.is_active = loss.value > 5
        return self.alert(sample, f"{loss.z}", severity="warning") if self.is_active else None


def rows(start: int, values, *, lr: float = 0.1) -> list[tuple[float, ...]]:
    """Rows of the loss, one per step."""
    return [(float(step), value, lr, 1e9 + step) for step, value in enumerate(values, start)]


def detector(monitor: Monitor, name: str = "seen"):
    """The monitor's detector of that name."""
    return next(it for it in monitor.detectors if it.name == name)


def test_detectors_are_asked_at_their_pace():
    """Every record, every eighth, or those that hold a value that is not finite, with that value."""
    monitor = Monitor([Seen(), ByBlock(), OfNonFinite()])
    monitor.take((TRAIN, rows(0, [1.0] * 20 + [math.nan, math.inf] + [1.0] * 4)))
    assert detector(monitor).steps == [float(step) for step in range(26)]
    assert detector(monitor, "by_block").steps == [7.0, 15.0, 23.0]
    assert detector(monitor, "of_nonfinite").steps == [20.0, 21.0]
    assert [str(value) for value in detector(monitor, "of_nonfinite").values] == ["nan", "inf"]


def test_only_records_with_what_it_reads_are_shown():
    """A stream without a loss is none of its business."""
    monitor = Monitor([Seen()])
    monitor.take((StreamHeader(run_id="r", columns=["step", "accuracy", "t"]), [(0.0, 0.5, 1e9)]))
    monitor.take((TRAIN, rows(1, [2.0])))
    assert detector(monitor).steps == [1.0]


def test_the_first_metric_of_a_role_has_it():
    """A second one is watched as a metric without a role."""
    monitor = Monitor([Seen()])
    header = StreamHeader(run_id="r", columns=["step", "loss", "nll", "t"])
    monitor.take((header, [(0.0, 1.0, 7.0, 1e9)]))
    assert detector(monitor).values == [1.0]
    assert {key: it.role for key, it in monitor.context.all_signals.items()} == {"train/loss": "loss", "train/nll": ""}


def test_declared_roles_go_before_names():
    """A metric of any name can be the loss."""
    monitor = Monitor([Seen()], roles={"zeta": "loss"})
    monitor.take((StreamHeader(run_id="r", columns=["step", "zeta", "t"]), [(0.0, 3.0, 1e9)]))
    assert detector(monitor).values == [3.0]


def test_other_processes_are_passed_over():
    """Each process of a run has its own monitor."""
    monitor = Monitor([Seen()], rank=1)
    for rank in (0, 1):
        monitor.take((msgspec.structs.replace(TRAIN, rank=rank), rows(rank, [1.0])))
        monitor.take(Record(step=10.0 + rank, t=1e9, metrics={"loss": 2.0}, rank=rank))
        monitor.take(Event(moment="on_start", seq=0, t=1e9, payload={"rank": rank, "total_steps": 10 + rank}))
    assert detector(monitor).steps == [1.0, 11.0]
    assert monitor.context.total_steps == 11


def test_records_and_rows_are_one_metric():
    """Values too odd for rows take part like any other; what is no number, or too large for one, is left out."""
    monitor = Monitor([Seen()])
    monitor.take((TRAIN, rows(0, [1.0])))
    monitor.take(Record(step=1, t=1e9, metrics={"loss": 2, "note": "x", "flag": True}))
    monitor.take(Record(step=2, t=1e9, metrics={"loss": 10**400, "tokens": 2**70}))
    monitor.take(Record(step=10**400, t=10**400, metrics={"loss": 3.0}))
    assert detector(monitor).values == [1.0, 2.0, 3.0]
    assert monitor.context.signals["loss"].count == 3
    assert monitor.context.all_signals["train/tokens"].value == 2.0**70


def test_epochs_speak_where_steps_do_not():
    """The losses of an epoch are the run's losses where nothing finer was logged, and left alone where it was."""
    epoch = Event(moment="on_epoch_end", seq=1, t=1e9, payload={"epoch": 1, "train_loss": 5.0, "val_loss": 6.0})
    coarse, fine = Monitor([Seen()]), Monitor([Seen()])
    coarse.take(epoch)
    fine.take((TRAIN, rows(0, [1.0])))
    fine.take(epoch)
    assert (detector(coarse).values, detector(fine).values) == ([5.0], [1.0])
    assert fine.context.signals["val_loss"].value == 6.0


def test_a_resume_is_a_new_attempt():
    """Detectors can tell how long ago it was, and at which step."""
    monitor = Monitor([Seen()])
    monitor.take((TRAIN, rows(0, [1.0] * 30)))
    monitor.take((msgspec.structs.replace(TRAIN, attempt=1), rows(20, [1.0] * 5)))
    context = monitor.context
    assert (context.attempt, context.resumed_step, context.records_in_attempt, context.num_records) == (1, 20.0, 5, 35)


def test_the_machines_samples_are_no_records():
    """They come at their own times, which are no steps; a metric nobody reads is not kept."""
    monitor = Monitor([Seen()])
    monitor.take((TRAIN, rows(41, [1.0])))
    host = StreamHeader(run_id="r", columns=["step", "rss_gb", "cpu_percent", "t"], split="host")
    monitor.take((host, [(123456.0, 2.5, 80.0, 1e9 + 50)]))
    assert (monitor.context.step, monitor.context.num_records, monitor.context.t) == (41.0, 1, 1e9 + 50)
    assert list(monitor.context.all_signals) == ["train/loss", "train/lr", "host/rss_gb"]


def test_metrics_are_bounded():
    """More than 512 metrics are not watched, whether they come as one row or as a thousand sets of keys."""
    monitor = Monitor([Seen()])
    for number in range(600):
        monitor.take(Record(step=number, t=1e9, metrics={f"a{number}": 1.0, f"b{number}": 1.0}))
    monitor.take((TRAIN, rows(0, [1.0])))
    assert len(monitor.context.all_signals) == MAX_SIGNALS
    assert detector(monitor).values == []


def test_an_alert_says_when_where_and_what_moved_first():
    """Time, attempt, a name that is the same for the same facts, and the metrics that left their range, in order."""
    monitor = Monitor([Every()])
    header = StreamHeader(run_id="r", columns=["step", "loss", "grad_norm", "t"], attempt=2)
    calm = [(float(s), 2.0 + 0.1 * (s % 3), 1.0 + 0.05 * (s % 5), 1e9 + s) for s in range(100)]
    monitor.take((header, calm))
    (told,) = monitor.take((header, [(100.0, 2.1, 60.0, 1e9 + 100), (101.0, 90.0, 80.0, 1e9 + 101)]))
    alert = told.alert
    assert (alert.id, alert.t, alert.attempt, alert.step) == ("every-r0-a2-s101-n102", 1e9 + 101, 2, 101.0)
    assert [(it.metric, it.step) for it in alert.moved_first] == [("grad_norm", 100.0), ("loss", 101.0)]


def test_an_incident_is_told_once_and_ends():
    """A hundred alerts of one kind are one opening and, when the trouble is over, one end."""
    monitor = Monitor([Every()])
    told = monitor.take((TRAIN, rows(0, [1.0] * 50 + [11.0] * 100)))
    assert [it.stage for it in told] == ["opened"]
    (end,) = monitor.take((TRAIN, rows(150, [1.0] * 200)))
    assert (end.stage, end.alert.step) == ("ended", 50.0)
    assert 150 + 60 <= end.step < 150 + 60 + 32


@pytest.mark.parametrize("stream", [wild(seed=8), broken(seed=8)], ids=["wild", "broken"])
@given(cuts=st.lists(st.integers(1, 200), min_size=1, max_size=6))
@settings(max_examples=10)
def test_it_goes_on_where_it_was(stream, cuts):
    """Written down and read back between any records, it tells the same and knows the same in the end."""
    pieces = list(stream.pieces(1))
    whole = Monitor([Every(), OfNonFinite(), ByBlock()])
    expected = [told for piece in pieces for told in whole.take(piece)]
    monitor, found, place = Monitor([Every(), OfNonFinite(), ByBlock()]), [], 0
    for cut in [*cuts, len(pieces)]:
        found += [told for piece in pieces[place : place + cut] for told in monitor.take(piece)]
        place += cut
        after = Monitor([Every(), OfNonFinite(), ByBlock()])
        after.restore(monitor.state())
        monitor = after
    assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(expected)
    assert expected
    assert monitor.state() == whole.state()


@pytest.mark.parametrize("kind", [Every, ByBlock, OfNonFinite])
@pytest.mark.parametrize(
    "stream", [wild(seed=9), broken(seed=9), healthy("one_cycle", seed=9), healthy("constant")], ids=lambda it: it.name
)
def test_records_that_come_together_are_taken_like_one_by_one(kind, stream):
    """However many rows a reader hands on at once, what is told and what is known afterwards is the same."""
    outcomes = set()
    for size in (1, 3, 8, 50, 10_000):
        monitor = Monitor([kind()])
        told = [found for piece in stream.pieces(size) for found in monitor.take(piece)]
        outcomes.add((msgspec.msgpack.encode(told), monitor.state()))
    assert len(outcomes) == 1


def test_a_state_of_something_else_is_refused():
    """It does not go on from half of what it knew."""
    with pytest.raises(msgspec.MsgspecError):
        Monitor([Seen()]).restore(b"\x93\x01\x02\x03")
