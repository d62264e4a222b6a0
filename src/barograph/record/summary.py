"""``run.summary``: results that stand for the whole run. Each assignment is a fact at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from barograph.errors import MisuseError
from barograph.facts.codec import plain
from barograph.record.arguments import title
from barograph.record.attempt import Attempt


class Summary(MutableMapping[str, Any]):
    """A mapping whose changes are recorded as ``custom`` events of kind ``summary``.

    Args:
        opened: says where the events go, or raises ``RunClosedError``.
    """

    def __init__(self, opened: Callable[[], Attempt]) -> None:
        self._opened = opened
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        key = title(key, what="result's name")
        try:
            value = plain(value, f"summary[{key!r}]")
        except TypeError as error:
            raise MisuseError(str(error)) from None
        self._opened().record("custom", {"kind": "summary", "key": key, "value": value})
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        attempt = self._opened()
        del self._values[key]
        attempt.record("custom", {"kind": "summary", "key": key, "removed": True})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values!r})"
