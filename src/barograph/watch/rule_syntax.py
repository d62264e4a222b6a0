"""Rules of the user's own, stated as text: what they ask for. ``watch.rules`` evaluates them.

    [SEVERITY:] METRIC OP BOUND [for TIME] [on SPLIT]
    [SEVERITY:] METRIC is not finite [for TIME] [on SPLIT]
    [SEVERITY:] [lowest|highest] METRIC not improved [by NUMBER | by PERCENT%] for TIME [on SPLIT]
    [SEVERITY:] METRIC not changed for TIME [on SPLIT]
    [SEVERITY:] no METRIC for TIME [on SPLIT]
    [SEVERITY:] no facts for TIME

SEVERITY is ``info``, ``warning`` (when not given), ``critical`` or ``fatal``; OP one of ``< <= > >= == !=``. BOUND is
a number, or ``[NUMBER *] WHAT [+ NUMBER | - NUMBER]``, where WHAT is ``median``, ``mean``, ``lowest`` or ``highest`` of
the metric's recent values, ``best`` or ``start`` of all of them, or another metric. TIME is a number of ``steps``,
``records``, ``evaluations``, ``s``, ``min`` or ``h``. A metric is named as it was logged, ``SPLIT/NAME``, or by its
role; a name with spaces or one of ``< > = ! * : %``, one that begins with a digit, or one that is a
word of this grammar stands in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast, get_args

import msgspec

from barograph.errors import MisuseError
from barograph.phrase import Phrase, Token
from barograph.watch.alert import SEVERITIES, Severity

Kind = Literal["compare", "not finite", "not improved", "not changed", "missing", "silence"]
Unit = Literal["steps", "records", "seconds"]
Reference = Literal["median", "mean", "lowest", "highest", "best", "start"]
Better = Literal["low", "high"]
Keeps = Literal["", "usual", "best", "start"]

UNITS: Final[Mapping[str, tuple[Unit, float]]] = {
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("record", "records", "evaluation", "evaluations", "evals"), ("records", 1.0)),
    **dict.fromkeys(("s", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
}
UNIT_WORDS: Final = "steps, records, evaluations, s, min or h"
EXAMPLES: Final = (
    "loss > 10 for 50 steps",
    "val_loss not improved for 5 evaluations",
    "throughput < 0.7 * median",
    "critical: grad_norm > 5 * median for 3 records",
    "gpu0_temp_c > 85 for 10 min",
    "no facts for 10 min",
)
_DIRECTIONS: Final[Mapping[str, Better]] = {"lowest": "low", "highest": "high"}
_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<quoted>"[^"]*"|'[^']*')
          | (?P<op><=|>=|==|!=|<|>)
          | (?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w/.])|[-+]?inf\b)
          | (?P<amount>(?:\d+(?:\.\d*)?|\.\d+)(?=(?:s|min|h)\b))
          | (?P<sign>[*+:%]|-(?=\s))
          | (?P<word>[^\s<>=!"'*:%]+) )""",
    re.VERBOSE,
)


class Bound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a value is compared with: ``factor * (reference or metric or 1) + offset``.

    Attributes:
        factor: multiplies; the number itself where there is neither reference nor metric.
        reference: of the metric's own values; "" for none.
        metric: another metric; "" for none.
        offset: is added.
    """

    factor: float = 1.0
    reference: Reference | Literal[""] = ""
    metric: str = ""
    offset: float = 0.0


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule, read.

    Attributes:
        text: as it was stated, spaces made one; it names the rule.
        kind: what is asked.
        metric: of what; "" for ``silence``.
        severity: of its alerts.
        op: one of ``OPERATORS``, for ``compare``.
        bound: what is compared with, for ``compare``.
        better: which values are improvements; None: as the metric's role says.
        by: how much better counts as an improvement.
        is_share: whether ``by`` is a share of the best value.
        lasts: how long it has to be so; 0: one record is enough.
        unit: of ``lasts``.
        split: only values on this split count; "" for any.
    """

    text: str
    kind: Kind
    metric: str = ""
    severity: Severity = "warning"
    op: str = ""
    bound: Bound = Bound()
    better: Better | None = None
    by: float = 0.0
    is_share: bool = False
    lasts: float = 0.0
    unit: Unit = "records"
    split: str = ""

    def keeps(self) -> Keeps:
        """What is needed of the values before, to judge the next one: ``usual`` for the recent ones."""
        if self.kind == "not improved":
            return "best"
        if self.kind == "not changed":
            return "usual"
        what = self.bound.reference
        return what if what in ("", "best", "start") else "usual"


def holds_never(op: str, low: float, high: float, least: float, most: float) -> bool:
    """Whether an operator holds for no number from ``low`` to ``high`` against one from ``least`` to ``most``.

    >>> holds_never(">", 1.0, 2.0, 2.0, 3.0), holds_never(">", 1.0, 2.0, 1.9, 3.0)
    (True, False)
    """
    if op in (">", ">="):
        return high <= least if op == ">" else high < least
    if op in ("<", "<="):
        return low >= most if op == "<" else low > most
    return low == high == least == most if op == "!=" else high < least or low > most


def parse_rule(text: str) -> Rule:
    """Read one rule; the grammar stands at the top of this module.

    Raises:
        MisuseError: it cannot be read; the message points at the place.

    >>> rule = parse_rule("critical: loss > 1.5 * median for 10 min")
    >>> rule.severity, rule.metric, rule.op, rule.bound.factor, rule.bound.reference, rule.lasts, rule.unit
    ('critical', 'loss', '>', 1.5, 'median', 600.0, 'seconds')
    """
    if not isinstance(text, str):
        raise MisuseError(f"a rule is a text, not {type(text).__name__} {text!r}; write one like {EXAMPLES[0]!r}")
    return _Parser(text).parse()


def parse_rules(texts: Sequence[str]) -> list[Rule]:
    """Read rules.

    Raises:
        MisuseError: they are no list of texts, one cannot be read, or one is there twice.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise MisuseError(f"rules are a list of texts, not {texts!r}; write [{EXAMPLES[0]!r}]")
    rules = [parse_rule(text) for text in texts]
    for place, rule in enumerate(rules):
        if any(rule.text == other.text for other in rules[:place]):
            raise MisuseError(f"the rule {rule.text!r} is there twice; leave one out")
    return rules


class _Parser(Phrase):
    what = "the rule"
    pattern = _TOKEN
    examples = EXAMPLES
    condition_words = ("is", "not")

    def parse(self) -> Rule:
        severity = self._severity()
        rule = self._absence() if self._is_word("no") and not self._is_metric() else self._of_metric()
        rule = self._suffixes(rule)
        if self._peek().kind != "end":
            raise self._error("'for TIME', 'on SPLIT' or the end")
        if not rule.lasts and rule.kind in ("not improved", "not changed", "missing", "silence"):
            raise self._error(f"'for' and a number of {UNIT_WORDS}")
        if rule.kind == "silence" and (rule.unit != "seconds" or rule.split):
            raise self._error("a number of s, min or h after 'no facts for', and nothing else", self._last_number())
        if rule.kind == "missing" and rule.unit == "records":
            raise self._error("a number of steps, s, min or h after 'no METRIC for'", self._last_number())
        return msgspec.structs.replace(rule, text=" ".join(self._text.split()), severity=severity)

    def _severity(self) -> Severity:
        if self._peek(1).text != ":" or self._peek().kind != "word":
            return "warning"
        found = self._peek().text
        if found not in SEVERITIES:
            raise self._error(f"a severity, one of {', '.join(SEVERITIES)}, before the colon")
        self._next += 2
        return found

    def _absence(self) -> Rule:
        self._take()
        if self._is_word("facts"):
            self._take()
            return Rule(text="", kind="silence")
        return Rule(text="", kind="missing", metric=self._name("'facts' or a metric's name"))

    def _of_metric(self) -> Rule:
        better = None
        if self._peek().text in _DIRECTIONS and not self._is_metric():
            better = _DIRECTIONS[self._peek().text]
            self._take()
        metric = self._name("a metric's name")
        if self._is_word("not"):
            self._take()
            return self._not(metric, better)
        if better is not None:
            raise self._error("'not improved' after 'lowest METRIC' or 'highest METRIC'")
        if self._is_word("is"):
            self._take()
            self._keyword("not")
            self._keyword("finite")
            return Rule(text="", kind="not finite", metric=metric)
        op = self._peek()
        if op.kind != "op":
            raise self._error("one of < <= > >= == !=, 'is not finite', 'not improved' or 'not changed'")
        self._take()
        return Rule(text="", kind="compare", metric=metric, op=op.text, bound=self._bound())

    def _not(self, metric: str, better: Better | None) -> Rule:
        if self._is_word("changed") and better is None:
            self._take()
            return Rule(text="", kind="not changed", metric=metric)
        self._keyword("improved")
        rule = Rule(text="", kind="not improved", metric=metric, better=better)
        if not self._is_word("by"):
            return rule
        self._take()
        by = self._number("a number that is not negative, or a percentage", least=0.0)
        if self._peek().text != "%":
            return msgspec.structs.replace(rule, by=by)
        self._take()
        return msgspec.structs.replace(rule, by=by / 100, is_share=True)

    def _bound(self) -> Bound:
        factor = 1.0
        if self._peek().kind == "number":
            factor = self._number("a number")
            if self._peek().text != "*":
                return Bound(factor=factor)
            self._take()
        token = self._peek()
        name = self._name("a number, a metric, or one of median, mean, lowest, highest, best, start")
        is_reference = token.kind == "word" and name in get_args(Reference)
        offset = 0.0
        if self._peek().text in ("+", "-") and self._peek().kind == "sign":
            sign = -1.0 if self._peek().text == "-" else 1.0
            self._take()
            offset = sign * self._number("a number")
        reference = cast("Reference", name) if is_reference else ""
        return Bound(factor=factor, reference=reference, metric="" if is_reference else name, offset=offset)

    def _suffixes(self, rule: Rule) -> Rule:
        while True:
            if self._is_word("for") and not rule.lasts:
                self._take()
                lasts = self._number(f"a number of {UNIT_WORDS}, above 0", least=0.0, is_above=True)
                unit, size = self._unit()
                rule = msgspec.structs.replace(rule, lasts=lasts * size, unit=unit)
            elif self._is_word("on") and not rule.split:
                self._take()
                rule = msgspec.structs.replace(rule, split=self._name("a split's name"))
            else:
                return rule

    def _unit(self) -> tuple[Unit, float]:
        found = UNITS.get(self._peek().text)
        if found is None:
            raise self._error(UNIT_WORDS)
        self._take()
        return found

    def _number(self, what: str, *, least: float | None = None, is_above: bool = False) -> float:
        token = self._peek()
        if token.kind not in ("number", "amount"):
            raise self._error(what)
        value = float(token.text)
        if least is not None and (value < least or (is_above and value == least)):
            raise self._error(what)
        self._take()
        return value

    def _name(self, what: str) -> str:
        token = self._peek()
        if token.kind not in ("word", "quoted") or not token.text or (token.kind == "word" and token.text[0].isdigit()):
            raise self._error(what)
        self._take()
        return token.text

    def _last_number(self) -> Token:
        return next((it for it in reversed(self._tokens) if it.kind in ("number", "amount")), self._tokens[-1])
