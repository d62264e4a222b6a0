"""The one guarded boundary: what fails in the recorder never reaches the training loop.

A failure is reported once per part (a warning on stderr and an event), counted, and what failed is skipped or
detached; training goes on. With ``strict`` it raises ``RecordingError`` instead. Misuse by the caller is no failure
of the recorder: it passes through. Elsewhere a blind ``except`` stands only around foreign code that answers a
question (the console's callbacks, a card's driver, a config's own methods), each with its reason on its line.
"""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from barograph.errors import BarographWarning, MisuseError, RecordingError, RecordingWarning

Report = Callable[[str, BaseException, str], None]


class Guard:
    """Catches, counts and reports the recorder's own failures.

    Args:
        strict: raise ``RecordingError`` instead of going on.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.lost = 0
        self.num_failures = 0
        self.failures: dict[str, str] = {}
        self.report: Report | None = None
        self._lock = threading.RLock()
        self._reporting = False
        self._background: set[int] = set()
        self._deferred: RecordingError | None = None

    @contextmanager
    def boundary(self, part: str, *, lost: int = 0, misuse: bool = False) -> Iterator[None]:
        """Run the body; a failure of the recorder in it ends here.

        Args:
            part: what is doing the work, e.g. ``metrics``.
            lost: how many facts are lost when it fails.
            misuse: also a ``MisuseError`` ends here: the body does not run in the call that it would explain.
        """
        try:
            yield
        except RecordingError:
            raise
        except (MisuseError, BarographWarning) as error:
            if not misuse:
                raise
            self.failed(part, error, lost=lost)
        except Exception as error:  # noqa: BLE001 - the guarded boundary: see the module's docstring
            self.failed(part, error, lost=lost)

    def failed(self, part: str, error: BaseException, *, lost: int = 0) -> None:
        """Count a failure, and report the first one of each part.

        Raises:
            RecordingError: with ``strict``.
        """
        with self._lock:
            self.lost += lost
            self.num_failures += 1
            first = part not in self.failures
            self.failures.setdefault(part, f"{type(error).__name__}: {error}")
        if first:
            self._report(part, error)
        if self.strict:
            raised = RecordingError(
                f"barograph could not record ({part}): {error}; free the cause, or use strict=False"
            )
            raised.__cause__ = error
            if threading.get_ident() not in self._background:
                raise raised
            self._deferred = self._deferred or raised

    def run_in_background(self) -> None:
        """With ``strict``, failures in the calling thread are raised later, by ``raise_deferred``."""
        self._background.add(threading.get_ident())

    def raise_deferred(self) -> None:
        """Raise the first failure of a background thread, when ``strict`` asked for it."""
        if self._deferred is not None:
            raised, self._deferred = self._deferred, None
            raise raised

    def renew_lock(self) -> None:
        """Start with a free lock, in the child of a fork."""
        self._lock = threading.RLock()

    def _report(self, part: str, error: BaseException) -> None:
        """Write the failure as an event, then warn."""
        if self.report is not None and not self._reporting:
            self._reporting = True
            try:
                self.report(part, error, "".join(traceback.format_exception(error)))
            except Exception as second:  # noqa: BLE001 - the same boundary: reporting failed for the same reason
                self.failures.setdefault(f"{part} (report)", f"{type(second).__name__}: {second}")
            finally:
                self._reporting = False
        text = (
            f"barograph: recording of {part} failed: {type(error).__name__}: {error}. Training goes on; what could not "
            f"be recorded is counted in run.ledger. Next: free the cause (disk, quota, permissions), then look at "
            f"`barograph check`"
        )
        try:
            warnings.warn(text, RecordingWarning, stacklevel=2)
        except RecordingWarning:  # the script turns warnings into errors; there is nobody to catch them in our thread
            if threading.get_ident() not in self._background:
                raise
            if sys.stderr is not None:
                sys.stderr.write(text + "\n")
