"""Verifies files of JSON lines: whole lines, and events that are numbered without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.facts.events import to_event
from barograph.facts.kinds import MOMENTS, SCHEMA_VERSION
from barograph.facts.log import scan_text
from barograph.read.columns import unreadable
from barograph.read.verify.finding import Finding, from_damage, relative, torn_tail

MAX_PER_CODE: Final = 20
_ORIGIN: Final = ("attempt", "rank")


def verify_lines(root: Path, path: Path, *, is_live: bool) -> list[Finding]:
    """Verify a file of records that have no number, such as ``metrics.jsonl``."""
    findings: list[Finding] = []
    for item in _items(root, path, is_live=is_live):
        findings += [item] if isinstance(item, Finding) else _verify_origin(relative(root, path), "a record", item)
    return _limited(findings)


def verify_events(root: Path, path: Path, *, is_live: bool) -> list[Finding]:
    """Verify an event log."""
    findings: list[Finding] = []
    numbers = _Numbers(relative(root, path))
    for item in _items(root, path, is_live=is_live):
        if isinstance(item, Finding):
            findings.append(item)
            numbers.num_damaged += item.code == "damaged_line"
        else:
            findings += _verify_payload(numbers.file, item)
            numbers.take(item.get("seq"))
    return _limited([*findings, *numbers.findings()])


def _items(root: Path, path: Path, *, is_live: bool) -> Iterator[dict[str, Any] | Finding]:
    offset = 0
    try:
        size = path.stat().st_size
        while offset < size:
            scan = scan_text(path, offset)
            yield from scan.records
            yield from (from_damage(root, damage, code="damaged_line") for damage in scan.damage)
            if scan.offset == offset:
                break
            offset = scan.offset
    except OSError as error:
        yield from_damage(root, unreadable(path, error), code="unreadable")
        return
    if offset < size:
        yield torn_tail(root, path, offset=offset, size_bytes=size - offset, is_live=is_live)


def _verify_payload(file: str, record: dict[str, Any]) -> Iterator[Finding]:
    version = record.get("schema_version", 0)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        message = f"an event has schema_version {version!r}, newer than {SCHEMA_VERSION}; update Barograph to read it"
        yield Finding(severity="warning", code="schema_version", file=file, message=message)
        return
    event = to_event(record)
    yield from _verify_origin(file, f"event {event.seq} ({event.moment})", event.payload)
    kind = MOMENTS.get(event.moment)
    for field in () if kind is None else msgspec.structs.fields(kind):
        if field.name in event.payload and field.name not in _ORIGIN:
            try:
                msgspec.convert(event.payload[field.name], field.type, strict=False)
            except msgspec.ValidationError as error:
                where = f"event {event.seq} ({event.moment}): {field.name} is {event.payload[field.name]!r:.60}"
                message = f"{where}: {error}; readers leave it out"
                yield Finding(severity="warning", code="payload", file=file, message=message)


def _verify_origin(file: str, where: str, record: dict[str, Any]) -> Iterator[Finding]:
    """Verify what says which attempt and rank wrote a record, of whatever moment."""
    for name in _ORIGIN:
        if not isinstance(record.get(name, 0), int):
            message = f"{where}: {name} is {record[name]!r:.60}, no integer; readers take it for 0"
            yield Finding(severity="warning", code="payload", file=file, message=message)


class _Numbers:
    """The numbers of one file's events."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.num_damaged = 0
        self._last: int | None = None
        self._missing: list[tuple[int, int]] = []
        self._repeats: list[tuple[int, int]] = []
        self._num_unnumbered = 0

    def take(self, seq: Any) -> None:
        if not isinstance(seq, int):
            self._num_unnumbered += 1
            return
        expected = 0 if self._last is None else self._last + 1
        if seq > expected:
            self._missing.append((expected, seq - 1))
        elif seq < expected:
            self._repeats.append((seq, expected))
        self._last = seq

    def findings(self) -> Iterator[Finding]:
        num_missing = sum(last - first + 1 for first, last in self._missing)
        if num_missing > self.num_damaged:
            gaps = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in self._missing[:8])
            damaged = f", {self.num_damaged} of them on damaged lines" if self.num_damaged else ""
            message = (
                f"{num_missing} events are missing: seq {gaps}{damaged}. Lines were removed after they were written: "
                f"restore the file from a copy"
            )
            yield Finding(severity="error", code="seq_gap", file=self.file, message=message)
        for seq, expected in self._repeats:
            message = f"seq {seq} stands where {expected} should: two writers, or lines that were put in by hand"
            yield Finding(severity="error", code="seq_repeat", file=self.file, message=message)
        if self._num_unnumbered:
            message = f"{self._num_unnumbered} events carry no seq, as other programs write them; gaps cannot be seen"
            yield Finding(severity="info", code="unnumbered", file=self.file, message=message)


def _limited(findings: list[Finding]) -> list[Finding]:
    """At most so many findings of a code; of a file that is damaged everywhere nobody reads more."""
    kept: list[Finding] = []
    for code in dict.fromkeys(finding.code for finding in findings):
        mine = [finding for finding in findings if finding.code == code]
        kept += mine[:MAX_PER_CODE]
        if len(mine) > MAX_PER_CODE:
            message = f"and {len(mine) - MAX_PER_CODE} more findings {code!r} in this file"
            kept.append(msgspec.structs.replace(mine[0], message=message, offset=None, size_bytes=None))
    return kept
