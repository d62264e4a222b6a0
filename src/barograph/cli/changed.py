"""``barograph changed A B``: what changed between two runs, ranked by how well it explains the gap of a metric."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import GAP, Style, plural, print_json, table
from barograph.compare.changed import Changed, Explanation, changed
from barograph.compare.choice import Choice, choose_metrics
from barograph.facts.rundir import RunDir
from barograph.read.frames import Runs, load_runs
from barograph.read.run import RunReader, open_run
from barograph.view.terminal.wording import number, one_line

DESCRIPTION: Final = """\
What changed between two runs, ranked by how well each change explains the gap of a metric, over all runs of the root.

  effect   what the change does to the metric while the rest stays, with a 95 % interval, and the runs n it rests on:
           paired, matched (runs that agree in everything else, with or without the seed) or, where there are too
           few of those, by regression
  share    effect / gap
  verdict  explains, works against: the effect is told from none, corrected for all changes (Holm);
           cannot tell: it is not; not enough runs: and why
"""
HEAD: Final = ("change", "A", "B", "share", "effect", "n", "method", "verdict")
RIGHT: Final = ("share", "n")
VALUE_CHARS: Final = 24
KEY_CHARS: Final = 48


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the changes."""
    parser = verb_parser(
        "changed",
        DESCRIPTION,
        json_help='one line of JSON: {"metric", "gap", "n", "explanations": [{"keys", "share", ...}], ...}',
    )
    parser.add_argument("a", metavar="A", help="a run: its directory, or its id or name below the root")
    parser.add_argument("b", metavar="B", help="the run that came after")
    parser.add_argument("--metric", metavar="NAME", help="the metric; a loss of held-out data when not given")
    parser.add_argument("--split", metavar="SPLIT", help="where it was logged; val before test before train")
    parser.add_argument("--reduce", choices=("final", "best"), default="final", help="which value of each run")
    parser.add_argument("--mode", choices=("min", "max"), help="which values are best; told by the name if not given")
    args = parser.parse_args(argv)
    place = root_of(args, root)
    a, b = (open_run(name, root=place) for name in (args.a, args.b))
    runs = load_runs(place) if place.is_dir() and not RunDir(place).is_run() else Runs([a, b])
    choice = _choice(args.metric, args.split, [a, b])
    found = changed(a, b, runs, metric=choice.metric, split=choice.split, reduce=args.reduce, mode=args.mode)
    if args.json:
        print_json(_document(found))
    else:
        print("\n".join(_lines(found, Style(sys.stdout), names=_names(a, b))))
    return 0


def _choice(metric: str | None, split: str | None, readers: Sequence[RunReader]) -> Choice:
    if metric is None:
        return choose_metrics(readers, split=split)[0]
    return Choice(metric=metric, split=split)


def _names(a: RunReader, b: RunReader) -> tuple[str, str]:
    return one_line(a.identity.name, limit=VALUE_CHARS), one_line(b.identity.name, limit=VALUE_CHARS)


def _document(found: Changed) -> dict[str, Any]:
    return {**msgspec.structs.asdict(found), "unexplained": found.unexplained}


def _lines(found: Changed, style: Style, *, names: tuple[str, str]) -> Iterator[str]:
    where = f" ({found.split})" if found.split else ""
    yield style.heading(
        f"{found.reduce} {one_line(found.metric)}{where}: {number(found.value_a)} in A, {number(found.value_b)} in B"
    )
    yield f"{GAP}A  {names[0]}  {one_line(found.a)}"
    yield f"{GAP}B  {names[1]}  {one_line(found.b)}"
    yield f"{GAP}gap  {number(found.gap)}, over {plural(found.n, 'run')}; {_scatter(found)}"
    yield ""
    if found.explanations:
        yield from table(HEAD, map(_row, found.explanations), style, right=RIGHT)
        yield ""
    yield from _remarks(found)


def _scatter(found: Changed) -> str:
    if found.scatter is None:
        return "no two runs agree in everything but the seed, so what the seed does is unknown"
    return f"runs that agree in everything but the seed scatter by {number(found.scatter)} (n={found.num_repeats})"


def _row(explanation: Explanation) -> tuple[str, ...]:
    effect = explanation.effect
    verdict = explanation.verdict
    return (
        one_line(" + ".join(explanation.keys), limit=KEY_CHARS),
        _value(explanation.a),
        _value(explanation.b),
        "-" if explanation.share is None else f"{round(100 * explanation.share)} %",
        "-"
        if effect.interval is None
        else f"{number(effect.estimate)} [{number(effect.interval[0])}, {number(effect.interval[1])}]",
        str(effect.n),
        effect.method or "-",
        f"{verdict}: {effect.reason}" if effect.reason else verdict,
    )


def _value(value: Any) -> str:
    return (
        "none" if value is None else one_line(repr(value) if isinstance(value, str) else str(value), limit=VALUE_CHARS)
    )


def _remarks(found: Changed) -> Iterator[str]:
    if not found.explanations:
        yield "nothing that counts differs but the seed; `barograph diff` shows the rest"
    elif found.unexplained is not None:
        yield f"left unexplained: {round(100 * found.unexplained)} % of the gap"
    if found.not_held:
        yield f"not held fixed, since new whenever anything else changes: {', '.join(map(one_line, found.not_held))}"
    for path, reason in found.left_out.items():
        yield f"left out: {one_line(os.fspath(path))}: {one_line(reason)}"
