"""``barograph diff A B``: what differs between two runs, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import GAP, Style, plural, print_json
from barograph.compare.config_diff import Change, Diff, diff
from barograph.compare.described import SECTIONS
from barograph.read.run import open_run
from barograph.view.terminal.wording import one_line, visible

DESCRIPTION: Final = """\
What differs between two runs: configuration, seed, code with its uncommitted changes, packages, data (artifacts by
content), command line, machine, environment. Names, ids and times are left out.

  lr  - 0.1  + 0.3      0.1 in A, 0.3 in B; a value that only one of them has stands alone

Exit code 0: nothing differs; 1: something does; 2: a run cannot be found.
"""
VALUE_CHARS: Final = 120
LINE_CHARS: Final = 110
_RESET: Final = "\x1b[0m"
_COLOURS: Final = {"-": "\x1b[31m", "+": "\x1b[32m", "@": "\x1b[36m"}


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print what differs."""
    parser = verb_parser(
        "diff",
        DESCRIPTION,
        json_help='one line of JSON: {"same", "a", "b", "sections": {"config": [...], ...}, "patch": [...], "notes"}',
    )
    parser.add_argument("a", metavar="A", help="a run: its directory, or its id or name below the root")
    parser.add_argument("b", metavar="B", help="the run to compare it with")
    parser.add_argument(
        "--section",
        action="append",
        choices=SECTIONS,
        metavar="NAME",
        help=f"this section alone, as often as wanted; one of {', '.join(SECTIONS)}",
    )
    args = parser.parse_args(argv)
    place = root_of(args, root)
    found = _chosen(diff(open_run(args.a, root=place), open_run(args.b, root=place)), args.section)
    if args.json:
        print_json({"same": found.is_same, **msgspec.structs.asdict(found)})
    else:
        print("\n".join(_lines(found, Style(sys.stdout))))
    return 0 if found.is_same else 1


def _chosen(found: Diff, names: list[str] | None) -> Diff:
    if names is None:
        return found
    sections = {name: changes for name, changes in found.sections.items() if name in names}
    return msgspec.structs.replace(found, sections=sections, patch=found.patch if "code" in names else [])


def _lines(found: Diff, style: Style) -> Iterator[str]:
    yield _painted(f"- A  {one_line(found.a.name)}  {found.a.run_id}  {one_line(found.a.path)}", style)
    yield _painted(f"+ B  {one_line(found.b.name)}  {found.b.run_id}  {one_line(found.b.path)}", style)
    for name, changes in found.sections.items():
        if changes:
            yield ""
            yield style.heading(f"{name}: {plural(len(changes), 'difference')}")
            yield from _tree(found.nested(name), style, indent=GAP)
    if found.patch:
        yield ""
        yield style.heading("uncommitted changes: the patches of A and B compared")
        yield from (_painted(visible(line), style) for line in found.patch)
    if found.is_same:
        yield "nothing differs"
    if found.notes:
        yield ""
        yield style.heading("not compared, or not completely")
        yield from (f"{GAP}{one_line(note)}" for note in found.notes)


def _tree(tree: dict[str | int, Any], style: Style, *, indent: str) -> Iterator[str]:
    width = max(len(_name(key)) for key in tree)
    for key, found in tree.items():
        if isinstance(found, Change):
            yield from _leaf(f"{indent}{_name(key):<{width}}", found, style, indent=indent)
        else:
            yield f"{indent}{_name(key)}"
            yield from _tree(found, style, indent=indent + GAP)


def _leaf(name: str, change: Change, style: Style, *, indent: str) -> Iterator[str]:
    """Both values beside the name, or, where they are long, below it."""
    before = [] if change.kind == "added" else [_painted(f"- {_value(change.a)}", style)]
    after = [] if change.kind == "removed" else [_painted(f"+ {_value(change.b)}", style)]
    if len(name) + sum(map(len, before + after)) > LINE_CHARS:
        yield name.rstrip()
        yield from (f"{indent}{GAP}{line}" for line in before + after)
    else:
        yield GAP.join([name, *before, *after])


def _name(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else one_line(key)


def _value(value: Any) -> str:
    return one_line(repr(value) if isinstance(value, str) else str(value), limit=VALUE_CHARS)


def _painted(line: str, style: Style) -> str:
    colour = _COLOURS.get(line.lstrip()[:1], "")
    return f"{colour}{line}{_RESET}" if style.has_colour and colour else line
