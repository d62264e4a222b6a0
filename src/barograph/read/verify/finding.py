"""What a verification finds, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from barograph.facts.log import Damage

Severity = Literal["error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be, or that is worth knowing.

    Attributes:
        severity: ``error``: facts are lost, damaged or contradict each other; ``warning``: something was cut, or
            derived files lag; ``info``: worth knowing, nothing is wrong.
        code: one word for programs, e.g. ``damaged_line``.
        file: the file, relative to the run's directory; "" for the run as a whole.
        message: in words, with the offending value and the next step.
        offset: byte at which it is, when it is a place in a file.
        size_bytes: how many bytes it covers, in the same case.
    """

    severity: Severity
    code: str
    file: str
    message: str
    offset: int | None = None
    size_bytes: int | None = None


def from_damage(root: Path, damage: Damage, *, code: str) -> Finding:
    """A place that holds no fact."""
    where = "" if damage.reason.startswith("cannot be read") else f" at byte {damage.offset}"
    return Finding(
        severity="error",
        code="unreadable" if not where else code,
        file=relative(root, damage.path),
        message=f"{damage.size_bytes} bytes{where} hold no fact ({damage.reason}); readers skip them: restore the file "
        f"from a copy if there is one",
        offset=damage.offset,
        size_bytes=damage.size_bytes,
    )


def torn_tail(root: Path, path: Path, *, offset: int, size_bytes: int, is_live: bool) -> Finding:
    """Bytes after the last whole record."""
    file = relative(root, path)
    if is_live:
        message = f"{size_bytes} bytes at its end are no whole record yet; the run is being written"
        severity: Severity = "info"
    else:
        message = (
            f"the last {size_bytes} bytes are no whole record: a write was cut short by a kill or a power cut. Readers "
            f"leave them out; resuming the run cuts them off and keeps them beside the file"
        )
        severity = "warning"
    return Finding(
        severity=severity, code="torn_tail", file=file, message=message, offset=offset, size_bytes=size_bytes
    )


def relative(root: Path, path: Path | str) -> str:
    """A path inside the run as findings name it."""
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        return str(path)
