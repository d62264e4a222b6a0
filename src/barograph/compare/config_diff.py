"""What differs between two runs: configuration, seed, code, packages, data, command line, machine, environment.

It reads what both runs recorded about themselves and lists what is not the same, nothing else. What could not be
compared, because it was not recorded or not completely, is said in ``notes`` and never passed off as equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from barograph.compare.described import SECTIONS, describe, gaps
from barograph.compare.patches import compare_patches, patch_of
from barograph.read.run import RunReader

Kind = Literal["changed", "added", "removed"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs.

    Attributes:
        path: where, from the outside in; a whole number is a place in a list.
        kind: ``changed``; ``added``: only B has it; ``removed``: only A has it.
        a: its value in A, None when A lacks it.
        b: its value in B, None when B lacks it.
    """

    path: tuple[str | int, ...]
    kind: Kind = "changed"
    a: Any = None
    b: Any = None

    @property
    def key(self) -> str:
        """The dotted name.

        >>> Change(path=("optim", "betas", 1)).key
        'optim.betas[1]'
        """
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).removeprefix(".")


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs.

    Attributes:
        path: its directory.
        run_id: its id.
        name: what people call it.
    """

    path: str
    run_id: str
    name: str


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two runs.

    Attributes:
        a: the first.
        b: the second.
        sections: per section of ``SECTIONS`` what differs; empty lists included.
        patch: how B's uncommitted changes to the code differ from A's, as lines of a unified diff.
        notes: what could not be compared, and why.
    """

    a: Side
    b: Side
    sections: dict[str, list[Change]]
    patch: list[str] = []
    notes: list[str] = []

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.patch and not any(self.sections.values())

    def nested(self, section: str) -> dict[str | int, Any]:
        """The changes of one section as a tree: mappings by key, down to a ``Change`` each."""
        tree: dict[str | int, Any] = {}
        for change in self.sections[section]:
            place = tree
            for part in change.path[:-1]:
                place = place.setdefault(part, {})
            place[change.path[-1]] = change
        return tree


def diff(a: RunReader, b: RunReader) -> Diff:
    """Compare what two runs recorded about themselves.

    Names, ids and times of the runs are not compared: they always differ. Numbers are equal by value (``1`` and
    ``1.0``), NaN equals NaN; truth values equal truth values only. A resumed run is compared as its first attempt
    recorded it, and ``notes`` says so when a later one was started differently.

    Args:
        a: the run that counts as before.
        b: the run that counts as after.
    """
    notes: list[list[str]] = [gaps(a), gaps(b)]
    patch = compare_patches(patch_of(a, notes[0]), patch_of(b, notes[1]))
    sections = {name: list(differences(describe(a, name), describe(b, name))) for name in SECTIONS}
    for mine, reader in zip(notes, (a, b), strict=True):
        mine += [f"{damage.path}: {damage.reason}" for damage in reader.damage]
    labelled = [f"{'A and B' if note in notes[1] else 'A'}: {note}" for note in notes[0]]
    labelled += [f"B: {note}" for note in notes[1] if note not in notes[0]]
    return Diff(a=_side(a), b=_side(b), sections=sections, patch=patch, notes=labelled)


def _side(reader: RunReader) -> Side:
    return Side(path=str(reader.path), run_id=reader.identity.run_id, name=reader.identity.name)


def differences(a: Any, b: Any, path: tuple[str | int, ...] = ()) -> Iterator[Change]:
    """Every place at which two nested values differ: mappings by key, lists that hold mappings or lists by place.

    Args:
        a: before.
        b: after.
        path: where the two stand.

    >>> [change.key for change in differences({"optim": {"lr": 0.1, "beta": 1}}, {"optim": {"lr": 0.2, "beta": 1.0}})]
    ['optim.lr']
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        yield from _by_key(a, b, path)
    elif isinstance(a, list) and isinstance(b, list) and _holds_more(a + b):
        yield from _by_key(dict(enumerate(a)), dict(enumerate(b)), path)
    elif not same(a, b):
        yield Change(path=path, a=a, b=b)


def same(a: Any, b: Any) -> bool:
    """Whether two recorded values say the same.

    >>> same(1, 1.0), same(1, True), same(float("nan"), float("nan")), same([1, {"x": 2}], [1.0, {"x": 2}])
    (True, False, True, True)
    """
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or (a != a and b != b)  # noqa: PLR0124 - NaN; math.isnan refuses integers beyond the floats
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def _by_key(a: Mapping[Any, Any], b: Mapping[Any, Any], path: tuple[str | int, ...]) -> Iterator[Change]:
    for key in [*a, *(key for key in b if key not in a)]:
        here = (*path, key if isinstance(key, int) else str(key))
        if key not in b:
            yield Change(path=here, kind="removed", a=a[key])
        elif key not in a:
            yield Change(path=here, kind="added", b=b[key])
        else:
            yield from differences(a[key], b[key], here)


def _holds_more(items: list[Any]) -> bool:
    return any(isinstance(item, (Mapping, list)) for item in items)
