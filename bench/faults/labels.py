"""What is known of every run of the benchmark: healthy or faulty, since when, and which names are right."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Split = Literal["tuning", "held_out"]


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Attributes:
        name: of its directory below ``runs``.
        kind: ``healthy`` or ``fault``.
        family: model and task.
        recipe: which training.
        fault: its name, None for a healthy run.
        dose: how strong; what the number means is the fault's own affair.
        onset_step: the first step that is wrong.
        shown_step: the first step whose logged numbers show it.
        sudden: whether a delay is measured.
        right: types of alerts that name the fault, the plainest first.
        symptoms: types that also count as noticing it.
        twin: the healthy run with the same seed, byte for byte the same before the onset.
        split: detectors are tuned on one, judged on the other.
        steps: how many were planned.
        log_every: one record every so many steps.
    """

    name: str
    kind: Literal["healthy", "fault"]
    family: str
    recipe: str
    fault: str | None = None
    dose: float | None = None
    onset_step: int | None = None
    shown_step: float | None = None
    sudden: bool = False
    right: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()
    twin: str | None = None
    split: Split
    steps: int
    log_every: int


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is no part of the benchmark, and the rule that it broke."""

    name: str
    why: str


def split_of(seed: int, *, unseen: bool) -> Split:
    """Even seeds are for tuning; odd ones, and architectures that are marked so, are held out."""
    return "held_out" if unseen or seed % 2 else "tuning"


def read_labels(home: Path) -> list[Label]:
    """The labels of a benchmark's directory."""
    return msgspec.json.decode((home / "labels.json").read_bytes(), type=list[Label])


def read_dropped(home: Path) -> list[Dropped]:
    """What was left out, and why."""
    return msgspec.json.decode((home / "dropped.json").read_bytes(), type=list[Dropped])


def write(home: Path, name: str, items: list[Label] | list[Dropped]) -> None:
    """Replace a file of the benchmark's directory at once, so that others may read it at any time."""
    path = home / name
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(sorted(items, key=lambda it: it.name)), indent=1))
    beside.replace(path)
