"""The view as a consumer of facts."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from barograph.errors import MisuseError
from barograph.view.terminal.blocks import example_block
from barograph.view.terminal.lines import read_payload
from barograph.view.terminal.view import TerminalView

SYMBOL = "\N{WHITE HEAVY CHECK MARK}"


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.t = 0.0

    def __call__(self):
        """The time that was set."""
        return self.t


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """It says so."""
        return True


@pytest.fixture
def clock():
    """Seconds that never go back."""
    return Clock()


def plain_view(clock, **options):
    """A plain view and the stream that it writes to."""
    stream = io.StringIO()
    return TerminalView(stream, mode="plain", clock=clock, now=lambda: 1000.0 + clock.t, **options), stream


@pytest.mark.spec("S2.21", "S2.38")
def test_plain_view_shows_a_run_from_start_to_end(make, clock):
    """Start, blocks, epochs, checks, alerts, last progress line, end: in their order."""
    view, stream = plain_view(clock)
    fast, full = make.fast(), make.full()
    view.feed([make.start(total_steps=200)])
    view.feed([make.rows((10, 0.5, 1010.0)), fast])
    view.feed(
        [full, make.event("on_epoch_end", epoch=0, train_loss=0.2), make.event("on_check", name="n", passed=True)]
    )
    view.feed([make.event("alert", title="plateau", level="info"), make.rows((200, 0.1, 1200.0))])
    view.feed([make.event("on_train_end", status="finished", total_time_s=200.0)])
    view.close()
    assert [
        "run digits started: 200 steps",
        *example_block(read_payload(fast)).split("\n"),
        *example_block(read_payload(full)).split("\n"),
        "epoch 0  train_loss 0.2",
        f"{SYMBOL} check n passed",
        "\N{WARNING SIGN}\ufe0f ALERT [info] plateau",
        "[##########] 100% step 200/200 epochs 1 loss 0.1",
        "finished after 3 min 20 s",
    ] == stream.getvalue().splitlines()


@pytest.mark.spec("S2.22", "S3.14")
def test_progress_lines_come_at_most_every_interval_and_only_when_there_is_news(make, clock):
    """Ten seconds pass between two of them, and a run that stands still repeats nothing."""
    view, stream = plain_view(clock)
    view.feed([make.start(total_steps=1000)])
    for step in range(1, 101):
        clock.t = step / 2
        view.feed([make.rows((step, 0.5, 1000.0 + clock.t))])
    progress = [line for line in stream.getvalue().splitlines() if line.startswith("[")]
    assert [line.split()[1] for line in progress] == ["2%", "4%", "6%", "8%", "10%"]
    assert progress[-1] == "[#---------] 10% step 100/1000 loss 0.5 eta 7-8 min"
    clock.t = 1000.0
    view.feed([])
    assert sum(line.startswith("[") for line in stream.getvalue().splitlines()) == 5


def test_blocks_begin_on_a_line_of_their_own(make, clock):
    """What a program printed through the view without a newline does not stand before a block."""
    view, stream = plain_view(clock)
    view.above.write("loading ...")
    view.feed([make.event("on_check", name="n", passed=True)])
    view.print_above("a note")
    assert f"loading ...\n{SYMBOL} check n passed\na note\n" == stream.getvalue()


@pytest.mark.parametrize(
    ("stream", "mode", "term", "expected"),
    [
        (io.StringIO(), "auto", "xterm", "plain"),
        (Terminal(), "auto", "xterm-256color", "rich"),
        (Terminal(), "auto", "dumb", "plain"),
        (Terminal(), "auto", None, "plain"),
        (Terminal(), "plain", "xterm", "plain"),
        (io.StringIO(), "rich", None, "rich"),
        (Terminal(), "off", "xterm", "off"),
        (None, "auto", "xterm", "off"),
    ],
)
def test_auto_is_rich_on_a_terminal_that_moves_its_cursor(stream, mode, term, expected):
    """A pipe, a dumb terminal and no stream at all are told apart."""
    environ = {} if term is None else {"TERM": term}
    assert expected == TerminalView(stream, mode=mode, environ=environ).mode


def test_an_unknown_mode_is_refused():
    """The message names it and the four there are."""
    with pytest.raises(MisuseError, match=r"'fancy' is unknown; choose one of auto, rich, plain, off"):
        TerminalView(io.StringIO(), mode="fancy")


def test_a_view_that_is_off_shows_nothing_and_lets_others_print(make):
    """Facts make no output; what is printed above goes to the stream."""
    stream = io.StringIO()
    view = TerminalView(stream, mode="off")
    view.feed([make.start(), make.full()])
    view.print_above("a print")
    view.close()
    assert stream.getvalue() == "a print\n"


def test_a_process_without_a_console_is_served(make):
    """With no stream there is nothing to print above, and nothing fails."""
    view = TerminalView(None)
    view.feed([make.start(), make.full()])
    view.print_above("lost")
    view.close()
    assert view.above is None


@pytest.mark.spec("S3.60")
def test_strange_facts_do_not_end_the_view(make, clock):
    """Events of unknown moments, without their keys, or with keys of another type are shown as they are."""
    view, stream = plain_view(clock)
    view.feed(
        [
            make.event("on_start"),
            make.event("on_example", step="x"),
            make.event("on_train_end"),
            make.event("from_the_future", a=1),
            make.event("on_epoch_end", epoch=0),
        ]
    )
    assert stream.getvalue().splitlines() == [
        "event on_start",
        "event on_example step=x",
        "event on_train_end",
        "event from_the_future a=1",
        "epoch 0",
    ]


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_a_closed_stream_is_reported_to_whoever_feeds(make, mode):
    """The view swallows nothing: its caller decides what to do without it."""
    stream = io.StringIO()
    view = TerminalView(stream, mode=mode)
    stream.close()
    with pytest.raises(ValueError, match="closed file"):
        view.feed([make.start()])


def test_the_bar_is_redrawn_twice_a_second_at_most(make, clock):
    """A thousand facts in a second cost two drawings."""
    stream = Terminal()
    view = TerminalView(stream, mode="rich", clock=clock, environ={"TERM": "xterm"})
    view.feed([make.start(total_steps=1000)])
    drawn = []
    for step in range(1, 1001):
        clock.t = step / 1000
        size = len(stream.getvalue())
        view.feed([make.rows((step, 0.5, 1000.0 + step))])
        if len(stream.getvalue()) > size:
            drawn.append(step)
    assert drawn == [500, 1000]
    assert "step 1000/1000" in stream.getvalue()


def test_plain_view_sends_no_control_codes_and_loads_no_rich():
    """A batch job pays nothing for the bar that it cannot have."""
    code = """
import io, sys
from barograph.facts.kinds import Event
from barograph.view.terminal.view import TerminalView
for mode in ("plain", "rich"):
    stream = io.StringIO()
    view = TerminalView(stream, mode=mode)
    if mode == "rich":
        assert "rich" not in sys.modules, "a view that has drawn nothing has loaded nothing"
    view.feed([Event(moment="on_start", seq=0, t=0.0, payload={"run_id": "r", "name": "n"})])
    view.close()
    print(mode, "rich" in sys.modules, "\\x1b" in stream.getvalue())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plain False False", "rich True True"]
