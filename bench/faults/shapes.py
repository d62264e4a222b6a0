"""Whether the loss has the shape that a fault is named after: it stops falling, it swings, it jumps up and comes back.

A fault that does something else to the loss is not wrong, but the name of the shape would be: it is left out. These
rules look at a faulty run as a whole, beside its twin; no detector can, and none was asked.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from bench.faults.curves import Curves, Key
from bench.faults.noise import NOISE_RECORDS, local_noise, log

LOSSES: Final = ("loss", "diffusion_loss")
WINDOW: Final = 24
"""Records whose median is a level of the loss."""
SETTLED: Final = 8
"""Records after the onset before its level is taken."""
STILL: Final = 0.15
"""A loss is stuck that falls by less than this share of its level since the onset ..."""
MISSED: Final = 0.2
"""... while its twin ends lower by this share at least."""
PARTED: Final = 0.85
MEANS_OF: Final = (1, 4, 8)
"""Slow waves are seen in means that a fast noise does not reach."""
SWING: Final = 6.0
"""In units of the noise of the mean: the noise itself, of so many records, has no such range even once."""
NUM_SWINGS: Final = 4
"""Up, down, up and down again: less may be a jump that comes back."""
SWINGS_WITHIN: Final = 128
LEAST_SWING: Final = math.log(1.3)
HIGHER: Final = 1.5
"""A spike is so many times as high as the highest record of the twin around there."""
BACK_WITHIN: Final = 60
BACK_SHARE: Final = 0.25
"""A spike is over when a quarter of its height, in the logarithm, is left."""
NUM_BACK: Final = 8


def loss_key(curves: Curves) -> Key:
    """The key of the training loss, by whatever name."""
    return next(("train", name) for name in LOSSES if ("train", name) in curves.values)


def stuck(faulty: Curves, twin: Curves, onset: int) -> float | None:
    """From where on the twin goes on below a loss that no longer falls."""
    key = loss_key(faulty)
    steps, values, usual = faulty.steps[key], faulty.values[key], twin.values[key]
    first = next(place for place, step in enumerate(steps) if step >= onset)
    before = statistics.median(values[first + SETTLED : first + SETTLED + WINDOW])
    end, end_of_twin = (statistics.median(it[-2 * WINDOW :]) for it in (values, usual))
    if not (abs(end - before) < STILL * before and end_of_twin < (1 - MISSED) * end):
        return None
    for place in range(first, len(values) - WINDOW):
        ours, theirs = (statistics.median(it[place : place + WINDOW]) for it in (values, usual))
        if theirs < PARTED * ours:
            return steps[place]
    return None


def swings(faulty: Curves, twin: Curves, onset: int) -> float | None:
    """Where the loss, or its means of four or eight, has swung up and down twice, far beyond the noise of the twin."""
    key = loss_key(faulty)
    usual = [log(value) for value in twin.values[key]]
    logs = [log(value) for value in faulty.values[key]]
    first = next(place for place, step in enumerate(faulty.steps[key]) if step >= onset)
    last = next((place for place, it in enumerate(logs) if place >= first and not math.isfinite(it)), len(logs))
    found = []
    for width in MEANS_OF:
        levels = [statistics.fmean(logs[place - width + 1 : place + 1]) for place in range(first, last)]
        least = [max(SWING * local_noise(usual, place) / math.sqrt(width), LEAST_SWING) for place in range(first, last)]
        turns = turns_of(levels, least)
        for begin, end in zip(turns, turns[NUM_SWINGS - 1 :], strict=False):
            if end - begin < SWINGS_WITHIN:
                found.append(faulty.steps[key][first + end])
                break
    return min(found, default=None)


def turns_of(levels: Sequence[float], least: Sequence[float]) -> list[int]:
    """The places at which a curve has moved from its last extreme, the other way than before, by what counts there."""
    turns: list[int] = []
    low = high = levels[0]
    is_up: bool | None = None
    for place, (level, size) in enumerate(zip(levels, least, strict=True)):
        low, high = min(low, level), max(high, level)
        if is_up is not True and level > low + size:
            is_up, high = True, level
        elif is_up is not False and level < high - size:
            is_up, low = False, level
        else:
            continue
        turns.append(place)
    return turns


def spikes(faulty: Curves, twin: Curves, onset: int) -> float | None:
    """Where the loss is above all that the twin has around there, if it has come most of the way back soon after."""
    key = loss_key(faulty)
    steps, values, usual = faulty.steps[key], faulty.values[key], twin.values[key]
    for place, (step, value) in enumerate(zip(steps, values, strict=True)):
        highest = max(usual[max(place - NOISE_RECORDS, 0) : place + NOISE_RECORDS])
        if step >= onset and not value <= HIGHER * highest:
            heights = [log(a) - log(b) for a, b in zip(values[place:][:BACK_WITHIN], usual[place:], strict=False)]
            return step if _comes_back(heights) else None
    return None


def _comes_back(heights: Sequence[float]) -> bool:
    """Whether a curve above its twin, in the logarithm, falls to a share of its greatest height."""
    if not all(map(math.isfinite, heights)):
        return False
    levels = (statistics.median(heights[at : at + NUM_BACK]) for at in range(len(heights) - NUM_BACK + 1))
    return min(levels, default=math.inf) < BACK_SHARE * max(heights)


SHAPES: Final = {"stuck": stuck, "swings": swings, "spike": spikes}
