"""Success criteria: stated as text when a run starts, judged from its recorded facts when it ends.

    [final|best|min|max|mean|any|all] METRIC OP NUMBER [by step N | by epoch N] [on SPLIT]
    [final|any|all] METRIC is finite [by ...] [on SPLIT]
    METRIC exists [by ...] [on SPLIT]
    check NAME passed

OP is one of ``< <= > >= == !=``. A name with spaces, or one that is a word of this grammar, stands in quotes.
Without a first word, a comparison with ``by`` holds when any point up to there satisfies it, one without ``by``
when the final value does, and ``is finite`` when all values are. This module reads the text; ``record.criteria``
judges it.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

import msgspec

from barograph.errors import InvalidCriterionError
from barograph.phrase import OPERATORS, Phrase

Kind = Literal["compare", "finite", "exists", "check"]
Aggregate = Literal["final", "best", "min", "max", "mean", "any", "all"]
Unit = Literal["step", "epoch"]

EXAMPLES: Final = (
    "val_loss < 0.3 by step 2000",
    "best accuracy >= 0.9 on val",
    "final deltaH1 is finite",
    "check shapes passed",
)
_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<quoted>"[^"]*"|'[^']*')
          | (?P<op><=|>=|==|!=|<|>)
          | (?P<word>[^\s<>=!"']+) )""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?inf")


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion, read.

    Attributes:
        text: as it was stated.
        kind: what is asked.
        name: the metric's or the check's name.
        aggregate: which of the metric's values are asked; None for ``exists`` and ``check``.
        op: one of ``OPERATORS``, for ``compare``.
        bound: the number to compare with.
        by: the last step or epoch that counts, inclusive; None for the whole run.
        by_unit: what ``by`` counts.
        split: only values of this split count; None when the metric is recorded on one split anyway.
    """

    text: str
    kind: Kind
    name: str
    aggregate: Aggregate | None = None
    op: str = ""
    bound: float = 0.0
    by: float | None = None
    by_unit: Unit = "step"
    split: str | None = None

    def holds(self, value: float) -> bool:
        """Whether one value satisfies the comparison or is finite; NaN never does."""
        if value != value:  # noqa: PLR0124 - NaN, also where math.isnan would refuse an int beyond float64
            return False
        if self.kind == "compare":
            return OPERATORS[self.op](value, self.bound)
        return value - value == 0


def parse_criterion(text: str) -> Criterion:
    """Read one criterion; the grammar stands at the top of this module.

    Raises:
        InvalidCriterionError: it cannot be read; the message points at the place.

    >>> criterion = parse_criterion("val_loss < 0.3 by step 2000")
    >>> criterion.aggregate, criterion.name, criterion.op, criterion.bound, criterion.by
    ('any', 'val_loss', '<', 0.3, 2000)
    """
    if not isinstance(text, str):
        raise InvalidCriterionError(
            f"a success criterion is a text, not {type(text).__name__} {text!r}; write one like {EXAMPLES[0]!r}"
        )
    return _Parser(text).parse()


class _Parser(Phrase):
    what = "the success criterion"
    pattern = _TOKEN
    examples = EXAMPLES
    condition_words = ("is", "exists")
    error = InvalidCriterionError

    def parse(self) -> Criterion:
        if self._is_word("check") and not self._is_metric():
            return self._check()
        aggregate = self._aggregate()
        name = self._name("a metric's name")
        criterion = self._condition(name, aggregate)
        criterion = self._suffixes(criterion)
        if self._peek().kind != "end":
            raise self._error("'by step N', 'by epoch N', 'on SPLIT', or the end")
        return criterion

    def _check(self) -> Criterion:
        self._take()
        name = self._name("the check's name")
        self._keyword("passed")
        if self._peek().kind != "end":
            raise self._error("the end")
        return Criterion(text=self._text, kind="check", name=name)

    def _aggregate(self) -> Aggregate | None:
        """The first word, unless it is the metric: ``best > 1`` asks for a metric named ``best``."""
        token = self._peek()
        if token.kind == "word" and token.text in get_args(Aggregate) and not self._is_metric():
            self._take()
            return token.text  # type: ignore[return-value]
        return None

    def _condition(self, name: str, aggregate: Aggregate | None) -> Criterion:
        first = self._tokens[0]
        if self._is_word("is"):
            self._take()
            self._keyword("finite")
            if aggregate not in (None, "final", "any", "all"):
                raise self._error(f"'final', 'any' or 'all' before 'is finite', not {aggregate!r}", first)
            return Criterion(text=self._text, kind="finite", name=name, aggregate=aggregate or "all")
        if self._is_word("exists"):
            self._take()
            if aggregate is not None:
                raise self._error(f"no {aggregate!r} before 'exists'", first)
            return Criterion(text=self._text, kind="exists", name=name)
        op = self._peek()
        if op.kind != "op":
            raise self._error("one of < <= > >= == !=, 'is finite' or 'exists'")
        self._take()
        if aggregate == "best":
            if op.text in ("==", "!="):
                raise self._error("<, <=, > or >= after 'best', which else has no direction", op)
            aggregate = "min" if op.text.startswith("<") else "max"
        bound = self._number("a number")
        return Criterion(text=self._text, kind="compare", name=name, aggregate=aggregate, op=op.text, bound=bound)

    def _suffixes(self, criterion: Criterion) -> Criterion:
        by: float | None = None
        unit: Unit = "step"
        split: str | None = None
        while True:
            if self._is_word("by") and by is None:
                self._take()
                unit = self._unit()
                by = self._number(f"the number of the last {unit}")
            elif self._is_word("on") and split is None:
                self._take()
                split = self._name("a split's name")
            else:
                break
        aggregate = criterion.aggregate
        if criterion.kind == "compare" and aggregate is None:
            aggregate = "final" if by is None else "any"
        return msgspec.structs.replace(criterion, aggregate=aggregate, by=by, by_unit=unit, split=split)

    def _unit(self) -> Unit:
        token = self._peek()
        if token.kind != "word" or token.text not in get_args(Unit):
            raise self._error("'step' or 'epoch'")
        self._take()
        return token.text  # type: ignore[return-value]

    def _number(self, what: str) -> float:
        token = self._peek()
        if token.kind != "word" or not _NUMBER.fullmatch(token.text):
            raise self._error(what)
        self._take()
        return float(token.text) if not token.text.isdigit() else int(token.text)

    def _name(self, what: str) -> str:
        token = self._peek()
        if token.kind not in ("word", "quoted") or not token.text or _NUMBER.fullmatch(token.text):
            raise self._error(what)
        self._take()
        return token.text
