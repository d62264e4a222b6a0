"""From what was told to figures: what counts as found, as named rightly, as a false alarm. Pure arithmetic."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from scipy import stats

from barograph.compare.intervals import LEVEL, proportion_interval
from bench.faults.episodes import Alarm, counts_for
from bench.faults.labels import Label
from bench.faults.trial import Trial

PER_STEPS: Final = 10_000
Alarms = Callable[[Trial], Sequence[Alarm]]
"""Whose alarms are judged."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one fault.

    Attributes:
        is_found: an alarm of a right type, or of a symptom, came when the fault showed or later.
        delay: after how many steps the first such alarm came; None when none did.
        first: the first alarm since the fault began; None when there is none.
        is_named: whether that one is of a right type; symptoms are none. None when there is no alarm.
        is_clean: nothing was told before the fault shows, and what was told first is of a right type.
        num_before: how much was told before the fault shows.
    """

    is_found: bool
    delay: float | None
    first: Alarm | None
    is_named: bool | None
    is_clean: bool
    num_before: int


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A number of runs out of so many, with Wilson's interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share; NaN out of none."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Between what and what it is, in 95 of 100 benchmarks like this one."""
        if not self.of:
            return 0.0, 1.0
        found = proportion_interval(self.count, self.of)
        return found.low, found.high


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """False incidents on so many healthy steps."""

    count: int
    steps: int

    @property
    def value(self) -> float:
        """Per 10 000 steps; NaN on none."""
        return self.count * PER_STEPS / self.steps if self.steps else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval of a Poisson rate (Garwood 1936)."""
        if not self.steps:
            return 0.0, math.inf
        tail = (1 - LEVEL) / 2
        low = float(stats.chi2.ppf(tail, 2 * self.count)) / 2 if self.count else 0.0
        high = float(stats.chi2.ppf(1 - tail, 2 * self.count + 2)) / 2
        return low * PER_STEPS / self.steps, high * PER_STEPS / self.steps


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good somebody is on some runs.

    Attributes:
        recall: faults that were found.
        named: of the faults on which something was told, those of which the first alarm is of a right type; None for
            those that name no types.
        clean: faults before which nothing was told, and of which the first alarm is of a right type.
        delays: of the sudden faults that were found, in steps.
        false: incidents opened in healthy runs, and before the onset in the others, each record once.
        alarmed: healthy runs with any alarm.
    """

    recall: Share
    named: Share | None
    clean: Share
    delays: list[float]
    false: Rate
    alarmed: Share

    @property
    def delay(self) -> float:
        """The median delay; NaN when no sudden fault was found."""
        return statistics.median(self.delays) if self.delays else math.nan


def judge(episode: Label, alarms: Sequence[Alarm], *, names_types: bool = True) -> Verdict:
    """What became of a fault.

    Alarms that name no type are right as to what is wrong, and never right as to what it is called. What is told
    between the onset and the step from which on everybody would see it is right, and has no delay.
    """
    assert episode.shown_step is not None
    onset = episode.shown_step if episode.onset_step is None else min(episode.onset_step, episode.shown_step)
    since = [it for it in alarms if it.step >= onset]
    num_before = len(alarms) - len(since)
    counts = {*episode.right, *episode.symptoms}
    hits = [it for it in since if not names_types or it.type in counts]
    first = since[0] if since else None
    is_named = None if first is None else names_types and first.type in episode.right
    return Verdict(
        is_found=bool(hits),
        delay=max(hits[0].step - episode.shown_step, 0.0) if hits else None,
        first=first,
        is_named=is_named,
        is_clean=not num_before and first is not None and (bool(is_named) or not names_types),
        num_before=num_before,
    )


def false_alarms(trial: Trial, alarms: Sequence[Alarm]) -> list[Alarm]:
    """The incidents that were opened while nothing was wrong."""
    onset = trial.episode.onset_step
    until = math.inf if trial.episode.kind == "healthy" or onset is None else onset
    return [it for it in alarms if it.is_new and it.step < until]


def without_copies(trials: Sequence[Trial]) -> list[Trial]:
    """Those whose healthy records are nobody else's: up to the onset a faulty run is its twin, and counts once."""
    names = {it.episode.name for it in trials}
    return [it for it in trials if it.episode.twin not in names]


def false_rate(trials: Sequence[Trial], alarms: Alarms) -> Rate:
    """How often somebody cries wolf."""
    count = steps = 0
    for trial in without_copies(trials):
        count += len(false_alarms(trial, alarms(trial)))
        steps += trial.num_steps if trial.episode.kind == "healthy" else trial.num_before
    return Rate(count=count, steps=steps)


def figures(trials: Sequence[Trial], alarms: Alarms, *, names_types: bool = True) -> Figures:
    """How good somebody is on these runs."""
    faults = [it for it in trials if it.episode.kind == "fault"]
    healthy = [it for it in trials if it.episode.kind == "healthy"]
    verdicts = [(it.episode, judge(it.episode, alarms(it), names_types=names_types)) for it in faults]
    told = [verdict for _, verdict in verdicts if verdict.first is not None]
    return Figures(
        recall=Share(count=sum(it.is_found for _, it in verdicts), of=len(verdicts)),
        named=Share(count=sum(bool(it.is_named) for it in told), of=len(told)) if names_types else None,
        clean=Share(count=sum(it.is_clean for _, it in verdicts), of=len(verdicts)),
        delays=[it.delay for episode, it in verdicts if it.delay is not None and episode.sudden],
        false=false_rate(trials, alarms),
        alarmed=Share(count=sum(bool(alarms(it)) for it in healthy), of=len(healthy)),
    )


class OfType(msgspec.Struct, frozen=True, kw_only=True):
    """How good we are at one type.

    Attributes:
        figures: on the runs whose fault is of it, and all healthy ones.
        faults: what was injected, by name.
        delays: of all that were found, also of those that take their time.
        precision: of the alarms of this type, those on a run and at a step where it is right or a symptom; what is told
            of a twin is not counted again.
        num_false: false incidents that it opened.
    """

    figures: Figures
    faults: list[str]
    delays: list[float]
    precision: Share
    num_false: int


def by_type(trials: Sequence[Trial], alarms: Alarms) -> dict[str, OfType]:
    """How good somebody is at each type, by name."""
    faults = [it for it in trials if it.episode.kind == "fault"]
    right, said, wolf = Counter[str](), Counter[str](), Counter[str]()
    counted = without_copies(trials)
    for trial in counted:
        wolf.update(it.type or "" for it in false_alarms(trial, alarms(trial)))
    names = {it.episode.name for it in counted}
    for trial in trials:
        onset = -math.inf if trial.episode.name in names else trial.episode.onset_step or 0
        for alarm in alarms(trial):
            if alarm.step >= onset:
                said[alarm.type or ""] += 1
                right[alarm.type or ""] += _is_right(trial.episode, alarm)
    types = sorted({counts_for(it.episode) for it in faults} | set(said))
    found = {}
    for name in types:
        mine = [it for it in faults if counts_for(it.episode) == name]
        delays = [judge(it.episode, alarms(it)).delay for it in mine]
        found[name] = OfType(
            figures=figures(mine, alarms),
            faults=sorted({it.episode.fault or "" for it in mine}),
            delays=[it for it in delays if it is not None],
            precision=Share(count=right[name], of=said[name]),
            num_false=wolf[name],
        )
    return found


def _is_right(episode: Label, alarm: Alarm) -> bool:
    if episode.kind == "healthy" or episode.shown_step is None or alarm.step < (episode.onset_step or 0):
        return False
    return alarm.type in episode.right or alarm.type in episode.symptoms


def told_by(name: str, place: int) -> Alarms:
    """What a baseline told at one of its levels."""
    return lambda trial: trial.theirs[name][place]


def equal_level(trials: Sequence[Trial], name: str, levels: Sequence[float], ours: Rate) -> int:
    """The place of the laxest level at which a baseline cries wolf no more often than we do; the strictest if none."""
    for place in range(len(levels)):
        rate = false_rate(trials, told_by(name, place))
        if rate.count * ours.steps <= ours.count * rate.steps:
            return place
    return len(levels) - 1
