"""Tables in a document that is otherwise written by hand: only what stands between the marks changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BEGIN = "<!-- measured: written by the benchmark, do not edit -->"
END = "<!-- end of measured -->"


def put(measured: str, *, document: Path) -> None:
    """Put a text between the marks of a document, or make a document of nothing else.

    Raises:
        ValueError: the document is there and lacks the marks.
    """
    document.parent.mkdir(parents=True, exist_ok=True)
    text = document.read_text(encoding="utf-8") if document.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} lacks the line {BEGIN!r} or {END!r}; put both where the tables belong")
    document.write_text(f"{before}{BEGIN}\n\n{measured}\n{END}{after}", encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of markdown, numbers to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
