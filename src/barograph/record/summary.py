"""``run.summary``: results that stand for the whole run. Each assignment is a fact at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from barograph.errors import MisuseError
from barograph.facts.codec import plain
from barograph.record.arguments import title


class Summary(MutableMapping[str, Any]):
    """A mapping whose changes are recorded as ``custom`` events of kind ``summary``.

    Args:
        record: records an event, or raises ``RunClosedError``.
    """

    def __init__(self, record: Callable[[str, Mapping[str, Any]], object]) -> None:
        self._record = record
        self._values: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        key = title(key, what="result's name")
        try:
            value = plain(value, f"summary[{key!r}]")
        except TypeError as error:
            raise MisuseError(str(error)) from None
        self._record("custom", {"kind": "summary", "key": key, "value": value})
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        value = self._values[key]
        self._record("custom", {"kind": "summary", "key": key, "removed": True})
        if self._values.get(key) is value:
            del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values!r})"
