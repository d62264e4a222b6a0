"""A language model whose samples have begun to repeat themselves."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import go_back
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.signal import Signal

MAX_REPETITION: Final = 0.25
"""The share of repeated n-grams that text of people hardly reaches."""
RISE: Final = 0.2
WORSE_RISE: Final = 0.05
"""Enough where what the model says has become worse as well, and half as much again as it was."""
WORSE_FACTOR: Final = 1.5
WORSE_LOSS: Final = 1.5
WORSE_QUALITY: Final = 0.9
JUDGES: Final = ("val_loss", "quality", "val_accuracy")
ENTROPY_SHARE: Final = 0.5
NUM_BEFORE: Final = 8
MIN_BEFORE: Final = 4
LEAST_NOISE: Final = 4.0
WORSE_NOISE: Final = 1.5
HELD: Final = 2
LOST_FACTOR: Final = 2.0


class DegenerateGeneration(Detector):
    """Repetition in samples is far above what it was over the last eight looks; or their entropy has halved.

    How far above: by 0.2, and above a quarter of all n-grams. By half of what it was over the last four looks, where
    the evaluation has become worse as well: a validation loss half above that of the last four, or a quality or an
    accuracy a tenth below. A model that still learns to speak repeats itself now more and now less, but gets better.

    It compares with the run's own past, because an untrained model repeats itself: a rate that is high from the start
    and falls is not told. What is unusual is not taken into the past, at most eight looks running. Left alone:
    a loss that is twice its best, of which repetition is one sign of many.

    Measured on the tuning half of FaultBench: 1 of 1 such faults noticed, after 20 steps in the median; 1 of 2 alerts
    right, no false incident. Not for text that repeats itself by nature, as code and tables do.
    """

    name: ClassVar[str] = "degenerate_generation"
    reads: ClassVar[tuple[str, ...]] = ("gen_repetition", "gen_entropy")

    repetitions: list[float] = msgspec.field(default_factory=list)
    entropies: list[float] = msgspec.field(default_factory=list)
    since: float = 0.0
    held: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        unusual: tuple[Signal, float, float] | None = None
        for role, past in (("gen_repetition", self.repetitions), ("gen_entropy", self.entropies)):
            signal = sample.signals.get(role)
            if signal is None or signal.nonfinite_run:
                continue
            limit = _limit(past, signal.value, sample, is_high=role == "gen_repetition")
            if limit is not None:
                unusual = unusual or (signal, limit, _median(past[-MIN_BEFORE:]))
            if limit is None or self.held >= NUM_BEFORE:
                past.append(signal.value)
                del past[:-NUM_BEFORE]
        if unusual is None:
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held == 1:
            self.since = sample.step
        if self.held < HELD or self.is_active or self.is_quiet(sample) or _is_lost(sample):
            return None
        return self._found(sample, *unusual)

    def _found(self, sample: Sample, signal: Signal, limit: float, before: float) -> Alert:
        back = go_back(sample, self.since, why="before it began")
        return self.alert(
            sample,
            f"what the model generates has become degenerate: {signal.name} went from {shown(before)} to "
            f"{shown(signal.value)} since step {shown(self.since)}",
            severity="critical",
            since=self.since,
            metrics=[signal],
            evidence=[
                Evidence(
                    name=signal.name,
                    value=signal.value,
                    threshold=limit,
                    first_step=self.since,
                    last_step=sample.step,
                )
            ],
            causes=[
                "a shard that repeats itself, or is read over and over",
                "weights that a large step has damaged",
                "a temperature or top-p at which samples are drawn that was changed",
            ],
            remedies=[
                *back,
                Remedy(text=f"look for repeated n-grams in the batches before step {shown(self.since)}"),
                Remedy(text="draw samples at a temperature of 1 and compare", change={"temperature": 1.0}),
                Remedy(text="train against repeated tokens (unlikelihood)", change={"unlikelihood_weight": 0.5}),
            ],
            confidence=0.5,
        )


def _median(values: list[float]) -> float:
    """Between the middle two of an even number: these are few."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) / 2


def _level(values: list[float]) -> tuple[float, float]:
    """Median, and standard deviation by the distances from it."""
    median = _median(values)
    return median, 1.4826 * _median([abs(it - median) for it in values])


def _is_lost(sample: Sample) -> bool:
    """Whether the loss is far above its best: a model that has been lost repeats itself, which is no news."""
    loss = sample.get("loss")
    if loss is None or not loss.is_warm():
        return False
    return loss.recent[-1] - loss.best > max(loss.by_factor(LOST_FACTOR), 2 * loss.noise)


def _is_worse(sample: Sample) -> bool:
    """Whether one of the evaluation's figures is far worse than at the looks before."""
    for role in JUDGES:
        judge = sample.get(role)
        if judge is None or judge.count <= MIN_BEFORE:
            continue
        *before, now = map(judge.value_of, judge.newest(MIN_BEFORE + 1))
        usual = _median(before)
        if usual <= 0.0:  # of such a figure no share can be taken
            continue
        if now > WORSE_LOSS * usual if judge.better == "low" else now < WORSE_QUALITY * usual:
            return True
    return False


def _limit(past: list[float], value: float, sample: Sample, *, is_high: bool) -> float | None:
    """What the value has passed, above or below, where it is unusual; else None."""
    if len(past) < MIN_BEFORE or (value <= min(past) + WORSE_RISE if is_high else value >= ENTROPY_SHARE * max(past)):
        return None
    median, spread = _level(past)
    if not is_high:
        limit = min(ENTROPY_SHARE * median, median - LEAST_NOISE * spread)
        return limit if value < limit else None
    limit = max(MAX_REPETITION, median + max(RISE, LEAST_NOISE * spread))
    if value > limit:
        return limit
    median, spread = _level(past[-MIN_BEFORE:])
    limit = max(WORSE_FACTOR * median, median + max(WORSE_RISE, WORSE_NOISE * spread))
    return limit if value > limit and _is_worse(sample) else None
