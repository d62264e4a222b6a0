"""The suite for detectors: the built-ins hold it, and it catches detectors that do not."""

from __future__ import annotations

import functools
import itertools
import time
from datetime import UTC, datetime
from random import gauss
from typing import ClassVar

import msgspec
import psutil
import pytest

from barograph import plugins
from barograph.errors import MisuseError
from barograph.testing import detector_contract as contract
from barograph.testing.streams import KINDS, NOISES, VAL_ROLES, broken, healthy, wild
from barograph.watch.detector import Detector
from barograph.watch.watcher import GROUP

NAMES = plugins.names(GROUP)
LOOKS_FOR: dict[str, dict[str, str]] = {
    "frozen": {"constant": "a loss and a gradient that are the same in every record are what it looks for"},
}


class Quiet(Detector):
    """Never says anything."""

    name: ClassVar[str] = "quiet"
    reads: ClassVar[tuple[str, ...]] = ("loss",)

    def update(self, sample):
        """Look."""


class High(Quiet):
    """Says that the loss is above four times its first level; holds the contract."""

    name: ClassVar[str] = "high"

    def update(self, sample):
        """Look."""
        loss = sample.signals["loss"]
        self.is_active = loss.is_log and loss.count > 8 and loss.x > loss.start + 1.4
        return self.alert(sample, "high", severity="warning") if self.is_active and not self.is_quiet(sample) else None


@functools.lru_cache(maxsize=64)
def kept(kind, *, roles, **settings):
    """A sound training, made once: most detectors are asked about the same ones."""
    return healthy(kind, roles=roles, **settings)


@pytest.fixture
def streams_made_once(monkeypatch):
    """The suite takes a sound training that it has made before; what it is depends on its arguments only."""
    monkeypatch.setattr(
        contract, "healthy", lambda kind, *, roles, **settings: kept(kind, roles=tuple(roles), **settings)
    )


@pytest.mark.usefixtures("streams_made_once")
@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_holds_the_contract(name):
    """What is offered is silent on sound trainings, repeatable, resumable, bounded, quick and unbreakable."""
    contract.check_detector(plugins.load(GROUP, name), looks_for=LOOKS_FOR.get(name), num_seeds=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_is_silent_over_many_seeds(name):
    """The same silence over two hundred thousand records of sound trainings."""
    num = contract.check_silent(plugins.load(GROUP, name), looks_for=LOOKS_FOR.get(name), num_seeds=10)
    assert num > 200_000 * (1 - len(LOOKS_FOR.get(name, {})) / len(KINDS))


@pytest.mark.slow
def test_all_built_ins_together_keep_a_bounded_state():
    """Over 200 000 records their states do not grow; what each keeps out of sight is looked for one by one."""
    makes = [plugins.load(GROUP, name) for name in NAMES]
    assert contract.check_bounded(*makes, num_records=200_000, is_traced=False) < 65_536


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_built_ins_keep_a_bounded_state_over_a_million_records():
    """The same over 1 000 000 records, and the process is no more than eight megabytes larger than after 200 000.

    Every role is logged, so that each detector is asked; ``tests/watch/test_cost.py`` goes on to 10 000 000 records of
    what most trainings log.
    """
    makes = [plugins.load(GROUP, name) for name in NAMES]
    process = psutil.Process()
    contract.check_bounded(*makes, num_records=200_000, is_traced=False)
    before = process.memory_info().rss
    assert contract.check_bounded(*makes, num_records=1_000_000, is_traced=False) < 65_536
    assert process.memory_info().rss - before < 8_000_000


@pytest.mark.parametrize("kind", [Quiet, High])
def test_a_sound_detector_passes(kind):
    """Every check holds for a detector that says nothing, and for one that says what is so."""
    contract.check_detector(kind, num_seeds=1)


def test_a_sound_detector_is_made_to_speak():
    """The streams on which it is checked hold something to say, so that equal alerts are not equal silence."""
    assert contract.check_survives(High) > 0
    assert contract.alerts_on(High, broken(seed=1, roles=["loss"]))
    assert contract.check_silent(High, num_seeds=1) > 10_000


def test_no_role_is_called_what_it_is_not():
    """A detector that reads a role that does not exist is refused, with those that do."""

    class Typo(Quiet):
        reads: ClassVar[tuple[str, ...]] = ("lossy",)

    with pytest.raises(AssertionError, match=r"reads \['lossy'\], which are no roles; choose from loss"):
        contract.check_declaration(Typo)


def test_a_state_that_cannot_be_kept_is_refused():
    """A field that is no plain data is found before a run is lost to it."""

    class Odd(Quiet):
        keeps: object = msgspec.field(default_factory=object)

    with pytest.raises(AssertionError, match="its state cannot be kept"):
        contract.check_declaration(Odd)


def test_one_that_fires_on_noise_is_caught():
    """Two standard deviations are no finding: the stream, the alert and the way out are in the message."""

    class Jumpy(Quiet):
        name: ClassVar[str] = "jumpy"

        def update(self, sample):
            loss = sample.signals["loss"]
            return self.alert(sample, f"z is {loss.z:.1f}", severity="warning") if loss.z > 2 else None

    with pytest.raises(AssertionError, match=r"jumpy on a sound training \(white_noise, normal noise, seed 0\)"):
        contract.check_silent(Jumpy)


def test_what_it_is_there_for_can_be_excused():
    """A kind of stream named in ``looks_for`` is left out, and no other."""

    class Level(Quiet):
        name: ClassVar[str] = "level"

        def update(self, sample):
            loss = sample.signals["loss"]
            return self.alert(sample, "no change", severity="info") if loss.num_same > 20 else None

    with pytest.raises(AssertionError, match="constant"):
        contract.check_silent(Level, num_seeds=1)
    assert contract.check_silent(Level, looks_for={"constant": "it is what it looks for"}, num_seeds=1) > 10_000


def clock(sample):
    """The time, by module."""
    return time.monotonic()


def calendar(sample):
    """The time, by class."""
    return datetime.now(UTC).timestamp()


def dice(sample):
    """A random number, imported by name."""
    return gauss(0.0, 1.0)


def file(sample):
    """Something of a file."""
    with open("/dev/null", "rb") as stream:  # noqa: PTH123 - another way to a file than by pathlib
        return len(stream.read(1))


@pytest.mark.parametrize(
    ("reach", "called"), [(clock, "time.monotonic"), (calendar, "datetime.now"), (dice, "random"), (file, "open")]
)
def test_one_that_looks_outside_is_caught(reach, called):
    """A clock, a random number and a file are noticed however they were imported, also where no alert depends on it."""

    class Outside(Quiet):
        name: ClassVar[str] = "outside"

        def update(self, sample):
            reach(sample)

    with pytest.raises(AssertionError, match=rf"outside calls [\w.]*{called}"):
        contract.check_pure(Outside)


def test_one_that_remembers_elsewhere_is_not_repeatable():
    """What is kept in the class changes what the next run is told."""

    class Shared(Quiet):
        name: ClassVar[str] = "shared"
        total: ClassVar[list[float]] = []

        def update(self, sample):
            self.total.append(sample.step)
            return self.alert(sample, "many", severity="info") if len(self.total) == 1000 else None

    with pytest.raises(AssertionError, match="shared says something else about the same facts"):
        contract.check_repeatable(Shared)


def test_one_that_remembers_beside_its_state_is_not_resumable():
    """What is no field is lost when the state is kept."""
    beside: dict[int, int] = {}

    class Forgetful(Quiet):
        name: ClassVar[str] = "forgetful"

        def update(self, sample):
            count = beside[id(self)] = beside.get(id(self), 0) + 1
            return self.alert(sample, "the 400th", severity="info") if count == 400 else None

    with pytest.raises(AssertionError, match="forgetful goes on differently after its state was kept at record 1 "):
        contract.check_resumable(Forgetful)


def test_one_that_keeps_everything_is_caught():
    """A list that only grows is found by the size of the state."""

    class Hoarder(Quiet):
        name: ClassVar[str] = "hoarder"
        kept: list[float] = msgspec.field(default_factory=list)

        def update(self, sample):
            self.kept.append(sample.step)

    with pytest.raises(AssertionError, match=r"hoarder: 1\d{5} bytes of state after 20000 records"):
        contract.check_bounded(Hoarder)


def test_one_that_keeps_everything_out_of_sight_is_caught():
    """So is one that is no part of the state, by what is allocated."""
    cellar: list[float] = []

    class Cellar(Quiet):
        name: ClassVar[str] = "cellar"

        def update(self, sample):
            cellar.append(sample.step * 1.5)

    with pytest.raises(AssertionError, match=r"cellar: \d+ bytes more after the second half"):
        contract.check_bounded(Cellar)


def test_one_that_breaks_is_caught():
    """A logarithm of whatever comes is found, with the stream on which it failed."""

    class Brittle(Quiet):
        name: ClassVar[str] = "brittle"

        def update(self, sample):
            1.0 / sample.signals["loss"].value

    with pytest.raises(AssertionError, match="brittle fails on wild, seed 0 with ZeroDivisionError"):
        contract.check_survives(Brittle)


def test_one_that_is_slow_is_caught():
    """A loop over a thousand numbers for each record is more than a detector may take."""

    class Slow(Quiet):
        name: ClassVar[str] = "slow"

        def update(self, sample):
            sum(sample.step * place for place in range(5000))

    with pytest.raises(AssertionError, match=r"slow takes \d+\.\d us per record, more than 50"):
        contract.check_quick(Slow, num_records=1024)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_made_of_their_seed(kind, noise):
    """The same arguments give the same records, another seed gives others, and there are as many as asked for."""
    one, same, other = (healthy(kind, noise=noise, seed=seed, num_records=200) for seed in (3, 3, 4))
    assert one.records == same.records
    assert (one.records == other.records) == (kind == "constant")
    assert len([row for header, row in one.records if header.split == "train"]) == 200


def test_a_stream_has_two_rates():
    """Evaluations have records of their own, every twentieth step; in ``two_rate`` other metrics every fifth."""
    stream = healthy("two_rate", roles=["loss", "kl", *VAL_ROLES], num_records=100)
    counts = {tuple(header.columns[1:-1]): 0 for header, _ in stream.records}
    for header, _ in stream.records:
        counts[tuple(header.columns[1:-1])] += 1
    assert counts == {("loss",): 100, ("kl",): 20, VAL_ROLES: 5}


def test_wild_records_hold_what_they_promise():
    """Values of every kind, steps that repeat, go back and leap, and three attempts."""
    records = [record for seed in range(4) for record in wild(seed=seed, roles=["loss", "lr"]).records]
    values = [value for _, row in records for value in row[1:-1]]
    steps = [after[1][0] - before[1][0] for before, after in itertools.pairwise(records)]
    assert {header.attempt for header, _ in records} == {0, 1, 2}
    assert {0.0, -1.0, -30.0, 250.0, 1.0} <= set(steps)
    assert any(value != value for value in values)  # noqa: PLR0124 - NaN
    assert {float("inf"), float("-inf"), 0.0, -1.0, 1e-300, 1e300} <= set(values)


def test_an_unknown_kind_is_refused():
    """The message lists the kinds and noises that there are."""
    with pytest.raises(MisuseError, match="'sawtooth' with 'normal' is none of constant, white_noise"):
        healthy("sawtooth")
