"""``barograph compare ROOT|RUNS...``: groups, statistics, verdicts, the best configuration, insights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import GAP, Style, maybe, plural, print_json, table
from barograph.facts.rundir import RunDir
from barograph.read.catalog import discover_runs, find_run
from barograph.view.terminal.blocks import UNICODE
from barograph.view.terminal.wording import number, one_line

if TYPE_CHECKING:
    from barograph.compare.best import Best
    from barograph.compare.comparator import ComparisonReport
    from barograph.compare.groups import Seed
    from barograph.compare.impact import Impact
    from barograph.compare.intervals import Interval
    from barograph.compare.table import MetricTable, Row
    from barograph.read.frames import Paths

DESCRIPTION: Final = """\
Compares runs, grouped by "same configuration except for the seed": mean, median and interquartile mean (IQM) with 95 %
intervals and the number of runs n, the best run, and for each group a verdict against the baseline, corrected for all
comparisons made (Holm). Then the best configuration, the impact of parameters, and insights.

Only runs that finished are compared; others are named with the reason.
"""
LABEL_CHARS: Final = 48
NAME_CHARS: Final = 60
GROUP_HEAD: Final = ("group", "n", "seeds", "runs")
METRIC_HEAD: Final = ("group", "n", "mean", "median", "IQM", "best", "no finite value", "verdict")
NO_FINITE_PLACE: Final = METRIC_HEAD.index("no finite value")
CHOSEN: Final = "metric chosen: of held-out data (validation before test), a loss if there is one; --metric for another"
IMPACT_HEAD: Final = ("parameter", "impact", "interval", "values", "")
LAMP: Final = "\N{ELECTRIC LIGHT BULB}"


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Print the comparison."""
    args = _parser().parse_args(argv)
    from barograph.compare.comparator import ExperimentComparator  # noqa: PLC0415 - scipy; --help does without

    comparator = ExperimentComparator(
        _runs(args.runs, root_of(args, root)),
        select=args.select,
        group_by=args.group_by.split(",") if args.group_by else None,
        ignore=args.ignore.split(",") if args.ignore else (),
        unfinished=args.unfinished,
    )
    found = comparator.compare(
        args.metric,
        split=args.split,
        reduce=args.reduce,
        mode=args.mode,
        baseline=args.baseline,
        impact=not args.no_impact,
    )
    if args.json:
        print_json(found.as_dict())
    else:
        print("\n".join(_lines(found, Style(sys.stdout), is_chosen=args.metric is None)))
    return 0


def _parser() -> Any:
    parser = verb_parser(
        "compare",
        DESCRIPTION,
        json_help='one line of JSON: {"groups", "table", "comparisons", "best", "impact", "insights", "skipped", ...}',
    )
    parser.add_argument("runs", nargs="*", metavar="ROOT|RUN", help="directories of runs, or runs; else the root")
    parser.add_argument(
        "--metric", action="append", metavar="NAME", help="as often as wanted; a loss of held-out data when not given"
    )
    parser.add_argument("--split", metavar="SPLIT", help="where it was logged; val before test before train")
    parser.add_argument("--reduce", choices=("final", "best", "curve"), default="final", help="what of each run")
    parser.add_argument("--mode", choices=("min", "max"), help="which values are better; told by the name if not given")
    parser.add_argument("--baseline", metavar="LABEL|RUN", help="the group to compare with; that of most runs")
    parser.add_argument("--group-by", metavar="KEYS", help="group by these configuration keys only, with commas")
    parser.add_argument("--ignore", metavar="KEYS", help="configuration keys that do not set runs apart, with commas")
    parser.add_argument("--select", metavar="CONDITION", help="only runs for which it holds, e.g. 'lr < 1e-2'")
    parser.add_argument("--unfinished", action="store_true", help="also runs that did not finish")
    parser.add_argument("--no-impact", action="store_true", help="leave out the impact of parameters, which takes time")
    return parser


def _runs(given: Sequence[str], root: Path) -> Paths:
    """A directory as it is, so that links are relative to it; several places as their runs."""
    if not given:
        return root
    if len(given) == 1 and Path(given[0]).is_dir() and not RunDir(Path(given[0])).is_run():
        return given[0]
    found: list[Path] = []
    for name in given:
        path = Path(name)
        inside = discover_runs(path) if path.is_dir() and not RunDir(path).is_run() else [find_run(name, root)]
        found += [run for run in inside if run not in found]
    return found


def _lines(found: ComparisonReport, style: Style, *, is_chosen: bool) -> Iterator[str]:
    labels = _short([group.label for group in found.groups])
    yield from _groups(found, style, labels)
    for each in found.tables:
        yield ""
        yield from _metric(each, style, labels)
    if is_chosen:
        yield f"{GAP}{CHOSEN}"
    yield ""
    yield from _best(found.best, style)
    if found.impact is not None:
        yield ""
        yield from _impact(found.impact, style)
    if found.insights:
        yield ""
        yield style.heading("insights")
        mark = LAMP if style.symbols is UNICODE else "*"
        yield from (f"{mark} {one_line(str(insight))}" for insight in found.insights)
    left_out = [*found.skipped, *(skipped for each in found.tables for skipped in each.skipped)]
    if left_out:
        yield ""
        yield style.heading("left out")
        yield from dict.fromkeys(f"{GAP}{one_line(it.path)}: {one_line(it.reason)}" for it in left_out)


def _short(labels: Sequence[str]) -> dict[str, str]:
    """The labels as a table shows them: cut, unless two of them would then look the same."""
    cut = {label: one_line(label, limit=LABEL_CHARS) for label in labels}
    return cut if len(set(cut.values())) == len(cut) else {label: one_line(label) for label in labels}


def _seeds(seeds: Sequence[Seed]) -> str:
    """Seeds in a few characters, e.g. ``0-5, 7``; ``-`` for runs that have none."""
    numbers = sorted({seed for seed in seeds if isinstance(seed, int)})
    starts = [seed for seed in numbers if seed - 1 not in numbers]
    ends = [seed for seed in numbers if seed + 1 not in numbers]
    words = [_range(start, end) for start, end in zip(starts, ends, strict=True)]
    words += sorted({seed for seed in seeds if isinstance(seed, str)})
    words += ["-"] if None in seeds else []
    return one_line(", ".join(words), limit=LABEL_CHARS)


def _range(start: int, end: int) -> str:
    return str(start) if start == end else f"{start}, {end}" if end == start + 1 else f"{start}-{end}"


def _groups(found: ComparisonReport, style: Style, labels: Mapping[str, str]) -> Iterator[str]:
    num_runs = sum(map(len, found.groups))
    keys = list(dict.fromkeys(key for group in found.groups for key in group.differing))
    apart = f", told apart by {', '.join(map(one_line, keys))}" if keys else ""
    yield style.heading(f"{plural(len(found.groups), 'group')} of {plural(num_runs, 'run')}{apart}")
    rows = [
        (
            labels[group.label],
            str(len(group)),
            _seeds(group.seeds),
            one_line(", ".join(dict.fromkeys(reader.identity.name for reader in group.runs)), limit=NAME_CHARS),
        )
        for group in found.groups
    ]
    yield from table(GROUP_HEAD, rows, style, right=("n",), indent=GAP)
    yield from (f"{GAP}{one_line(hint)}" for hint in found.hints)


def _metric(found: MetricTable, style: Style, labels: Mapping[str, str]) -> Iterator[str]:
    better = "lower" if found.mode == "min" else "higher"
    yield style.heading(f"{one_line(found.title)}; {better} is better, baseline {one_line(found.baseline)}")
    rows = [(labels[row.label], *_row(row, is_baseline=row.label == found.baseline)) for row in found.rows]
    shown = [place for place in range(len(METRIC_HEAD)) if found.nonfinite or place != NO_FINITE_PLACE]
    head, *rows = [tuple(cells[place] for place in shown) for cells in (METRIC_HEAD, *rows)]
    yield from table(head, rows, style, right=("n", "best"), indent=GAP)
    for row in found.rows:
        if row.comparison is not None:
            yield from (f"{GAP}{one_line(row.label)}: {one_line(note)}" for note in row.comparison.notes)
        elif len(row.sample) and row.summary.mean is None and row.summary.reason:
            yield f"{GAP}{one_line(row.label)}: {one_line(row.summary.reason)}"
    for it in found.nonfinite:
        step = "" if it.step is None else f" at step {number(it.step)}"
        yield f"{GAP}{one_line(it.run_dir)}: {it.kind}{step}"


def _row(row: Row, *, is_baseline: bool) -> tuple[str, ...]:
    summary, found = row.summary, row.comparison
    verdict = "baseline" if is_baseline else "-" if found is None else str(found.verdict)
    return (
        str(summary.n),
        _estimate(summary.mean, summary.mean_interval),
        _estimate(summary.median, summary.median_interval),
        _estimate(summary.iqm, summary.iqm_interval),
        maybe(None if row.best is None else row.best.value),
        str(len(row.sample.nonfinite)) if row.sample.nonfinite else "-",
        verdict,
    )


def _estimate(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return maybe(value)
    return f"{number(value)} [{number(interval.low)}, {number(interval.high)}]"


def _best(best: Best, style: Style) -> Iterator[str]:
    yield style.heading(f"best configuration in {one_line(best.table.title)}")
    if best.row is not None:
        summary = best.row.summary
        mean = _estimate(summary.mean, summary.mean_interval)
        yield f"{GAP}{one_line(best.row.label)}: mean {mean}, n = {summary.n}"
        if best.runner_up is not None:
            yield f"{GAP}against the runner-up {one_line(best.runner_up.b.label)}: {one_line(best.runner_up.words())}"
        if best.not_told_from:
            yield f"{GAP}not shown to be better than: {one_line(', '.join(best.not_told_from))}"
    if best.reason and (best.row is None or best.runner_up is None):
        yield f"{GAP}{best.reason}"
    for label, reason in best.excluded.items():
        yield f"{GAP}not {one_line(label)}: {one_line(reason)}"


def _impact(found: Impact, style: Style) -> Iterator[str]:
    yield style.heading(f"impact of parameters on {one_line(found.metric)} ({one_line(found.split or '')})")
    if found.reason:
        yield f"{GAP}{one_line(found.reason)}"
        return
    yield f"{GAP}share of the importance beyond chance, by {found.method} over {plural(found.n, 'run')}"
    rows = [
        (
            one_line(" + ".join(it.keys), limit=LABEL_CHARS),
            number(it.impact),
            f"[{number(it.interval[0])}, {number(it.interval[1])}]",
            str(it.num_values),
            "" if it.is_shown else "not told from chance",
        )
        for it in found.parameters
    ]
    yield from table(IMPACT_HEAD, rows, style, right=("impact", "values"), indent=GAP)
    yield from (f"{GAP}{one_line(keys)}: {one_line(reason)}" for keys, reason in found.left_out.items())
