"""``python -m bench.faults.eta``: how often the truth lies inside the range of the time left, over recorded trainings.

The runs were timed as they came: real steps, evaluations and checkpoints, on a machine that did other things besides.
Each is shown to what keeps a terminal's time left, and asked when 10, 25, 50 and 75 % of its steps are done.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from barograph.facts.kinds import Event
from barograph.facts.rows import Row, StreamHeader
from barograph.facts.rundir import RunDir
from barograph.read.follow import Fact, Follower, Record, Rows
from barograph.view.terminal.lines import read_payload
from barograph.view.terminal.state import RunState
from barograph.watch.order import Ordered
from bench.faults.labels import Label, read_labels

HOME: Final = Path(__file__).resolve().parents[2] / ".bench" / "faults"
BEGIN: Final = "<!-- measured by python -m bench.faults.eta, do not edit -->"
END: Final = "<!-- end of what was measured -->"
SHARES: Final = (0.10, 0.25, 0.50, 0.75)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered at some place of a run.

    Attributes:
        run: its name.
        share: of the steps that were done.
        low_s: the range.
        high_s: its end; infinite while nobody knows.
        left_s: what was really left.
    """

    run: str
    share: float
    low_s: float
    high_s: float
    left_s: float

    @property
    def is_inside(self) -> bool:
        """Whether the truth lies inside."""
        return self.low_s <= self.left_s <= self.high_s

    @property
    def width(self) -> float:
        """Of the range, as a share of its middle."""
        return 2 * (self.high_s - self.low_s) / (self.high_s + self.low_s) if self.high_s > 0 else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 2 when the arguments cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults.eta", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="where the runs are recorded")
    parser.add_argument("--split", choices=("tuning", "held_out"), default="tuning", help="which half of the runs")
    parser.add_argument("--document", type=Path, help="write the table into this page, where it says so")
    parser.add_argument("--far", action="store_true", help="list the answers that were farthest from the truth")
    args = parser.parse_args(arguments)
    try:
        labels = [it for it in read_labels(args.home) if it.kind == "healthy" and it.split == args.split]
    except FileNotFoundError as error:
        parser.error(f"{error}; record the runs first: python -m bench.faults generate")
    answers = [answer for label in labels for answer in answers_of(RunDir(args.home / "runs" / label.name), label)]
    if not answers:
        parser.error(f"no run of split {args.split} in {args.home} was asked anything; record more of them first")
    print("\n".join(table(answers)))
    if args.document:
        write(args.document, table(answers))
    if args.far:
        print("\n".join(farthest(answers)))
    return 0


def answers_of(directory: RunDir, label: Label) -> Iterator[Answer]:
    """What is answered about one run on its way; of a resumed one about its last attempt.

    Args:
        directory: the run.
        label: what it is.
    """
    state = RunState()
    ordered = Ordered()
    pieces = [*ordered.take(Follower(directory, rank=0).drain()), *ordered.rest()]
    newest = max((attempt for attempt in map(_attempt_of, pieces) if attempt is not None), default=0)
    ended_t = max(it.t for it in pieces if isinstance(it, Event))
    todo = list(SHARES)
    for piece in pieces:
        if isinstance(piece, Event):
            state.take_event(piece, read_payload(piece))
            continue
        for fact, t in _facts_of(piece):
            state.feed([fact])
            done = (state.step or 0.0) / label.steps
            if _attempt_of(piece) != newest or not todo or done < todo[0]:
                continue
            share = max(it for it in todo if it <= done)
            todo = [it for it in todo if it > done]
            left = state.remaining(t)
            if left is not None:
                yield Answer(run=label.name, share=share, low_s=left.low_s, high_s=left.high_s, left_s=ended_t - t)


def _facts_of(piece: Record | tuple[StreamHeader, list[Row]]) -> Iterator[tuple[Fact, float]]:
    """One record after another, as a loop makes them, and when."""
    if isinstance(piece, Record):
        yield piece, piece.t
        return
    header, rows = piece
    for row in rows:
        yield Rows(header=header, rows=[row]), row[-1]


def _attempt_of(piece: Event | Record | tuple[StreamHeader, list[Row]]) -> int | None:
    """Of a record; an event is not asked."""
    if isinstance(piece, Event):
        return None
    return piece[0].attempt if isinstance(piece, tuple) else piece.attempt


def table(answers: Sequence[Answer]) -> list[str]:
    """By how much was done, and in all: how many answers, how many of them right, how wide they were."""
    lines = [
        "| done | answers | truth inside the range | it took longer | shorter | half of the ranges are narrower than |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for share in (*SHARES, None):
        mine = [it for it in answers if share in (it.share, None) and math.isfinite(it.high_s)]
        if not mine:
            continue
        inside, later = sum(it.is_inside for it in mine), sum(it.left_s > it.high_s for it in mine)
        widths = sorted(it.width for it in mine)
        lines.append(
            f"| {'all' if share is None else f'{share:.0%}'} | {len(mine)} | {inside / len(mine):.2f} "
            f"| {later} | {len(mine) - inside - later} | {widths[len(widths) // 2]:.0%} of their middle |"
        )
    num_open = sum(math.isinf(it.high_s) for it in answers)
    return [*lines, "", f"{num_open} answers had no upper end and are not counted."] if num_open else lines


def write(page: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the two marks of a page.

    Raises:
        ValueError: it has no such marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}; put them where the table is to stand")
    page.write_text("\n".join([before + begin, "", *lines, "", end + after]), encoding="utf-8")


def farthest(answers: Sequence[Answer], num: int = 20) -> list[str]:
    """The answers whose range was farthest from the truth, in shares of the truth."""

    def distance(answer: Answer) -> float:
        return max(answer.low_s - answer.left_s, answer.left_s - answer.high_s) / max(answer.left_s, 1e-9)

    return [
        f"{it.run} at {it.share:.0%}: {it.low_s:.2f} to {it.high_s:.2f} s, really {it.left_s:.2f} s"
        for it in sorted(answers, key=distance, reverse=True)[:num]
    ]


if __name__ == "__main__":
    sys.exit(main())
