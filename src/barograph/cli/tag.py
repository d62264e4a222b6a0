"""``barograph tag RUN TAG...``: give a run tags, or take some away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import print_json
from barograph.read.edits import refuse_unless_native, tag
from barograph.read.run import RunReader
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Gives a run tags, takes tags away with --remove, and prints those that it has then; without either it prints them.
Recorded facts stay as they are: the edit is a line of the run's edits.jsonl.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Append the edit, when there is one."""
    parser = verb_parser("tag", DESCRIPTION, json_help='one line of JSON: {"path", "tags", "recorded"}')
    add_run(parser)
    parser.add_argument("tags", nargs="*", metavar="TAG", help="a tag to add")
    parser.add_argument("--remove", action="append", default=[], metavar="TAG", help="a tag to take away; repeatable")
    args = parser.parse_args(argv)
    path = run_of(args, root)
    if args.tags or args.remove:
        refuse_unless_native(path)
        tag(path, add=args.tags, remove=args.remove)
    reader = RunReader(path)
    if args.json:
        print_json({"path": str(path), "tags": reader.identity.tags, "recorded": reader.recorded_identity.tags})
        return 0
    print(f"{one_line(reader.identity.name)}: {one_line(', '.join(reader.identity.tags)) or 'no tags'}")
    return 0
