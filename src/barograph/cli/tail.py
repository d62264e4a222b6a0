"""``barograph tail RUN``: the latest blocks and events as the run's own terminal showed them; live with --follow."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TextIO, cast

from barograph.cli.arguments import add_run, run_of, verb_parser
from barograph.cli.output import Style, status_words
from barograph.facts.codec import encode
from barograph.facts.kinds import Event
from barograph.facts.rundir import RunDir
from barograph.read.backlog import read_backlog
from barograph.read.follow import Consumer, Fact, Follower
from barograph.read.status import LIVING, Status, read_status
from barograph.view.terminal import TerminalView

DESCRIPTION: Final = """\
The latest examples, checks, epochs and other events of a run, in the blocks that its own terminal showed, and
where it stands. With --follow, what comes next is shown as it is recorded, until the run ends; ^C leaves the run
alone.
"""
NUM_EVENTS: Final = 10
POLL_S: Final = 0.2
STATUS_S: Final = 1.0
SILENT: Final = frozenset({"on_phase_end"})


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
    screen: _Screen = _JsonLines(sys.stdout) if args.json else _Terminal(sys.stdout, live=args.follow)
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


def show_backlog(follower: Follower, screen: _Screen, *, count: int) -> None:
    """Show the last ``count`` events that are there; everything before them only counts."""
    kept: deque[Fact] = deque()
    num_shown = 0
    for facts in read_backlog(follower):
        older: list[Fact] = [fact for fact in facts if not isinstance(fact, Event)]
        for event in (fact for fact in facts if isinstance(fact, Event)):
            kept.append(event)
            num_shown += _is_shown(event)
            while kept and (num_shown > count or not _is_shown(kept[0])):
                num_shown -= _is_shown(kept[0])
                older.append(kept.popleft())
        screen.remember(older)
    screen.feed(list(kept))


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


def _is_shown(fact: Fact) -> bool:
    return isinstance(fact, Event) and (fact.moment not in SILENT or bool(fact.payload.get("failed")))


class _JsonLines:
    """Events as lines of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def remember(self, facts: Sequence[Fact]) -> None:
        """Nothing to count."""

    def feed(self, facts: Iterable[Fact]) -> None:
        """Print the events among the facts."""
        for fact in facts:
            if isinstance(fact, Event):
                head = {"schema_version": fact.schema_version, "seq": fact.seq, "t": fact.t, "moment": fact.moment}
                self._stream.write(encode({**head, **fact.payload}).decode("utf-8") + "\n")
        self._stream.flush()

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
            interval_s=10.0 if live else 0.0,
        )

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
