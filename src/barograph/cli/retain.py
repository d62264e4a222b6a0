"""``barograph retain [ROOT]``: thin, compress and seal old runs, after showing what would be done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import Style, plural, print_json, table
from barograph.errors import BarographError, MisuseError
from barograph.read.edits import refuse_unless_native
from barograph.read.retention import THIN, Policy, Step, carry_out, plan
from barograph.view.terminal.wording import size

DESCRIPTION: Final = """\
Shows what would be done with old runs, and does it with --yes. A run is old when it ended, or was deleted, --older-than
days ago or more; the --keep-last newest runs are never touched, nor is a run that is being recorded.

  checkpoints  goes: all but the best, the last, the newest and those that a link leads to
  figures      goes: all but the last of each family and moment
  blobs        goes: all but the last of each series of images, sounds and tables

Metrics, events, configurations and identities are never thinned. Of a deleted run that is removed, run.json and
edits.jsonl stay; of one in a directory that its script named, also what Barograph did not write. Names, sizes and
SHA-256 of all that goes are written into the run's edits.jsonl before it goes.
"""
HEAD: Final = ("run", "what", "files", "size")
RIGHT: Final = ("files", "size")
USAGE: Final = 2
WORDS: Final = {"compress": "compress logs", "seal": "seal metrics", "remove": "remove the run"}


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the plan, or carry it out."""
    parser = verb_parser(
        "retain",
        DESCRIPTION,
        json_help='one line of JSON: {"root", "done", "freed_bytes", "failed", "steps": [{"run", "kind", ...}]}',
    )
    parser.add_argument("directory", nargs="?", metavar="ROOT", help="the same as --root ROOT")
    parser.add_argument("--older-than", type=float, default=30.0, metavar="DAYS", help="30 when not given")
    parser.add_argument(
        "--keep-last", type=int, default=0, metavar="N", help="leave the N newest runs; 0 when not given"
    )
    parser.add_argument(
        "--thin", action="append", default=[], metavar="WHAT", help=f"{', '.join(THIN)}, or several with commas"
    )
    parser.add_argument("--compress", action="store_true", help="compress train.log and console.log")
    parser.add_argument(
        "--seal", action="store_true", help="turn rows of metrics into Parquet, as `barograph seal` does"
    )
    parser.add_argument("--remove-deleted", action="store_true", help="remove runs that were deleted")
    parser.add_argument("--yes", action="store_true", help="do it")
    args = parser.parse_args(argv)
    args.root = args.directory or args.root
    place = root_of(args, root)
    policy = Policy(
        older_than_days=args.older_than,
        keep_last=args.keep_last,
        thin=[word.strip() for words in args.thin for word in words.split(",") if word.strip()],
        compress=args.compress,
        seal=args.seal,
        remove_deleted=args.remove_deleted,
    )
    if not (policy.thin or policy.compress or policy.seal or policy.remove_deleted):
        raise MisuseError("nothing is to be done; say --thin, --compress, --seal or --remove-deleted")
    refuse_unless_native(place / "run")
    steps = plan(place, policy)
    freed_bytes, failed = _carried_out(steps) if args.yes else (None, [])
    if args.json:
        print_json(_document(place, steps, freed_bytes, failed))
    else:
        print("\n".join(_lines(place, steps, freed_bytes, failed)))
    for failure in failed:
        print(f"barograph: {WORDS.get(failure['kind'], failure['kind'])}: {failure['error']}", file=sys.stderr)
    return USAGE if failed else 0


def _carried_out(steps: Sequence[Step]) -> tuple[int, list[dict[str, str]]]:
    """Bytes that were freed, and the steps that could not be done; one run's trouble is not another's."""
    freed_bytes, failed = 0, []
    for step in steps:
        try:
            freed_bytes += carry_out(step)
        except (BarographError, OSError) as error:
            failed.append({"run": step.run, "kind": step.kind, "error": str(error)})
    return freed_bytes, failed


def _document(
    root: Path, steps: Sequence[Step], freed_bytes: int | None, failed: list[dict[str, str]]
) -> dict[str, Any]:
    done = {"done": freed_bytes is not None, "freed_bytes": freed_bytes, "failed": failed}
    return {"root": str(root), **done, "steps": steps}


def _lines(root: Path, steps: Sequence[Step], freed_bytes: int | None, failed: Sequence[dict[str, str]]) -> list[str]:
    if not steps:
        return [f"nothing to do below {root}"]
    rows = [
        (Path(step.run).name, WORDS.get(step.kind, step.kind), str(len(step.files)), size(step.size_bytes))
        for step in steps
    ]
    runs = plural(len({step.run for step in steps}), "run")
    if freed_bytes is not None:
        left = f"; {plural(len(failed), 'step')} could not be done" if failed else ""
        last = f"{size(freed_bytes)} freed in {runs}{left}"
    else:
        last = f"{runs}, {size(sum(step.size_bytes for step in steps))}; nothing was changed, --yes does it"
    return [*table(HEAD, rows, Style(sys.stdout), right=RIGHT), last]
