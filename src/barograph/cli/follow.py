"""``barograph follow RUN``: a run as it goes on; with --watch, what is wrong with it, also when it cannot say so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from barograph.cli import tail
from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import Style, plural, print_json, status_words, when
from barograph.facts.rundir import RunDir
from barograph.read.run import RunReader
from barograph.read.status import Status
from barograph.view.terminal.alerts import told_lines
from barograph.watch.actions.record import ENDED, as_line
from barograph.watch.alert import SEVERITIES
from barograph.watch.beside import Beside
from barograph.watch.ending import ENDINGS
from barograph.watch.incident import Told
from barograph.watch.journal import Journal, open_journal
from barograph.watch.settings import Settings, read_settings
from barograph.watch.watcher import open_watcher

DESCRIPTION: Final = """\
The run's blocks and events as they are recorded, until it ends: the same as `barograph tail --follow`. With --watch it
watches the run from this process instead: alerts as they come, since when, why and what to do; they are written into
the run (facts/alerts.jsonl) and delivered. It also says that a run stalls, was killed, ran out of memory or ended
silently. It ends when the run has ended, with exit code 0 if the run finished and 1 if it did not; ^C leaves the run
alone. docs/rules.md has the rules that --rule understands.
"""
NEEDS_WATCH: Final = ("rule", "off", "command", "webhook", "notify", "min_severity")
NOT_FINISHED: Final = 1


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Follow a run."""
    args = _read(argv)
    if not args.watch:
        return tail.main(_as_tail(args), root=root)
    settings = _settings(args)
    reader = RunReader(run_of(args, root))
    directory = RunDir(reader.path)
    watcher = open_watcher(directory, settings, config=reader.config, rank=args.rank)
    screen: _Screen = _Lines() if args.json else _Words(reader.identity.name, settings)
    beside = Beside(directory, watcher, rank=args.rank)
    journal = open_journal(directory, settings, report=_report)
    try:
        screen.begin(beside.status)
        status = beside.run(lambda told: _tell(told, journal, screen))
    finally:
        journal.close()
        beside.close()
    screen.end(status)
    return 0 if status.state == "finished" else NOT_FINISHED


def _read(argv: Sequence[str]) -> argparse.Namespace:
    parser = verb_parser(
        "follow",
        DESCRIPTION,
        json_help="events, with --watch alerts, as lines of JSON as they stand in the run",
    )
    add_run(parser)
    parser.add_argument("--watch", action="store_true", help="say what is wrong, since when, why, and what to do")
    parser.add_argument(
        "--rule", action="append", metavar="RULE", help="a rule of your own, e.g. 'loss > 10 for 50 steps'; repeatable"
    )
    parser.add_argument("--off", action="append", metavar="TYPE", help="a detector that does not watch; repeatable")
    parser.add_argument("--command", metavar="COMMAND", help="a program that is run for each alert, without a shell")
    parser.add_argument("--webhook", action="append", metavar="URL", help="where alerts are posted; repeatable")
    parser.add_argument("--notify", action="append", metavar="URL", help="an address that apprise knows; repeatable")
    parser.add_argument(
        "--min-severity", choices=SEVERITIES, help="what is less severe is written and shown, and not delivered"
    )
    parser.add_argument("--rank", type=int, default=0, help="the process of a distributed run to watch; 0, else")
    parser.add_argument(
        "-n", type=int, metavar="COUNT", help=f"without --watch: how many events back; {tail.NUM_EVENTS}, else"
    )
    args = parser.parse_args(argv)
    given = [f"--{name.replace('_', '-')}" for name in NEEDS_WATCH if getattr(args, name) is not None]
    if given and not args.watch:
        parser.error(f"{given[0]} needs --watch; add it")
    if args.watch and args.n is not None:
        parser.error("argument -n: with --watch there are no events to show; leave one of them out")
    return args


def _as_tail(args: argparse.Namespace) -> list[str]:
    given = ["--follow", *(["--json"] if args.json else []), *(["--root", args.root] if args.root else [])]
    return [*given, *(["-n", str(args.n)] if args.n is not None else []), "--", args.run]


def _settings(args: argparse.Namespace) -> Settings:
    actions = {name: getattr(args, name) for name in ("command", "webhook", "notify", "min_severity")}
    actions = {name: value for name, value in actions.items() if value is not None}
    given: dict[str, Any] = {"rules": args.rule, "off": args.off, "actions": actions or None}
    return read_settings({name: value for name, value in given.items() if value is not None})


def _tell(told: Sequence[Told], journal: Journal, screen: _Screen) -> None:
    journal.poll()
    for it in told:
        screen.show(it, is_news=journal.take(it))


def _report(text: str) -> None:
    print(f"barograph: {text}", file=sys.stderr, flush=True)


class _Screen(Protocol):
    """Shows what is found."""

    def begin(self, status: Status) -> None:
        """The watch begins."""

    def show(self, told: Told, *, is_news: bool) -> None:
        """Something was found; what stood in the run before is none of the news."""

    def end(self, status: Status) -> None:
        """The run has ended."""


class _Lines:
    """Alerts as lines of JSON."""

    def begin(self, status: Status) -> None:
        """Nothing to say."""

    def show(self, told: Told, *, is_news: bool) -> None:
        """Print the line that stands in ``alerts.jsonl``."""
        if is_news:
            print_json(as_line(told))
            sys.stdout.flush()

    def end(self, status: Status) -> None:
        """Nothing to say."""


class _Words:
    """Alerts for a person."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._style = Style(sys.stdout)
        self._name = name
        self._settings = settings
        self._num_known = 0
        self._has_told_end = False

    def begin(self, status: Status) -> None:
        """Say what is watched."""
        watched = [plural(len(self._settings.detector_names()), "detector")]
        if self._settings.rules:
            watched.append(plural(len(self._settings.rules), "rule"))
        self._print(f"watching {self._name} ({self._style.word(status.state)}) with {' and '.join(watched)}")

    def show(self, told: Told, *, is_news: bool) -> None:
        """Print an alert, or the end of an incident."""
        if not is_news:
            self._num_known += 1
            return
        self._say_known()
        head, *rest = told_lines(told, self._style.symbols)
        if told.stage == ENDED:
            self._print(self._style.quiet(head))
            return
        self._has_told_end = self._has_told_end or told.alert.type in ENDINGS
        severity = told.alert.severity
        head = head.replace(f"[{severity}]", f"[{self._style.word(severity)}]", 1)
        self._print("\n".join([f"{when(told.t)}  {head}", *rest]))

    def end(self, status: Status) -> None:
        """Say how it ended, unless an alert has said it better."""
        self._say_known()
        if self._has_told_end:
            return
        reason = status_words(status)
        self._print(f"{self._style.word(status.state)}{': ' if reason else ''}{reason}")

    def _say_known(self) -> None:
        if self._num_known:
            shown = f"{plural(self._num_known, 'message')} of before, in the run's facts/alerts.jsonl"
            self._print(self._style.quiet(shown))
            self._num_known = 0

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)
