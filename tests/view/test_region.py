"""Lines that stay at the bottom while others print above them."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.view.terminal.region import MAX_PENDING_CHARS, LiveRegion


def screen(output):
    """What a terminal shows after ``output``: a dull one that knows newline, return, clear line and cursor up."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[2K|\x1b\[1A|\x1b\[[0-9;]*m|[\s\S]", output):
        if token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token == "\x1b[1A":
            row -= 1
        elif not token.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
    below = lines[row + 1 :]
    return [line.rstrip() for line in (lines if any(below) else lines[: row + 1])]


@pytest.fixture
def terminal():
    """A stream to draw on."""
    return io.StringIO()


def test_what_others_print_stands_above(terminal):
    """The region stays below three prints and a change of its own."""
    region = LiveRegion(terminal)
    region.write("before\n")
    region.draw(["bar 1", "metrics"])
    region.write("one\ntwo\n")
    region.draw(["bar 2"])
    region.write("three\n")
    assert screen(terminal.getvalue()) == ["before", "one", "two", "three", "bar 2"]


def test_an_unfinished_line_is_seen_and_kept_apart_from_whole_ones(terminal):
    """A prompt is visible at once; lines of the view do not glue themselves to it."""
    region = LiveRegion(terminal)
    region.draw(["bar"])
    region.write("continue? ")
    assert screen(terminal.getvalue()) == ["continue?", "bar"]
    region.insert("a block\n")
    assert screen(terminal.getvalue()) == ["a block", "continue?", "bar"]
    region.write("yes\n")
    assert screen(terminal.getvalue()) == ["a block", "continue? yes", "bar"]


def test_a_foreign_progress_bar_moves_in_its_own_line(terminal):
    """Only its latest state is shown, and its last one stays."""
    region = LiveRegion(terminal)
    region.draw(["bar"])
    for percent in ("10%", "20%", "30%"):
        region.write(f"\r{percent}")
        assert [percent, "bar"] == screen(terminal.getvalue())
    region.write("\n")
    assert screen(terminal.getvalue()) == ["30%", "bar"]


def test_colours_pass_and_cursor_movements_do_not(terminal):
    """A foreign program's idea of where the cursor is would destroy the region."""
    region = LiveRegion(terminal)
    region.draw(["bar"])
    region.write("\x1b[31mred\x1b[0m\x1b[A\x1b[2J\x1b[10;5H\x1b[K\n")
    assert "\x1b[31mred\x1b[0m\nbar" in terminal.getvalue()
    assert screen(terminal.getvalue()) == ["red", "bar"]


@pytest.mark.parametrize(
    ("text", "shown"), [("x" * 100, "x" * 20), ("\u65e5" * 15, "\u65e5" * 10), ("a\tb\x07", "a       b\\x07")]
)
def test_an_unfinished_line_never_wraps(terminal, text, shown):
    """It is cut to the width, in columns, since a wrapped line could not be cleared."""
    region = LiveRegion(terminal)
    region.draw(["bar"], width=20)
    region.write(text)
    assert [shown, "bar"] == screen(terminal.getvalue())
    region.write("\n")
    assert text in terminal.getvalue()


def test_a_line_without_end_is_not_kept_without_end(terminal):
    """Beyond 64 KiB it is printed as it is, and memory is free again."""
    region = LiveRegion(terminal)
    region.draw(["bar"])
    region.write("x" * (MAX_PENDING_CHARS + 1))
    assert region._pending == ""
    assert screen(terminal.getvalue()) == ["x" * (MAX_PENDING_CHARS + 1), "bar"]


def test_closing_takes_the_region_away_and_keeps_every_character(terminal):
    """The unfinished line stays, later text goes on behind it, and closing twice is once."""
    region = LiveRegion(terminal)
    region.draw(["bar", "metrics"])
    region.write("line\nunfin")
    region.close()
    region.close()
    region.draw(["bar"])
    region.write("ished\n")
    region.insert("more\n")
    assert screen(terminal.getvalue()) == ["line", "unfinished", "more", ""]


def test_the_same_lines_are_not_drawn_again(terminal):
    """A terminal that has nothing new receives nothing."""
    region = LiveRegion(terminal)
    region.draw(["bar"])
    size = len(terminal.getvalue())
    region.draw(["bar"])
    assert size == len(terminal.getvalue())


texts = st.text(alphabet="ab\n", max_size=12)
bars = st.lists(st.sampled_from(["bar", "metrics", "x" * 30]), max_size=2)


@given(st.lists(st.one_of(st.tuples(st.just("write"), texts), st.tuples(st.just("draw"), bars)), max_size=30))
def test_any_interleaving_keeps_all_text_in_order_and_the_region_below(steps):
    """What a terminal shows is what was printed, as if alone, and then the region as it was drawn last."""
    output, printed, lines = io.StringIO(), "", []
    region = LiveRegion(output)
    for what, value in steps:
        if what == "write":
            region.write(value)
            printed += value
        else:
            region.draw(value)
            lines = value
    alone = printed.split("\n")
    unfinished = alone if alone[-1] or not lines else alone[:-1]
    assert [*unfinished, *lines] == screen(output.getvalue())
    region.close()
    assert alone == screen(output.getvalue())


def test_threads_do_not_tear_each_others_lines(terminal):
    """Four threads print while another draws: each line is whole, and the region is below."""
    region = LiveRegion(terminal)
    stop = threading.Event()

    def draw():
        count = 0
        while not stop.is_set():
            count += 1
            region.draw([f"bar {count}", "metrics"])

    def work(name):
        for index in range(200):
            region.write(f"{name}-{index}\n")

    drawer = threading.Thread(target=draw)
    workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as unlucky as threads can be
    try:
        for thread in (drawer, *workers):
            thread.start()
        for thread in workers:
            thread.join()
    finally:
        stop.set()
        sys.setswitchinterval(interval_s)
    drawer.join()
    region.draw(["last"])
    shown = screen(terminal.getvalue())
    assert sorted(f"{name}-{index}" for name in "abcd" for index in range(200)) == sorted(shown[:-1])
    assert shown[-1] == "last"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork beside a thread is the point
def test_a_forked_child_prints_although_its_parent_holds_the_lock(tmp_path):
    """A data loader's worker is not blocked by a lock that nobody will release."""
    path = tmp_path / "terminal.txt"
    with path.open("w", encoding="utf-8") as stream:
        region = LiveRegion(stream)
        region.draw(["bar"])
        held, release = threading.Event(), threading.Event()

        def hold():
            with region._lock:
                held.set()
                release.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child = os.fork()
        if child == 0:
            region.write("\nfrom the child\n")
            region.insert("and more\n")
            region.draw(["never seen"])
            region.close()
            os._exit(0)
        status = _wait(child, timeout_s=10.0)
        release.set()
        holder.join()
        region.close()
    assert status == 0
    text = path.read_text(encoding="utf-8")
    assert "\nfrom the child\nand more\n" in text
    assert "never seen" not in text


def _wait(child, *, timeout_s):
    """The child's status; one that hangs is killed, which its status tells."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]
