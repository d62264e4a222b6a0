"""What the verbs' arguments have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from barograph.facts.rundir import default_root
from barograph.read.catalog import find_run, has_runs


def verb_parser(verb: str, description: str, *, json_help: str) -> argparse.ArgumentParser:
    """A parser with the options that every verb has.

    Args:
        verb: e.g. ``list``.
        description: what it does; shown as it is by ``--help``.
        json_help: what ``--json`` prints.
    """
    parser = argparse.ArgumentParser(
        prog=f"barograph {verb}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", metavar="DIR", help="directory of runs; BAROGRAPH_ROOT, else ./runs, when not given")
    parser.add_argument("--json", action="store_true", help=json_help)
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run's directory; or its id or name below the root, as much of the beginning or end as is unique",
    )


def root_of(args: argparse.Namespace, root: str | None) -> Path:
    """The directory of runs: the verb's own ``--root``, that before the verb, else the default.

    What another tool wrote is read through the cache, so that every verb works on it.
    """
    given = args.root or root
    place = Path(given) if given else default_root()
    if not os.path.exists(place) or (place.is_dir() and has_runs(place)):  # noqa: PTH110 - False for a NUL, too
        return place
    from barograph.read.foreign.adopt import native_root  # noqa: PLC0415 - importers, for what is no directory of runs

    return native_root(place)


def run_of(args: argparse.Namespace, root: str | None) -> Path:
    """The directory of the run that RUN means.

    Raises:
        RunNotFoundError: there is none, or there are several.
    """
    return find_run(args.run, root_of(args, root))
