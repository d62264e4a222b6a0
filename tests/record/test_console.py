from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph.facts.descriptor import AppendFile
from barograph.record import console
from barograph.record.console import CONTINUED, CONTINUES, MAX_LINE_CHARACTERS, ConsoleCapture, Tee

FORMAT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| (?:stdout|stderr) \| (.*)"
NOON = 1_767_268_800.0


@pytest.fixture
def screen():
    """What a person sees; see ``on_a_screen``."""
    return io.StringIO()


def on_a_screen(test):
    """Put ``screen`` in place of both original streams while the test itself runs, after pytest has set its own."""

    @functools.wraps(test)
    def wrapped(**fixtures):
        with contextlib.redirect_stdout(fixtures["screen"]), contextlib.redirect_stderr(fixtures["screen"]):
            test(**fixtures)

    return wrapped


@pytest.fixture
def log(tmp_path):
    """The file that is written."""
    return tmp_path / "console.log"


@contextlib.contextmanager
def _capturing(log, **options):
    capture = ConsoleCapture(log, **{"clock": lambda: NOON, **options})
    capture.start()
    try:
        yield capture
    finally:
        capture.stop()


def _texts(log):
    """The lines of the file without stamp and stream, after checking that each has both."""
    lines = log.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    found = [
        re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| (?:stdout|stderr) \| (.*)", line, re.DOTALL) for line in lines
    ]
    return [match[1] for match in found]


@on_a_screen
def test_what_is_printed_is_on_the_screen_and_in_the_file(screen, log):
    """The screen is as without us; the file has a stamp, in local time, and the stream's name per line."""
    with _capturing(log):
        print("loss", 0.5)
        print("watch out", file=sys.stderr)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON))
    assert screen.getvalue() == "loss 0.5\nwatch out\n"
    assert log.read_text(encoding="utf-8") == f"{stamp} | stdout | loss 0.5\n{stamp} | stderr | watch out\n"


@on_a_screen
def test_a_line_is_in_the_file_when_print_returns(screen, log):
    """Nothing waits in a buffer: a kill right after a print loses no whole line."""
    with _capturing(log):
        print("whole")
        print("not yet", end="")
        assert _texts(log) == ["whole"]
    assert _texts(log) == ["whole", "not yet"]


@on_a_screen
def test_the_lines_of_one_write_are_one_write(screen, log, monkeypatch):
    """A table of a thousand lines costs one system call, not a thousand."""
    sizes = []

    class Counting(AppendFile):
        def write(self, data):
            sizes.append(len(data))
            super().write(data)

    monkeypatch.setattr(console, "AppendFile", Counting)
    with _capturing(log):
        sys.stdout.write("".join(f"{number}\n" for number in range(1000)))
    assert [log.stat().st_size] == sizes
    assert _texts(log) == [str(number) for number in range(1000)]


@on_a_screen
def test_a_progress_bar_is_one_line_with_its_last_state(screen, log):
    """What a carriage return overwrites is on the screen for a moment and not in the file."""
    with _capturing(log):
        for percent in range(0, 101, 10):
            sys.stderr.write(f"\r{percent:3d}%|{'#' * (percent // 10)}|")
        sys.stderr.write("\n")
        sys.stderr.write("windows line\r\n")
        sys.stderr.write("\rgone\r      \rkept\n")
        sys.stderr.write("\rdone 100%\r          \r\n")
    assert _texts(log) == ["100%|##########|", "windows line", "kept", "done 100%"]
    assert screen.getvalue().count("%|") == 11


@on_a_screen
def test_escape_codes_are_taken_out_of_the_file_only(screen, log):
    """Colours, links and cursor movements are for the screen; other control characters become visible."""
    text = "\x1b[1;32mok\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x1b[2K\x1b(Bplain\ttab \x07bell \x1b"
    with _capturing(log):
        print(text)
    assert _texts(log) == ["ok link plain\ttab \\x07bell \\x1b"]
    assert screen.getvalue() == text + "\n"


@on_a_screen
def test_an_escape_code_that_comes_in_parts_is_taken_out_too(screen, log):
    """Streams cut where they like; the line is cleaned when it is whole."""
    with _capturing(log):
        for part in ("a\x1b", "[3", "1mred\x1b[", "0m b\n"):
            sys.stdout.write(part)
    assert _texts(log) == ["ared b"]


@on_a_screen
def test_text_of_any_language_is_utf8_and_stray_surrogates_are_shown(screen, log):
    """The file is valid UTF-8 whatever is printed."""
    with _capturing(log):
        print("Größe \u2028 損失 \udcff")
    assert _texts(log) == ["Größe \u2028 損失 \\udcff"]


@on_a_screen
def test_a_long_line_comes_in_marked_pieces(screen, log):
    """A line without an end is cut; the pieces fit together again."""
    line = "".join(f"{number} " for number in range(40_000)).strip()
    with _capturing(log):
        for start in range(0, len(line), 1000):
            sys.stdout.write(line[start : start + 1000])
        print()
        print("x" * MAX_LINE_CHARACTERS)
        print("short")
    *pieces, exact, short = _texts(log)
    assert len(pieces) == 4
    assert all(piece.endswith(CONTINUES) for piece in pieces[:-1])
    assert all(piece.startswith(CONTINUED) for piece in pieces[1:])
    assert "".join(piece.removesuffix(CONTINUES).removeprefix(CONTINUED) for piece in pieces) == line
    assert (exact, short) == ("x" * MAX_LINE_CHARACTERS, "short")


@pytest.mark.parametrize("piece", ["x" * 1000, "\r" + "x" * 1000, "\rx"], ids=["endless", "bar", "short bar"])
def test_memory_stays_bounded_without_a_line_end(log, monkeypatch, piece):
    """Ten megabytes without a newline keep less than a megabyte."""
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - closed below
    with _capturing(log), sys.stdout.original:
        tracemalloc.start()
        for _ in range(10_000):
            sys.stdout.write(piece)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


def _dull_lines(text):
    """The same lines by another way: all at once, character by character."""
    lines, state, last = [], "", ""
    for character in text:
        if character == "\n":
            lines.append(state or last)
            state = last = ""
        elif character == "\r":
            last = state if state.strip() else last
            state = ""
        else:
            state += character
    return lines + [state or last] * bool(state or last)


@given(writes=st.lists(st.text(st.sampled_from("ab \r\n\t"), max_size=12), max_size=12))
def test_the_lines_do_not_depend_on_how_they_were_written(tmp_path_factory, writes):
    """Any cutting of the text into writes gives the lines of the whole text."""
    log = tmp_path_factory.mktemp("console") / "console.log"
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), _capturing(log):
        for text in writes:
            assert sys.stdout.write(text) == len(text)
    assert screen.getvalue() == "".join(writes)
    assert _texts(log) == _dull_lines("".join(writes))


@on_a_screen
def test_threads_do_not_cut_each_other_s_lines(screen, log):
    """Eight threads print words one by one; every line in the file is one thread's."""

    def talk(name):
        for number in range(50):
            print(name, number, name, number)

    with _capturing(log):
        threads = [threading.Thread(target=talk, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = sorted(f"{name} {number} {name} {number}" for name in "abcdefgh" for number in range(50))
    assert sorted(_texts(log)) == expected


def test_everything_else_is_the_original_stream_s(log, monkeypatch, tmp_path):
    """Libraries that ask the stream about itself get the original's answers."""
    with (tmp_path / "out").open("w", encoding="latin-1", errors="replace") as original:
        monkeypatch.setattr(sys, "stdout", original)
        with _capturing(log):
            out = sys.stdout
            assert isinstance(out, Tee)
            assert (original.fileno(), False, "latin-1", "replace") == (
                out.fileno(),
                out.isatty(),
                out.encoding,
                out.errors,
            )
            assert (original.buffer, original.name, False) == (out.buffer, out.name, out.closed)
            out.writelines(["a\n", "b\n"])
            print("c", flush=True)
            subprocess.run([sys.executable, "-c", "print('child')"], stdout=sys.stdout, check=True)
            with pytest.raises(AttributeError, match="no attribute 'colour'"):
                _ = out.colour
            with pytest.raises(TypeError):
                out.write(5)
    assert (tmp_path / "out").read_text(encoding="latin-1") == "a\nb\nc\nchild\n"
    assert _texts(log) == ["a", "b", "c"]


def test_an_error_of_the_original_stream_stays_the_program_s(log, monkeypatch):
    """A screen that cannot show a character raises as it always did; the file has the text."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict"))
    with _capturing(log) as capture:
        with pytest.raises(UnicodeEncodeError):
            print("Größe")
        assert capture.failures == []
    assert _texts(log) == ["Größe"]


@on_a_screen
def test_log_handlers_made_meanwhile_are_captured_and_outlive_the_capture(screen, log):
    """A handler that holds our stream writes on to the original after the end."""
    with _capturing(log):
        handler = logging.StreamHandler(sys.stdout)
        handler.emit(logging.LogRecord("x", logging.INFO, "f", 1, "during", None, None))
    handler.emit(logging.LogRecord("x", logging.INFO, "f", 1, "after", None, None))
    assert screen.getvalue() == "during\nafter\n"
    assert _texts(log) == ["during"]


def test_a_stream_used_as_a_context_is_closed_as_without_us(log, monkeypatch, tmp_path):
    """`with sys.stdout:` means the original, to its end."""
    original = (tmp_path / "out").open("w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", original)
    with _capturing(log):
        with sys.stdout as out:
            assert out is sys.stdout
            print("x")
        assert original.closed
    assert _texts(log) == ["x"]


@on_a_screen
def test_a_copy_of_the_stream_goes_to_the_same_places(screen, log):
    """Libraries that copy streams get one that works."""
    with _capturing(log):
        print("copied", file=copy.copy(sys.stdout))
    assert (screen.getvalue(), _texts(log)) == ("copied\n", ["copied"])


@on_a_screen
def test_stopping_puts_the_originals_back(screen, log):
    """After the end the streams are the very same objects; starting twice changes nothing."""
    capture = ConsoleCapture(log)
    capture.start()
    tees = capture.tees
    capture.start()
    assert tees == capture.tees == (sys.stdout, sys.stderr)
    capture.stop()
    capture.stop()
    assert (screen, screen, ()) == (sys.stdout, sys.stderr, capture.tees)


@on_a_screen
def test_a_capture_can_start_again(screen, log):
    """What is printed between the two is on the screen only."""
    capture = ConsoleCapture(log, clock=lambda: NOON)
    for word in ("one", "two"):
        capture.start()
        print(word)
        capture.stop()
        print("between")
    assert _texts(log) == ["one", "two"]
    assert screen.getvalue() == "one\nbetween\ntwo\nbetween\n"


@on_a_screen
def test_a_stream_that_somebody_else_put_there_stays(screen, log):
    """Stopping restores only what is still ours."""
    other = io.StringIO()
    with _capturing(log), contextlib.redirect_stdout(other):
        print("elsewhere")
    assert sys.stdout is screen
    capture = ConsoleCapture(log)
    capture.start()
    sys.stdout = other
    capture.stop()
    assert (other, screen) == (sys.stdout, sys.stderr)
    sys.stdout = screen


@pytest.mark.parametrize("first_ends_first", [True, False])
@on_a_screen
def test_two_captures_end_in_either_order(screen, tmp_path, first_ends_first):
    """Two runs in one process: each has what was printed during it, and nothing of ours is left behind."""
    first, second = (ConsoleCapture(tmp_path / name) for name in ("a.log", "b.log"))
    first.start()
    print("one")
    second.start()
    print("two")
    for capture in (first, second) if first_ends_first else (second, first):
        capture.stop()
        print("after")
    assert (screen, screen) == (sys.stdout, sys.stderr)
    assert screen.getvalue() == "one\ntwo\nafter\nafter\n"
    after = [] if first_ends_first else ["after"]
    assert _texts(tmp_path / "a.log") == ["one", "two", *after]
    assert _texts(tmp_path / "b.log") == ["two", *(["after"] if first_ends_first else [])]


@on_a_screen
def test_a_torn_last_line_of_an_earlier_attempt_is_ended_first(screen, log):
    """Appending after a kill does not glue a new line to half an old one."""
    log.write_bytes(b"2026-01-01 00:00:00 | stdout | torn")
    with _capturing(log):
        print("new")
    assert _texts(log) == ["torn", "new"]


@on_a_screen
def test_a_route_gets_the_text_instead_of_the_screen(screen, log):
    """A live view takes what is printed and shows it above its bar; the file has it all the same."""
    above = io.StringIO()
    with _capturing(log):
        sys.stdout.route = above
        print("routed", flush=True)
        sys.stdout.route = None
        print("direct")
    assert (above.getvalue(), screen.getvalue()) == ("routed\n", "direct\n")
    assert _texts(log) == ["routed", "direct"]


class BrokenRoute(io.StringIO):
    """A view that fails."""

    def write(self, _text):
        """Fail."""
        raise RuntimeError("the view is broken")


@on_a_screen
def test_a_route_that_raises_is_dropped_and_told_once(screen, log):
    """The text falls back to the screen, whole, and the program that prints notices nothing."""
    errors = []
    with _capturing(log, on_error=errors.append) as capture:
        sys.stdout.route = BrokenRoute()
        print("a", "b")
        print("c")
        assert sys.stdout.route is None
        assert capture.failures == ["RuntimeError: the view is broken"]
    assert screen.getvalue() == "a b\nc\n"
    assert [str(error) for error in errors] == ["the view is broken"]
    assert _texts(log) == ["a b", "c"]


@on_a_screen
def test_a_route_that_fails_at_flush_is_dropped_too(screen, log):
    """Flushing is guarded like writing."""

    class Unflushable(io.StringIO):
        def flush(self):
            raise OSError("cannot flush")

    with _capturing(log) as capture:
        sys.stdout.route = Unflushable()
        sys.stdout.flush()
        assert (sys.stdout.route, len(capture.failures)) == (None, 1)
    assert screen.getvalue() == ""


@on_a_screen
def test_a_route_that_prints_does_not_loop(screen, log):
    """What a route itself prints goes to the screen and is not collected a second time."""

    class Printing(io.StringIO):
        def write(self, text):
            print(f"<{text}>", end="")
            return len(text)

    with _capturing(log):
        sys.stdout.route = Printing()
        sys.stdout.write("x\n")
    assert screen.getvalue() == "<x\n>"
    assert _texts(log) == ["x"]


@on_a_screen
def test_an_error_callback_that_prints_does_not_loop(screen, log):
    """Reporting a failure on the very streams that failed ends."""
    with _capturing(log, on_error=lambda error: print("failed:", error)):
        sys.stdout.route = BrokenRoute()
        sys.stderr.route = BrokenRoute()
        print("x")
        print("y", file=sys.stderr)
    assert screen.getvalue() == "failed: the view is broken\nx\nfailed: the view is broken\ny\n"
    assert _texts(log) == ["failed: the view is broken", "x", "failed: the view is broken", "y"]


@on_a_screen
def test_an_error_callback_that_raises_does_not_reach_the_program(screen, log):
    """Its own failure is kept beside the first one."""

    def complain(_error):
        raise ValueError("cannot tell")

    with _capturing(log, on_error=complain) as capture:
        sys.stdout.route = BrokenRoute()
        print("x")
        assert capture.failures == [
            "RuntimeError: the view is broken",
            "the error callback raised ValueError: cannot tell",
        ]
    assert screen.getvalue() == "x\n"


@on_a_screen
def test_a_full_disk_ends_the_file_once_and_printing_goes_on(screen, tmp_path):
    """The device that is always full stands for the disk; the callback prints, and nothing loops."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - one check
        pytest.skip("this system has no /dev/full")
    link = tmp_path / "console.log"
    link.symlink_to("/dev/full")
    errors = []
    with _capturing(link, on_error=lambda error: (errors.append(error), print("no space"))):
        for number in range(3):
            print(number)
    assert screen.getvalue() == "0\nno space\n1\n2\n"
    assert [error.errno for error in errors] == [28]


@on_a_screen
def test_an_error_callback_may_wait_for_a_thread_that_prints(screen, tmp_path):
    """The callback is called without a lock of ours, so a thread that holds what it needs can print and go on."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - one check
        pytest.skip("this system has no /dev/full")
    (tmp_path / "console.log").symlink_to("/dev/full")
    finished = []

    def wait_for_another(_error):
        # It enters the capture as a thread does that was at the door when the file failed.
        other = threading.Thread(target=lambda: (capture._lock.acquire(), capture._lock.release()), daemon=True)
        other.start()
        other.join(10)
        finished.append(not other.is_alive())

    with _capturing(tmp_path / "console.log", on_error=wait_for_another) as capture:
        print("x")
    assert finished == [True]


@on_a_screen
def test_a_file_that_cannot_be_opened_leaves_printing_as_it_was(screen, tmp_path):
    """The reason is told at the start; the streams work, routes included."""
    errors = []
    with _capturing(tmp_path / "missing" / "console.log", on_error=errors.append):
        print("x")
    assert screen.getvalue() == "x\n"
    assert [FileNotFoundError] == [type(error) for error in errors]


@on_a_screen
def test_printing_from_inside_of_the_capture_waits_its_turn(screen, log):
    """A signal handler or finaliser that prints while a line is being written neither blocks nor tears it."""
    inside = iter(["inner\n"])

    def clock():
        for text in inside:
            sys.stdout.write(text)
        return NOON

    with _capturing(log, clock=clock):
        print("outer")
        assert _texts(log) == ["outer", "inner"]


@on_a_screen
def test_stopping_from_inside_of_the_capture_ends_it_after_the_line(screen, log):
    """A handler that ends the run in the middle of a print loses nothing of that print."""
    capture = ConsoleCapture(log, clock=lambda: (capture.stop(), NOON)[1])
    capture.start()
    sys.stdout.write("whole\nunfinished")
    assert _texts(log) == ["whole", "unfinished"]
    assert (screen, []) == (sys.stdout, capture.failures)


@on_a_screen
def test_a_real_signal_handler_that_prints_is_captured(screen, log):
    """A timer interrupts a printing loop hundreds of times; every line is whole and none is lost."""
    ticks = []

    def tick(_number, _frame):
        mine = len(ticks)
        ticks.append(mine)
        sys.stdout.write(f"tick {mine}\n")  # print writes twice, and the next tick may come in between

    previous = signal.signal(signal.SIGALRM, tick)
    with _capturing(log):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for number in range(2000):
                sys.stdout.write(f"line {number}\n")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    expected = [f"line {number}" for number in range(2000)] + [f"tick {number}" for number in ticks]
    assert ticks
    assert sorted(expected) == sorted(_texts(log))


FORK = """
import os, sys, threading, time
from pathlib import Path
from barograph.record.console import ConsoleCapture

class Deaf:
    def write(self, text): os.write(2, b"route\\n")
    def flush(self): pass

capture = ConsoleCapture(Path(sys.argv[1]))
capture.start()
print("parent before", flush=True)
capture._lock.acquire()  # as when another thread is printing at the moment of the fork
sys.stdout.route = Deaf()
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    capture.stop()
    print("child after", flush=True)
    os._exit(0)
_, status = os.waitpid(pid, 0)
sys.stdout.route = None
capture._lock.release()
print("parent after", status, flush=True)
capture.stop()
"""


def test_a_forked_child_prints_and_leaves_the_file_to_its_parent(log):
    """Even when the lock was held at the fork, and a route was set, the child neither hangs nor writes."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(log)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "parent before\nchild\nchild after\nparent after 0\n"
    assert done.stderr == ""
    assert _texts(log) == ["parent before", "parent after 0"]


def test_a_process_without_streams_still_has_a_console_log(log, tmp_path):
    """Started with both streams closed, as some services are, prints are kept and nothing raises."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom barograph.record.console import ConsoleCapture\n"
        "assert sys.stdout is None and sys.stderr is None\ncapture = ConsoleCapture(Path(sys.argv[1]))\n"
        "capture.start()\nprint('heard')\nassert not sys.stdout.isatty()\nsys.stdout.flush()\n"
        "print('also', file=sys.stderr)\ncapture.stop()\nassert sys.stdout is None and sys.stderr is None\n"
    )
    program = tmp_path / "quiet.py"
    program.write_text(script, encoding="utf-8")
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, str(program), str(log)], check=False)
    assert done.returncode == 0
    assert _texts(log) == ["heard", "also"]


def test_a_child_killed_right_after_a_print_leaves_every_whole_line(log):
    """`kill -9` loses no line that print had returned for."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom barograph.record.console import ConsoleCapture\n"
        "ConsoleCapture(Path(sys.argv[1])).start()\n"
        "for number in range(500): print(number)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(log)], capture_output=True, check=False)
    assert done.returncode == -9
    assert _texts(log) == [str(number) for number in range(500)]


def test_a_capture_costs_a_print_little(log, monkeypatch):
    """A print to nowhere takes at most 200 us on the processor's clock, as the median of 2 000."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", nowhere)
        with _capturing(log, clock=time.time):
            costs = []
            for number in range(2000):
                started = time.thread_time_ns()
                print("step", number, "loss", 0.5)
                costs.append(time.thread_time_ns() - started)
    assert sorted(costs)[1000] < 200_000


def test_overlapping_captures_do_not_add_up(tmp_path, monkeypatch):
    """Captures that end while the next one has begun leave nothing in the chain."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    last = ConsoleCapture(tmp_path / "0.log")
    last.start()
    for number in range(1, 5):
        capture = ConsoleCapture(tmp_path / f"{number}.log")
        capture.start()
        last.stop()
        last = capture
    assert sys.stdout.original is out
    print("x")
    last.stop()
    assert sys.stdout is out
    assert out.getvalue() == "x\n"
