"""What every detector has to hold, for whoever writes one: ``check_detector(MyDetector)`` in a test of their own.

Each check raises ``AssertionError`` with what was seen and what to change. They know the protocol, not what a detector
looks for: whether it finds that is for its own tests.
"""

from __future__ import annotations

import gc
import itertools
import math
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from types import FrameType
from typing import Any, Final, get_args

import msgspec

from barograph.testing.streams import (
    BASIC,
    CONFIG,
    COURSES,
    KINDS,
    NOISES,
    STEP_S,
    VAL_ROLES,
    Stream,
    broken,
    healthy,
    wild,
)
from barograph.watch.alert import SEVERITIES, Alert
from barograph.watch.detector import Detector, Pace
from barograph.watch.monitor import Monitor
from barograph.watch.order import Piece
from barograph.watch.roles import ROLES

Make = Callable[[], Detector]
NUM_SEEDS: Final = 4
MAX_STATE_BYTES: Final = 65_536
MAX_GROWTH_BYTES: Final = 65_536
MAX_UPDATE_US: Final = 50.0
"""Of processor time, in the mean of many records: ten times what a built-in may take, for machines that are slow."""
SLOWER: Final = 4.0
CUTS: Final = (1, 7, 100, 333, 401, 577)
_OUTSIDE: Final = frozenset({"time", "posix", "nt", "_io", "io", "random", "_random", "_socket", "socket"})
_NOW: Final = frozenset({"now", "utcnow", "today"})
_POOL: Final = 4096


def check_detector(make: Make, *, looks_for: Mapping[str, str] | None = None, num_seeds: int = NUM_SEEDS) -> None:
    """Run every check.

    Args:
        make: makes a fresh detector: its class.
        looks_for: kinds of healthy streams that are what this detector is there for, each with the reason, e.g.
            ``{"constant": "a value that does not change is what it looks for"}``.
        num_seeds: how many streams of each kind and noise.

    Raises:
        AssertionError: it does not hold the contract.
    """
    check_declaration(make)
    check_silent(make, looks_for=looks_for, num_seeds=num_seeds)
    check_survives(make)
    check_pure(make)
    check_repeatable(make)
    check_resumable(make)
    check_bounded(make)
    check_quick(make)


def check_declaration(make: Make) -> None:
    """It says what it is called, what it reads and how often; its state can be written and read back."""
    one, other = make(), make()
    assert isinstance(one, Detector), f"{one!r} is no Detector; derive its class from barograph.watch.detector.Detector"
    assert one is not other, f"{make!r} gives the same detector twice; each monitor needs its own"
    kind = type(one)
    assert isinstance(getattr(kind, "name", None), str), f"{kind.__name__} has no name; give the class one"
    known = {*ROLES, "*"}
    strange = [role for role in kind.reads if role not in known]
    assert not strange, f"{one.name} reads {strange}, which are no roles; choose from {', '.join(ROLES)} or '*'"
    assert kind.reads, f"{one.name} reads nothing, so that it is never asked; name a role"
    assert kind.pace in get_args(Pace), f"{one.name} has the pace {kind.pace!r}; choose from {get_args(Pace)}"
    try:
        back = msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=kind)
    except (TypeError, msgspec.MsgspecError) as error:
        raise AssertionError(
            f"{one.name}: its state cannot be kept ({error}); use numbers, texts, lists and dicts"
        ) from error
    assert msgspec.msgpack.encode(back) == msgspec.msgpack.encode(one), f"{one.name}: its state changes when it is kept"


def check_silent(
    make: Make,
    *,
    looks_for: Mapping[str, str] | None = None,
    kinds: Sequence[str] = KINDS,
    num_seeds: int = NUM_SEEDS,
) -> int:
    """It says nothing about sound trainings of every kind and noise.

    Returns:
        How many records it was silent on.
    """
    roles, total = roles_for(make()), 0
    for kind in kinds:
        if kind in (looks_for or {}):
            continue
        for noise in NOISES[: 1 if kind == "constant" else None]:
            for seed in range(1 if kind == "constant" else num_seeds):
                stream = healthy(kind, noise=noise, seed=seed, roles=roles)
                found = alerts_on(make, stream)
                assert not found, (
                    f"{found[0].type} on a sound training ({stream.name}): {found[0].text}; raise its thresholds, or "
                    f"say in looks_for why {kind!r} is no sound training for it"
                )
                total += len(stream.records)
    return total


def check_survives(make: Make, *, num_seeds: int = 6) -> int:
    """It takes whatever there is: values that are not finite, huge, tiny or negative, any order of steps, resumes.

    Returns:
        How many alerts there were; each is well formed.
    """
    roles, total = roles_for(make()), 0
    for seed in range(num_seeds):
        for stream in (wild(seed=seed, roles=roles), broken(seed=seed, roles=roles)):
            try:
                found = alerts_on(make, stream)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise AssertionError(
                    f"{make().name} fails on {stream.name} with {error!r}; take values that are not finite, zero, "
                    f"negative or missing"
                ) from error
            for alert in found:
                _check_alert(alert, make().name)
            total += len(found)
    return total


def check_pure(make: Make) -> None:
    """It looks at no clock, no file, no random number: only at the sample."""
    roles = roles_for(make())
    for stream in (broken(roles=roles), wild(roles=roles)):
        monitor = monitor_of(make())
        pieces = list(stream.pieces(len(stream.records)))
        with _no_outside(make().name):
            for piece in pieces:
                monitor.take(piece)


def check_repeatable(make: Make) -> None:
    """The same facts give the same alerts, however many of them come together."""
    roles = roles_for(make())
    for stream in (broken(seed=1, roles=roles), wild(seed=1, roles=roles), healthy("two_rate", roles=roles)):
        whole = _outcome(make, stream.pieces(len(stream.records)))
        for size in (1, 7, 64, len(stream.records)):
            other = _outcome(make, stream.pieces(size))
            assert other == whole, (
                f"{make().name} says something else about the same facts ({stream.name}, {size} at a time); keep what "
                f"it knows in its own fields, and look at nothing but the sample"
            )


def check_resumable(make: Make) -> None:
    """Written down at any record and read back, it goes on as if nothing had happened."""
    roles = roles_for(make())
    for stream in (broken(seed=2, roles=roles), wild(seed=2, roles=roles)):
        pieces = list(stream.pieces(1))
        whole = _outcome(make, pieces)
        for cut in (it for it in CUTS if it < len(pieces)):
            first, second = monitor_of(make()), monitor_of(make())
            told = [found for piece in pieces[:cut] for found in first.take(piece)]
            second.restore(first.state())
            told += [found for piece in pieces[cut:] for found in second.take(piece)]
            assert (msgspec.msgpack.encode(told), second.state()) == whole, (
                f"{make().name} goes on differently after its state was kept at record {cut} of {stream.name}; keep "
                f"everything it knows in its fields"
            )


def check_bounded(make: Make, *more: Make, num_records: int = 20_000, is_traced: bool = True) -> int:
    """What it keeps does not grow with the length of a run.

    Args:
        make: makes a detector.
        more: others that watch beside it.
        num_records: how long a run; the second half is compared with the first.
        is_traced: whether what is kept out of sight is looked for too, by every allocation; some ten times slower.

    Returns:
        The size of its state at the end, in bytes.
    """
    detectors = [it() for it in (make, *more)]
    names = ", ".join(it.name for it in detectors)
    monitor = monitor_of(*detectors)
    pieces = _endless(roles_for(*detectors))
    if is_traced:
        tracemalloc.start()
    try:
        half_state, half_traced = _sizes_after(monitor, pieces, num_records // 2)
        state, traced = _sizes_after(monitor, pieces, num_records - num_records // 2)
    finally:
        if is_traced:
            tracemalloc.stop()
    limit = MAX_STATE_BYTES * len(detectors)
    assert state <= limit, f"{names}: {state} bytes of state after {num_records} records; keep no more than {limit}"
    grown = max(traced - half_traced, state - half_state)
    assert grown < MAX_GROWTH_BYTES * len(detectors), (
        f"{names}: {grown} bytes more after the second half of {num_records} records; keep a bounded number of values"
    )
    return state


def check_quick(make: Make, *, num_records: int = 8192, limit_us: float = MAX_UPDATE_US) -> float:
    """A record takes it little time, and no more late in a run than early.

    Returns:
        The mean processor time that it adds to a record, in microseconds, in the second half of the run.
    """
    detector = make()
    roles = roles_for(detector)
    early, late = _costs_us(monitor_of(detector), roles, num_records)
    _, without = _costs_us(monitor_of(), roles, num_records)
    cost_us = late - without
    assert cost_us < limit_us, f"{detector.name} takes {cost_us:.1f} us per record, more than {limit_us:g}; do less"
    assert late < SLOWER * early + limit_us / 10, (
        f"{detector.name} takes {late:.1f} us per record late and {early:.1f} early; do not go over what it keeps"
    )
    return cost_us


def roles_for(*detectors: Detector) -> list[str]:
    """The roles that a stream for these detectors has: what they read, and what every training logs."""
    read = [role for it in detectors for role in it.reads if role in COURSES]
    return list(dict.fromkeys([*BASIC, *read]))


def monitor_of(*detectors: Detector) -> Monitor:
    """A monitor of these detectors for the streams of this suite."""
    return Monitor(detectors, config=CONFIG)


def alerts_on(make: Make, stream: Stream) -> list[Alert]:
    """What is told of a fresh detector that watches a stream."""
    monitor = monitor_of(make())
    pieces = stream.pieces(len(stream.records))
    return [told.alert for piece in pieces for told in monitor.take(piece) if told.stage != "ended"]


def _outcome(make: Make, pieces: Iterable[Piece]) -> tuple[bytes, bytes]:
    """What was told, and what is known afterwards; as bytes, because NaN is not equal to itself."""
    monitor = monitor_of(make())
    told = [found for piece in pieces for found in monitor.take(piece)]
    return msgspec.msgpack.encode(told), monitor.state()


def _check_alert(alert: Alert, name: str) -> None:
    assert alert.type == name, f"{name} gives an alert of type {alert.type!r}; use self.alert"
    assert alert.text, f"{name} gives an alert without a text; say in one sentence what is wrong, with numbers"
    assert alert.severity in SEVERITIES, f"{name}: severity {alert.severity!r} is none of {SEVERITIES}; choose one"
    assert 0.0 <= alert.confidence <= 1.0, f"{name}: confidence {alert.confidence} is no share; give one from 0 to 1"
    assert not math.isnan(alert.since_step), f"{name}: since_step is NaN; leave it out where it is not known"
    msgspec.json.encode(alert)


@contextmanager
def _no_outside(name: str) -> Iterator[None]:
    """Notice calls that reach for the world outside, in whatever way they were imported."""
    seen: list[str] = []

    def look(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and (found := _outside(called)):
            seen.append(found)

    was_collecting, before = gc.isenabled(), sys.getprofile()
    gc.disable()  # hooks of the collector, which others install, may look at clocks
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
        if was_collecting:
            gc.enable()
    assert not seen, f"{name} calls {seen[0]}; look at the sample only: its t, step and signals"


def _outside(called: Any) -> str | None:
    """What a built-in function is called, where it is a clock, a random number or a file."""
    owner = getattr(called, "__self__", None)
    name = getattr(called, "__qualname__", repr(called))
    if isinstance(owner, type) and issubclass(owner, date):
        return name if called.__name__ in _NOW else None
    module = getattr(called, "__module__", None) or type(owner).__module__
    return f"{module}.{name}" if module in _OUTSIDE else None


def _endless(roles: Sequence[str]) -> Iterator[Piece]:
    """A sound training without end, a block of records at a time; its metrics hover."""
    stream = healthy("white_noise", roles=roles, num_records=_POOL)
    blocks = list(stream.pieces(_POOL))
    for turn in itertools.count():
        ahead = turn * _POOL
        for header, rows in blocks:
            yield header, [(row[0] + ahead, *row[1:-1], row[-1] + STEP_S * ahead) for row in rows]


def _sizes_after(monitor: Monitor, pieces: Iterator[Piece], num_records: int) -> tuple[int, int]:
    """The bytes of the detectors' states, and of everything that was allocated, after so many more records."""
    until = monitor.context.num_records + num_records
    while monitor.context.num_records < until:
        monitor.take(next(pieces))
    gc.collect()
    return sum(len(msgspec.msgpack.encode(it)) for it in monitor.detectors), tracemalloc.get_traced_memory()[0]


def _costs_us(monitor: Monitor, roles: Sequence[str], num_records: int) -> tuple[float, float]:
    """The mean processor time of a record in the first quarter of a run and in the last."""
    costs = []
    stream = healthy("white_noise", roles=[role for role in roles if role not in VAL_ROLES], num_records=num_records)
    pieces = list(stream.pieces(num_records // 64))
    quarter = len(pieces) // 4
    for part in (pieces[:quarter], pieces[quarter:-quarter], pieces[-quarter:]):
        num, start = monitor.context.num_records, time.process_time()
        for piece in part:
            monitor.take(piece)
        costs.append((time.process_time() - start) * 1e6 / (monitor.context.num_records - num))
    return costs[0], costs[-1]
