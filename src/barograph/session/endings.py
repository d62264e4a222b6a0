"""How processes end: normally, by an exception, by a signal, or as the child of a fork. Recorded, never changed.

Hooks are installed once per process and chain to what was there before: SIGTERM still kills, SIGINT still raises
KeyboardInterrupt, a script's own handler still runs. SIGUSR1, which Slurm sends before the time limit, would kill a
process that does not expect it; with a run open it asks training to stop (``run.should_stop()``) instead.
"""

from __future__ import annotations

import _sitebuiltins
import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple

from barograph.facts.kinds import OnSignal, as_payload
from barograph.record.run import Run, format_error, outcome_of_exit
from barograph.session.companion import hurry

SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGUSR1")
INSIDE: Final = ("barograph.", "loguru.", "rich.")
PATIENCE_S: Final = 0.2
RETRY_S: Final = 0.001


class _Outcome(NamedTuple):
    """What the process said last about its end, and how many records each open run had then."""

    status: str
    reason: str | None
    num_records: dict[str, int]


_runs: list[Run] = []
_outcome: list[_Outcome] = []
_previous: dict[int, list[Any]] = {}
"""By signal: the handlers that were found, oldest first; a later one may call ours, which then stands for the one
before it."""
_handing_on: dict[int, list[FrameType | None]] = {}
"""By signal: where each of the handlers that are running now was interrupted."""
_patience_ends_s: dict[int, float] = {}
_installed = False


def watch_over(run: Run) -> None:
    """Record how this process ends, for as long as the run is open; a run that nobody else holds is open too."""
    _runs[:] = [*_open_runs(), run]
    _install()
    _install_signals()


def _install() -> None:
    global _installed  # noqa: PLW0603 - hooks of a process are global by nature
    if _installed:
        return
    _installed = True
    atexit.register(_at_exit)
    os.register_at_fork(after_in_child=_after_fork)
    _chain_excepthook()
    _chain_thread_excepthook()
    _chain_exit()


def _open_runs() -> list[Run]:
    return [run for run in list(_runs) if run.status == "running"]


def _note(status: str, reason: str | None) -> None:
    _outcome[:] = [_Outcome(status, reason, {run.id: run.ledger.log_calls for run in _open_runs()})]


def _at_exit() -> None:
    for run in _open_runs():
        run.finish(*_outcome_of(run))


def _outcome_of(run: Run) -> tuple[str, str | None]:
    """What was noted last; a run that went on logging afterwards was not ended by it (``except SystemExit``)."""
    for noted in _outcome:
        if run.ledger.log_calls == noted.num_records.get(run.id):
            return noted.status, noted.reason
    return "finished", None


def _after_fork() -> None:
    for run in _open_runs():
        run.after_fork_in_child()


def _chain_excepthook() -> None:
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _record_uncaught(error.with_traceback(trace))
        previous(kind, error, trace)

    sys.excepthook = hook


def _chain_thread_excepthook() -> None:
    previous = threading.excepthook

    def hook(args: Any) -> None:  # threading.ExceptHookArgs has no name that can be annotated at run time
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):  # which ends a thread quietly
            for run in _open_runs():
                run.record_exception(args.exc_value, format_error(args.exc_value))
        previous(args)

    threading.excepthook = hook


def _chain_exit() -> None:
    """``sys.exit(1)`` and ``exit(1)`` reach ``atexit`` without their code, so the code is noted on the way.

    A ``raise SystemExit(1)`` outside of a ``with`` block cannot be seen: no hook is told of it, and the run is
    recorded as finished.
    """
    previous = sys.exit
    quitter: Any = _sitebuiltins.Quitter  # the type of ``exit`` and ``quit``
    previous_call = quitter.__call__

    def note(code: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            _note(*outcome_of_exit(code))

    def noted_exit(code: Any = None, /) -> None:
        note(code)
        previous(code)

    def noted_call(self: Any, code: Any = None) -> None:
        note(code)
        previous_call(self, code)

    sys.exit = noted_exit  # type: ignore[assignment]
    quitter.__call__ = noted_call


def _record_uncaught(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        _note("killed", "SIGINT")
        return
    for run in _open_runs():
        run.record_exception(error, format_error(error))
    _note("failed", f"{type(error).__name__}: {error}")


def _install_signals() -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may; the run then ends as the process does
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is None:
            continue
        current = signal.getsignal(number)
        if current is not _on_signal and current not in (signal.SIG_IGN, None):
            _previous[number] = [*(known for known in _previous.get(number, []) if known != current), current]
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    frames = _handing_on.get(number, [])
    if frames and frame in (None, frames[-1]):  # a script's handler calls the one that it found: this one
        _end_by(number, frames[-1])
        _hand_on(number, frames[-1], expected=_asks_to_stop(number))
        return
    if not _asks_to_stop(number):
        hurry()
    runs = [run for run in _open_runs() if not run.is_fork]
    if not runs:  # a signal that came while a run was open has been answered by its end
        was_postponed = _patience_ends_s.pop(number, None) is not None
        _hand_on(number, frame, expected=was_postponed and _asks_to_stop(number))
        return
    handling = [True]  # until this handler returns; what waits for a run to be free is done later
    _when_all_free(runs, lambda: _act(runs, number, frame, is_handling=bool(handling)))
    handling.clear()


def _is_inside(frame: FrameType | None) -> bool:
    """Whether the signal interrupted code that holds locks of the recorder or of what shows and logs."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(INSIDE):
            return True
        frame = frame.f_back
    return False


def _postpone(number: int) -> bool:
    """Send the signal again in a moment; False when that has gone on for too long.

    So a handler never waits for a lock that the interrupted code holds, and what a script's own handler raises comes
    up in the script, not in the middle of the recorder.
    """
    now_s = time.monotonic()
    if now_s >= _patience_ends_s.setdefault(number, now_s + PATIENCE_S):
        return False
    _thread.start_new_thread(_send_again, (number,))  # threading's own locks may be held by the interrupted code
    return True


def _send_again(number: int) -> None:
    time.sleep(RETRY_S)
    os.kill(os.getpid(), number)


def _when_all_free(runs: list[Run], action: Callable[[], object]) -> None:
    """Run the action when none of the runs is in the middle of an append or of its ``finish``."""
    if runs:
        runs[0].when_free(lambda: _when_all_free(runs[1:], action))
    else:
        action()


def _act(runs: list[Run], number: int, frame: FrameType | None, *, is_handling: bool) -> None:
    if threading.current_thread() is not threading.main_thread():
        os.kill(os.getpid(), number)  # it waited for a finish() in this thread; handlers are the main thread's
        return
    if is_handling and _is_inside(frame) and _postpone(number):
        return
    _patience_ends_s.pop(number, None)
    for run in runs:
        _record_signal(run, number)
    _end_by(number, frame)
    _hand_on(number, frame, expected=_asks_to_stop(number))


def _asks_to_stop(number: int) -> bool:
    return number == getattr(signal, "SIGUSR1", None)


def _record_signal(run: Run, number: int) -> None:
    if run.status != "running":
        return
    name = signal.Signals(number).name
    run.record_signal(as_payload(OnSignal(signal=number, name=name)))
    if name == "SIGUSR1":
        run.request_stop(name)


def _end_by(number: int, frame: FrameType | None) -> None:
    """End the open runs when the signal is about to kill the process."""
    if number == signal.SIGTERM and _next_handler(number, frame) is signal.SIG_DFL:
        for run in _open_runs():
            if not run.is_fork:
                run.finish("killed", signal.Signals(number).name)


def _next_handler(number: int, frame: FrameType | None) -> Any:
    """Whom the signal is handed to next: the handler before the one that it was handed to already."""
    handlers = _previous.get(number, [])
    depth = sum(handled is frame for handled in _handing_on.get(number, []))
    return handlers[-1 - depth] if depth < len(handlers) else signal.SIG_DFL


@contextmanager
def _handed_on(number: int, frame: FrameType | None) -> Iterator[None]:
    frames = _handing_on.setdefault(number, [])
    frames.append(frame)
    try:
        yield
    finally:
        frames.pop()


def _hand_on(number: int, frame: FrameType | None, *, expected: bool) -> None:
    """Do what would have been done without us; a signal that asks training to stop has been answered."""
    previous = _next_handler(number, frame)
    if callable(previous):
        with _handed_on(number, frame):
            previous(number, frame)
    elif not expected:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
