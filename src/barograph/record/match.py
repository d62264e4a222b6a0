"""Whether a model's output matches the expected text: three notions of match, each reported by its name.

Pure functions on text. A verdict never hides which notion decided it: "The capital of France is Paris, which is
also the largest city" matches "The capital of France is Paris" only because it contains it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, get_args

from barograph.errors import MisuseError

MatchKind = Literal["exact", "normalised", "contains"]

MATCH_KINDS: Final[tuple[MatchKind, ...]] = get_args(MatchKind)
_CLOSING: Final = ".,;:!?\u3001\u3002\u060c\u061b\u061f\u0964 "  # sentence marks of several scripts
_MINUS: Final = "-\u2212"
_UNSPACED: Final = ("CJK ", "HIRAGANA ", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


def compare_texts(output: str, golden: str) -> dict[str, bool]:
    """Compare a model's output with the expected text under every notion of match.

    ``exact``: equal, character by character. ``normalised``: equal after Unicode NFKC, case folding, collapsing
    white space and dropping sentence marks at the end. ``contains``: the normalised golden text stands inside
    the normalised output as whole words (and whole numbers: 3 is not inside 3.5, 13 or -3). Each notion includes
    the ones before it.

    Raises:
        MisuseError: one of the two is not a string.

    >>> compare_texts("It is Paris, of course.", "paris")
    {'exact': False, 'normalised': False, 'contains': True}
    """
    for name, text in (("output", output), ("golden", golden)):
        if not isinstance(text, str):
            raise MisuseError(
                f"the {name} text must be a string, not {type(text).__name__} {text!r}; decode the tokens first"
            )
    plain_output, plain_golden = normalise(output), normalise(golden)
    return {
        "exact": output == golden,
        "normalised": plain_output == plain_golden,
        "contains": _contains(plain_output, plain_golden),
    }


def decide(matches: Mapping[str, bool], kind: str) -> bool:
    """The verdict under one notion of match.

    Args:
        matches: what ``compare_texts`` returned.
        kind: one of ``MATCH_KINDS``.

    Raises:
        MisuseError: the notion is unknown or was not compared.
    """
    if kind not in MATCH_KINDS or kind not in matches:
        raise MisuseError(f"{kind!r} is no notion of match; use one of {', '.join(MATCH_KINDS)}")
    return matches[kind]


def normalise(text: str) -> str:
    r"""Fold what two spellings of one answer may differ in.

    >>> normalise("  The capital of\nFRANCE is Paris!  ")
    'the capital of france is paris'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    collapsed = " ".join(folded.split())
    return collapsed.rstrip(_CLOSING) or collapsed  # a text of marks alone stays what it is


def _contains(text: str, part: str) -> bool:
    if not part:
        return not text
    at = text.find(part)
    while at >= 0:
        if _begins_whole(text, part, at) and _ends_whole(text, part, at + len(part)):
            return True
        at = text.find(part, at + 1)
    return False


def _begins_whole(text: str, part: str, at: int) -> bool:
    if at == 0:
        return True
    before, before_that = text[at - 1], text[at - 2 : at - 1]
    if part[0].isdigit():
        if before in ".," and before_that.isdigit():
            return False
        if before in _MINUS and not _is_word(before_that):
            return False
    return not _joined(before, part[0])


def _ends_whole(text: str, part: str, end: int) -> bool:
    if end == len(text):
        return True
    after = text[end]
    if part[-1].isdigit() and after in ".," and text[end + 1 : end + 2].isdigit():
        return False
    return not _joined(after, part[-1])


def _joined(neighbour: str, edge: str) -> bool:
    """Whether a neighbour belongs to the same word as the edge of a found text."""
    if not _is_word(neighbour):
        return False
    return not (_is_unspaced(neighbour) or _is_unspaced(edge)) or unicodedata.category(neighbour)[0] == "M"


def _is_word(character: str) -> bool:
    if not character:
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _is_unspaced(character: str) -> bool:
    """Whether a script writes its words without spaces, so that any character may end one."""
    return unicodedata.name(character, "").startswith(_UNSPACED)
