"""``barograph backfill [ROOT] KEY=VALUE...``: stamp old runs with a default for a new key."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import NAME_CHARS, Style, plural, print_json, table
from barograph.errors import MisuseError
from barograph.facts.codec import encode
from barograph.read.backfill import Stamping, carry_out, plan_backfill
from barograph.view.terminal.wording import one_line

DESCRIPTION: Final = """\
Stamps each run below a directory with a default for every key of the configuration that it lacks. A key that was
recorded, or stamped before, stays as it is. Stamped keys stand in edits.jsonl, not in config.yaml; tables and
comparisons show them with the configuration, `barograph show` marks them.

  barograph backfill runs optim.beta=0.9 data.shuffle=true --dry-run
  barograph backfill runs --labels '{"new/key": "default"}'

A VALUE that is JSON is taken as such, anything else as text. --dry-run prints what would be stamped and changes
nothing; `barograph restore --undo RUN` takes a stamp back.
"""
HEAD: Final = ("name", "run", "stamped", "already there")


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Stamp the runs, or say what would be stamped."""
    parser = verb_parser(
        "backfill",
        DESCRIPTION,
        json_help='one line of JSON: {"root", "dry_run", "runs": [{"run", "name", "missing": {...}, "present"}]}',
    )
    parser.add_argument("words", nargs="*", metavar="[ROOT] KEY=VALUE", help="the directory of runs; keys and defaults")
    parser.add_argument("--labels", metavar="JSON", help="keys and defaults as one JSON object")
    parser.add_argument("--dry-run", action="store_true", help="change nothing")
    args = parser.parse_args(argv)
    pairs = list(args.words)
    if pairs and "=" not in pairs[0]:
        args.root = pairs.pop(0)
    place = root_of(args, root)
    stampings = list(plan_backfill(place, {**_defaults(pairs), **_labels(args.labels)}))
    if not args.dry_run:
        for stamping in stampings:
            carry_out(stamping)
    if args.json:
        print_json({"root": str(place), "dry_run": args.dry_run, "runs": stampings})
        return 0
    print("\n".join(_lines(stampings, place, dry_run=args.dry_run)))
    return 0


def _defaults(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise MisuseError(f"{pair!r} is no KEY=VALUE; write e.g. optim.beta=0.9")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text


def _labels(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError(f'--labels {text!r}: {error}; write a JSON object, e.g. {{"new/key": "default"}}') from None


def _lines(stampings: Sequence[Stamping], root: Path, *, dry_run: bool) -> list[str]:
    stamped = [it for it in stampings if it.missing]
    what = "would be stamped" if dry_run else "stamped"
    total = f"{len(stamped)} of {plural(len(stampings), 'run')} below {root} {what}"
    if not stamped:
        return [total]
    rows = [
        (
            one_line(it.name, limit=NAME_CHARS),
            one_line(Path(it.run).name),
            _keys(it.missing),
            one_line(", ".join(it.present)) or "-",
        )
        for it in stamped
    ]
    hint = "; without --dry-run it is done" if dry_run else ""
    return [*table(HEAD, rows, Style(sys.stdout)), total + hint]


def _keys(values: dict[str, Any]) -> str:
    return one_line(", ".join(f"{key}={_text(value)}" for key, value in values.items()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode({"": value}).decode("utf-8")[4:-1]
