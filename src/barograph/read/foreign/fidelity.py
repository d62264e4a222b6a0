"""The account of an import: what was kept, what was changed, what was lost, and where a file was damaged.

Every number of a source is counted once: in ``kept``, or in an entry of ``lost``; one that was kept as another number
stands in ``changed``, too. Nothing here reads a file.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from barograph.facts.log import Damage


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What the source holds and an imported run does not.

    Attributes:
        what: in the plural, e.g. ``histograms``.
        count: how many.
        reason: why.
    """

    what: str
    count: int
    reason: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What an imported run holds in another form than the source.

    Attributes:
        what: in the plural, e.g. ``times``.
        count: how many.
        reason: what was changed, and why.
    """

    what: str
    count: int
    reason: str


Entry = TypeVar("Entry", Loss, Change)


class Fidelity(msgspec.Struct, kw_only=True):
    """What an import kept and what it could not; filled while a source is read.

    Attributes:
        kept: how many of what, e.g. ``{"numbers": 5000, "texts": 2}``.
        lost: what is not in the imported run.
        changed: what is there in another form.
        damage: places of the source that hold no fact.
        notes: what a person should know about the source itself, e.g. that its tool averages before it writes.
    """

    kept: dict[str, int] = {}
    lost: list[Loss] = []
    changed: list[Change] = []
    damage: list[Damage] = []
    notes: list[str] = []

    def keep(self, what: str, count: int = 1) -> None:
        """Count something as kept."""
        if count:
            self.kept[what] = self.kept.get(what, 0) + count

    def lose(self, what: str, reason: str, count: int = 1) -> None:
        """Count something as lost; entries of the same kind and reason become one."""
        if count:
            _add(self.lost, Loss(what=what, count=count, reason=reason))

    def change(self, what: str, reason: str, count: int = 1) -> None:
        """Count something as changed; entries of the same kind and reason become one."""
        if count:
            _add(self.changed, Change(what=what, count=count, reason=reason))

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost or damaged."""
        return not self.lost and not self.damage

    def lines(self) -> list[str]:
        """The account in words, one line each.

        >>> account = Fidelity()
        >>> account.keep("numbers", 5000)
        >>> account.lose("histograms", "only scalars are imported", 3)
        >>> account.lines()
        ['kept: 5000 numbers', 'lost: 3 histograms (only scalars are imported)']
        """
        kept = ", ".join(_counted(what, count) for what, count in self.kept.items())
        return [
            f"kept: {kept or 'nothing'}",
            *(f"changed: {_counted(entry.what, entry.count)} ({entry.reason})" for entry in self.changed),
            *(f"lost: {_counted(entry.what, entry.count)} ({entry.reason})" for entry in self.lost),
            *(
                f"damaged: {place.path}: {place.size_bytes} bytes at {place.offset} ({place.reason})"
                for place in self.damage
            ),
            *(f"note: {text}" for text in self.notes),
        ]

    def joined(self, other: Fidelity) -> Fidelity:
        """A new account of what stands in either."""
        both = Fidelity(damage=[*self.damage, *other.damage])
        for part in (self, other):
            for what, count in part.kept.items():
                both.keep(what, count)
            for loss in part.lost:
                both.lose(loss.what, loss.reason, loss.count)
            for change in part.changed:
                both.change(change.what, change.reason, change.count)
            for text in part.notes:
                both.note(text)
        return both

    def as_dict(self) -> dict[str, Any]:
        """The account as JSON data."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data


def _counted(what: str, count: int) -> str:
    """``what`` is in the plural, before any parenthesis; of one thing it loses its s."""
    if count != 1:
        return f"{count} {what}"
    noun, space, rest = what.partition(" (")
    return f"{count} {noun.removesuffix('s')}{space}{rest}"


def _add(entries: list[Entry], new: Entry) -> None:
    for place, old in enumerate(entries):
        if (old.what, old.reason) == (new.what, new.reason):
            entries[place] = msgspec.structs.replace(old, count=old.count + new.count)
            return
    entries.append(new)
