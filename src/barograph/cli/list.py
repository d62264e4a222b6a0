"""``barograph list [ROOT]``: the runs below a directory, one line each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

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
from barograph.errors import MisuseError
from barograph.read.index import RunIndex
from barograph.read.overview import Overview
from barograph.view.terminal.wording import duration, one_line

DESCRIPTION: Final = """\
The runs at or below a directory, oldest first; runs that were deleted (`barograph delete`) with --deleted alone.

  step      newest step of the latest attempt
  loss      newest training loss          val loss  newest validation loss
  criteria  success criteria that hold, of those that were stated
  notes     alerts, failed checks, non-finite numbers, lost facts, damage, and why a run is not finished
"""
HEAD: Final = ("status", "id", "name", "started", "time", "step", "loss", "val loss", "criteria", "notes")
RIGHT: Final = ("time", "step", "loss", "val loss", "criteria")
REASON_CHARS: Final = 100
SORTS: Final[dict[str, Callable[[Overview], Any]]] = {
    "status": lambda run: run.status.state,
    "id": lambda run: run.run_id or None,
    "name": lambda run: run.name,
    "project": lambda run: run.project,
    "group": lambda run: run.group,
    "seed": lambda run: run.seed,
    "started": lambda run: run.started_t,
    "time": lambda run: run.duration_s,
    "step": lambda run: run.step,
    "loss": lambda run: None if run.loss is None else run.loss.value,
    "val_loss": lambda run: None if run.val_loss is None else run.val_loss.value,
    "alerts": lambda run: run.num_alerts,
}


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the table."""
    parser = verb_parser(
        "list", DESCRIPTION, json_help='one line of JSON: {"root": ..., "runs": [{"path", "run_id", "status", ...}]}'
    )
    parser.add_argument("directory", nargs="?", metavar="ROOT", help="the same as --root ROOT")
    parser.add_argument("--limit", type=int, metavar="N", help="the N newest runs; the first N of another order")
    parser.add_argument("--sort", choices=SORTS, metavar="KEY", help=f"smallest first, by {', '.join(SORTS)}")
    parser.add_argument("--reverse", action="store_true", help="the other way round; what has no value comes last")
    parser.add_argument(
        "--filter", metavar="CONDITION", help="runs for which this holds, e.g. \"lr < 1e-3 and status = 'finished'\""
    )
    parser.add_argument("--deleted", action="store_true", help="the runs that were deleted instead")
    parser.add_argument("--no-index", action="store_true", help="read every run, and leave the index alone")
    args = parser.parse_args(argv)
    args.root = args.directory or args.root
    if args.limit is not None and args.limit < 0:
        raise MisuseError(f"--limit is {args.limit}; give 0 or more")
    directory = root_of(args, root)
    runs = _chosen(directory, args)
    if args.json:
        print_json({"root": str(directory), "runs": runs})
        return 0
    if not runs:
        print(_nothing(directory, args))
        return 0
    style = Style(sys.stdout)
    print("\n".join(table(HEAD, map(_row, runs), style, right=RIGHT)))
    if style.is_terminal:
        print(style.quiet(f"{plural(len(runs), 'run')} below {directory}; `barograph show ID` shows one"))
    return 0


def _chosen(directory: Path, args: argparse.Namespace) -> list[Overview]:
    """The runs that are to be shown, in their order."""
    with RunIndex(directory, use=not args.no_index) as index:
        newest = args.limit if args.sort is None and not args.reverse and args.filter is None else None
        paths = index.paths(deleted=args.deleted, newest=newest)
        if args.filter is not None:
            paths = _filtered(paths, args.filter)
        by_time = args.sort is None and not args.reverse
        if by_time and args.limit is not None:
            paths = paths[max(0, len(paths) - args.limit) :]
        runs = index.overviews(paths)
    if index.note:
        print(
            f"barograph: without the index: {one_line(index.note)}; --no-index says so from the start", file=sys.stderr
        )
    return runs if by_time else _sorted(runs, args)[: args.limit]


def _filtered(paths: list[Path], condition: str) -> list[Path]:
    from barograph.read.frames import load_runs  # noqa: PLC0415 - polars, for those who filter

    kept = load_runs(paths, select=condition)
    return [reader.path for reader in kept.readers]


def _sorted(runs: list[Overview], args: argparse.Namespace) -> list[Overview]:
    """By a key, or by time backwards; runs without a value, or with NaN, stand last either way."""
    if args.sort is None:
        return runs[::-1]
    keyed = [(SORTS[args.sort](run), run) for run in runs]
    there = [(key, run) for key, run in keyed if key is not None and key == key]  # noqa: PLR0124 - NaN is not itself
    rest = [run for key, run in keyed if key is None or key != key]  # noqa: PLR0124 - the same
    return [run for _, run in sorted(there, key=lambda pair: pair[0], reverse=args.reverse)] + rest


def _nothing(directory: Path, args: argparse.Namespace) -> str:
    if args.deleted:
        return f"no deleted runs below {directory}"
    if args.filter is not None or args.limit is not None:
        return f"no runs below {directory} that are to be shown; `barograph list {directory}` shows them all"
    return f"no runs below {directory}; record one with barograph.init(root={str(directory)!r})"


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
