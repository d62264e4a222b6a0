"""The process that draws during training: ``python -m barograph.plot.worker RUN_DIR PARENT_PID``; see ``plot.live``.

It reads settings and moments as JSON lines from its standard input and reports each figure, and each failure, as a
line. It draws one family at a time; what waits is replaced by what is newer. It ends when it is told to, or when the
training process is gone, after what waits is drawn.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from barograph.plot.settings import read_settings
from barograph.plugins import explain_missing

NICENESS: Final = 10
LOOK_S: Final = 5.0
CANNOT_DRAW: Final = 3


class Waiting:
    """What is to be drawn, the newest moment of each family; one thread puts, another takes."""

    def __init__(self) -> None:
        self._moments: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._changed = threading.Condition()
        self._is_ending = False

    def put(self, family: str, moment: str, payload: Mapping[str, Any]) -> None:
        """Draw this, in place of what waits for this family and moment."""
        with self._changed:
            self._moments[family, moment] = payload
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def take_all(self, parent: int) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """What waits, oldest first, until the end; or until the process that puts is gone."""
        while True:
            with self._changed:
                while not self._moments and not self._is_ending and os.getppid() == parent:
                    self._changed.wait(LOOK_S)
                if not self._moments:
                    return
                (family, moment), payload = next(iter(self._moments.items()))
                del self._moments[family, moment]
            yield family, moment, payload


def main(argv: Sequence[str]) -> int:
    """Draw until told to end; returns the exit code."""
    run_dir, parent = Path(argv[0]), int(argv[1])
    os.nice(NICENESS)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a family of another hand must not take memory of a card
    try:
        from barograph.plot import orchestrator  # noqa: PLC0415 - where matplotlib is missing, that is told
    except ModuleNotFoundError as error:
        print(explain_missing(error) or error, flush=True)  # noqa: T201 - the pipe to the training process
        return CANNOT_DRAW
    families, failures = orchestrator.find_families()
    group = json.loads(sys.stdin.readline() or "{}").get("logging")
    for broken in failures:
        _report(broken.family, failure=orchestrator.failure_words(broken, "start"))
    _report("", failure=orchestrator.unknown_words(read_settings(group), families))
    waiting = Waiting()
    threading.Thread(target=_read, args=(waiting, families, group), daemon=True).start()
    snapshot, seen = orchestrator.Snapshot(run_dir), None
    for family, moment, payload in waiting.take_all(parent):
        if payload != seen:
            snapshot, seen = orchestrator.Snapshot(run_dir), payload
        about = {**payload, "run": snapshot}
        outcome = orchestrator.draw_family(family, families[family], moment, about, group)
        failed = outcome.failure is not None
        _report(family, outcome.paths, failure=orchestrator.failure_words(outcome, moment) if failed else None)
    return 0


def _read(waiting: Waiting, families: Mapping[str, Any], group: Any) -> None:
    """Put what comes, without delay, so that the pipe never fills."""
    from barograph.plot.orchestrator import get_enabled_families  # noqa: PLC0415 - as in main

    for line in sys.stdin:
        message = json.loads(line)
        if "end" in message:
            break
        for family in get_enabled_families(group, families, message["moment"]):
            waiting.put(family, message["moment"], message["payload"])
    waiting.end()


def _report(family: str, paths: Sequence[Path] = (), *, failure: str | None) -> None:
    report = {"family": family, "paths": list(map(str, paths)), "failure": failure}
    try:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    except OSError:  # the run has ended and listens no more; its figures are drawn all the same
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it is the process's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
