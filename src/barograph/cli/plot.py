"""``barograph plot RUN``: figures of what was logged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import plural, print_json
from barograph.errors import MetricNotFoundError, MisuseError, PluginNotFoundError
from barograph.facts.kinds import MOMENTS
from barograph.facts.rundir import RunDir
from barograph.plot.curves import Scope, logged_names
from barograph.plot.family import Named, draw_new
from barograph.plot.files import build_filename, save_figure
from barograph.plot.orchestrator import find_families, get_enabled_families
from barograph.plot.settings import FORMATS
from barograph.read.run import RunReader

DESCRIPTION: Final = """\
Figures of a run, each with its numbers beside it as CSV. Only what was logged is drawn: nothing is smoothed or
interpolated, values that are not finite are marks, lines do not cross gaps, what a later attempt recorded again is
faint, and a figure that leaves points out says how many of how many it shows.

  barograph plot RUN                 its losses
  barograph plot RUN lr grad_norm    these metrics, one panel each
  barograph plot RUN --family recon  a family of figures
  barograph plot RUN --all           every family that finds something in the run

Figures go to RUN/figures/FAMILY-MOMENT-eNNN.png, NNN being the newest epoch; --out says where else.
"""
DEFAULT_FAMILY: Final = "losses"
BY_HAND: Final = "custom"
MAX_LISTED: Final = 60
OTHER_FORMATS: Final = frozenset({"bmp", "eps", "gif", "jpeg", "jpg", "pdf", "ps", "tif", "tiff"})
"""What somebody who writes it means as a file, not as a directory."""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Draw the figures, and print where they are."""
    args = _parser().parse_args(argv)
    reader = RunReader(run_of(args, root))
    scope = Scope(x=args.x, splits=tuple(args.split) if args.split else None)
    found = _selected(reader, args, scope)
    places = _places(reader, args, list(found))
    written = []
    for name, (family, data) in found.items():
        table = data.table() if hasattr(data, "table") else None
        path = save_figure(draw_new(family, data), places[name].parent, places[name].name, table=table)
        written.append(
            {"family": name, "path": str(path), "data": None if table is None else str(path.with_suffix(".csv"))}
        )
    if args.json:
        print_json({"run_dir": str(reader.path), "run_id": reader.identity.run_id, "figures": written})
    else:
        for figure in written:
            print(figure["path"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "plot",
        DESCRIPTION,
        json_help='one line of JSON: {"run_dir", "run_id", "figures": [{"family", "path", "data"}]}',
    )
    add_run(parser)
    parser.add_argument("names", nargs="*", metavar="NAME", help="metrics to draw, as they were logged")
    parser.add_argument("--family", action="append", metavar="F", help="a family of figures; may be given again")
    parser.add_argument("--all", action="store_true", help="every family that finds something in the run")
    parser.add_argument("--moment", metavar="M", help="the families that are drawn at this moment, e.g. on_train_end")
    parser.add_argument("--x", choices=("step", "epoch", "time"), default="step", help="step when not given")
    parser.add_argument("--split", action="append", metavar="SPLIT", help="only this split; may be given again")
    parser.add_argument("--format", choices=FORMATS, help="png when not given, or as --out says")
    parser.add_argument("--out", metavar="PATH", help="directory, or file when there is one figure")
    return parser


def _selected(reader: RunReader, args: argparse.Namespace, scope: Scope) -> dict[str, tuple[Any, Any]]:
    """What is asked for, by name: family and data.

    Raises:
        MisuseError: it was not logged, or does not exist; the message lists what was, or what does.
    """
    if args.names and (args.family or args.all or args.moment):
        raise MisuseError(f"metrics and a family were both named ({', '.join(args.names)}); ask for them one by one")
    if args.names:
        _check_logged(reader, args.names)
        named = Named(args.names)
        asked: dict[str, Any] = {named.name: named}
    else:
        asked = _asked(args)
    selected = {name: (family, family.select(reader, scope=scope)) for name, family in asked.items()}
    found = {name: (family, data) for name, (family, data) in selected.items() if data is not None}
    whatever_there_is = (args.all or args.moment) and not args.family
    if len(found) < len(asked) and not (found and whatever_there_is):
        missing = ", ".join(name for name in asked if name not in found)
        wanted = f"the moment {args.moment}" if args.moment and not args.family else missing
        raise MetricNotFoundError(
            _not_logged(reader, ", ".join(args.names) if args.names else f"anything for {wanted}", scope)
        )
    if not found:
        raise MetricNotFoundError(_not_logged(reader, f"anything for the moment {args.moment}", scope))
    return found


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    families, failures = find_families()
    for broken in failures:
        if broken.family in (args.family or ()):
            raise PluginNotFoundError(
                f"the family {broken.family!r} cannot be loaded: {broken.failure}; mend the distribution that offers it"
            )
    if args.moment is not None:
        if args.moment not in MOMENTS:
            raise MisuseError(f"there is no moment {args.moment!r}; there are {', '.join(MOMENTS)}")
        families = get_enabled_families(None, families, args.moment)
    if args.all or (args.moment and not args.family):
        return families
    asked = args.family or [DEFAULT_FAMILY]
    unknown = [name for name in asked if name not in families]
    if unknown:
        raise PluginNotFoundError(
            f"there is no family {unknown[0]!r}"
            + (f" at {args.moment}" if args.moment else "")
            + f"; there are {', '.join(families) or 'none'}"
        )
    return {name: families[name] for name in asked}


def _check_logged(reader: RunReader, names: Sequence[str]) -> None:
    logged = {name.partition("/")[2] for name in logged_names(reader)}
    missing = [name for name in names if name not in logged]
    if missing:
        raise MetricNotFoundError(_not_logged(reader, ", ".join(missing), Scope()))


def _not_logged(reader: RunReader, what: str, scope: Scope) -> str:
    logged = logged_names(reader)
    where = f" on {', '.join(scope.splits)}" if scope.splits else ""
    where += f" over {scope.x}" if scope.x != "step" else ""
    listed = ", ".join(logged[:MAX_LISTED]) or "no metrics"
    if len(logged) > MAX_LISTED:
        listed += f" and {len(logged) - MAX_LISTED} more (`barograph show` lists them)"
    return f"run {reader.identity.name!r} did not log {what}{where}; it logged {listed}: name one of those"


def _places(reader: RunReader, args: argparse.Namespace, names: Sequence[str]) -> dict[str, Path]:
    """Where each figure goes.

    Raises:
        MisuseError: several figures cannot go to one file, or --format and --out contradict each other.
    """
    folder = RunDir(reader.path).figures
    if args.out is not None:
        out = Path(args.out)
        extension = out.suffix.removeprefix(".").lower()
        if extension in FORMATS and not out.is_dir():
            if len(names) > 1:
                raise MisuseError(
                    f"--out {args.out} is one file, and there are {plural(len(names), 'figure')}; name a directory"
                )
            if args.format not in (None, extension):
                raise MisuseError(f"--out {args.out} and --format {args.format} contradict each other; leave one out")
            return {names[0]: out}
        if extension in OTHER_FORMATS and not out.is_dir():
            raise MisuseError(f"--out {args.out}: figures are {', '.join(FORMATS)}; name such a file, or a directory")
        folder = out
    moment, epoch = args.moment or BY_HAND, _last_epoch(reader)
    return {name: folder / build_filename(name, moment, epoch, args.format or "png") for name in names}


def _last_epoch(reader: RunReader) -> int:
    return max((epoch.epoch for epoch in reader.epochs()), default=0)
