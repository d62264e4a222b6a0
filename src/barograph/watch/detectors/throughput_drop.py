"""A training that has become slower: at once, in stalls, or bit by bit."""

from __future__ import annotations

import math
from itertools import pairwise
from operator import neg
from typing import ClassVar, Final

import msgspec

from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import BLOCK, MAX_LOG, Signal

SLOW_FACTOR: Final = 2.2
MUCH_FACTOR: Final = 4.0
"""So much slower is told at the first look, less only at the second."""
CALM_FACTOR: Final = 1.4
NEWEST: Final = 12
NEWEST_BLOCKS: Final = 3
"""Where the time is that between records, a block of eight is one value, and each of so many has to be slow."""
MIN_BLOCKS: Final = 6
EARLY_BLOCKS: Final = 20
STALL_FACTOR: Final = 8.0
STALL_RECORDS: Final = 40
NUM_STALLS: Final = 4
STALL_SHARE: Final = 0.5
"""Of the time that goes into stalls."""
TREND_FACTOR: Final = 1.6
TREND_PARTS: Final = 5
PART_FACTOR: Final = 1.06
MOST_WAITING: Final = 8
MOST_LEVELS: Final = 128
EARLY_LEVELS: Final = 10
"""A run that is as slow as it was in its first 80 records has not become slower."""
SLOW_LOOKS: Final = 32
LATE_LOOKS: Final = 8
LATE_BLOCKS: Final = 2
"""In a long run it looks at every so many blocks, while nothing is slow."""
RESUME_RECORDS: Final = 24
NOISES: Final = 4.0
LEAST_TIME: Final = 1e-9
"""What a throughput or a time of zero is taken for."""
LEAST_STEP_S: Final = 0.01
"""Steps that take less, slowed down as they are, tell more about the machine's other work than about the loop."""
_LOG_SLOW: Final = math.log(SLOW_FACTOR)
_LOG_STALL: Final = math.log(STALL_FACTOR)


class ThroughputDrop(Detector):
    """Records take 2.2 times as long as they did, half of the time goes into stalls, or they take ever longer.

    It reads the throughput, else the step time, else the time between blocks of eight records, less those that hold an
    evaluation, a checkpoint, a phase or a resume; a run that is evaluated more often has to log a time. What is usual
    is the median of the whole run, or that of its first 80 records where that is more; the newest is that of twelve
    records, so single pauses count for nothing. Stalls that were there from the beginning are part of the run. Not for
    runs whose records stand for different amounts of work (growing sequences with no throughput logged).

    Measured on the tuning half of FaultBench: 12 of 12 such faults noticed, after 18 steps in the median; 12 of 14
    alerts right, no false incident.
    """

    name: ClassVar[str] = "throughput_drop"
    reads: ClassVar[tuple[str, ...]] = ("throughput", "step_time", "loss")
    pace: ClassVar[Pace] = "block"
    cooldown: ClassVar[int] = 400

    usual: float = math.nan
    early: float = -math.inf
    held: int = 0
    looks: int = 0
    since: float = math.nan
    usual_stalls: float = 0.0
    levels: list[float] = msgspec.field(default_factory=list)
    level_steps: list[float] = msgspec.field(default_factory=list)
    blocks_each: int = 1
    waiting: list[float] = msgspec.field(default_factory=list)
    num_waiting: int = 0
    look_steps: list[float] = msgspec.field(default_factory=list)
    times: list[float] = msgspec.field(default_factory=list)
    last_t: float = math.nan
    last_step: float = math.nan
    last_phase_t: float = 0.0
    last_records: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signals = sample.signals
        timed = signals.get("throughput") or signals.get("step_time")
        if timed is not None:
            if timed.nonfinite_run or not timed.recent:
                return None
            found = self._look(sample, timed) if self.held or timed.is_turn(LATE_BLOCKS) else None
            self.rests_until = 0 if self.held else sample.context.num_records + timed.next_turn(LATE_BLOCKS)
            return found
        known = sample.context.signals
        if "loss" not in signals or "throughput" in known or "step_time" in known:
            return None
        return self._look(sample, None) if self._take_time(sample) else None

    def _take_time(self, sample: Sample) -> bool:
        """Take the time since the block before, unless something else happened in between."""
        context = sample.context
        num_steps, elapsed_s = sample.step - self.last_step, sample.t - self.last_t
        is_whole = (
            num_steps > 0.0
            and elapsed_s > 0.0
            and context.num_records == self.last_records + BLOCK
            and context.phase_t == self.last_phase_t
            and context.records_in_attempt > BLOCK
        )
        self.last_t, self.last_step, self.last_phase_t = sample.t, sample.step, context.phase_t
        self.last_records = context.num_records
        if is_whole:
            self.times.append(math.log(elapsed_s / num_steps))
            del self.times[:-NEWEST]
        return is_whole

    def _look(self, sample: Sample, timed: Signal | None) -> Alert | None:
        if timed is None:
            self.look_steps.append(sample.step)
            del self.look_steps[:-NEWEST]
        steps = self.look_steps if timed is None else timed.recent_steps
        costs = self.times if timed is None else _log_costs(timed)
        self._remember(sample.step, costs[-1] if timed is None else _median(costs[-BLOCK:]))
        if len(self.levels) < MIN_BLOCKS and self.blocks_each == 1:
            return None
        self.looks += 1
        is_late = not self.looks % LATE_LOOKS
        if math.isnan(self.usual) or (is_late and not self.is_active):
            self.usual = max(_median(self.levels[:-3]), self.early)
        if timed is not None and not is_late and self._is_usual(costs):
            return None
        now = min(costs[-NEWEST_BLOCKS:]) if timed is None else _median(costs[-NEWEST:])
        num_stalls, share = (0, 0.0) if timed is None else _stalls(costs)
        if self.is_active:
            self.is_active = now - self.usual > math.log(CALM_FACTOR) or share > STALL_SHARE
            return None
        found = (
            self._slower(now, costs, steps, is_sure=timed is None)
            or self._stalled(num_stalls, share, steps)
            or self._trend(now)
        )
        is_resumed = sample.context.attempt > 0 and sample.context.records_in_attempt <= RESUME_RECORDS
        if found is None or is_resumed or self.is_quiet(sample):
            return None
        return self._found(sample, timed, found, now)

    def _is_usual(self, costs: list[float]) -> bool:
        """Whether no record took so long that there could be anything to tell."""
        highest = max(costs)
        if self.is_active or highest - self.usual >= _LOG_SLOW or highest - min(costs) >= _LOG_STALL:
            return False
        self.held = 0
        self._stalled(0, 0.0, [])
        return True

    def _remember(self, step: float, level: float) -> None:
        """Keep the medians of blocks over the whole run; when there are too many, at half the resolution."""
        if not self.num_waiting % max(self.blocks_each // MOST_WAITING, 1):  # of long spans a sample is enough
            self.waiting.append(level)
        self.num_waiting += 1
        if self.num_waiting < self.blocks_each:
            return
        self.levels.append(_median(self.waiting))
        self.level_steps.append(step)
        self.waiting, self.num_waiting = [], 0
        if len(self.levels) == EARLY_LEVELS and self.blocks_each == 1:
            self.early = _median(self.levels)
        if len(self.levels) == MOST_LEVELS:
            self.levels = [(a + b) / 2 for a, b in zip(self.levels[::2], self.levels[1::2], strict=True)]
            self.level_steps = self.level_steps[1::2]
            self.blocks_each *= 2

    def _slower(self, now: float, costs: list[float], steps: list[float], *, is_sure: bool) -> str | None:
        excess = now - self.usual
        is_trifle = is_sure and now < math.log(LEAST_STEP_S)
        if is_trifle or excess < _LOG_SLOW or excess < NOISES * _variation(costs) / math.sqrt(NEWEST):
            self.held = 0
            return None
        self.held += 1
        if self.held == 1:
            self.since = _first_slow(steps, costs, self.usual + excess / 2)
            if excess < math.log(MUCH_FACTOR) and not is_sure:
                return None
        return f"a step takes {_exp(excess):.1f} times as long as usual"

    def _stalled(self, num_stalls: int, share: float, steps: list[float]) -> str | None:
        before = self.usual_stalls
        is_early = self.looks <= EARLY_BLOCKS
        self.usual_stalls += (num_stalls - before) / min(self.looks, SLOW_LOOKS)
        if is_early or num_stalls < max(NUM_STALLS, 3 * before) or share < STALL_SHARE:
            return None
        self.since = steps[-min(len(steps), STALL_RECORDS // BLOCK)]
        text = f"{num_stalls} of {STALL_RECORDS} records take more than {STALL_FACTOR:g} times as long as the others"
        return f"{text}, {share:.0%} of the time"

    def _trend(self, now: float) -> str | None:
        levels = self.levels
        if self.looks % LATE_LOOKS or len(levels) < 8 * TREND_PARTS:
            return None
        size = len(levels) // TREND_PARTS
        first, last = _median(levels[:size]), _median(levels[(TREND_PARTS - 1) * size : TREND_PARTS * size])
        growth = min(last, now) - first
        if growth < math.log(TREND_FACTOR):
            return None
        parts = [_median(levels[place * size : (place + 1) * size]) for place in range(TREND_PARTS)]
        if min(b - a for a, b in pairwise(parts)) < math.log(PART_FACTOR):
            return None
        self.since = self.level_steps[size]
        self.usual = parts[0]
        return f"a step takes longer and longer, now {_exp(growth):.1f} times as long as at first"

    def _found(self, sample: Sample, timed: Signal | None, text: str, now: float) -> Alert:
        self.held = 0
        is_rate = timed is not None and timed.role == "throughput"
        usual, value = (_exp(-it if is_rate else it) for it in (self.usual, now))
        name = "seconds per step" if timed is None else timed.name
        causes, remedies = _advice(sample, self.since)
        return self.alert(
            sample,
            f"{text}, since step {self.since:.10g} ({name} {shown(value)} instead of {shown(usual)})",
            severity="warning",
            since=self.since,
            metrics=[] if timed is None else [timed],
            evidence=[
                Evidence(
                    name=f"median of the newest {name}",
                    value=value,
                    threshold=usual / SLOW_FACTOR if is_rate else usual * SLOW_FACTOR,
                    first_step=self.since,
                    last_step=sample.step,
                )
            ],
            causes=causes,
            remedies=remedies,
            confidence=0.81,
        )


def _log_costs(timed: Signal) -> list[float]:
    """The logarithms of the times that the newest records took, in any unit."""
    newest = timed.newest(STALL_RECORDS)
    logs = newest if timed.is_log else [math.log(max(value, LEAST_TIME)) for value in newest]
    return list(map(neg, logs)) if timed.role == "throughput" else logs


def _exp(log: float) -> float:
    return math.exp(min(log, MAX_LOG))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _variation(costs: list[float]) -> float:
    """How much they vary from record to record, as a standard deviation."""
    steps = [abs(b - a) for a, b in pairwise(costs)]
    return (_median(steps) if steps else 0.0) * 1.05  # 1.4826 / sqrt(2): of a median of differences


def _stalls(costs: list[float]) -> tuple[int, float]:
    """How many of the newest records are stalls, and the share of the time that goes into them."""
    highest = max(costs)
    if highest - min(costs) < _LOG_STALL:
        return 0, 0.0
    limit = _median(costs) + _LOG_STALL
    if highest < limit:
        return 0, 0.0
    times = [math.exp(cost - highest) for cost in costs]
    stalls = [time for time, cost in zip(times, costs, strict=True) if cost > limit]
    return len(stalls), sum(stalls) / sum(times)


def _first_slow(steps: list[float], costs: list[float], limit: float) -> float:
    """The step since which records are slow, by the last steps of blocks: exact to a record where each has its time."""
    num_slow = next((place for place, cost in enumerate(reversed(costs)) if cost < limit), len(costs))
    if len(costs) <= NEWEST:
        return steps[-min(num_slow + 1, len(steps))]
    steps_each = (steps[-1] - steps[-2]) / BLOCK
    return steps[-1] - max(num_slow - 1, 0) * steps_each


def _advice(sample: Sample, since: float) -> tuple[list[str], list[Remedy]]:
    loader = Remedy(
        text="give the loader more workers and let it read ahead",
        change={"num_workers": 4, "pin_memory": True, "prefetch_factor": 4},
    )
    machine = Remedy(text="look at the machine: other processes on it, temperature and clock of the card")
    added = Remedy(text=f"look for what began at step {since:.10g}: figures, checkpoints, evaluations")
    others = ["another process on the machine", "work added to the loop"]
    data = sample.get("data_time")
    if data is None or not data.is_warm():
        return ["a loader that has fallen behind", *others], [loader, machine, added]
    newest = _median(data.newest(NEWEST))
    if newest - data.median > data.by_factor(1.5):
        text = f"the loader: {data.name} rose to {shown(data.value_of(newest))}"
        return [text], [loader, Remedy(text="copy the data to a local disk"), added]
    return [f"not the loader: {data.name} is as it was", *others], [machine, added]
