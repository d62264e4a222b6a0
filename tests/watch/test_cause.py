"""A cause that is visibly under way is told in place of its symptom, and opens no incident by itself."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph import plugins
from barograph.facts.rows import StreamHeader
from barograph.watch.cause import LATELY, Cause, before, left
from barograph.watch.detector import Detector
from barograph.watch.incident import FAMILY, PRECEDENCE, Incidents
from barograph.watch.monitor import Monitor
from barograph.watch.roles import ROLES
from barograph.watch.signal import WINDOW, Signal
from barograph.watch.watcher import GROUP

HEADER = StreamHeader(run_id="a", columns=["step", "loss", "dead_fraction", "t"])
NAMES = plugins.names(GROUP)


class HighLoss(Detector):
    """Tells a loss above five."""

    name: ClassVar[str] = "divergence"
    reads: ClassVar[tuple[str, ...]] = ("loss",)
    severity: ClassVar[str] = "warning"

    def update(self, sample):
        """See ``Detector``."""
        was_active, self.is_active = self.is_active, sample.signals["loss"].value > 5
        return self.alert(sample, "high", severity=self.severity) if self.is_active and not was_active else None


class Fatal(HighLoss):
    """The same, which nothing comes back from."""

    severity: ClassVar[str] = "fatal"


class SomeDead(Detector):
    """Tells units of which nine in ten are dead; one in ten is enough to explain a loss."""

    name: ClassVar[str] = "dead_units"
    reads: ClassVar[tuple[str, ...]] = ("dead_fraction",)
    explains: ClassVar[tuple[str, ...]] = ("divergence",)

    num_asked: int = 0

    def update(self, sample):
        """See ``Detector``."""
        was_active, self.is_active = self.is_active, sample.signals["dead_fraction"].value > 0.9
        return self.alert(sample, "dead", severity="critical") if self.is_active and not was_active else None

    def explain(self, sample, alert):
        """See ``Cause``."""
        self.num_asked += 1
        dead = sample.get("dead_fraction")
        if dead.value <= 0.1:
            return None
        return self.alert(sample, "dying", severity="warning", since=alert.since_step - 1)


class MoreSpecial(SomeDead):
    """Explains the same by something that fewer models have."""

    name: ClassVar[str] = "gan_imbalance"


def told(detectors, losses, shares):
    """What is told, as (step, stage, type, types of the incident)."""
    rows = [
        (float(step), loss, share, 1e9 + step) for step, (loss, share) in enumerate(zip(losses, shares, strict=True))
    ]
    return shown(Monitor(detectors).take((HEADER, rows)))


def shown(found):
    """What was told, in short."""
    return [(it.step, it.stage, it.alert.type, it.incident.types) for it in found if it.stage != "ended"]


def signal_of(values, role="kl"):
    """A metric that has had these values."""
    signal = Signal.of(role, "train", ROLES[role])
    for step, value in enumerate(values):
        signal.take(value, float(step))
    return signal


def test_a_cause_that_is_under_way_is_told_in_place_of_its_symptom():
    """At the very record; the symptom stands in the history and is not told besides."""
    found = told([HighLoss(), SomeDead()], [1.0, 1.0, 9.0, 9.0], [0.0, 0.0, 0.2, 0.2])
    assert found == [(2.0, "opened", "dead_units", ["dead_units"])]
    monitor = Monitor([HighLoss(), SomeDead()])
    monitor.take((HEADER, [(0.0, 9.0, 0.2, 1e9)]))
    assert monitor.incidents.open[0].types == ["dead_units", "divergence"]


def test_without_a_cause_the_symptom_is_told_as_it_is():
    """The cause is asked, sees nothing, and nothing is waited for."""
    detectors = [HighLoss(), SomeDead()]
    assert told(detectors, [1.0, 9.0, 9.0], [0.0, 0.0, 0.0]) == [(1.0, "opened", "divergence", ["divergence"])]
    assert detectors[1].num_asked == 1


def test_a_cause_opens_nothing_by_itself():
    """What is enough to explain is not enough to cry wolf: it is not even asked."""
    detectors = [HighLoss(), SomeDead()]
    assert told(detectors, [1.0] * 50, [0.5] * 50) == []
    assert detectors[1].num_asked == 0


def test_in_an_incident_that_is_open_nobody_is_asked():
    """What joins is told as what it is: the incident has its name already."""
    detectors = [HighLoss(), SomeDead()]
    found = told(detectors, [1.0, 1.0, 9.0], [0.0, 0.95, 0.95])
    assert [(step, kind) for step, _, kind, _ in found] == [(1.0, "dead_units")]
    assert detectors[1].num_asked == 0


def test_what_is_fatal_is_told_as_it_is():
    """A run that is lost is told so by the detector that saw it."""
    assert told([Fatal(), SomeDead()], [9.0], [0.5]) == [(0.0, "opened", "divergence", ["divergence"])]


def test_a_symptom_that_is_worse_than_its_cause_is_told_besides():
    """The explanation takes away no severity."""

    class Worse(HighLoss):
        severity: ClassVar[str] = "critical"

    found = told([Worse(), SomeDead()], [9.0], [0.5])
    assert [(stage, kind) for _, stage, kind, _ in found] == [("opened", "dead_units"), ("worse", "divergence")]


def test_of_several_causes_the_most_special_is_told():
    """What only some models have says more than what each has."""
    found = told([HighLoss(), SomeDead(), MoreSpecial()], [9.0], [0.5])
    assert [kind for _, _, kind, _ in found] == ["gan_imbalance"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 120))
def test_a_watcher_that_goes_on_from_its_state_explains_alike(seed, cut):
    """Live, replayed and gone on with from any record, the same is told."""
    rng = random.Random(seed)
    rows = [(float(step), rng.choice((1.0, 1.0, 9.0)), rng.choice((0.0, 0.3)), 1e9 + step) for step in range(120)]
    whole = Monitor([HighLoss(), SomeDead()]).take((HEADER, rows))
    first, second = Monitor([HighLoss(), SomeDead()]), Monitor([HighLoss(), SomeDead()])
    found = first.take((HEADER, rows[:cut]))
    second.restore(first.state())
    assert [*found, *second.take((HEADER, rows[cut:]))] == whole


@pytest.mark.parametrize("name", [it for it in NAMES if isinstance(plugins.load(GROUP, it)(), Cause)])
def test_what_a_cause_explains_is_of_its_own_family(name):
    """Else the symptom would be told as an incident of another kind beside it."""
    explains = plugins.load(GROUP, name).explains
    assert name not in explains
    assert set(explains) <= set(PRECEDENCE)
    assert {FAMILY.get(it) for it in explains} == {FAMILY.get(name)}


def test_who_explains():
    """Those whose signal moves before what it does to the loss and the norm, and those who say more than the norm."""
    causes = {it for it in NAMES if isinstance(plugins.load(GROUP, it)(), Cause)}
    by_norm = {it for it in causes if "exploding_gradient" in plugins.load(GROUP, it).explains}
    assert {"dead_units", "exploding_gradient", "gan_imbalance", "posterior_collapse"} <= causes
    assert {"data_shift", "divergence", "loss_spike"} <= by_norm


def test_the_first_record_out_of_range_is_found():
    """With its step and direction; the other direction is not asked for."""
    rng = random.Random(0)
    usual = [5.0 * (1 + rng.gauss(0, 0.05)) for _ in range(WINDOW)]
    fallen = signal_of([*usual, *([1.0] * 10)])
    assert left(fallen).step == WINDOW
    assert left(fallen, up=False).surprise < -6
    assert left(fallen, up=True) is None
    assert left(signal_of(usual)) is None


def test_what_was_usual_is_what_was_before_the_newest_records():
    """None in the first records, and of a metric that is not logged nothing is said."""
    values = [1.0 + step / 100 for step in range(WINDOW)]
    assert before(signal_of(values, "dead_fraction")) == values[:-LATELY]
    assert before(signal_of(values[:LATELY])) == []
    assert left(None) is None
    assert left(signal_of(values[:8])) is None


@pytest.mark.parametrize(("kind", "opens"), [("divergence", False), ("dead_units", False), ("throughput_drop", True)])
def test_an_incident_knows_what_would_open_another(kind, opens):
    """Of its own family nothing does."""
    monitor = Monitor([HighLoss()])
    monitor.take((HEADER, [(0.0, 9.0, 0.0, 1e9)]))
    assert monitor.incidents.opens(kind) is opens
    assert Incidents().opens(kind)
