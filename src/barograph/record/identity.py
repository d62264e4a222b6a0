"""Who a run is: written once into ``run.json``, never changed; edits are lines of an overlay."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from barograph.errors import MisuseError
from barograph.record.arguments import whole_or_none

_LABELS: Final = ("project", "group")
_FREE_TEXTS: Final = ("notes", "hypothesis")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's caller said about it.

    Attributes:
        run_id: unique for all time; files of the run carry it.
        name: what people call it; not unique.
        project: what it belongs to.
        group: runs that belong together, e.g. the seeds of one configuration.
        tags: words to find it by.
        notes: free text.
        seed: the seed that the caller named.
        tier: ``quick`` or ``full`` for a de-risking run and the real one.
        hypothesis: what the run is to show.
        success: the criteria by which it will be judged, stated before it starts.

    Raises:
        MisuseError: a field has a value of another type, or a label has control characters.
    """

    run_id: str
    name: str
    project: str | None = None
    group: str | None = None
    tags: list[str] = []
    notes: str | None = None
    seed: int | None = None
    tier: str | None = None
    hypothesis: str | None = None
    success: list[str] = []

    def __post_init__(self) -> None:
        for field in (*_LABELS, *_FREE_TEXTS):
            text = getattr(self, field)
            if text is not None and not isinstance(text, str):
                raise MisuseError(f"{field} must be a text, not {type(text).__name__} {text!r:.80}; use str()")
            if text and field in _LABELS and not text.isprintable():
                raise MisuseError(f"{field} {text!r:.80} has control characters; use printable ones")
        msgspec.structs.force_setattr(self, "seed", whole_or_none(self.seed, what="seed"))

    def as_dict(self) -> dict[str, Any]:
        """The identity as JSON data."""
        return msgspec.structs.asdict(self)


def new_run_id() -> str:
    """Twelve random characters, 60 bits: a million runs share one with a probability of one in two million."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return "".join(secrets.choice(alphabet) for _ in range(12))
