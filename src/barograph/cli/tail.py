"""``barograph tail RUN``: the latest blocks and events as the run's own terminal showed them; live with --follow."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TextIO, cast

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import Style, print_json, status_words
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.read.backlog import read_backlog
from barograph.read.follow import Consumer, Fact, Follower
from barograph.read.status import LIVING, Status, read_status
from barograph.view.terminal.lines import Narrator, read_payload
from barograph.view.terminal.plain import INTERVAL_S
from barograph.view.terminal.view import TerminalView

DESCRIPTION: Final = """\
The latest examples, checks, epochs and other events of a run, in the blocks that its own terminal showed, and
where it stands. With --follow, what comes next is shown as it is recorded, until the run ends; ^C leaves the run
alone.
"""
NUM_EVENTS: Final = 10
POLL_S: Final = 0.2
STATUS_S: Final = 1.0


def main(argv: Sequence[str], *, root: str | None) -> int:
    """Show the tail of a run."""
    parser = verb_parser("tail", DESCRIPTION, json_help="the events as lines of JSON, as they stand in events.jsonl")
    add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    parser.add_argument(
        "-n", type=int, default=NUM_EVENTS, metavar="COUNT", help=f"how many events back; {NUM_EVENTS} when not given"
    )
    args = parser.parse_args(argv)
    if args.n < 0:
        parser.error(f"argument -n: {args.n} events cannot be shown; give 0 or more")
    path = run_of(args, root)
    screen: _Screen = _JsonLines() if args.json else _Terminal(sys.stdout, live=args.follow)
    follower = Follower(RunDir(path))
    try:
        show_backlog(follower, screen, count=args.n)
        if args.follow:
            follow(follower, screen, status=lambda: read_status(path))
    finally:
        screen.close()
    status = read_status(path)
    reason = status_words(status)
    if reason and not args.json:
        print(f"{Style(sys.stdout).word(status.state)}: {reason}")
    return 0


class _Screen(Consumer, Protocol):
    """Shows facts; older ones only count."""

    def remember(self, facts: Sequence[Fact]) -> None:
        """Take in facts without showing them."""

    def shows(self, event: Event) -> bool:
        """Whether an event would be seen."""


def show_backlog(follower: Follower, screen: _Screen, *, count: int) -> None:
    """Show the last ``count`` events that can be seen; everything before them only counts."""
    kept: deque[tuple[Event, bool]] = deque()
    num_seen = 0
    for facts in read_backlog(follower):
        older: list[Fact] = [fact for fact in facts if not isinstance(fact, Event)]
        for event in (fact for fact in facts if isinstance(fact, Event)):
            kept.append((event, screen.shows(event)))
            num_seen += kept[-1][1]
            while kept and (num_seen > count or not kept[0][1]):
                num_seen -= kept[0][1]
                older.append(kept.popleft()[0])
        screen.remember(older)
    screen.feed([event for event, _ in kept])


def follow(
    follower: Follower,
    screen: Consumer,
    *,
    status: Callable[[], Status],
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show what is recorded until the run has ended and everything of it was shown."""
    next_s, has_ended = clock(), False
    while True:
        if not has_ended and clock() >= next_s:
            next_s = clock() + STATUS_S
            has_ended = status().state not in LIVING
        facts = follower.poll()
        screen.feed(facts)
        if has_ended and not facts:
            return
        if not facts:
            sleep(POLL_S)


class _JsonLines:
    """Events as lines of JSON on the standard output."""

    def remember(self, facts: Sequence[Fact]) -> None:
        """Nothing to count."""

    def shows(self, event: Event) -> bool:  # noqa: ARG002 - every event is a line
        """Always."""
        return True

    def feed(self, facts: Iterable[Fact]) -> None:
        """Print the events among the facts."""
        for fact in facts:
            if isinstance(fact, Event):
                head = {"schema_version": fact.schema_version, "seq": fact.seq, "t": fact.t, "moment": fact.moment}
                print_json({**head, **fact.payload})
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is held open."""


class _Terminal:
    """The run's own terminal view. While older facts are told to it, its stream is shut and its clock stands still."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._gate = _Gate(stream)
        self._view = TerminalView(
            cast("TextIO", self._gate),
            mode="auto" if live else "plain",
            clock=lambda: time.monotonic() if self._gate.is_open else 0.0,
            interval_s=INTERVAL_S if live else 0.0,
        )
        self._narrator = Narrator()

    def shows(self, event: Event) -> bool:
        """Whether there is a line about it."""
        return bool(self._narrator.lines(event, read_payload(event)))

    def remember(self, facts: Sequence[Fact]) -> None:
        """Take in facts without showing them."""
        self._gate.is_open = False
        self._view.feed(facts)
        self._gate.is_open = True

    def feed(self, facts: Sequence[Fact]) -> None:
        """Show facts."""
        self._view.feed(facts)

    def close(self) -> None:
        """Take the bar away."""
        self._view.close()


class _Gate:
    """A stream that can be shut; everything but writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_open = True

    def write(self, text: str) -> int:
        """Write, unless shut."""
        return self._stream.write(text) if self.is_open else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
