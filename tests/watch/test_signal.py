"""The shared statistics of one metric, held against dull computations over the whole window."""

from __future__ import annotations

import math
import random
import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.watch.roles import ROLES
from barograph.watch.signal import BLOCK, NUM_HISTORY, NUM_RECENT, WARM_RECORDS, WINDOW, Signal
from barograph.watch.surprise import is_high, is_low, limit


def signal_of(values, role: str | None = "reward") -> Signal:
    """A signal that has taken values, one per step."""
    signal = Signal.of("metric", "train", ROLES[role] if role else None)
    for step, value in enumerate(values):
        signal.take(value, float(step))
    return signal


def gauss(num: int, *, mean: float = 10.0, sd: float = 1.0, seed: int = 0) -> list[float]:
    """Noise around a level."""
    rng = random.Random(seed)
    return [rng.gauss(mean, sd) for _ in range(num)]


def test_the_window_is_what_a_dull_computation_says():
    """Median, extremes, spread and noise are those of the newest 48 values, looked at when a block was full."""
    values = gauss(96)
    signal = signal_of(values)
    window = sorted(values[-WINDOW:])
    steps = sorted(abs(b - a) for a, b in zip(values[-WINDOW:], values[-WINDOW + 1 :], strict=False))
    assert (signal.median, signal.low, signal.high) == (window[24], window[0], window[-1])
    assert signal.spread == pytest.approx((window[36] - window[12]) / 1.349)
    assert signal.noise == pytest.approx(steps[len(steps) // 2] * 1.4826 / math.sqrt(2))


@pytest.mark.parametrize("sd", [0.1, 1.0, 30.0])
def test_noise_is_a_standard_deviation(sd):
    """Over many windows of normal noise its median is the noise that went in, by a tenth."""
    found = [signal_of(gauss(WINDOW, sd=sd, seed=seed)).noise for seed in range(200)]
    assert statistics.median(found) == pytest.approx(sd, rel=0.1)


def test_a_trend_is_no_noise():
    """A metric that falls steadily has the noise and the surprise of one that stays, and its slope."""
    flat, noise = gauss(200, sd=1.0), gauss(200, mean=0.0, sd=1.0)
    falling = signal_of([1000.0 - 2.0 * step + noise[step] for step in range(200)])
    assert falling.slope == pytest.approx(-2.0, abs=0.1)
    assert falling.noise < 2.5 * signal_of(flat).noise
    assert abs(falling.z) < 5.0


def test_surprise_is_how_many_times_its_noise_it_is_off():
    """A value ten standard deviations above its level has about that ``z``, and counts once it is beyond the limit."""
    signal = signal_of([*gauss(192), 20.0])
    assert signal.z == pytest.approx((20.0 - signal.expected) / signal.noise)
    assert 6.0 < signal.z < 16.0
    assert is_high(signal, 5.0)
    assert not is_low(signal, 5.0)
    assert not is_high(signal, 100.0)


def test_heavy_tails_have_to_be_gone_beyond():
    """A metric that has shown rare peaks is surprising only half as far again beyond them."""
    values = [value + (8.0 if place % 16 == 5 else 0.0) for place, value in enumerate(gauss(400))]
    signal = signal_of(values)
    assert signal.tail > 5.0
    assert limit(signal, 5.0) == pytest.approx(1.5 * signal.tail)
    signal.take(18.0, 400.0)
    assert signal.z > 5.0
    assert not is_high(signal, 5.0)


def test_nothing_is_surprising_before_there_is_a_window():
    """Before 24 records ``z`` is zero, however wild the values."""
    signal = signal_of([10.0**n for n in range(WARM_RECORDS - 1)])
    assert (signal.is_warm(), signal.z) == (False, 0.0)


def test_a_constant_has_no_surprise():
    """A metric without noise is not divided by it; for one with a floor, a change is measured by the floor."""
    assert signal_of([5.0] * 100).z == 0.0
    loss = signal_of([2.0] * 96 + [2.2], "loss")
    assert loss.noise == ROLES["loss"].floor
    assert loss.z == pytest.approx(math.log(1.1) / 0.03)


def test_losses_are_looked_at_as_logarithms():
    """So the same factor is as surprising at every size."""
    small = signal_of([math.exp(value / 10) for value in [*gauss(192), 25.0]], "loss")
    large = signal_of([1e4 * math.exp(value / 10) for value in [*gauss(192), 25.0]], "loss")
    assert small.z == pytest.approx(large.z)
    assert small.by_factor(2.0) == math.log(2.0)
    assert small.value_of(small.x) == pytest.approx(small.value)


def test_a_loss_that_is_not_positive_goes_on_without_logarithms():
    """What was known is kept in the metric's own unit; afterwards it is like any other."""
    signal = signal_of([3.0] * 40 + [-1.0] + gauss(100, mean=-2.0, sd=0.5), "loss")
    assert (signal.is_log, signal.start, signal.count) == (False, pytest.approx(3.0), 141)
    assert signal.median == pytest.approx(-2.0, abs=0.5)
    assert max(signal.history) == pytest.approx(3.0)
    assert all(math.isfinite(value) for value in signal.history)


def test_what_is_not_finite_is_counted_and_changes_nothing_else():
    """NaN and infinities leave level and noise alone; a finite value ends the run of them."""
    values = gauss(96)
    clean = signal_of(values)
    mixed = Signal.of("metric", "train", ROLES["reward"])
    for value in values:
        mixed.take(math.nan, 0.0)
        mixed.take(math.inf, 0.0)
        mixed.take(value, 0.0)
    assert (mixed.median, mixed.noise, mixed.count) == (clean.median, clean.noise, clean.count)
    assert (mixed.num_nonfinite, mixed.nonfinite_run) == (192, 0)
    mixed.take(-math.inf, 0.0)
    assert (mixed.nonfinite_run, mixed.value) == (1, values[-1])


def test_repetitions_are_counted():
    """How many times running the newest value has come again."""
    assert signal_of([1.0, 2.0, 2.0, 2.0]).num_same == 2
    assert signal_of([1.0, 2.0, 2.0, 3.0]).num_same == 0


@pytest.mark.parametrize(("role", "best"), [("loss", 2.0), ("reward", 9.0)])
def test_the_best_level_is_that_of_the_better_side(role, best):
    """The lowest block of a loss, the highest of a reward, with its last step."""
    signal = signal_of([5.0] * BLOCK + [2.0] * BLOCK + [9.0] * BLOCK + [4.0] * BLOCK, role)
    assert signal.value_of(signal.best) == pytest.approx(best)
    assert signal.best_step == (15.0 if role == "loss" else 23.0)
    assert signal.value_of(signal.start) == pytest.approx(5.0)
    assert signal.value_of(signal.level(3)) == pytest.approx(4.0)
    assert math.isnan(signal.level(5))


def test_what_moved_is_found_at_its_step():
    """The first of the newest values that left the range of those before, and how far; none where none did."""
    signal = signal_of([*gauss(60), *gauss(5), *gauss(15, mean=30.0)])
    moved = signal.moved(since=20, least=6.0)
    assert (moved.step, moved.metric) == (65.0, "metric")
    assert moved.surprise > 10.0
    assert signal_of(gauss(80)).moved(since=20, least=6.0) is None


def test_the_history_covers_the_whole_run():
    """However long it is, at most 128 levels say how it went, each of as many records as the others."""
    num = 100_000
    signal = signal_of([float(step) for step in range(num)])
    assert NUM_HISTORY // 2 <= len(signal.history) < NUM_HISTORY
    assert signal.history_records * len(signal.history) == pytest.approx(num, abs=signal.history_records)
    for place, (level, step) in enumerate(zip(signal.history, signal.history_steps, strict=True)):
        assert step == (place + 1) * signal.history_records - 1
        assert level == pytest.approx((place + 0.5) * signal.history_records, abs=1.0)


def test_it_stays_small():
    """Ten times as many records take no more room."""
    sizes = [len(msgspec.msgpack.encode(signal_of(gauss(num), "loss"))) for num in (4_000, 40_000, 400_000)]
    assert max(sizes) < 9_000
    lengths = [len(value) for value in msgspec.structs.asdict(signal_of(gauss(40_000))).values() if type(value) is list]
    assert max(lengths) <= 2 * NUM_RECENT


@pytest.mark.parametrize("role", ["loss", "lr", None])
def test_the_first_step_is_known_from_the_first_value(role):
    """Not only when a block is full, and of metrics without statistics too; a value that is not finite is none."""
    signal = Signal.of("metric", "train", ROLES[role] if role else None)
    for step, value in ((3.0, math.nan), (4.0, 1.0), (5.0, 1.0)):
        signal.take(value, step)
    assert signal.first_step == 4.0


def test_a_metric_without_a_role_is_only_counted():
    """No window is kept of what no detector reads."""
    signal = signal_of(gauss(1000), None)
    assert (signal.count, signal.recent, signal.is_warm()) == (1000, [], False)


@given(
    st.lists(
        st.floats(width=64, allow_subnormal=True).filter(lambda x: not abs(x) > 1e300 or math.isinf(x)), max_size=300
    ),
    st.sampled_from(["loss", "reward", "kl", "memory", "lr", None]),
)
def test_no_value_breaks_it(values, role):
    """Any numbers in any order are taken, and its state is the same after it was written and read back."""
    signal = signal_of(values, role)
    assert signal.count + signal.num_nonfinite == len(values)
    state = msgspec.msgpack.encode(signal)
    back = msgspec.msgpack.decode(state, type=Signal)
    for each in (signal, back):
        each.take(1.0, 999.0)
        each.moved(since=20, least=4.0)
    assert msgspec.msgpack.encode(back) == msgspec.msgpack.encode(signal)


def looks_of(values, *, late: int = 4096) -> list[int]:
    """After how many records the window was looked at, of those after so many."""
    signal, found = Signal.of("metric", "train", ROLES["reward"]), []
    before = None
    for step, value in enumerate(values):
        signal.take(value, float(step))
        if (signal.noise, signal.slope) != before and step >= late:
            found.append(step + 1)
        before = signal.noise, signal.slope
    return found


def test_very_long_runs_are_looked_at_less_often_while_nothing_happens():
    """After 4096 records each eighth block, and at the next fourth one when a value was surprising."""
    values = gauss(4096 + 256)
    assert looks_of(values) == [4160, 4224, 4288, 4352]
    values[4096 + 70] += 20.0
    assert looks_of(values) == [4160, 4192, 4224, 4288, 4352]


@pytest.mark.parametrize(("count", "turns"), [(400, 8), (2000, 4), (8000, 2)])
def test_a_turn_comes_the_later_the_longer_the_run(count, turns):
    """Whoever looks at every second block looks at each of eight at first, then at four, in very long runs at two."""
    signal, found = signal_of(gauss(count)), 0
    for step, value in enumerate(gauss(64), start=count):
        signal.take(value, float(step))
        found += signal.count % BLOCK == 0 and signal.is_turn(2)
    assert found == turns


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_no_turn_comes_before_the_next_is_said_to_come(blocks):
    """At each end of a block: the first turn after it is as far away as was said, by counting on to it."""
    signal, said = Signal.of("metric", "train", ROLES["reward"]), {}
    turns = []
    for step, value in enumerate(gauss(6000)):
        signal.take(value, float(step))
        if signal.count % BLOCK == 0:
            said[signal.count] = signal.count + signal.next_turn(blocks)
            turns += [signal.count] if signal.is_turn(blocks) else []
    late = {count: at for count, at in said.items() if 512 <= count < 5900}
    nearest = {count: next(turn for turn in turns if turn > count) for count in late}
    assert {count: at for count, at in late.items() if at > nearest[count]} == {}
    assert {count: at for count, at in late.items() if at < nearest[count] and not 4000 < count < 4160} == {}


def test_the_tail_is_that_of_the_blocks_before_the_newest_look():
    """Of 32 of them the third highest peak, by a dull computation beside it, whatever came since."""
    signal, peaks = Signal.of("metric", "train", ROLES["reward"]), []
    for step, value in enumerate(gauss(2000, seed=3)):
        block, expected, per_noise, is_warm = [], 0.0, 0.0, signal.is_warm()
        if (step + 1) % BLOCK == 0 and is_warm:
            expected, per_noise = signal.expected + signal.slope, 1.0 / signal.noise
            block = [*signal.newest(BLOCK - 1), value]
        signal.take(value, float(step))
        if block:
            peaks.append(max(abs(x - expected) for x in block) * per_noise)
        if (step + 1) % 32 == 0 and step > 1000:
            assert signal.tail == pytest.approx(sorted(peaks[-32:])[-3])
            kept = signal.tail
        elif step > 1050:
            assert signal.tail == kept
