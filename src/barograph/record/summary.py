"""``run.summary``: results that stand for the whole run. Each assignment is a fact at once."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from barograph.facts.codec import plain
from barograph.record.attempt import Attempt


class Summary(MutableMapping[str, Any]):
    """A mapping whose changes are recorded as ``custom`` events of kind ``summary``.

    Args:
        attempt: where the events go.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        value = plain(value, f"summary[{key!r}]")
        self._attempt.record("custom", {"kind": "summary", "key": key, "value": value})
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._attempt.record("custom", {"kind": "summary", "key": key, "removed": True})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values!r})"
