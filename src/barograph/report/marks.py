"""Marks on the page of a report: which of its numbers do not hold any more. The page itself stays as it was made.

The marks are one block with its own hash, which verification takes out before it looks at the page: marking is no
edit, and an edit of the marks shows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from barograph.facts.descriptor import replace_file

MAX_LISTED: Final = 50
_BLOCK: Final = re.compile(rb"\n<!-- barograph marks ([0-9a-f]{64}) -->\n(.*?)<!-- end of marks -->\n", re.DOTALL)
_BODY: Final = b"<body>"
_TEMPLATE: Final = """\
<style>
.marks { margin: 0 0 2rem; padding: .8rem 1rem; border: 1px solid currentColor; border-radius: 8px; font-size: .9rem;
  color: var({{ "--good" if ok else "--bad" }}); }
.marks ul { margin: .4rem 0 0; padding-left: 1.2rem; }
{% for anchor in anchors %}#{{ anchor }} { color: var(--bad); text-decoration: line-through; }
#{{ anchor }}::after { content: " stale"; font-size: .75em; }
{% endfor %}</style>
<aside class="marks"><b>{{ title }}</b>
{% if lines %}<ul>{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
</aside>
"""


def mark_page(path: Path, *, title: str, lines: Sequence[str], anchors: Sequence[str]) -> None:
    """Write what a verification found into the page; what an earlier one wrote is replaced.

    Args:
        path: the page.
        title: what it came to.
        lines: what was found; the first of them are shown.
        anchors: of the numbers that do not hold any more.

    Raises:
        OSError: the page cannot be read or written.
    """
    page = without_marks(path.read_bytes())
    shown = [*lines[:MAX_LISTED], *([f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else [])]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_TEMPLATE)
    text = template.render(title=title, lines=shown, anchors=anchors, ok=not lines)
    block = text.encode("utf-8", "backslashreplace") + b"\n"
    marks = b"\n<!-- barograph marks %s -->\n%s<!-- end of marks -->\n" % (_hash(block), block)
    head, body, rest = page.partition(_BODY)
    replace_file(path, head + body + marks + rest)  # a page that was cut before its body gets them at its end


def without_marks(page: bytes) -> bytes:
    """The page as it was made; marks that somebody edited stay in it."""
    return _BLOCK.sub(lambda found: b"" if _hash(found[2]) == found[1] else found[0], page)


def _hash(block: bytes) -> bytes:
    return hashlib.sha256(block).hexdigest().encode("ascii")
