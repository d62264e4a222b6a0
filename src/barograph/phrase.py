"""What the small languages of success criteria and of rules share: tokens, and complaints that point at one of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

import msgspec

from barograph.errors import MisuseError

OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Token(msgspec.Struct, frozen=True):
    """A word, a quoted name without its quotes, an operator, ...

    Attributes:
        kind: the name of the group of ``Phrase.pattern`` that it matched; ``end`` after the last one.
        text: as it was written.
        at: at which character.
    """

    kind: str
    text: str
    at: int


class Phrase:
    """Recursive descent over a few tokens; a language subclasses it and adds its grammar.

    Args:
        text: what was written.

    Class attributes:
        what: what it is, for messages.
        pattern: matches one token after spaces, in a group named for its kind.
        examples: phrases that can be read.
        condition_words: those that begin a condition after a metric, besides operators.
        error: what is raised for one that cannot.
    """

    what: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]]
    examples: ClassVar[Sequence[str]]
    condition_words: ClassVar[Sequence[str]]
    error: ClassVar[type[MisuseError]] = MisuseError

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenise()
        self._next = 0

    def _peek(self, ahead: int = 0) -> Token:
        """The present token, or one after it; the end is behind the last one."""
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take(self) -> None:
        self._next += 1

    def _is_word(self, word: str) -> bool:
        token = self._peek()
        return token.kind == "word" and token.text == word

    def _keyword(self, word: str) -> None:
        if not self._is_word(word):
            raise self._error(repr(word))
        self._take()

    def _is_metric(self) -> bool:
        """Whether the present token is a metric, whatever word it is: a condition follows it."""
        token = self._peek(1)
        return token.kind == "op" or (token.kind == "word" and token.text in self.condition_words)

    def _tokenise(self) -> list[Token]:
        tokens: list[Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = self.pattern.match(self._text, at)
            if found is None or found.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                raise self._error("a closing quote, or one of < <= > >= == !=", Token("bad", "", at))
            kind = found.lastgroup
            text = found.group(kind)
            tokens.append(Token(kind, text[1:-1] if kind == "quoted" else text, found.start(kind)))
            at = found.end()
        return [*tokens, Token("end", "", end)]

    def _error(self, expected: str, token: Token | None = None) -> MisuseError:
        place = (token or self._peek()).at
        shown = "".join(character if character.isprintable() else " " for character in self._text)
        return self.error(
            f"cannot read {self.what}, expected {expected}:\n"
            f"    {shown}\n"
            f"    {' ' * place}^\n"
            f"write it like one of: {'; '.join(self.examples)}"
        )
