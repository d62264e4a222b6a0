"""``barograph index [ROOT]``: the cache that makes long lists quick: where it is, what it holds, made anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import pairs, plural, print_json
from barograph.read.index import RunIndex, default_cache, index_path
from barograph.view.terminal.wording import one_line, size

DESCRIPTION: Final = """\
The index holds what a table of runs needs, so that `barograph list` reads only runs that have changed. It lies in
BAROGRAPH_CACHE, else in barograph below XDG_CACHE_HOME or ~/.cache, never beside the runs; it may be deleted at any
time. This brings it up to date, and says where it is and what it holds. --rebuild reads every run anew.
"""


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Bring the index up to date and describe it."""
    parser = verb_parser(
        "index",
        DESCRIPTION,
        json_help='one line of JSON: {"root", "path", "state", "size_bytes", "num_runs", "num_read", "took_s"}',
    )
    parser.add_argument("directory", nargs="?", metavar="ROOT", help="the same as --root ROOT")
    parser.add_argument("--rebuild", action="store_true", help="forget what it holds, and read every run")
    args = parser.parse_args(argv)
    args.root = args.directory or args.root
    place = root_of(args, root)
    cache = default_cache()
    path = None if cache is None else index_path(place, cache)
    began_s = time.perf_counter()
    with RunIndex(place, rebuild=args.rebuild) as index:
        num_runs = len(index.overviews(index.paths(deleted=None)))
    took_s = time.perf_counter() - began_s
    document: dict[str, Any] = {
        "root": str(place),
        "path": None if path is None else str(path),
        "state": index.note or "up to date",
        "size_bytes": path.stat().st_size if path is not None and path.exists() else 0,
        "num_runs": num_runs,
        "num_read": index.num_read,
        "took_s": took_s,
    }
    if args.json:
        print_json(document)
        return 0
    shown = {
        "root": one_line(str(place)),
        "index": one_line(str(path)),
        "state": one_line(document["state"]),
        "size": size(document["size_bytes"]),
        "runs": f"{plural(num_runs, 'run')}, {index.num_read} of them read anew",
        "took": f"{took_s:.2f} s",
    }
    print("\n".join(pairs(shown, indent="")))
    return 0
