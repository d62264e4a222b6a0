"""The last lines of a run: how it ended, what was promised and what came, what the two tiers and the recorder cost.

Every figure is one that the run measured and recorded; what it did not measure is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from barograph.facts.kinds import OnTrainEnd
from barograph.view.terminal.blocks import Symbols
from barograph.view.terminal.wording import duration, fields, number, one_line, percent, significant, size

MAX_SUMMARY: Final = 8


def end_lines(payload: OnTrainEnd, symbols: Symbols) -> list[str]:
    """The lines of an ``on_train_end`` event."""
    reason = f" ({one_line(payload.reason)})" if payload.reason else ""
    lines = [f"{one_line(payload.status)}{reason} after {duration(payload.total_time_s)}"]
    numbers = {name: value for name, value in payload.summary.items() if isinstance(value, (int, float, str))}
    if numbers:
        shown = dict(list(numbers.items())[:MAX_SUMMARY])
        more = f"  and {len(numbers) - len(shown)} more" if len(numbers) > len(shown) else ""
        lines.append(f"summary: {fields(shown)}{more}")
    lines += [_verdict(verdict, symbols) for verdict in payload.success]
    lines += _cadence(payload.cadence)
    lines += _ledger(payload.ledger, symbols)
    return lines


def _verdict(verdict: Mapping[str, Any], symbols: Symbols) -> str:
    """One success criterion, as judged from the facts."""
    passed = verdict.get("passed")
    symbol = symbols.warning if passed is None else symbols.good if passed else symbols.bad
    line = f"{symbol} {one_line(str(verdict.get('text', 'criterion')))}"
    evidence = verdict.get("evidence")
    if isinstance(evidence, Mapping) and evidence.get("value") is not None:
        line += f": {number(evidence['value'])}"
        if evidence.get("step") is not None:
            line += f" at step {number(evidence['step'])}"
    if passed is None:
        line += " (could not be judged)"
    if verdict.get("reason"):
        line += f": {one_line(str(verdict['reason']))}"
    return line


def _cadence(cadence: Mapping[str, Any]) -> list[str]:
    if not cadence.get("num_fast") and not cadence.get("num_full"):
        return []  # the loop does not use the tiers
    parts = [
        _tier(cadence, "num_fast", "fast_median_s", "fast logs"),
        _tier(cadence, "num_full", "full_median_s", "full evaluations"),
        _known(cadence, "share_of_wall", lambda value: f"{percent(value)} of the time"),
        _known(
            cadence,
            "saving_measured",
            lambda value: f"{value:.1f}x less than a full evaluation each time (measured)",
        ),
    ]
    note = cadence.get("saving_note")
    if note and any(parts):
        parts.append(f"saving not measured: {one_line(str(note))}")
    shown = [part for part in parts if part]
    lines = [f"two tiers: {', '.join(shown)}"] if shown else []
    advice = cadence.get("advice")
    return lines + [f"advice: {one_line(str(text))}" for text in (advice if isinstance(advice, list) else [])]


def _tier(cadence: Mapping[str, Any], count_key: str, median_key: str, words: str) -> str:
    count = cadence.get(count_key)
    if not count:
        return ""
    return f"{count} {words}" + _known(cadence, median_key, lambda value: f" of {duration(value)} (median)")


def _ledger(ledger: Mapping[str, Any], symbols: Symbols) -> list[str]:
    lost = ledger.get("lost")
    parts = [
        _known(ledger, "accepted", lambda value: f"{value} facts accepted"),
        _known(ledger, "written", lambda value: f"{value} written"),
        f"{lost} lost {symbols.bad}" if lost else "none lost" if lost is not None else "",
        _known(ledger, "bytes", size),
        _known(ledger, "call_p50_us", lambda value: f"{significant(value)} us per call (p50)"),
        _known(ledger, "call_p99_us", lambda value: f"{significant(value)} us (p99)"),
        _known(ledger, "share_of_wall", lambda value: f"{percent(value)} of the time"),
    ]
    shown = [part for part in parts if part]
    return [f"recorder: {', '.join(shown)}"] if shown else []


def _known(values: Mapping[str, Any], key: str, words: Any) -> str:
    """Words for a number that was recorded, nothing for one that was not."""
    value = values.get(key)
    return words(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
