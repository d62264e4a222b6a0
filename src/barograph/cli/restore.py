"""``barograph restore RUN...``: bring deleted runs back, or take back the latest edit of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import print_json
from barograph.errors import RunNotFoundError
from barograph.facts.codec import encode
from barograph.read.catalog import find_run
from barograph.read.edits import check_restorable, refuse_unless_native, restore, undo
from barograph.read.run import RunReader
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Brings deleted runs back. With --undo it takes back the latest edit of each run instead, whatever it was; called again,
the one before it. Edits that were taken back stay in edits.jsonl.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Restore every run named, or none of them when one cannot be."""
    parser = verb_parser(
        "restore", DESCRIPTION, json_help='one line of JSON: {"restored": [{"path", "name", "undone"}]}'
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's directory; or its id or name below the root")
    parser.add_argument("--undo", action="store_true", help="take back the latest edit instead")
    args = parser.parse_args(argv)
    place = root_of(args, root)
    find = _find_any if args.undo else _find_deleted
    done: list[dict[str, Any]] = []
    paths = list(dict.fromkeys(find(name, place) for name in args.runs))
    for path in paths:
        refuse_unless_native(path)
        if not args.undo:
            check_restorable(path)
    for path in paths:
        if args.undo:
            edit = undo(path)
            payload = encode(edit.payload).decode("utf-8")
            undone, words = {"op": edit.op, **edit.payload}, f"took back: {edit.op} {one_line(payload, limit=100)}"
        else:
            restore(path)
            undone, words = {"op": "delete"}, "restored"
        name = RunReader(path).identity.name
        done.append({"path": str(path), "name": name, "undone": undone})
        if not args.json:
            print(f"{one_line(name)}  {words}  {path}")
    if args.json:
        print_json({"restored": done})
    return 0


def _find_deleted(name: str, root: Path) -> Path:
    return find_run(name, root, deleted=True)


def _find_any(name: str, root: Path) -> Path:
    try:
        return find_run(name, root)
    except RunNotFoundError:
        if not root.is_dir():
            raise
        return find_run(name, root, deleted=True)
