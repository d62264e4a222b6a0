"""A document as Markdown, for a repository or a mail. What comes from runs is escaped, so that it stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from barograph.report.document import Document, Item, Picture, Prose, Table
from barograph.report.manifest import Manifest
from barograph.report.words import cell_text, prose_text

_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#])")


def to_markdown(document: Document, manifest: Manifest, figures: Mapping[str, str]) -> str:
    """The report as Markdown.

    Args:
        document: what it says.
        manifest: what it was made of.
        figures: by the name of a figure its file, relative to the report.
    """
    lines = [f"# {escaped(document.title)}", "", f"{manifest.kind.replace('_', ' ')}, {manifest.created}", ""]
    for prose in document.lead:
        lines += [escaped(prose_text(prose)), ""]
    for section in document.sections:
        lines += [f"## {escaped(section.title)}", ""]
        for item in section.items:
            lines += [*_item(item, figures), ""]
    last = (
        f"{len(manifest.numbers)} numbers; `manifest.yaml` has the address of each, and `barograph report verify` on "
        f"this directory computes them again."
    )
    lines += [last, ""]
    return "\n".join(lines)


def _item(item: Item, figures: Mapping[str, str]) -> Iterator[str]:
    match item:
        case Prose():
            yield escaped(prose_text(item))
        case Table():
            yield from _table(item)
        case Picture():
            yield f"![{escaped(item.title)}]({figures[item.name]})"
            if item.caption is not None:
                yield ""
                yield escaped(prose_text(item.caption))


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"### {escaped(table.title)}", "")
    yield _row(column.title for column in table.columns)
    yield _row(("---:" if column.is_number else "---" for column in table.columns), raw=True)
    for row in table.rows:
        yield _row(map(cell_text, row))
    if table.note is not None:
        yield from ("", escaped(prose_text(table.note)))


def _row(cells: Iterator[str] | map[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escaped(cell) for cell in cells)} |"


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> escaped("a|b <script>")
    'a\\|b \\<script\\>'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
