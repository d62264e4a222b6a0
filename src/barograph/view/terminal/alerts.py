"""An alert for a person: what, since when, what moved first, why, what to do; the end of an incident in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from barograph.view.terminal.blocks import Symbols
from barograph.view.terminal.wording import number, one_line
from barograph.watch.alert import Alert, Moved, Remedy
from barograph.watch.incident import Told

TEXT_CHARS: Final = 300
MAX_CAUSES: Final = 3
MAX_REMEDIES: Final = 4
SEVERE: Final = frozenset({"critical", "fatal"})
STAGES: Final = {"joined": ", in the same incident", "worse": ", and the incident is worse", "opened": ""}


def told_lines(told: Told, symbols: Symbols) -> list[str]:
    """What a person is told about an incident, in lines.

    Args:
        told: an alert of an incident, or its end.
        symbols: of the terminal.
    """
    if told.stage == "ended":
        types = ", ".join(told.incident.types)
        return [
            f"{symbols.good} over at step {number(told.step)}: {types}, since step {_step(told.incident.first_step)}"
        ]
    return list(_alert(told.alert, symbols, STAGES[told.stage]))


def _alert(alert: Alert, symbols: Symbols, stage: str) -> Iterator[str]:
    symbol = symbols.bad if alert.severity in SEVERE else symbols.warning
    since = "" if alert.since_step == alert.step else f", since step {_step(alert.since_step)}"
    yield f"{symbol} ALERT [{alert.severity}] {alert.type} at step {_step(alert.step)}{since}{stage}"
    yield f"   {one_line(alert.text, limit=TEXT_CHARS)}"
    if alert.moved_first:
        yield f"   moved first: {', '.join(map(_moved, alert.moved_first))}"
    if alert.causes:
        yield f"   why: {'; or '.join(one_line(cause) for cause in alert.causes[:MAX_CAUSES])}"
    for place, remedy in enumerate(alert.remedies[:MAX_REMEDIES]):
        yield f"   {'do:  ' if not place else '     '}{_remedy(remedy)}"


def _remedy(remedy: Remedy) -> str:
    changes = ", ".join(f"{key}={json.dumps(value)}" for key, value in remedy.change.items())
    return one_line(remedy.text + (f"  ({changes})" if changes else ""), limit=TEXT_CHARS)


def _moved(moved: Moved) -> str:
    return f"{one_line(moved.metric)} at step {_step(moved.step)} ({abs(moved.surprise):.0f} x its noise)"


def _step(step: float) -> str:
    return str(int(step)) if step.is_integer() else number(step)
