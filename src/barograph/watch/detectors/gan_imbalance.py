"""A discriminator that wins: the generator gets no gradient to learn from."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from barograph.watch.alert import Alert, Evidence, Moved, Remedy
from barograph.watch.cause import LATELY, LEAST_Z, left
from barograph.watch.context import Context
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import stride
from barograph.watch.signal import Signal

MAX_D_LOSS: Final = 0.35
"""Above a smoothed label of 0.9 at its best (0.16), far below equilibrium at 0.69, or 1.39 as a sum."""
ALONE_D_LOSS: Final = 0.15
"""The same where nothing but the losses is logged."""
MIN_MARGIN: Final = 0.93
"""How sure it is of real and of fake samples, or how often right, together, less one."""
G_GROWTH: Final = 1.9
SURE_GROWTH: Final = 3.0
SURE_MARGIN: Final = 0.75
"""Where the generator's loss has tripled, weaker verdicts say the same."""
MAX_STEP: Final = 1.0
"""One record moves a level by no more than that of a factor e."""
TINY: Final = 1e-12
MORE_RECORDS: Final = 6
MOST_RECORDS: Final = 38
"""So many records before what it explains, and at most so many in all: an exploding gradient is told late in a game."""
FORGETTING: Final = 0.1
WARM: Final = 60
BASE_FROM: Final = 16
HELD: Final = 12
NUM_PLAYERS: Final = 2


class GanImbalance(Detector):
    """The discriminator's loss is near zero and the generator's far above what it was, for twelve records running.

    Where its verdicts on real and fake samples are logged, they have to agree. Where samples become alike, or a
    gradient grows, a loss of one of the players that left its usual range before that says that the game has come
    apart. Left alone: the first sixty records, losses that hover, and losses that can be negative (Wasserstein, hinge),
    of which zero says nothing.

    Measured on the tuning half of FaultBench: 3 of 3 such faults noticed, after 46 steps in the median; 5 of 5 alerts
    right, no false incident. Not for losses without a logarithm.
    """

    name: ClassVar[str] = "gan_imbalance"
    reads: ClassVar[tuple[str, ...]] = ("d_loss", "g_loss", "d_real", "d_fake")
    explains: ClassVar[tuple[str, ...]] = ("exploding_gradient", "divergence", "mode_collapse", "gradient_noise")

    d_level: float = math.nan
    g_level: float = math.nan
    g_base: float = math.inf
    margin: float = math.nan
    since: float = 0.0
    held: int = 0

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        d_loss, g_loss = sample.signals.get("d_loss"), sample.get("g_loss")
        if d_loss is None:
            return None
        if g_loss is None or not (d_loss.count and g_loss.count and d_loss.is_log and g_loss.is_log):
            self.is_active = False
            return None
        self.d_level = _level(self.d_level, d_loss.value)
        self.g_level = _level(self.g_level, g_loss.value)
        self._take_margin(sample)
        if d_loss.count > BASE_FROM:
            self.g_base = min(self.g_base, self.g_level)
        if d_loss.count < WARM or not self._is_won():
            self.held = 0
            self.is_active = False
            return None
        self.held += 1
        if self.held == 1:
            self.since = sample.step
        if self.held < HELD or self.is_active or self.is_quiet(sample):
            return None
        return self._found(sample, [d_loss, g_loss])

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``."""
        players = [it for role in ("d_loss", "g_loss") if (it := sample.get(role)) is not None and it.is_log]
        if len(players) < NUM_PLAYERS:
            return None
        waited = (sample.step - alert.since_step) / stride(players[0])
        lately = int(min(max(waited + MORE_RECORDS, LATELY), MOST_RECORDS))
        moves = [moved for it in players if (moved := left(it, lately=lately)) is not None]
        if not moves:
            return None
        first, alike = min(moves, key=_place_of), left(sample.get("sample_diversity"), up=False)
        if _place_of(first) >= ((alert.since_step, -math.inf) if alike is None else _place_of(alike)):
            return None
        return self._told(
            sample,
            f"the game has come apart: {first.metric} left its usual range at step {first.step:.10g}, "
            f"{abs(first.surprise):.0f} times its noise, before anything else did",
            players,
            since=first.step,
            evidence=[
                Evidence(name=f"{it.metric}, times its noise", value=it.surprise, threshold=LEAST_Z, first_step=it.step)
                for it in moves
            ],
        )

    def _take_margin(self, sample: Sample) -> None:
        real, fake = sample.get("d_real"), sample.get("d_fake")
        if real is None or fake is None or not (real.count and fake.count):
            return
        # an accuracy on fake samples is high when the discriminator wins, its opinion of them low; both go by d_fake
        self.margin = _mixed(self.margin, real.value + max(fake.value, 1.0 - fake.value) - 1.0)

    def _is_won(self) -> bool:
        if math.isnan(self.margin):
            return self.d_level < ALONE_D_LOSS and self.g_level > G_GROWTH * self.g_base
        if self.d_level > MAX_D_LOSS:
            return False
        if self.margin > MIN_MARGIN and self.g_level > G_GROWTH * self.g_base:
            return True
        return self.margin > SURE_MARGIN and self.g_level > SURE_GROWTH * self.g_base

    def _found(self, sample: Sample, metrics: list[Signal]) -> Alert:
        d_name, g_name = (signal.name for signal in metrics)
        has_margin = not math.isnan(self.margin)
        limit = MAX_D_LOSS if has_margin else ALONE_D_LOSS
        evidence = [
            Evidence(name=f"level of {d_name}", value=self.d_level, threshold=limit, last_step=sample.step),
            Evidence(name=f"level of {g_name}", value=self.g_level, threshold=G_GROWTH * self.g_base),
        ]
        if has_margin:
            evidence.append(Evidence(name="real against fake", value=self.margin, threshold=MIN_MARGIN))
        return self._told(
            sample,
            f"the discriminator wins: {d_name} is {shown(self.d_level)} and {g_name} rose from {shown(self.g_base)} to "
            f"{shown(self.g_level)} by step {shown(sample.step)}",
            metrics,
            since=self.since,
            evidence=evidence,
        )

    def _told(
        self, sample: Sample, text: str, metrics: list[Signal], *, since: float, evidence: list[Evidence]
    ) -> Alert:
        return self.alert(
            sample,
            text,
            severity="critical",
            since=since,
            metrics=metrics,
            evidence=evidence,
            causes=[
                "the discriminator learns faster than the generator: learning rate, steps per round or size",
                "real samples that are told apart by something trivial: their range, padding or noise",
            ],
            remedies=_remedies(sample.context),
            confidence=0.86,
        )


def _place_of(moved: Moved) -> tuple[float, float]:
    """Earlier first; of what moved in the same record, what moved further."""
    return moved.step, -abs(moved.surprise)


def _level(level: float, value: float) -> float:
    """A mean of the logarithm, with forgetting: games throw single values far out."""
    x = math.log(max(value, TINY))
    if math.isnan(level):
        return math.exp(x)
    before = math.log(level)
    return math.exp(before + FORGETTING * max(min(x - before, MAX_STEP), -MAX_STEP))


def _mixed(level: float, value: float) -> float:
    return value if math.isnan(level) else level + FORGETTING * (value - level)


def _remedies(context: Context) -> list[Remedy]:
    lr = context.setting("d_lr", "lr_d", "disc_lr", "discriminator_lr", "lr_discriminator") or context.setting("lr")
    found = []
    if lr:
        lower = float(f"{lr / 4:.3g}")
        found.append(Remedy(text=f"lower the discriminator's learning rate to {lower:g}", change={"d_lr": lower}))
    else:
        found.append(Remedy(text="lower the discriminator's learning rate to a quarter"))
    return [
        *found,
        Remedy(text="label real samples 0.9 instead of 1", change={"label_smoothing": 0.1}),
        Remedy(text="add noise to what the discriminator sees", change={"instance_noise": 0.1}),
        Remedy(text="spectral normalisation in the discriminator", change={"spectral_norm": True}),
    ]
