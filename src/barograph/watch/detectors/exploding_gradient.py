"""A gradient norm far above its usual size for more than one record, or one that is too large from the first step."""

from __future__ import annotations

import math
from operator import sub
from typing import ClassVar, Final

import msgspec

from barograph.watch.advice import clip, halve_lr, skip_batches
from barograph.watch.alert import Alert, Evidence, Remedy
from barograph.watch.cause import LATELY, before
from barograph.watch.detector import Detector, Sample, shown
from barograph.watch.losses import hovers, is_reweighted, median_of, num_classes, stride, top_of
from barograph.watch.signal import BLOCK, WARM_RECORDS, WINDOW, Signal
from barograph.watch.surprise import is_high

LEAST_Z: Final = 6.0
ABOVE_USUAL: Final = 1.5
ENOUGH_FACTOR: Final = 3.0
"""Where something is wrong for sure, a norm so far above all that were usual, and its level so far above theirs, are
enough to tell what was there first."""
LEAST_FACTOR: Final = 4.5
"""Below this factor over its usual size a gradient has not exploded."""
HELD_WITHIN: Final = 3
"""One large gradient is a batch; two within so many records are a state."""
SUDDEN_FACTOR: Final = 2.0
"""Above all of the six records before the newest three: what climbs to its height may be learning."""
BEFORE: Final = 6
CALM_FACTOR: Final = 2.0
MOST_RECORDS: Final = 300
"""A size that lasts so long is the usual one from then on."""
EARLY_FACTOR: Final = 50.0
GROWN_FACTOR: Final = 10.0
GROWN_BLOCKS: Final = 6
NUM_PEAKS: Final = 24
NEWEST_PEAKS: Final = 3
"""Two of these have to be high: one batch makes one of them."""
LATER_PEAKS: Final = 12
"""Those of so many blocks grow, those before are what they have grown from."""
LOSS_PEAKS: Final = 2.0
"""The largest losses have to have grown with the largest norms by this factor."""
STEP_FACTOR: Final = 2.0
"""All but one of the newest six norms, each for its loss, above all before: nothing that is learned is so sudden."""
MOST_BETWEEN: Final = 2
LEVEL_OLD, LEVEL_NEW = 3 * BLOCK, 2 * BLOCK
LEVEL_OUTLIERS: Final = 3
"""All but so many of the newest sixteen norms above all of twenty-four before the last three blocks: a new level."""
OUT_OF_PROPORTION: Final = 4.0
OF_START: Final = 0.3
"""A gradient below this share of its first size has not exploded, however small it had become in between."""
RESTART_RECORDS: Final = 30
CHANCE_FACTOR: Final = 4.0
"""A cross-entropy above so many times that of guessing is the work of the initial weights."""
FIRST_RECORDS: Final = 8
WAIT_RECORDS: Final = 12
UNEXPLAINED_FACTOR: Final = 10.0
"""A norm that rose so many times more than the loss is not the norm of that loss."""
ALONE_FACTOR: Final = 20.0
"""Nor is one that did so in a single record, before the loss had moved: gradients that were added up, not bad data."""
STILL_FACTOR: Final = 2.0
"""A loss that has not risen by this factor within the newest records explains nothing."""
TIE_RECORDS: Final = 2
"""So many records or less before a spike of the loss is no lead: the first bad batch may happen to have a low loss."""
EARLY_RECORDS: Final = 96
"""So many records a gradient that grows may be what leaves a flat start; the loss then falls, a little later."""
LEARNED_FACTOR: Final = 1.05
GAME_RECORDS: Final = 32
"""One player's gradient follows what the other one does."""
AT_ONCE_Z: Final = 8.0
"""A loss so far out in the very record of the first large gradient: the weights were those that did well before."""
BACK_SHARE: Final = 0.5
"""A norm that has come down by this share of its rise is on its way back."""
_LOG_LEAST, _LOG_STEP = math.log(LEAST_FACTOR), math.log(STEP_FACTOR)


class ExplodingGradient(Detector):
    """The gradient norm is far above its level, trend and noise in two of three records.

    Six ways to see it: a jump; a new level, 4.5 times the old one, that two blocks hold above all that were before; in
    the first records, where there is no usual size yet, a norm 50 times the first one while the loss has grown; a
    steady growth of ten times in 48 records while the loss grows, of the level or of the largest norm of each block;
    and a norm that from one record to the next is four times what it was for such a loss: the two scatter together, so
    that their ratio shows a step which the scatter of each would hide. A first loss of more than four times that of
    guessing, where classes are configured or an accuracy is logged, is told as well.

    What moved first is the name. Where the loss left its range with the norm or before it, or the training is a game of
    two, or has just begun, it waits twelve records (a game: 32) and speaks only when the norm has stayed and the loss
    has not fallen: other data, a bad batch, a divergence or a winning discriminator say more, and are asked then. It
    does not wait where the norm rose ten times more than the loss, twenty times in one record. Where the loss spikes or
    the norm scatters, a norm that left its usual range before and is still high is told.

    Left alone: single outliers, heavy tails, infinite norms (see ``non_finite`` and ``loss_scale``), growth while the
    loss falls, and the records after a restart of the learning rate. Not for runs that log the norm after clipping.

    Measured on the tuning half of FaultBench: 12 of 12 such faults noticed, after 7 steps in the median; 37 of 40
    alerts right, no false incident.
    """

    name: ClassVar[str] = "exploding_gradient"
    reads: ClassVar[tuple[str, ...]] = ("grad_norm",)
    calm_z: ClassVar[float | None] = LEAST_Z
    explains: ClassVar[tuple[str, ...]] = ("loss_spike", "gradient_noise")

    has_begun: bool = False
    hot_count: int = -HELD_WITHIN - 1
    since: float = math.nan
    base: float = math.nan
    until: int = 0
    top: float = 0.0
    is_elsewhere: bool = False
    is_alone: bool = False
    wait_until: int = 0
    before_wait: float = math.nan
    peaks: list[float] = msgspec.field(default_factory=list)
    loss_peaks: list[float] = msgspec.field(default_factory=list)

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        grad = sample.signals["grad_norm"]
        if grad.nonfinite_run:
            return None
        if grad.count <= WARM_RECORDS:
            return self._at_start(sample, grad)
        self.has_begun = True
        if self.is_active:
            self._settle(sample, grad)
            return None
        if self.wait_until:
            return self._waited(sample, grad)
        is_told = self._is_hot(sample, grad) and not self.is_quiet(sample)
        if is_told and (wait := self._wait(sample, grad)):
            self.wait_until, self.top, is_told = grad.count + wait, grad.x, False
            loss = sample.get("loss")
            self.before_wait = math.nan if loss is None else median_of(loss.newest(BEFORE + HELD_WITHIN))
        return self._rose(sample, grad) if is_told else None

    def is_calm(self) -> bool:
        """See ``Detector``."""
        return self.has_begun and not self.is_active and not self.wait_until

    def explain(self, sample: Sample, alert: Alert) -> Alert | None:
        """See ``Cause``."""
        grad = sample.get("grad_norm")
        if grad is None or hovers(sample) or not (usual := before(grad)):
            return None
        base, x, began = median_of(usual), median_of(grad.newest(BEFORE)), _high_since(grad, usual)
        slack = TIE_RECORDS * stride(grad) if alert.type == "loss_spike" else 0.0
        if began >= alert.since_step - slack or x - base < grad.by_factor(ENOUGH_FACTOR):
            return None
        self.since, self.base = began, base
        return self._rose(sample, grad, x=x)

    def _wait(self, sample: Sample, grad: Signal) -> int:
        """For how many records something else is the likelier name of it: other data, a divergence, a game."""
        loss = sample.signals.get("loss")
        if "d_loss" in sample.context.signals:
            return GAME_RECORDS
        if loss is None or not loss.is_warm() or hovers(sample):
            return 0
        if grad.count < EARLY_RECORDS:
            return WAIT_RECORDS
        if self.is_alone or not (loss.is_log and grad.is_log):
            return WAIT_RECORDS if self.is_elsewhere else 0
        rise = max(loss.newest(HELD_WITHIN + 1)) - loss.median
        if grad.x - self.base - rise > math.log(UNEXPLAINED_FACTOR) or self._was_alone(loss, grad):
            return 0
        return WAIT_RECORDS if self.is_elsewhere or rise > math.log(STILL_FACTOR) else 0

    def _was_alone(self, loss: Signal, grad: Signal) -> bool:
        """Whether the first large norm was far beyond what its loss, in that very record, explains."""
        pairs = zip(grad.newest(HELD_WITHIN + 1), loss.newest(HELD_WITHIN + 1), strict=True)
        rises = ((norm - self.base, max(its_loss - loss.median, 0.0)) for norm, its_loss in pairs)
        rise, its_rise = next((it for it in rises if it[0] > math.log(LEAST_FACTOR)), (0.0, 0.0))
        return rise - its_rise > math.log(ALONE_FACTOR)

    def _waited(self, sample: Sample, grad: Signal) -> Alert | None:
        """Whether it is still there after it was waited for something that says more."""
        self.top = max(self.top, grad.x)
        if grad.count < self.wait_until or is_reweighted(sample):
            return None
        newest = sorted(grad.newest(BEFORE))
        rise = newest[BEFORE // 2] - self.base
        self.wait_until = 0
        is_back = rise < grad.by_factor(LEAST_FACTOR) or rise < BACK_SHARE * (self.top - self.base)
        if is_back or self.is_quiet(sample) or self._has_learned(sample):
            return None
        return self._rose(sample, grad, x=newest[BEFORE // 2])

    def _has_learned(self, sample: Sample) -> bool:
        """Whether the loss has fallen while it was waited."""
        loss = sample.get("loss")
        if loss is None or not loss.is_log or math.isnan(self.before_wait):
            return False
        return median_of(loss.newest(BEFORE)) < self.before_wait - loss.by_factor(LEARNED_FACTOR)

    def _is_hot(self, sample: Sample, grad: Signal) -> bool:
        """Whether the norm has been out of range long enough to be told."""
        if grad.z > LEAST_Z and _is_large(grad) and not _is_announced(sample, grad, since=sample.step):
            is_second = grad.count - self.hot_count <= HELD_WITHIN
            if is_second or grad.x - max(grad.newest(BEFORE + HELD_WITHIN)[:BEFORE]) > grad.by_factor(SUDDEN_FACTOR):
                self.hot_count = grad.count
            if not is_second:
                self.since, self.base = sample.step, grad.median
                self.is_elsewhere, self.is_alone = _came_with_loss(sample), False
            return is_second
        return grad.count % BLOCK == 0 and self._is_high_for_blocks(sample, grad)

    def _is_high_for_blocks(self, sample: Sample, grad: Signal) -> bool:
        """Whether it has grown, or is out of proportion to the loss: looked at when a block is over."""
        loss = sample.get("loss")
        if loss is None or not loss.recent or len(grad.recent) < GROWN_BLOCKS:
            return False
        peaks, loss_peaks = self.peaks, self.loss_peaks
        peaks.append(top_of(grad))
        loss_peaks.append(top_of(loss))
        if len(peaks) > NUM_PEAKS:
            del peaks[0], loss_peaks[0]
        if grad.is_log and loss.is_log and len(loss.recent) >= GROWN_BLOCKS and not _has_risen(grad, loss, peaks):
            return False
        is_step = _is_out_of_proportion(sample, grad, loss)
        has_grown = is_step or _has_grown(grad, loss) or _is_new_level(grad, loss)
        if not has_grown and not self._has_peaks(grad, loss):
            return False
        self.since, self.base = grad.recent_steps[-2 if is_step else -GROWN_BLOCKS], grad.recent[-GROWN_BLOCKS]
        self.is_elsewhere, self.is_alone = False, is_step
        compared = grad.recent_steps[-GROWN_BLOCKS if has_grown else -min(NUM_PEAKS, len(grad.recent_steps))]
        return not _is_announced(sample, grad, since=compared)

    def _has_peaks(self, grad: Signal, loss: Signal) -> bool:
        """Whether the largest norms have grown, and the largest losses: a net that is sure of itself has many of 0."""
        if len(self.peaks) < LATER_PEAKS + GROWN_BLOCKS or _growth(self.peaks) < grad.by_factor(LEAST_FACTOR):
            return False
        return _growth(self.loss_peaks) > loss.by_factor(LOSS_PEAKS)

    def _at_start(self, sample: Sample, grad: Signal) -> Alert | None:
        loss = sample.get("loss")
        if self.is_active or loss is None or loss.nonfinite_run:
            return None
        if grad.count == BLOCK and loss.count == BLOCK:
            return self._above_chance(sample, loss)
        if grad.count <= FIRST_RECORDS or not grad.is_log:
            return None
        usual = sorted(grad.newest(grad.count)[:FIRST_RECORDS])[1]
        first_loss = min(loss.newest(loss.count)[:FIRST_RECORDS])
        if grad.x - usual <= math.log(EARLY_FACTOR) or loss.x - first_loss <= loss.by_factor(CALM_FACTOR):
            return None
        is_second = grad.count - self.hot_count <= HELD_WITHIN
        self.hot_count = grad.count
        if not is_second:
            self.since, self.base = sample.step, usual
        return self._rose(sample, grad) if is_second else None

    def _above_chance(self, sample: Sample, loss: Signal) -> Alert | None:
        if (among := num_classes(sample)) is None or among <= 1:
            return None
        chance = math.log(among)
        lowest = min(loss.value_of(x) for x in loss.newest(FIRST_RECORDS))
        if lowest <= CHANCE_FACTOR * chance:
            return None
        found = self.alert(
            sample,
            f"the loss begins at {shown(lowest)}, {lowest / chance:.0f} times the {chance:.2f} of guessing among "
            f"{among:.0f}: the initial weights are too large",
            severity="warning",
            since=loss.first_step,
            metrics=[loss],
            evidence=[Evidence(name=loss.name, value=lowest, threshold=CHANCE_FACTOR * chance, last_step=sample.step)],
            causes=["initial weights that are too large", "a loss that is summed instead of averaged"],
            remedies=[Remedy(text="scale the initial weights as He or Glorot do; the last layer smaller, by 0.1")],
            confidence=0.6,
        )
        self.is_active = False
        return found

    def _settle(self, sample: Sample, grad: Signal) -> None:
        if sample.context.num_records > self.until or grad.x - self.base < grad.by_factor(CALM_FACTOR):
            self.is_active = False

    def _rose(self, sample: Sample, grad: Signal, *, x: float | None = None) -> Alert:
        """Tell it; where it was waited, by the median of the newest norms rather than by the last one."""
        usual, norm = grad.value_of(self.base), grad.value if x is None else grad.value_of(x)
        self.until = sample.context.num_records + MOST_RECORDS
        self.peaks, self.loss_peaks = [], []
        times = norm / usual if usual > 0 else math.inf
        return self.alert(
            sample,
            f"the gradient norm rose from {shown(usual)} to {shown(norm)} ({times:.0f} times) since step "
            f"{self.since:.10g}",
            severity="critical",
            since=self.since,
            metrics=[grad],
            evidence=[
                Evidence(name=grad.name, value=norm, threshold=LEAST_FACTOR * usual, last_step=grad.step),
                Evidence(name="times its noise", value=grad.z, threshold=LEAST_Z),
            ],
            causes=_causes(sample, self.since),
            remedies=_remedies(sample, usual, self.since),
            confidence=0.9,
        )


def _is_large(grad: Signal) -> bool:
    is_far = grad.x - grad.median > grad.by_factor(LEAST_FACTOR) and is_high(grad, LEAST_Z)
    return is_far and grad.value > OF_START * grad.value_of(grad.start)


def _came_with_loss(sample: Sample) -> bool:
    """Whether the loss left its usual range in this record or in the one before, upwards or downwards."""
    loss = sample.signals.get("loss")
    if loss is None or not loss.is_warm():
        return False
    far = max(abs(x - loss.expected) for x in loss.newest(2))
    return far > max(AT_ONCE_Z * loss.noise, loss.by_factor(CALM_FACTOR))


def _high_since(grad: Signal, usual: list[float]) -> float:
    """The first step among the newest records whose norm is above all but one of those before; infinite for none."""
    newest, limit = grad.newest(LATELY), sorted(usual)[-2] + grad.by_factor(ABOVE_USUAL)
    place = next((place for place, x in enumerate(newest) if x > limit), None)
    return math.inf if place is None else grad.step - (len(newest) - 1 - place) * stride(grad)


def _is_announced(sample: Sample, grad: Signal, *, since: float) -> bool:
    """Whether the learning rate was restarted since then, or shortly before."""
    schedule = sample.context.schedule
    return schedule.restarts > 0 and since - RESTART_RECORDS * stride(grad) < schedule.jump_step <= sample.step


def _has_grown(grad: Signal, loss: Signal) -> bool:
    recent = grad.recent
    if len(recent) < 2 * GROWN_BLOCKS or len(loss.recent) < GROWN_BLOCKS:
        return False
    if not recent[-1] > recent[-2] > recent[-3] or recent[-1] - recent[-GROWN_BLOCKS] < grad.by_factor(GROWN_FACTOR):
        return False
    is_new = recent[-1] > max(recent[: -GROWN_BLOCKS + 1]) and grad.value > OF_START * grad.value_of(grad.start)
    return is_new and loss.recent[-1] - loss.recent[-GROWN_BLOCKS] > loss.by_factor(1.1) + loss.noise


def _is_new_level(grad: Signal, loss: Signal) -> bool:
    """Whether a step that no single record shows has lasted two blocks, without a loss that falls meanwhile."""
    if grad.recent[-1] - grad.recent[-GROWN_BLOCKS] < grad.by_factor(LEAST_FACTOR):
        return False
    xs = grad.newest(WINDOW)
    older, newest = xs[:LEVEL_OLD], sorted(xs[-LEVEL_NEW:])
    if len(xs) < WINDOW or newest[LEVEL_OUTLIERS] <= max(older):
        return False
    has_fallen = loss.recent[-1] < loss.recent[-GROWN_BLOCKS] - loss.noise
    return newest[BLOCK] - median_of(older) > grad.by_factor(LEAST_FACTOR) and not has_fallen


def _has_risen(grad: Signal, loss: Signal, peaks: list[float]) -> bool:
    """Whether it has risen by the least that any sign of growth asks for: nearly never, and cheap to see."""
    norms, losses = grad.recent, loss.recent
    now, then = norms[-1], norms[-GROWN_BLOCKS]
    if now - then >= _LOG_LEAST or now - losses[-1] - then + losses[-GROWN_BLOCKS] >= _LOG_STEP:
        return True
    if len(peaks) <= LATER_PEAKS:
        return False
    least = peaks[-LATER_PEAKS - 1]
    return peaks[-1] - least >= _LOG_LEAST or peaks[-2] - least >= _LOG_LEAST  # one of them is as high as the second


def _growth(peaks: list[float]) -> float:
    return sorted(peaks[-NEWEST_PEAKS:])[-2] - max(peaks[:-LATER_PEAKS])


def _is_out_of_proportion(sample: Sample, grad: Signal, loss: Signal) -> bool:
    """Whether the norm, for its loss, has made a step upwards: a factor that the loss does not show, as of its sum."""
    if len(loss.recent) < GROWN_BLOCKS or not (grad.is_log and loss.is_log):
        return False
    rise = grad.recent[-1] - loss.recent[-1] - grad.recent[-GROWN_BLOCKS] + loss.recent[-GROWN_BLOCKS]
    if rise < _LOG_STEP or hovers(sample) or is_reweighted(sample):
        return False
    ratios: list[float] = list(map(sub, grad.newest(WINDOW), loss.newest(WINDOW)))
    if len(ratios) < WINDOW:
        return False
    older, newest = ratios[: -2 * BLOCK], sorted(ratios[-BEFORE:])
    top, stepped = max(older), max(older) + math.log(STEP_FACTOR)
    is_sudden = sum(top < it < stepped for it in ratios[-2 * BLOCK : -BEFORE]) <= MOST_BETWEEN
    is_far = newest[BEFORE // 2] - median_of(older) > math.log(OUT_OF_PROPORTION)
    return is_sudden and is_far and newest[1] > stepped


def _causes(sample: Sample, since: float) -> list[str]:
    schedule = sample.context.schedule
    if 0 <= since - schedule.jump_step < RESTART_RECORDS and schedule.jump_to > schedule.jump_from:
        first = f"the learning rate went from {shown(schedule.jump_from)} to {shown(schedule.jump_to)} before it"
        return [first, "steps that are too large"]
    return ["steps that are too large for where the weights are", "a batch of other data", "no clipping"]


def _remedies(sample: Sample, usual: float, since: float) -> list[Remedy]:
    return [
        *clip(sample, norm=usual),
        *halve_lr(sample),
        *skip_batches(sample, since),
        Remedy(text="if it happens at the start: warm the learning rate up over some hundred steps"),
    ]
