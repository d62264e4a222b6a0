"""``barograph seal RUN|ROOT ...``: the rows of ended runs as Parquet, and back; or many runs packed into parts."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import NAME_CHARS, Style, plural, print_json, table
from barograph.errors import MisuseError
from barograph.facts.rundir import RunDir
from barograph.read.archive.pack import Packing, pack
from barograph.read.archive.seal import EMPTY, Change, refuse_unless_ended, seal, unseal
from barograph.read.catalog import discover_runs, find_run
from barograph.read.run import RunReader
from barograph.read.status import ENDED
from barograph.view.terminal.wording import one_line, size

DESCRIPTION: Final = """\
Turns the rows files of runs that have ended into Parquet files of the same numbers, bit for bit, which take about
60 % of the space (30 % where values are float32). Every reader reads both. What is written is read back and compared
before a rows file is removed; --undo gives back the very same rows files.

Of a directory of runs, those that have not ended are passed over.

  --pack OUT   leaves the runs as they are and brings OUT up to date with them: few Parquet files of many runs, one
               row per record, for polars, DuckDB, pandas and others; OUT/parts.json says which run is where

exit code: 0, or 1 when a stream with rows was left as it is; the notes say why.
"""
HEAD: Final = ("id", "name", "streams", "rows", "before", "after", "per number", "notes")
RIGHT: Final = ("streams", "rows", "before", "after", "per number")
DAY_S: Final = 86_400.0


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run.

    Attributes:
        path: the run's directory.
        run_id: unique for all time; "" when it has none.
        name: what people call it.
        bytes_before: size of the files that were looked at.
        bytes_after: size of the files in their place.
        bytes_per_number: of the smaller form, steps and times included; None when there is no metric.
        streams: each stream's file.
        left: why the run was passed over; "" when it was not.
    """

    path: str
    run_id: str
    name: str
    bytes_before: int
    bytes_after: int
    bytes_per_number: float | None
    streams: list[Change]
    left: str = ""


def main(argv: Sequence[str], *, root: str | None, now: Callable[[], float] = time.time) -> int:
    """Seal, unseal or pack, and print sizes."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.pack and args.undo:
        parser.error("--pack leaves the runs as they are, so there is nothing to --undo; give one of the two")
    ended_before_t = None if args.older_than is None else now() - args.older_than * DAY_S
    targets = _targets(args.run, root_of(args, root))
    if args.pack:
        paths = [path for path in targets if ended_before_t is None or not _left(RunReader(path), ended_before_t)]
        _print_packing(pack(paths, Path(args.pack), dry_run=args.dry_run), as_json=args.json, dry_run=args.dry_run)
        return 0
    for path, is_named in targets.items():
        if is_named and not args.undo:
            refuse_unless_ended(path)  # before anything is changed
    runs = [_change(path, undo=args.undo, dry_run=args.dry_run, ended_before_t=ended_before_t) for path in targets]
    is_done = all(stream.left in ("", EMPTY) for run in runs for stream in run.streams)
    if args.json:
        print_json({"ok": is_done, "dry_run": args.dry_run, "undo": args.undo, "runs": runs})
    else:
        _print_runs(runs, undo=args.undo, dry_run=args.dry_run)
    return 0 if is_done else 1


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "seal", DESCRIPTION, json_help='one line of JSON: {"ok", "runs": [{"path", "bytes_before", "streams", ...}]}'
    )
    parser.add_argument("run", nargs="+", metavar="RUN|ROOT", help="a run, or a directory of runs")
    parser.add_argument("--undo", action="store_true", help="turn sealed runs back into rows")
    parser.add_argument("--older-than", type=_days, metavar="DAYS", help="only runs that ended so many days ago")
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; say what would be done, with true sizes"
    )
    parser.add_argument("--pack", metavar="OUT", help="bring the parts in this directory up to date with the runs")
    return parser


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days; give one of 0 or more, e.g. 30")
    return days


def _targets(names: Sequence[str], root: Path) -> dict[Path, bool]:
    """Each run once, and whether it was named itself."""
    targets: dict[Path, bool] = {}
    for name in names:
        path = Path(name)
        is_root = path.is_dir() and not RunDir(path).is_run()
        for found in discover_runs(path) if is_root else [find_run(name, root)]:
            whole = found.absolute()
            targets[whole] = targets.get(whole, False) or not is_root
    return targets


def _left(reader: RunReader, ended_before_t: float | None) -> str:
    """Why a run is passed over; "" when it is not."""
    status = reader.status()
    if status.state not in ENDED:
        return f"{status.state}: {status.reason}"
    if ended_before_t is not None and (status.since_t is None or status.since_t > ended_before_t):
        return "it ended later" if status.since_t is not None else "nothing tells when it ended"
    return ""


def _change(path: Path, *, undo: bool, dry_run: bool, ended_before_t: float | None) -> Sealed:
    reader = RunReader(path)
    left = "" if undo and ended_before_t is None else _left(reader, ended_before_t)
    streams: list[Change] = []
    if not left:
        try:
            streams = (unseal if undo else seal)(reader, dry_run=dry_run)
        except MisuseError as error:  # it began again a moment ago
            left = str(error)
    before, after = (sum(getattr(it, name) for it in streams) for name in ("bytes_before", "bytes_after"))
    num_numbers = sum(it.num_rows * it.num_metrics for it in streams if not it.left)
    small = sum(min(it.bytes_before, it.bytes_after) for it in streams if not it.left)
    return Sealed(
        path=str(path),
        run_id=reader.identity.run_id,
        name=reader.identity.name,
        bytes_before=before,
        bytes_after=after,
        bytes_per_number=small / num_numbers if num_numbers else None,
        streams=streams,
        left=left,
    )


def _print_runs(runs: Sequence[Sealed], *, undo: bool, dry_run: bool) -> None:
    changed = [run for run in runs if run.streams or run.left]
    if changed:
        print("\n".join(table(HEAD, map(_row, changed), Style(sys.stdout), right=RIGHT)))
    if not any(run.streams for run in runs):
        print(f"nothing to do: {plural(len(runs), 'run')}, {'no sealed stream' if undo else 'no rows file to seal'}")
        return
    num_streams = sum(not stream.left for run in runs for stream in run.streams)
    before, after = sum(run.bytes_before for run in runs), sum(run.bytes_after for run in runs)
    verb = ("would be " if dry_run else "") + ("unsealed" if undo else "sealed")
    num_runs = sum(any(not stream.left for stream in run.streams) for run in runs)
    print(f"{plural(num_streams, 'stream')} of {plural(num_runs, 'run')} {verb}: {size(before)} -> {size(after)}")


def _row(run: Sealed) -> tuple[str, ...]:
    cut = sum(stream.cut_bytes for stream in run.streams)
    notes = [
        one_line(run.left),
        *(f"{stream.file}: {one_line(stream.left)}" for stream in run.streams if stream.left),
        f"{plural(cut, 'byte')} of a torn row kept beside it" if cut else "",
    ]
    return (
        run.run_id or "-",
        one_line(run.name, limit=NAME_CHARS),
        str(len(run.streams)),
        str(sum(stream.num_rows for stream in run.streams)),
        size(run.bytes_before),
        size(run.bytes_after),
        "-" if run.bytes_per_number is None else f"{run.bytes_per_number:.2f} B",
        "; ".join(filter(None, notes)) or "-",
    )


def _print_packing(done: Packing, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json({"ok": True, "dry_run": dry_run, "packing": done})
        return
    for path, reason in done.left.items():
        print(f"left out: {path}: {one_line(reason)}")
    changes = f"{done.num_new} new, {done.num_changed} changed, {done.num_gone} gone"
    if dry_run:
        print(f"{plural(done.num_runs, 'run')} would be packed in {done.directory}: {changes}")
        return
    print(
        f"{plural(done.num_runs, 'run')} ({changes}) in {plural(done.num_parts, 'part')} of {done.directory}, "
        f"{done.num_written} of them written: {size(done.bytes_before)} -> {size(done.bytes_after)}"
    )
