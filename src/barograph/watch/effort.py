"""Whether a process computes, by the processor time that the kernel counts: one that computes is slow, not stuck.

What cannot be known (another machine, a system without /proc) is None; nothing is guessed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

LEAST_SHARE: Final = 0.1
"""Of one processor: more than a process takes that waits and looks now and then, less than one gets that shares it."""
SPAN_S: Final = 4.0
"""It is judged by about so many of the newest seconds; half as many are the least."""
EVERY_S: Final = 0.5
MAX_CHILDREN: Final = 256
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_TIMES: Final = slice(11, 15)  # of /proc/PID/stat, after the closing parenthesis of the name: own and children's


class Effort:
    """Looks at the processor time of a process and of its children.

    Args:
        pid: the process, on this machine.
        monotonic: seconds.
    """

    def __init__(self, pid: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._monotonic = monotonic
        self._looks: deque[tuple[float, float]] = deque()

    def is_computing(self) -> bool | None:
        """Whether it has computed in the newest seconds; None when that is not known, or not yet.

        To be called again and again while nothing is recorded.
        """
        now_s = self._monotonic()
        looks = self._looks
        if looks and now_s - looks[-1][0] > SPAN_S:
            looks.clear()  # nobody has looked for long
        if not looks or now_s - looks[-1][0] >= EVERY_S:
            used_s = _used_s(self._pid)
            if used_s is None:
                looks.clear()
                return None
            looks.append((now_s, used_s))
            while len(looks) > 1 and now_s - looks[1][0] >= SPAN_S:
                looks.popleft()
        span_s = looks[-1][0] - looks[0][0]
        if span_s < SPAN_S / 2:
            return None
        return looks[-1][1] - looks[0][1] >= LEAST_SHARE * span_s


def _used_s(pid: int) -> float | None:
    """Seconds of processor time that a process and its children have used; None where the system does not tell."""
    own_s = _of_one(pid)
    return None if own_s is None else own_s + sum(_of_one(child) or 0.0 for child in _children(pid))


def _of_one(pid: int) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()
        return sum(map(int, fields[_TIMES])) / _TICKS_PER_S
    except (OSError, ValueError):
        return None


def _children(pid: int) -> Iterator[int]:
    """Its children, of whichever thread; where the kernel does not list them, none."""
    num = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_bytes().split():
                yield int(child)
                num += 1
                if num >= MAX_CHILDREN:
                    return
    except (OSError, ValueError):
        return
