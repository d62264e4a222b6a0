"""``barograph delete RUN...``: hide runs from lists; nothing is removed from the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import print_json
from barograph.errors import RunBusyError
from barograph.read.catalog import find_run
from barograph.read.edits import check_deletable, delete, refuse_unless_native
from barograph.read.run import RunReader
from barograph.read.status import LIVING
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Hides runs: lists, tables, comparisons and reports leave them out. Nothing is removed from the disk.
`barograph list --deleted` shows them, `barograph restore RUN` brings one back, and
`barograph retain --remove-deleted` is what frees the space, after a time.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Delete every run named, or none of them when one cannot be."""
    parser = verb_parser("delete", DESCRIPTION, json_help='one line of JSON: {"deleted": [{"path", "name"}]}')
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's directory; or its id or name below the root")
    args = parser.parse_args(argv)
    place = root_of(args, root)
    readers = [RunReader(path) for path in dict.fromkeys(find_run(name, place) for name in args.runs)]
    for reader in readers:
        refuse_unless_native(reader.path)
        check_deletable(reader.path)
        if reader.status().state in LIVING:
            raise RunBusyError(f"{reader.path} is being recorded; end it first, then delete it")
    done = []
    for reader in readers:
        delete(reader.path)
        done.append({"path": str(reader.path), "name": reader.identity.name})
        if not args.json:
            print(f"deleted {one_line(reader.identity.name)}; `barograph restore {reader.path}` brings it back")
    if args.json:
        print_json({"deleted": done})
    return 0
