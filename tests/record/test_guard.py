"""The guarded boundary: what fails in the recorder is counted and named once, and never reaches training."""

from __future__ import annotations

import errno
import threading
import warnings

import pytest

from barograph.errors import InvalidMetricError, RecordingError, RecordingWarning
from barograph.record.guard import Guard


@pytest.fixture
def caught():
    """The warnings of a test, as they come."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def fail(guard, part="metrics", error=None, **options):
    """Let something fail inside the boundary."""
    with guard.boundary(part, **options):
        raise error or OSError(errno.ENOSPC, "No space left on device")


def test_failure_ends_at_the_boundary(caught):
    """A failure is counted with the facts it cost; what comes after goes on."""
    guard = Guard()
    fail(guard, lost=3)
    assert (guard.lost, guard.num_failures) == (3, 1)
    assert guard.failures == {"metrics": "OSError: [Errno 28] No space left on device"}


def test_each_part_is_reported_once(caught):
    """A part that fails a thousand times is named once; another part is named too."""
    guard = Guard()
    for _ in range(1000):
        fail(guard, lost=1)
    fail(guard, "events", lost=1)
    assert (guard.lost, guard.num_failures) == (1001, 1001)
    assert [str(warning.message).split(" failed")[0] for warning in caught] == [
        "barograph: recording of metrics",
        "barograph: recording of events",
    ]
    assert all(warning.category is RecordingWarning for warning in caught)


def test_report_says_what_and_what_next(caught):
    """The warning names the part, the error and the next step."""
    fail(Guard())
    (warning,) = caught
    text = str(warning.message)
    assert "OSError: [Errno 28] No space left on device. Training goes on" in text
    assert "Next: free the cause (disk, quota, permissions), then look at `barograph check`" in text


def test_first_failure_is_kept(caught):
    """Of a part's failures the first is kept: it is the one that explains the rest."""
    guard = Guard()
    fail(guard, error=ValueError("first"))
    fail(guard, error=KeyError("second"))
    assert guard.failures == {"metrics": "ValueError: first"}


def test_report_becomes_an_event(caught):
    """The report is handed on with the stack trace, once."""
    guard, reported = Guard(), []
    guard.report = lambda *story: reported.append(story)
    fail(guard)
    fail(guard)
    ((part, error, trace),) = reported
    assert (part, error.errno) == ("metrics", errno.ENOSPC)
    assert "in fail" in trace


def test_report_that_fails_too(caught):
    """When even the report cannot be written, that is noted and nothing is raised."""
    guard = Guard()

    def report(*_story):
        fail(guard, "events", lost=1)
        raise OSError(errno.EIO, "still no disk")

    guard.report = report
    fail(guard, lost=1)
    assert list(guard.failures) == ["metrics", "events", "metrics (report)"]
    assert (guard.lost, len(caught)) == (2, 2)


def test_misuse_passes():
    """What the caller did wrong is no failure of the recorder: it raises at once and is not counted."""
    guard = Guard()
    with pytest.raises(InvalidMetricError):
        fail(guard, error=InvalidMetricError("metric 'loss' is a str"), lost=1)
    assert (guard.lost, guard.num_failures, guard.failures) == (0, 0, {})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_a_process_passes(error):
    """Ctrl-C and ``sys.exit`` are no failures either."""
    guard = Guard()
    with pytest.raises(type(error)):
        fail(guard, error=error, lost=1)
    assert guard.num_failures == 0


def test_strict_raises(caught):
    """With ``strict`` every failure raises, with its cause and the way out; it is counted all the same."""
    guard = Guard(strict=True)
    for _ in range(2):
        with pytest.raises(
            RecordingError, match=r"could not record \(metrics\): .*No space left.*use strict=False"
        ) as raised:
            fail(guard, lost=1)
        assert isinstance(raised.value.__cause__, OSError)
    assert (guard.lost, len(caught)) == (2, 1)


def test_strict_in_the_background(caught):
    """With ``strict`` a background thread's first failure is raised where the run ends, once."""
    guard = Guard(strict=True)

    def work():
        guard.run_in_background()
        fail(guard, "terminal", error=ValueError("first"))
        fail(guard, "text log", error=ValueError("second"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(RecordingError, match=r"could not record \(terminal\): first"):
        guard.raise_deferred()
    guard.raise_deferred()


def test_warnings_as_errors():
    """Where warnings are errors, the report is one: that is what was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RecordingWarning):
            fail(Guard())


def test_failures_of_several_threads(caught):
    """Failures that happen at once in several threads are all counted."""
    guard = Guard()
    threads = [threading.Thread(target=lambda: [fail(guard, lost=2) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (guard.lost, guard.num_failures, len(caught)) == (1600, 800, 1)
