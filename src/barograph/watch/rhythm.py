"""How often a run records: its step times, and its pauses (evaluations, checkpoints, ...) apart from them.

It says how long the run may be silent before something is wrong. It reads no file and no clock; what a run has not
shown yet, and nobody announced, it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import lt
from typing import Final

import msgspec

LEAST_S: Final = 8.0
"""No silence shorter than this is a stall: with a poll and a heartbeat between, a person hears of it within 10 s."""
FIRST_S: Final = 600.0
"""The first steps (compiling, filling caches) and an announced evaluation that was never measured may take so long."""
UNSURE_S: Final = 60.0
"""So long may a first pause last that nobody announced, before it counts as a stall for sure."""
TIMES: Final = 3.0
"""So many step times, or pauses of a kind, may go by."""
TIMES_SLOWEST: Final = 1.5
"""Of the slowest of the recent ordinary steps."""
NUM_GAPS: Final = 32
NUM_PAUSES: Final = 8
LEAST_GAPS: Final = 4
LEAST_PAUSE_S: Final = 1.0
UNNAMED: Final = "a pause without a name"
_EARLY: Final = 0.9
_MAX_KINDS: Final = 64


class Pause(msgspec.Struct):
    """One kind of pause.

    Attributes:
        durations_s: of the newest ones.
        count: how many there were.
        last_step: after which step the newest one came.
        interval: the fewest steps from one to the next; of the first: from the beginning of the attempt.
    """

    durations_s: list[float] = []
    count: int = 0
    last_step: float = 0.0
    interval: float = 0.0

    def add(self, duration_s: float, step: float, start_step: float) -> None:
        """One more; several after one step are one that took the longest of them."""
        if self.count and step == self.last_step:
            self.durations_s[-1] = max(self.durations_s[-1], duration_s)
            return
        since = step - (self.last_step if self.count else start_step)
        is_first_interval = self.count <= 1
        if since > 0:
            self.interval = since if is_first_interval or not self.interval else min(self.interval, since)
        self.count += 1
        self.last_step = step
        self.durations_s.append(duration_s)
        del self.durations_s[:-NUM_PAUSES]

    def is_due(self, step: float, spacing: float) -> bool:
        """Whether one may come after this step; steps that are done again may have theirs again."""
        return step < self.last_step or step + spacing >= self.last_step + _EARLY * self.interval


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run may be silent now.

    Attributes:
        silence_s: seconds after its newest fact.
        is_sure: whether a longer silence is a stall for sure; else it may be a pause that nobody has announced.
        step_s: usual seconds from record to record; NaN when they are not known.
        pause: the pause that may come now; "" for none.
        pause_s: how long it took at most.
    """

    silence_s: float
    is_sure: bool
    step_s: float = math.nan
    pause: str = ""
    pause_s: float = 0.0


class Rhythm(msgspec.Struct):
    """What was learned about one process.

    Attributes:
        gaps_s: seconds from record to record, the newest last; pauses are none of them.
        pauses: by kind.
        num_records: of this attempt.
        step: of the newest record.
        spacing: steps from record to record.
        start_step: of the attempt's first record.
        eval_steps: how often an evaluation is announced; 0 for never.
        epoch_steps: how many steps an epoch has, as announced; 0 when nobody said.
        is_after_pause: whether the newest fact was the end of a pause.
        part_s: seconds between the records of the newest step, where it has several.
    """

    gaps_s: list[float] = []
    pauses: dict[str, Pause] = {}
    num_records: int = 0
    step: float = 0.0
    spacing: float = 1.0
    start_step: float = 0.0
    eval_steps: float = 0.0
    epoch_steps: float = 0.0
    is_after_pause: bool = False
    part_s: float = 0.0

    def begin(self, *, eval_steps: float, epoch_steps: float) -> None:
        """An attempt begins: its first steps are slow again; what is known of pauses stays."""
        self.gaps_s.clear()
        self.num_records, self.part_s = 0, 0.0
        self.eval_steps, self.epoch_steps = eval_steps, epoch_steps
        self.is_after_pause = False

    def record(self, gap_s: float, step: float) -> None:
        """A record of training came ``gap_s`` seconds after the fact before it."""
        if not self.num_records:
            self.start_step = step
        elif self._is_pause(gap_s):
            self.pause(UNNAMED, gap_s)
            self.part_s = 0.0
        elif step == self.step:
            self.part_s += gap_s
        else:
            self.gaps_s.append(gap_s + self.part_s)
            self.part_s = 0.0
            if len(self.gaps_s) > 2 * NUM_GAPS:
                del self.gaps_s[:NUM_GAPS]
        if step > self.step and self.num_records:
            self.spacing = step - self.step
        self.step = step
        self.num_records += 1
        self.is_after_pause = False

    def record_usual(self, gaps_s: Sequence[float], steps: Sequence[float], *, longest_s: float) -> bool:
        """Records of training came; taken as one by one, when all of them came soon and each is of another step.

        Args:
            gaps_s: seconds since the fact before each.
            steps: of each.
            longest_s: seconds; when one of them took longer, they have to be taken one by one.

        Returns:
            Whether they were taken.
        """
        is_soon = min(gaps_s) >= 0.0 and max(gaps_s) <= min(LEAST_PAUSE_S, longest_s)
        if not (is_soon and self.num_records and self.step < steps[0] and all(map(lt, steps, steps[1:]))):
            return False
        self.gaps_s.append(gaps_s[0] + self.part_s)
        self.gaps_s += gaps_s[1:]
        while len(self.gaps_s) > 2 * NUM_GAPS:
            del self.gaps_s[:NUM_GAPS]
        self.part_s = 0.0
        self.spacing = steps[-1] - (steps[-2] if len(steps) > 1 else self.step)
        self.step = steps[-1]
        self.num_records += len(steps)
        self.is_after_pause = False
        return True

    def pause(self, kind: str, gap_s: float) -> None:
        """A pause of some kind ended ``gap_s`` seconds after the fact before it."""
        found = self.pauses.get(kind)
        if found is None:
            if len(self.pauses) >= _MAX_KINDS:
                return
            found = self.pauses[kind] = Pause()
        found.add(gap_s, self.step, self.start_step)
        self.is_after_pause = True

    def step_s(self) -> float:
        """Usual seconds from record to record; NaN while they are not known."""
        gaps = self.gaps_s[-NUM_GAPS:]
        return sorted(gaps)[len(gaps) // 2] if len(gaps) >= LEAST_GAPS else math.nan

    def limit(self) -> Limit:
        """How long the run may be silent after what it has recorded."""
        step_s = self.step_s()
        if math.isnan(step_s):
            return Limit(silence_s=FIRST_S, is_sure=True)
        silence_s = max(LEAST_S, TIMES * step_s, TIMES_SLOWEST * max(self.gaps_s[-NUM_GAPS:]))
        name, pause_s = "", 0.0
        for kind, pause in self.pauses.items():
            longest_s = max(pause.durations_s)
            if longest_s > max(pause_s, LEAST_PAUSE_S) and pause.is_due(self.step, self.spacing):
                name, pause_s = kind, longest_s
        if self._is_planned_now():
            return Limit(silence_s=max(silence_s, FIRST_S), is_sure=True, step_s=step_s)
        has_paused = any(max(pause.durations_s) > LEAST_PAUSE_S for pause in self.pauses.values())
        silence_s = max(silence_s, TIMES * pause_s)
        is_sure = silence_s >= UNSURE_S or (has_paused and not self.is_after_pause)
        return Limit(silence_s=silence_s, is_sure=is_sure, step_s=step_s, pause=name, pause_s=pause_s)

    def _is_pause(self, gap_s: float) -> bool:
        """Whether a record came so late that something else than a step must have been done."""
        return gap_s > LEAST_PAUSE_S and gap_s > TIMES * self.step_s()

    def _is_planned_now(self) -> bool:
        """Whether the first evaluation or end of an epoch is announced for about now."""
        reach = self.step + self.spacing + 1
        return any(
            every and self.start_step <= self.step <= first + self.spacing and reach >= first
            for every in (self.eval_steps, self.epoch_steps)
            for first in ((self.start_step // every + 1) * every if every else 0.0,)
        )
