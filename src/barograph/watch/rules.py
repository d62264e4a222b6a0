"""Rules of the user's own as detectors: ``loss > 10 for 50 steps``, ``val_loss not improved for 5 evaluations``.

They are asked like every other detector, so they work live, beside the run and over finished ones. What they can say is
in ``watch.rule_syntax``. Rules about silence (``no facts for 10 min``) need a clock and belong to ``watch.life``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import eq
from typing import ClassVar, Final

import msgspec

from barograph.errors import MisuseError
from barograph.phrase import OPERATORS
from barograph.watch.alert import Alert, Evidence
from barograph.watch.detector import Detector, Pace, Sample, shown
from barograph.watch.roles import ROLES, role_of
from barograph.watch.rule_syntax import Better, Keeps, Rule, holds_never, parse_rules
from barograph.watch.signal import Signal

PREFIX: Final = "rule: "
"""The type of a rule's alerts is this and its text, so that two rules are two types."""
NUM_USUAL: Final = 64
LEAST_USUAL: Final = 8
"""``median``, ``mean``, ``lowest``, ``highest`` and ``start`` are of so many values at least; before, nothing holds."""
CONFIDENCE: Final = 1.0
ROUNDING: Final = 1e-12
"""A mean may lie so far outside of what it is the mean of."""


def rule_detectors(texts: Sequence[str], *, roles: Mapping[str, str] | None = None) -> list[Detector]:
    """Fresh detectors for rules; those about silence are left to ``silences``.

    Args:
        texts: rules; see ``watch.rule_syntax``.
        roles: roles of metrics, declared.

    Raises:
        MisuseError: a rule cannot be read, or does not say which values are better where nothing else does.
    """
    found: list[Detector] = []
    for rule in parse_rules(texts):
        if rule.kind != "silence":
            reads = ("*", f"{rule.split}/{rule.metric}" if rule.split else rule.metric)
            better = _better(rule, roles or {}) if _needs_better(rule) else "low"
            name = PREFIX + rule.text
            found.append(RuleDetector(name=name, reads=reads, rule=rule, better=better, keeps=rule.keeps()))
    return found


def silences(texts: Sequence[str]) -> list[Rule]:
    """The rules about silence among some rules, for ``watch.life``.

    Raises:
        MisuseError: a rule cannot be read.
    """
    return [rule for rule in parse_rules(texts) if rule.kind == "silence"]


class RuleDetector(Detector, kw_only=True):
    """Says once that a rule holds, and again when it holds anew.

    What is usual (``median``, ``mean``, ``lowest``, ``highest``) is of the 64 values before, without those for which
    the rule held: what has gone wrong for long does not become usual. NaN fulfils no comparison; infinities do. A gap
    or a repeated step does not end a hold, a value for which the rule does not hold does.

    Attributes:
        name: the type of its alerts.
        reads: everything, and the metric itself, so that it is watched whatever it is.
        rule: what is asked.
        better: which values are improvements.
        keeps: what it needs of the values before: "" for nothing, ``usual``, ``best`` or ``start``.
        key: ``SPLIT/NAME`` of the metric, once it was logged.
        other_key: the same of the metric that it is compared with.
        num_known: how many metrics there were when it was last looked for.
        seen: how many values there were.
        held: for how many values running it has held.
        since_step: since which step it holds, or the newest improvement, change or value.
        since_t: the same in unix seconds.
        usual: recent values for which it did not hold, oldest first.
        low: the lowest of them.
        high: the highest of them.
        best: the best value so far.
        start: the median of the first values.
    """

    pace: ClassVar[Pace] = "record"
    calm_z: ClassVar[float | None] = math.inf  # see ``is_calm_over``

    name: str  # type: ignore[misc] # a class attribute elsewhere; each rule has its own
    reads: tuple[str, ...]  # type: ignore[misc] # the same
    rule: Rule
    better: Better = "low"
    keeps: Keeps = ""
    key: str = ""
    other_key: str = ""
    num_known: int = 0
    seen: int = 0
    held: int = 0
    since_step: float = math.nan
    since_t: float = 0.0
    usual: list[float] = msgspec.field(default_factory=list)
    low: float = math.inf
    high: float = -math.inf
    best: float = math.nan
    start: float = math.nan

    def update(self, sample: Sample) -> Alert | None:
        """See ``Detector``."""
        signal = self._find(sample)
        if self.rule.kind == "missing":
            return self._missing(sample, signal)
        if signal is None:
            return None
        count = signal.count + signal.num_nonfinite
        if count == self.seen:
            return None  # this record is about something else
        self.seen = count
        value = _value(sample, signal)
        if not self.held and value - value == 0.0 and self._is_far(value, value):
            if self.keeps:
                self._keep((value,))
            return None
        limit = self._limit(sample)
        if not self._holds(value, limit):
            self._note(value, sample, is_usual=True)
            self.held, self.is_active = 0, False
            return None
        if self.rule.kind == "compare":
            self._note(value, sample, is_usual=False)
        if not self.held and self.rule.kind in ("compare", "not finite"):
            self.since_step, self.since_t = sample.step, sample.t
        self.held += 1
        return self._tell(sample, signal, value, limit)

    def is_calm(self) -> bool:
        """Whether nothing is to be followed up; that depends on the values, see ``is_calm_over``."""
        return True

    def is_calm_over(self, columns: Sequence[Sequence[float]], place: int | None) -> bool:
        """Whether ``update`` would do no more for some records than ``pass_calm`` does: it says nothing in any case.

        Args:
            columns: of the records, finite numbers: the step first, the time last.
            place: of the rule's metric; None where it is not among them.
        """
        rule = self.rule
        if rule.kind == "missing":
            return place is not None or self.is_active or not self._is_over(columns)
        if place is None:
            return True
        values = columns[place]
        if rule.kind == "not improved":
            newest = min(values) if self.better == "low" else max(values)
            is_worse = not (math.isnan(self.best) or self._is_improved(newest))
            return is_worse and (self.is_active or not self._is_over(columns))
        if self.held:
            return False
        if rule.kind == "not changed":
            return bool(self.usual) and not any(map(eq, values, [self.usual[-1], *values]))
        return rule.kind == "not finite" or self._is_far(min(values), max(values))

    def pass_calm(self, values: Sequence[float]) -> None:
        """Take values of the metric for which ``is_calm_over`` held; ``update`` is called for the last of them."""
        kind = self.rule.kind
        if kind == "missing":
            return
        if kind == "not changed":  # since when is told by the last one
            self._keep(values[:-1])
            return
        self.seen += len(values)
        if kind == "not improved":
            self.held += len(values)
        elif self.keeps:
            self._keep(values)

    def _is_over(self, columns: Sequence[Sequence[float]]) -> bool:
        """Whether it may have lasted long enough before the last of some records is over."""
        rule = self.rule
        if rule.unit == "records":
            return self.held + len(columns[0]) >= rule.lasts
        if math.isnan(self.since_step):
            return True
        now, since = (columns[0], self.since_step) if rule.unit == "steps" else (columns[-1], self.since_t)
        return max(now) - since >= rule.lasts

    def _is_far(self, low: float, high: float) -> bool:
        """Whether a comparison holds for no value from ``low`` to ``high``, whatever else is usual while they come."""
        rule = self.rule
        bound = rule.bound
        if rule.kind != "compare" or bound.metric:
            return False
        least = most = bound.factor
        if bound.reference:
            usual = self._range_of(bound.reference)
            if usual is None:
                return False
            one = bound.factor * min(low, usual[0]) + bound.offset
            other = bound.factor * max(high, usual[1]) + bound.offset
            slack = ROUNDING * max(abs(one), abs(other)) if bound.reference == "mean" else 0.0
            least, most = min(one, other) - slack, max(one, other) + slack
        return holds_never(rule.op, low, high, least, most)

    def _range_of(self, what: str) -> tuple[float, float] | None:
        """Between what and what a reference is; None while it is not known."""
        if what in ("best", "start"):
            value = self.best if what == "best" else self.start
            return None if math.isnan(value) else (value, value)
        return (self.low, self.high) if len(self.usual) >= LEAST_USUAL else None

    def _tell(self, sample: Sample, signal: Signal, value: float, limit: float) -> Alert | None:
        if self.is_active or self.is_quiet(sample) or not self._lasts(sample):
            return None
        now = f"{signal.name} is {shown(value)}"
        if self.rule.kind == "compare" and not _is_number(self.rule):
            now += f" against {shown(limit)}"
        elif self.rule.kind == "not improved":
            now += f", the best was {shown(self.best)} at step {shown(self.since_step)}"
        elif self.rule.kind == "not changed":
            now += f" since step {shown(self.since_step)}"
        return self._alert(sample, f"{now} at step {shown(sample.step)}", signal, value, limit)

    def _missing(self, sample: Sample, signal: Signal | None) -> Alert | None:
        """Time passes with every record, whatever it is about."""
        count = 0 if signal is None else signal.count + signal.num_nonfinite
        if count != self.seen or math.isnan(self.since_step):
            self.seen, self.is_active = count, False
            self.since_step, self.since_t = sample.step, sample.t
            return None
        if self.is_active or not self._lasts(sample):
            return None
        last = "there has been none" if not count else f"the last one was at step {shown(self.since_step)}"
        text = f"no {self.rule.metric} at step {shown(sample.step)}: {last}"
        return self._alert(sample, text, signal, sample.step - self.since_step, math.nan)

    def _alert(self, sample: Sample, text: str, signal: Signal | None, value: float, limit: float) -> Alert:
        measured = self.rule.metric if signal is None else signal.name
        name = f"steps without {measured}" if self.rule.kind == "missing" else measured
        return self.alert(
            sample,
            f"{text} (rule: {self.rule.text})",
            severity=self.rule.severity,
            since=self.since_step,
            metrics=[] if signal is None else [signal],
            evidence=[
                Evidence(
                    name=name,
                    value=value,
                    threshold=None if math.isnan(limit) else limit,
                    first_step=self.since_step,
                    last_step=sample.step,
                )
            ],
            confidence=CONFIDENCE,
        )

    def _holds(self, value: float, limit: float) -> bool:
        rule = self.rule
        if rule.kind == "compare":
            return not (math.isnan(value) or math.isnan(limit)) and OPERATORS[rule.op](value, limit)
        if rule.kind == "not finite":
            return not math.isfinite(value)
        if rule.kind == "not changed":
            return bool(self.usual) and value == self.usual[-1]
        return not (math.isnan(self.best) or self._is_improved(value))

    def _is_improved(self, value: float) -> bool:
        """Whether a value is better than the best one by as much as the rule asks; NaN never is."""
        by = self.rule.by * (abs(self.best) if self.rule.is_share else 1.0)
        return value < self.best - by if self.better == "low" else value > self.best + by

    def _lasts(self, sample: Sample) -> bool:
        """Whether it has held for as long as the rule asks."""
        rule = self.rule
        if rule.unit == "records":
            return self.held >= rule.lasts
        now, since = (sample.step, self.since_step) if rule.unit == "steps" else (sample.t, self.since_t)
        return now - since >= rule.lasts

    def _limit(self, sample: Sample) -> float:
        """What the next value is compared with; NaN while it is not known."""
        bound = self.rule.bound
        if self.rule.kind != "compare":
            return math.nan
        if bound.metric:
            self.other_key = self.other_key or _find_key(bound.metric, "", sample)
            other = sample.context.all_signals.get(self.other_key)
            return math.nan if other is None else bound.factor * other.value + bound.offset
        if not bound.reference:
            return bound.factor
        return bound.factor * self._reference(bound.reference) + bound.offset

    def _reference(self, what: str) -> float:
        if what == "best":
            return self.best
        if what == "start":
            return self.start
        values = self.usual[-NUM_USUAL:]
        if len(values) < LEAST_USUAL:
            return math.nan
        if what == "median":
            return sorted(values)[len(values) // 2]
        if what == "mean":
            return math.fsum(values) / len(values)
        return min(values) if what == "lowest" else max(values)

    def _note(self, value: float, sample: Sample, *, is_usual: bool) -> None:
        """Take a value into what the next ones are compared with."""
        rule = self.rule
        if rule.kind in ("not improved", "not changed"):
            self.since_step, self.since_t = sample.step, sample.t
        if self.keeps and math.isfinite(value):
            self._keep((value,), is_usual=is_usual)

    def _keep(self, values: Sequence[float], *, is_usual: bool = True) -> None:
        """Keep of finite values what the rule needs of them."""
        if self.keeps == "best":
            newest = min(values) if self.better == "low" else max(values)
            if math.isnan(self.best) or (newest < self.best if self.better == "low" else newest > self.best):
                self.best = newest
            return
        if not is_usual or (self.keeps == "start" and not math.isnan(self.start)):
            return
        self.usual += values
        self.low, self.high = min(self.low, min(values)), max(self.high, max(values))  # noqa: PLW3301 - twice as quick
        if self.keeps == "start" and len(self.usual) >= LEAST_USUAL:
            self.start = sorted(self.usual[:LEAST_USUAL])[LEAST_USUAL // 2]
        elif len(self.usual) > 2 * NUM_USUAL:
            del self.usual[:NUM_USUAL]
            self.low, self.high = min(self.usual), max(self.usual)

    def _find(self, sample: Sample) -> Signal | None:
        known = sample.context.all_signals
        if not self.key and len(known) != self.num_known:
            self.num_known = len(known)
            self.key = _find_key(self.rule.metric, self.rule.split, sample)
        return known.get(self.key)


def _find_key(name: str, split: str, sample: Sample) -> str:
    """``SPLIT/NAME`` of the metric that a name means: as it was logged, on any split, or by its role; "" for none."""
    known = sample.context.all_signals
    if split:
        return f"{split}/{name}" if f"{split}/{name}" in known else ""
    for key in (name, f"train/{name}"):
        if key in known:
            return key
    role = role_of(name)
    for key, signal in known.items():
        if signal.name == name and role_of(name, signal.split) == role:  # `loss` is not the loss on `val`
            return key
    found = sample.get(name) or (sample.get(role.name) if role else None)
    return "" if found is None else f"{found.split}/{found.name}"


def _value(sample: Sample, signal: Signal) -> float:
    """The newest value, also where it is not finite."""
    if not signal.nonfinite_run:
        return signal.value
    return next((value for it, value in sample.nonfinite if it is signal), math.nan)


def _is_number(rule: Rule) -> bool:
    return not (rule.bound.reference or rule.bound.metric)


def _needs_better(rule: Rule) -> bool:
    return rule.kind == "not improved" or rule.bound.reference == "best"


def _better(rule: Rule, declared: Mapping[str, str]) -> Better:
    """Which values of the rule's metric are improvements.

    Raises:
        MisuseError: neither the rule nor the metric's role says so.
    """
    if rule.better is not None:
        return rule.better
    split, _, name = rule.metric.rpartition("/")
    role = ROLES.get(rule.metric) or role_of(name, rule.split or split or "train", declared=declared)
    if role is None or role.better is None:
        raise MisuseError(
            f"the rule {rule.text!r} does not say whether low or high values of {rule.metric!r} are better; "
            f"write 'lowest {rule.metric} not improved ...' or 'highest {rule.metric} not improved ...', or declare "
            f'its role, e.g. watch={{"roles": {{{rule.metric!r}: "quality"}}}}'
        )
    return role.better
