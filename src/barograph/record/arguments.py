"""Checks of what callers hand over besides metrics: texts, lists of texts, counts. Misuse raises before a write."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from barograph.errors import MisuseError


def texts(values: Iterable[str], *, what: str) -> list[str]:
    """A list of texts; one text alone is refused, because its characters would be taken for texts.

    Raises:
        MisuseError: it is none.
    """
    found = None if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) else list(values)
    if found is None or not all(isinstance(value, str) for value in found):
        raise MisuseError(f"{what} must be a list of texts, not {values!r:.80}; write {what}=[...]")
    return found


def whole(value: Any, *, what: str, least: int | None = None) -> int:
    """An integer, also numpy's; a bool is none.

    Raises:
        MisuseError: it is none, or is less than ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" from {least} on"
        raise MisuseError(f"{what} must be an integer{bound}, not {value!r:.80}; convert it with int()")
    return number


def whole_or_none(value: Any, *, what: str, least: int | None = None) -> int | None:
    """The same, for what may be left out."""
    return None if value is None else whole(value, what=what, least=least)


def title(text: Any, *, what: str) -> str:
    """A short text that says what something is, e.g. a check's statement.

    Raises:
        MisuseError: it is none.
    """
    if not isinstance(text, str) or not text.strip():
        raise MisuseError(f"the {what} must be a text, not {text!r:.80}; say in a few words what it is")
    return text
