"""Where a run stands, in one line: how far, at what, and how much longer.

Pure functions from a state to text. What is unknown is left out.
"""

from __future__ import annotations

from barograph.view.terminal.state import RunState
from barograph.view.terminal.wording import ascii_bar, fields, number, one_line, time_left


def position(state: RunState) -> str:
    """Steps and epochs done, with their totals where they are known.

    Epochs are counted, so that ``6/20`` means six done, whether the loop counts from 0 or from 1.
    """
    parts = []
    if state.step is not None:
        total = f"/{state.total_steps}" if state.total_steps else ""
        parts.append(f"step {number(state.step)}{total}")
    if state.num_epochs or (state.total_epochs and not state.total_steps):
        total = f"/{state.total_epochs}" if state.total_epochs else ""
        parts.append(f"epochs {state.num_epochs}{total}")
    return " ".join(parts)


def tiers(state: RunState) -> str:
    """The last block that was shown and the full evaluation that comes next."""
    parts = []
    if state.last_tier is not None:
        tier, step = state.last_tier
        parts.append(f"last {one_line(tier)} at {step}")
    following = state.next_full()
    if following is not None and not state.ended:
        parts.append(f"next full at {following}")
    return ", ".join(parts)


def progress_line(state: RunState, *, now: float) -> str:
    """One line on where the run stands at unix time ``now``.

    What is unknown is left out: a run without a planned end has no bar, and the time left appears when there is
    enough to estimate it from.
    """
    parts = []
    fraction = state.fraction
    if fraction is not None:
        parts.append(f"{ascii_bar(fraction)} {int(100 * fraction)}%")
    parts += [position(state), fields(state.shown_metrics())]
    left = state.remaining(now)
    if left is not None:
        parts.append(f"eta {time_left(left)}")
    return " ".join(part for part in parts if part)
