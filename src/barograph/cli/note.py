"""``barograph note RUN [TEXT]``: the notes of a run, and the history of its edits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import GAP, Style, print_json, table, when
from barograph.facts.codec import encode
from barograph.read.edits import Edit, in_force, note, refuse_unless_native
from barograph.read.run import RunReader
from barograph.view.terminal.wording import one_line, visible

DESCRIPTION: Final = """\
Replaces the notes of a run by TEXT (`-` reads it from the standard input). Without TEXT it prints the notes, and every
edit of the run: when, who, what. Recorded facts stay as they are: the edit is a line of the run's edits.jsonl.
"""
HEAD: Final = ("when", "who", "edit", "what")
WHAT_CHARS: Final = 100


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Append the edit, or print notes and edits."""
    parser = verb_parser(
        "note", DESCRIPTION, json_help='one line of JSON: {"path", "notes", "recorded", "edits": [...]}'
    )
    add_run(parser)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the new notes; - reads them from the standard input")
    parser.add_argument("--clear", action="store_true", help="leave the run without notes")
    args = parser.parse_args(argv)
    if args.clear and args.text is not None:
        parser.error("give TEXT or --clear, not both")
    path = run_of(args, root)
    if args.text is not None or args.clear:
        refuse_unless_native(path)
        note(path, None if args.clear else sys.stdin.read().rstrip("\n") if args.text == "-" else args.text)
    reader = RunReader(path)
    if args.json:
        edits = {"edits": reader.edits, "recorded": reader.recorded_identity.notes}
        print_json({"path": str(path), "notes": reader.identity.notes, **edits})
        return 0
    print(visible(reader.identity.notes) if reader.identity.notes else f"{one_line(reader.identity.name)} has no notes")
    if args.text is None and not args.clear and reader.edits:
        standing = {edit.id for edit in in_force(reader.edits)}
        rows = [_row(edit, is_standing=edit.id in standing or edit.op == "undo") for edit in reader.edits]
        print("\n".join(["", *table(HEAD, rows, Style(sys.stdout), indent=GAP)]))
    return 0


def _row(edit: Edit, *, is_standing: bool) -> tuple[str, ...]:
    what = one_line(encode(edit.payload).decode("utf-8"), limit=WHAT_CHARS)
    return when(edit.t or None), one_line(edit.who), edit.op if is_standing else f"{edit.op} (undone)", what
