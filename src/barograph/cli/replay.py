"""``barograph replay [ROOT|RUN ...]``: what would have been told of recorded runs, when, and how often for nothing."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from barograph.cli.arguments import root_of, verb_parser
from barograph.cli.output import GAP, Style, plural, print_json, table
from barograph.errors import MisuseError
from barograph.facts.rows import HOST_SPLIT
from barograph.facts.rundir import RunDir
from barograph.read.catalog import discover_runs, find_run
from barograph.read.run import RunReader
from barograph.view.terminal.alerts import told_lines
from barograph.view.terminal.wording import number, one_line
from barograph.watch.actions.record import as_line
from barograph.watch.incident import Told
from barograph.watch.monitor import Monitor
from barograph.watch.settings import Settings, read_settings
from barograph.watch.watcher import open_watcher

DESCRIPTION: Final = """\
Watches recorded runs once more, from their facts: what would have been told, at which step, and how many incidents
that is per 10 000 steps. Over runs that went well, that is how often it would have cried wolf. Nothing is written or
delivered. The same facts give the alerts that a watch gives while a run goes on; how a run ended is for `list`.
"""
PER_STEPS: Final = 10_000
TEXT_CHARS: Final = 160
ENDED: Final = "ended"
HEAD: Final = ("type", "incidents opened", "per 10 000 steps", "runs")
TRAIN: Final = "train"


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been told of one run.

    Attributes:
        path: its directory.
        run_id: unique for all time; "" when it has none.
        name: what people call it.
        steps: how many training steps were logged; one that a resume repeats counts again.
        told: everything, in order.
    """

    path: Path
    run_id: str
    name: str
    steps: int
    told: list[Told]

    @property
    def opened(self) -> list[str]:
        """The types that opened an incident, one for each."""
        return [it.alert.type for it in self.told if it.stage == "opened"]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {
            "path": str(self.path),
            "run_id": self.run_id,
            "name": self.name,
            "steps": self.steps,
            "incidents": len(self.opened),
            "per_10000_steps": rate(len(self.opened), self.steps),
            "alerts": [as_line(it) for it in self.told],
        }


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Replay runs, and print what is told as each is done."""
    args = _parser().parse_args(argv)
    settings = _settings(args)
    paths = _paths(args.runs, root_of(args, root))
    style = Style(sys.stdout)
    done = []
    for path in paths:
        found = replay(path, settings, rank=args.rank)
        done.append(found)
        if not args.json and (found.told or args.silent):
            print("\n".join(_run_lines(found, style, is_full=args.full)), flush=True)
    if args.json:
        print_json(_summary(done) | {"runs": [it.as_dict() for it in done]})
    else:
        print("\n".join(_summary_lines(done, style)))
    return 0


def replay(path: Path, settings: Settings, *, rank: int = 0) -> Replayed:
    """Watch one recorded run, from its first fact to its last.

    Args:
        path: its directory.
        settings: which detectors and rules, and the roles of metrics; actions are left alone.
        rank: of the process whose facts are watched.

    Raises:
        MisuseError: a rule cannot be read.
        PluginNotFoundError: no installed distribution offers one of the detectors.
    """
    reader = RunReader(path)
    watcher = open_watcher(RunDir(path), settings, config=reader.config, rank=rank)
    told = watcher.finish()
    who = reader.identity
    return Replayed(path=path, run_id=who.run_id, name=who.name, steps=num_steps(watcher.monitor), told=told)


def num_steps(monitor: Monitor) -> int:
    """How many training steps a monitor was shown: the records of the metric that was logged most often."""
    counts: dict[str, int] = {}
    for signal in monitor.context.all_signals.values():
        counts[signal.split] = max(counts.get(signal.split, 0), signal.count + signal.num_nonfinite)
    counts.pop(HOST_SPLIT, None)
    return counts.get(TRAIN, max(counts.values(), default=0))


def rate(incidents: int, steps: int) -> float:
    """Incidents per 10 000 steps; NaN without steps.

    >>> rate(3, 60_000)
    0.5
    """
    return incidents * PER_STEPS / steps if steps else math.nan


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "replay",
        DESCRIPTION,
        json_help='one line of JSON: {"steps", "incidents", "per_10000_steps", "types", "runs": [{..., "alerts"}]}',
    )
    parser.add_argument("runs", nargs="*", metavar="ROOT|RUN", help="directories of runs, or runs; else the root")
    parser.add_argument("--detectors", metavar="NAMES", help="only these, with commas; all that are offered, else")
    parser.add_argument("--off", metavar="NAMES", help="all but these, with commas")
    parser.add_argument(
        "--rule", action="append", metavar="RULE", help="a rule of your own, e.g. 'loss > 10 for 50 steps'; repeatable"
    )
    parser.add_argument(
        "--role", action="append", metavar="METRIC=ROLE", help="what a metric is for, e.g. objective=loss; repeatable"
    )
    parser.add_argument("--rank", type=int, default=0, help="the process of a distributed run to watch; 0, else")
    parser.add_argument("--full", action="store_true", help="also what moved first, why, and what to do")
    parser.add_argument("--silent", action="store_true", help="also a line for each run of which nothing is told")
    return parser


def _settings(args: argparse.Namespace) -> Settings:
    given: dict[str, Any] = {
        "detectors": args.detectors.split(",") if args.detectors else None,
        "off": args.off.split(",") if args.off else None,
        "rules": args.rule,
        "roles": dict(_role(it) for it in args.role) if args.role else None,
    }
    return read_settings({name: value for name, value in given.items() if value is not None})


def _role(given: str) -> tuple[str, str]:
    metric, _, role = given.rpartition("=")
    if not metric:
        raise MisuseError(f"--role {given!r} is not METRIC=ROLE; write objective=loss, say")
    return metric, role


def _paths(given: Sequence[str], root: Path) -> list[Path]:
    """The runs that are meant, each once, in the order given."""
    found: list[Path] = []
    for name in given or [str(root)]:
        path = Path(name)
        is_place = path.is_dir() and not RunDir(path).is_run()
        found += discover_runs(path) if is_place or not given else [find_run(name, root)]
    return list(dict.fromkeys(found))


def _run_lines(found: Replayed, style: Style, *, is_full: bool) -> Iterator[str]:
    what = f"{plural(len(found.opened), 'incident')} in {found.steps:,} steps"
    label = one_line(found.run_id or found.path.name)
    yield f"{style.heading(label)}{GAP}{one_line(found.name)}{GAP}{style.quiet(what)}"
    if is_full:
        yield from (f"{GAP}{line}" for told in found.told for line in told_lines(told, style.symbols))
        return
    rows = [(f"step {number(it.step)}", *_words(it, style)) for it in found.told]
    width = max((len(step) for step, *_ in rows), default=0)
    for step, severity, text in rows:
        yield f"{GAP}{step:<{width}}{GAP}{severity}{GAP}{text}"


def _words(told: Told, style: Style) -> tuple[str, str]:
    """Severity and text; of an end, what is over."""
    if told.stage == ENDED:
        return f"{'over':<8}", style.quiet(", ".join(told.incident.types))
    alert = told.alert
    more = "" if told.stage == "opened" else style.quiet(f" ({told.stage})")
    severity = style.word(alert.severity) + " " * (8 - len(alert.severity))
    return severity, f"{alert.type}{more}: {one_line(alert.text, limit=TEXT_CHARS)}"


def _summary(done: Sequence[Replayed]) -> dict[str, Any]:
    steps = sum(it.steps for it in done)
    opened = [name for it in done for name in it.opened]
    return {
        "steps": steps,
        "incidents": len(opened),
        "per_10000_steps": rate(len(opened), steps),
        "silent_runs": sum(not it.opened for it in done),
        "types": dict(sorted(Counter(opened).items())),
    }


def _summary_lines(done: Sequence[Replayed], style: Style) -> Iterator[str]:
    found = _summary(done)
    steps, incidents = found["steps"], found["incidents"]
    often = f": {number(rate(incidents, steps))} per 10 000" if steps else ""
    yield (
        f"{plural(len(done), 'run')}, {found['silent_runs']} of them silent; "
        f"{plural(incidents, 'incident')} in {steps:,} steps{often}"
    )
    if found["types"]:
        runs = Counter(name for it in done for name in set(it.opened))
        rows = [
            (name, str(count), number(rate(count, steps)), str(runs[name])) for name, count in found["types"].items()
        ]
        yield from table(HEAD, rows, style, right=HEAD[1:], indent=GAP)
