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
ENTROPY_SHARE: Final = 0.5
NUM_BEFORE: Final = 8
MIN_BEFORE: Final = 4
LEAST_NOISE: Final = 4.0
HELD: Final = 2
LOST_FACTOR: Final = 2.0


class DegenerateGeneration(Detector):
    """Repetition in samples is far above what it was over the last eight looks; or their entropy has halved.

    It compares with the run's own past, because an untrained model repeats itself: a rate that is high from the start
    and falls is not told. What is unusual is not taken into the past, at most eight looks running. Left alone:
    a loss that is twice its best, of which repetition is one sign of many.

    Measured on the tuning half of FaultBench: 1 of 2 such faults noticed, after 26 steps in the median; 0 of 1 alerts
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
            limit = _limit(past, signal.value, is_high=role == "gen_repetition")
            if limit is not None:
                unusual = unusual or (signal, limit, _median(past))
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
            confidence=0.33,
        )


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _is_lost(sample: Sample) -> bool:
    """Whether the loss is far above its best: a model that has been lost repeats itself, which is no news."""
    loss = sample.get("loss")
    if loss is None or not loss.is_warm():
        return False
    return loss.recent[-1] - loss.best > max(loss.by_factor(LOST_FACTOR), 2 * loss.noise)


def _limit(past: list[float], value: float, *, is_high: bool) -> float | None:
    """What the value has passed, above or below, where it is unusual; else None."""
    if len(past) < MIN_BEFORE or (value <= MAX_REPETITION if is_high else value >= ENTROPY_SHARE * max(past)):
        return None
    median = _median(past)
    spread = LEAST_NOISE * 1.4826 * _median([abs(it - median) for it in past])
    if is_high:
        limit = max(MAX_REPETITION, median + max(RISE, spread))
        return limit if value > limit else None
    limit = min(ENTROPY_SHARE * median, median - spread)
    return limit if value < limit else None
