"""A document as one HTML page that needs nothing else: no network, no script, figures inlined, everything escaped."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec

from barograph.report.document import Badge, Cell, Document, Item, Picture, Prose, Shown, Table
from barograph.report.manifest import Manifest
from barograph.report.words import cell_text, value_text

HASH_CHARS: Final = 12
MAX_RUNS: Final = 4
_TEMPLATES: Final = Path(__file__).parent / "templates"
_DOTS_PER_PIXEL: Final = 2.0
_WIDE_PX: Final = 620
_SHORT_CHARS: Final = 24
_LONG_CHARS: Final = 48
_PATH_CHARS: Final = 100


class Page:
    """Turns a document into HTML.

    Args:
        manifest: what the report was made of.
        figures: by the name of a figure its file, relative to the report, and its PNG.
        directory: of the report, as it is typed.
    """

    def __init__(self, manifest: Manifest, figures: Mapping[str, tuple[str, bytes]], directory: str) -> None:
        self._manifest = manifest
        self._figures = figures
        self._directory = directory
        self._anchors = anchors(manifest)
        self._addresses: dict[str, dict[str, Any]] = {}
        loader = jinja2.FileSystemLoader(_TEMPLATES)
        self._environment = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
        )
        self._environment.filters["width"] = _width

    def html(self, document: Document) -> str:
        """The whole page."""
        manifest = self._manifest
        num_runs = len(manifest.runs)
        lead = [self._prose(prose) for prose in document.lead]
        sections = [
            {
                "title": section.title,
                "anchor": f"s{place}",
                "items": [self._item(item) for item in _gathered(section.items)],
            }
            for place, section in enumerate(document.sections)
        ]
        return self._environment.get_template("report.html.j2").render(
            document={
                "title": document.title,
                "lead": lead,
                "sections": sections,
            },
            addresses=list(self._addresses.values()),
            style=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
            kind=manifest.kind.replace("_", " "),
            created=manifest.created,
            version=manifest.versions["barograph"],
            report_id=manifest.report_id,
            num_numbers=f"{len(manifest.numbers):,}",
            num_runs="1 run" if num_runs == 1 else f"{num_runs:,} runs",
            directory=self._directory,
        )

    def _item(self, item: Item | list[Picture]) -> dict[str, Any]:
        match item:
            case Prose():
                return {"kind": "prose", **self._prose(item)}
            case Table():
                return {
                    "kind": "table",
                    "title": item.title,
                    "columns": item.columns,
                    "rows": [list(zip(item.columns, map(self._cell, row), strict=True)) for row in item.rows],
                    "note": None if item.note is None else self._prose(item.note),
                }
            case Picture():
                return self._item([item])
            case _:
                return {"kind": "figures", "figures": [self._picture(picture) for picture in item]}

    def _picture(self, picture: Picture) -> dict[str, Any]:
        file, png = self._figures[picture.name]
        width, height = struct.unpack(">II", png[16:24])
        return {
            "title": picture.title,
            "source": f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
            "width": round(width / _DOTS_PER_PIXEL),
            "height": round(height / _DOTS_PER_PIXEL),
            "is_wide": width / _DOTS_PER_PIXEL > _WIDE_PX,
            "caption": None if picture.caption is None else self._prose(picture.caption),
            "file": file,
        }

    def _prose(self, prose: Prose) -> dict[str, Any]:
        return {"parts": [self._cell(part) for part in prose.parts], "tone": prose.tone}

    def _cell(self, cell: Cell) -> dict[str, Any]:
        if isinstance(cell, Badge):
            return {"kind": "badge", "text": cell.text, "tone": cell.tone}
        if not isinstance(cell, Shown) or cell.number.value is None:
            return {"kind": "text", "text": cell_text(cell)}
        number, anchor = cell.number, self._anchors[cell.number.id]
        is_new = anchor not in self._addresses  # a number may be shown twice; its anchor is where it stands first
        found = {
            "kind": "number",
            "anchor": anchor if is_new else "",
            "address": f"{anchor}a",
            "text": value_text(number.value, cell.style),
            "is_text": cell.style == "text",
            "exact": _exact(number.value),
            "words": number.query.words(),
            "runs": self._runs(number.runs),
            "content": number.content_sha256[:HASH_CHARS],
            "query": msgspec.json.encode({"id": number.id, "query": number.query}).decode("utf-8"),
        }
        self._addresses.setdefault(anchor, found)
        return found

    def _runs(self, keys: list[str]) -> str:
        names = [f"{self._manifest.runs[key].name} ({self._manifest.runs[key].run_id[:8] or key})" for key in keys]
        more = f" and {len(names) - MAX_RUNS} more" if len(names) > MAX_RUNS else ""
        return f"{'1 run' if len(names) == 1 else f'{len(names)} runs'}: {', '.join(names[:MAX_RUNS])}{more}"


def _width(text: str) -> str:
    """How much room a cell of text needs, as a class of the style sheet: short texts and paths are not broken."""
    if len(text) <= _SHORT_CHARS or (" " not in text and len(text) <= _PATH_CHARS):
        return "short"
    return "wide" if len(text) > _LONG_CHARS else "middle"


def _gathered(items: Sequence[Item]) -> list[Item | list[Picture]]:
    """Figures that follow each other as one item: they stand side by side where there is room."""
    found: list[Item | list[Picture]] = []
    for item in items:
        if not isinstance(item, Picture):
            found.append(item)
        elif found and isinstance(found[-1], list):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def anchors(manifest: Manifest) -> dict[str, str]:
    """The id that each number has in the page; no two have the same."""
    return {number.id: f"n{place}" for place, number in enumerate(manifest.numbers)}


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float) and math.isfinite(value) else str(value)
