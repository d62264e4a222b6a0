"""What a sweep varied, and which of its runs differ by chance alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from barograph.compare.groups import Group, find_groups
from barograph.report.number import Facts


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that have one configuration but for their seed.

    Attributes:
        label: the settings by which it differs from the others.
        settings: the same, by dotted name.
        keys: of its runs.
    """

    label: str
    settings: dict[str, Any]
    keys: list[str]


def find_variants(facts: Facts) -> list[Variant]:
    """The runs by their settings, as ``compare.groups`` tells them apart."""
    return to_variants(find_groups(facts.runs), facts)


def to_variants(groups: Iterable[Group], facts: Facts) -> list[Variant]:
    """Groups of runs, by the keys that the report gives them."""
    keys = {reader.path: key for key, reader in facts.readers.items()}
    return [
        Variant(
            label=group.label,
            settings={name: group.config.get(name) for name in group.differing},
            keys=[keys[reader.path] for reader in group.runs],
        )
        for group in groups
    ]


def find_params(variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """What was varied, by dotted name, with the values that occur in ascending order."""
    names = dict.fromkeys(name for variant in variants for name in variant.settings)
    found: dict[str, list[Any]] = {}
    for name in names:
        distinct = {repr(value): value for value in (variant.settings.get(name) for variant in variants)}
        found[name] = sorted(distinct.values(), key=_order)
    return found


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float))
    return not is_number, float(value) if is_number else 0.0, repr(value)
