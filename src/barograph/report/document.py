"""What a report says, before anybody decides how it looks: sections of prose, tables and figures, with numbers in it.

A kind of report builds a document; how it becomes a page, Markdown and files of data is the same for every kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from barograph.report.number import Number

Tone = Literal["good", "bad", "warning", "quiet"]
Style = Literal["number", "integer", "seconds", "time", "bytes", "percent", "text"]
"""How a value is shown; ``text`` is a sentence that was computed, its address standing behind it."""


class Badge(msgspec.Struct, frozen=True):
    """A word with a meaning, such as the status of a run.

    Attributes:
        text: the word.
        tone: what it means for the reader.
    """

    text: str
    tone: Tone = "quiet"


class Shown(msgspec.Struct, frozen=True):
    """A number, and how it is shown.

    Attributes:
        number: the number.
        style: e.g. ``seconds``.
    """

    number: Number
    style: Style = "number"


Cell = Shown | Badge | str
"""What may stand in a table or in a sentence."""


class Prose(msgspec.Struct, frozen=True):
    """A paragraph.

    Attributes:
        parts: texts and numbers, one after the other.
        tone: what it means for the reader.
    """

    parts: Sequence[Cell]
    tone: Tone | None = None


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table.

    Attributes:
        name: of its cells in data, e.g. ``mean``.
        title: of its head.
        is_number: whether it is aligned to the right.
    """

    name: str
    title: str
    is_number: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table; the number in row 3 of column ``mean`` of the table ``summary`` has the id ``summary.3.mean``.

    Attributes:
        name: of its numbers, and of its file.
        columns: in their order.
        rows: cells, one per column.
        title: its heading.
        note: what to know about it.
        is_file: whether it is also written as ``training/NAME.csv``.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: Prose | None = None
    is_file: bool = False


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with the data that it shows.

    Attributes:
        name: of its file, ``figure-NAME.png``.
        title: its heading, and what stands in its place where it cannot be seen.
        figure: a matplotlib ``Figure``.
        data: columns of one length, exactly what is drawn; written beside the picture. Empty where what is drawn is no
            table.
        caption: what to know about it.
    """

    name: str
    title: str
    figure: Any
    data: dict[str, Sequence[Any]]
    caption: Prose | None = None


Item = Prose | Table | Picture


class Section(msgspec.Struct, frozen=True):
    """A part of a document under a heading.

    Attributes:
        title: the heading.
        items: what stands in it.
        part: which folder its figures belong to.
    """

    title: str
    items: Sequence[Item]
    part: Literal["training", "inference"] = "training"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A report.

    Attributes:
        title: its heading.
        lead: what it comes to.
        sections: in their order.
        metadata: goes into ``training/summary.json`` as it is: JSON data without numbers of results.
    """

    title: str
    lead: Sequence[Prose]
    sections: Sequence[Section]
    metadata: dict[str, Any] = {}

    def items(self) -> Iterator[tuple[Section, Item]]:
        """Everything that stands in the sections."""
        for section in self.sections:
            for item in section.items:
                yield section, item

    def tables(self) -> Iterator[Table]:
        """Every table."""
        return (item for _, item in self.items() if isinstance(item, Table))

    def pictures(self) -> Iterator[tuple[Section, Picture]]:
        """Every figure, with its section."""
        return ((section, item) for section, item in self.items() if isinstance(item, Picture))
