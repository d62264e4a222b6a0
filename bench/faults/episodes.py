"""What was told about a labelled run, and by whom does not matter here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.faults.labels import Label, read_labels


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person was told.

    Attributes:
        step: when.
        type: of what; None from those that do not name types.
        is_new: whether it opened an incident; else it added to one.
        text: in words.
    """

    step: float
    type: str | None
    is_new: bool
    text: str = ""


def counts_for(label: Label) -> str:
    """The type that a run with a fault counts for: the plainest of those that are right."""
    return label.right[0]


def read_episodes(home: Path) -> list[Label]:
    """The labelled runs whose records are there: while more are made, a label may come late.

    Raises:
        FileNotFoundError: there are no records; the message says how to make them.
    """
    if not (home / "labels.json").exists():
        raise FileNotFoundError(
            f"{home / 'labels.json'} is not there; record the runs: python -m bench.faults generate"
        )
    return [it for it in read_labels(home) if (home / "runs" / it.name / "facts").is_dir()]
