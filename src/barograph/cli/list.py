"""``barograph list [ROOT]``: the runs below a directory, one line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import (
    NAME_CHARS,
    Style,
    maybe,
    nonfinite_words,
    plural,
    print_json,
    status_words,
    table,
    when,
)
from barograph.read.catalog import discover_runs
from barograph.read.overview import Overview, overview
from barograph.view.terminal.wording import duration, one_line

DESCRIPTION: Final = """\
The runs at or below a directory, oldest first.

  step      newest step of the latest attempt
  loss      newest training loss          val loss  newest validation loss
  criteria  success criteria that hold, of those that were stated
  notes     alerts, failed checks, non-finite numbers, lost facts, damage, and why a run is not finished
"""
HEAD: Final = ("status", "id", "name", "started", "time", "step", "loss", "val loss", "criteria", "notes")
RIGHT: Final = ("time", "step", "loss", "val loss", "criteria")
REASON_CHARS: Final = 100


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the table."""
    parser = verb_parser(
        "list", DESCRIPTION, json_help='one line of JSON: {"root": ..., "runs": [{"path", "run_id", "status", ...}]}'
    )
    parser.add_argument("directory", nargs="?", metavar="ROOT", help="the same as --root ROOT")
    args = parser.parse_args(argv)
    args.root = args.directory or args.root
    directory = root_of(args, root)
    runs = [overview(path) for path in discover_runs(directory)]
    if args.json:
        print_json({"root": str(directory), "runs": runs})
        return 0
    if not runs:
        print(f"no runs below {directory}; record one with barograph.init(root={str(directory)!r})")
        return 0
    style = Style(sys.stdout)
    print("\n".join(table(HEAD, map(_row, runs), style, right=RIGHT)))
    if style.is_terminal:
        print(style.quiet(f"{plural(len(runs), 'run')} below {directory}; `barograph show ID` shows one"))
    return 0


def _row(run: Overview) -> tuple[str, ...]:
    return (
        run.status.state,
        run.run_id or "-",
        one_line(run.name, limit=NAME_CHARS),
        when(run.started_t),
        "-" if run.duration_s is None else duration(run.duration_s),
        maybe(run.step),
        maybe(None if run.loss is None else run.loss.value),
        maybe(None if run.val_loss is None else run.val_loss.value),
        _criteria(run),
        "; ".join(_notes(run)) or "-",
    )


def _criteria(run: Overview) -> str:
    if not run.num_criteria:
        return "-"
    return f"{'?' if run.num_met is None else run.num_met}/{run.num_criteria}"


def _notes(run: Overview) -> list[str]:
    notes = [
        f"{run.num_attempts} attempts" if run.num_attempts > 1 else "",
        plural(run.num_alerts, "alert") if run.num_alerts else "",
        f"{run.num_checks_failed} of {plural(run.num_checks, 'check')} failed" if run.num_checks_failed else "",
        nonfinite_words(run.nonfinite_counts),
        f"{plural(run.num_lost, 'fact')} lost" if run.num_lost else "",
        plural(run.num_damaged, "damaged place") if run.num_damaged else "",
        one_line(status_words(run.status), limit=REASON_CHARS),
    ]
    return [note for note in notes if note]
