"""``barograph cat RUN``: every metric of every stream, for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import plural, write_utf8
from barograph.facts.log import Damage
from barograph.read.flat import csv_lines, json_lines
from barograph.read.run import RunReader

DESCRIPTION: Final = """\
Every metric of a run, stream after stream, each in the order in which it was recorded.

  csv    step,t,split,attempt,rank,name,value: one line per number. Floats read back to the same bits;
         what is not finite is nan, inf or -inf.
  jsonl  one line of strict JSON per record: step, the metrics, t, split, attempt, rank, run_id. What is not finite
         is null and named in the line's `nonfinite` map, e.g. {"loss": "nan"}.

Epochs are in facts/scalars.csv and, with everything else, in facts/events.jsonl.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the metrics."""
    parser = verb_parser("cat", DESCRIPTION, json_help="the same as --format jsonl")
    add_run(parser)
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="csv when not given")
    parser.add_argument("--split", action="append", metavar="SPLIT", help="only this split; may be given again")
    parser.add_argument("--metric", action="append", metavar="NAME", help="only this metric; may be given again")
    args = parser.parse_args(argv)
    reader = RunReader(run_of(args, root))
    damage: list[Damage] = []

    def chosen(split: str, name: str) -> bool:
        return (not args.split or split in args.split) and (not args.metric or name in args.metric)

    if args.json or args.format == "jsonl":
        lines = json_lines(reader.directory, damage, run_id=reader.identity.run_id, chosen=chosen)
    else:
        lines = csv_lines(reader.directory, damage, chosen=chosen)
    for text in lines:
        write_utf8(text.encode("utf-8"))
    sys.stdout.flush()
    if damage:
        print(
            f"barograph: {plural(len(damage), 'place')} of {reader.path} without a fact left out; "
            f"`barograph check {reader.path}` says where",
            file=sys.stderr,
        )
    return 0
