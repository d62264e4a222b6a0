"""Lifts records of older and foreign schemas to the current one when they are read; files never change.

A release that changes a line's schema adds one function to ``LIFTS``, from its predecessor's version, and golden
files to ``tests/golden``. A record of a newer version is read as it is: unknown keys are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from barograph.facts.kinds import SCHEMA_VERSION

Lift = Callable[[dict[str, Any]], dict[str, Any]]


def _from_unversioned(record: dict[str, Any]) -> dict[str, Any]:
    """Version 0: facts-first studies that wrote ``moment`` (or ``event``) and ``timestamp``, without numbers."""
    moment = record.pop("event", "custom") if "moment" not in record else record["moment"]
    t = record.pop("timestamp", 0.0) if "t" not in record else record["t"]
    return {**record, "moment": str(moment), "t": float(t) if _is_number(t) else 0.0}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_event(record: dict[str, Any]) -> bool:
    return isinstance(record.get("moment"), str) and _is_number(record.get("t"))


LIFTS: Final[dict[int, Lift]] = {0: _from_unversioned}


def lift_event(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record in the current schema, or in the newer one that it was written in.

    >>> lift_event({"event": "on_start", "timestamp": 5})
    {'moment': 'on_start', 't': 5.0, 'schema_version': 1}
    """
    version = record.get("schema_version")
    if not _is_event(record) or not isinstance(version, int) or version < 0:
        version = 0
    while version < SCHEMA_VERSION:
        record = {**LIFTS[version](dict(record)), "schema_version": version + 1}
        version += 1
    return record
