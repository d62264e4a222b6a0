"""``barograph rename RUN NAME``: another name or group for a run; what it recorded stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import print_json
from barograph.errors import MisuseError
from barograph.facts.rundir import check_name
from barograph.read.edits import refuse_unless_native, regroup, rename
from barograph.read.run import RunReader
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Gives a run another name, or puts it into another group. Recorded facts stay as they are: the edit is a line of the
run's edits.jsonl, and the run is found by its old name, too. `barograph restore --undo RUN` takes it back.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Append the edit."""
    parser = verb_parser("rename", DESCRIPTION, json_help='one line of JSON: {"path", "identity", "recorded"}')
    add_run(parser)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the new name")
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--group", metavar="GROUP", help="put the run into this group")
    groups.add_argument("--no-group", action="store_true", help="put the run into no group")
    args = parser.parse_args(argv)
    if args.name is None and args.group is None and not args.no_group:
        raise MisuseError("there is nothing to change; give a new NAME, --group GROUP or --no-group")
    path = run_of(args, root)
    refuse_unless_native(path)
    if args.group is not None:
        check_name(args.group, what="group")  # before the name is written: both, or neither
    if args.name is not None:
        rename(path, args.name)
    if args.group is not None or args.no_group:
        regroup(path, args.group)
    reader = RunReader(path)
    identity, recorded = reader.identity, reader.recorded_identity
    if args.json:
        print_json({"path": str(path), "identity": identity, "recorded": recorded})
        return 0
    group = f", group {one_line(identity.group)}" if identity.group else ""
    print(f"{one_line(identity.name)}{group}  (recorded as {one_line(recorded.name)})  {path}")
    return 0
