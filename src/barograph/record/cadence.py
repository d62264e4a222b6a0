"""When to log and when to evaluate: two tiers, cheap often and full rarely, and what each of them costs.

The schedule is a pure function of the step; it runs in the training loop, so it holds no state and imports
nothing heavy. What it saves is measured, never claimed.
"""

from __future__ import annotations

import math
import operator
import warnings
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from barograph.errors import CadenceWarning, MisuseError

Tier = Literal["fast", "full"]

DEFAULT_LOG_STEPS: Final = 10
DEFAULT_EVAL_STEPS: Final = 200
RECOMMENDED_LOG_STEPS: Final = (10, 50)
RECOMMENDED_EVAL_STEPS: Final = (100, 500)
COSTLY_SHARE: Final = 0.05
SAMPLE_SIZE: Final = 2048


class Cadence(msgspec.Struct, frozen=True, kw_only=True):
    """The two-tier schedule.

    A full evaluation replaces the fast log at a step that both would fall on. Step 0, negative and fractional
    steps belong to no tier.

    Attributes:
        log_steps: a fast log every so many steps; 10 to 50 is recommended.
        eval_steps: a full evaluation every so many steps; 100 to 500, a multiple of ``log_steps``, is recommended.

    Raises:
        MisuseError: one of the two is not a positive integer.

    Warns:
        CadenceWarning: ``eval_steps`` is not a multiple of ``log_steps``.

    >>> cadence = Cadence(log_steps=10, eval_steps=200)
    >>> [cadence.kind(step) for step in (0, 5, 10, 190, 200)]
    [None, None, 'fast', 'fast', 'full']
    """

    log_steps: int = DEFAULT_LOG_STEPS
    eval_steps: int = DEFAULT_EVAL_STEPS

    def __post_init__(self) -> None:
        for name in ("log_steps", "eval_steps"):
            msgspec.structs.force_setattr(self, name, _positive_int(getattr(self, name), name=name))
        if self.eval_steps % self.log_steps:
            warnings.warn(_misalignment(self.log_steps, self.eval_steps), CadenceWarning, stacklevel=2)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | str | Path) -> Cadence:
        """Read ``log_steps`` and ``eval_steps`` from a configuration; a missing or null key has its default.

        Args:
            config: a mapping, or the path of a JSON file, in which ``//`` comments are allowed.

        Raises:
            MisuseError: the configuration is neither, or a value is not a positive integer.
        """
        if isinstance(config, (str, Path)):
            from barograph.record.config import read_json_with_comments  # noqa: PLC0415 - rarely needed

            config = read_json_with_comments(Path(config))
        if not isinstance(config, Mapping):
            raise MisuseError(
                f"the cadence is read from a mapping or a JSON file, not from {type(config).__name__} {config!r}; "
                f"pass its dictionary, e.g. vars(args)"
            )
        given = {name: config.get(name) for name in ("log_steps", "eval_steps")}
        return cls(**{name: value for name, value in given.items() if value is not None})

    def fast(self, step: float) -> bool:
        """Whether ``step`` asks for a fast log: no generation, no validation."""
        return self.kind(step) == "fast"

    def full(self, step: float) -> bool:
        """Whether ``step`` asks for a full evaluation."""
        return self.kind(step) == "full"

    def kind(self, step: float) -> Tier | None:
        """The tier of ``step``, or None.

        Raises:
            MisuseError: ``step`` is not a number.
        """
        try:
            if not step > 0:
                return None
        except TypeError:
            raise MisuseError(
                f"the step must be a number, not {type(step).__name__} {step!r}; pass the loop's step counter"
            ) from None
        if step % self.eval_steps == 0:
            return "full"
        return "fast" if step % self.log_steps == 0 else None

    def planned(self, total_steps: int) -> tuple[int, int]:
        """How many fast logs and full evaluations a run of ``total_steps`` steps has.

        >>> Cadence().planned(2000)
        (190, 10)
        """
        total = _integer(total_steps)
        if total is None or total < 0:
            raise MisuseError(
                f"total_steps must be an integer from 0 on, not {total_steps!r}; pass the number of steps planned"
            )
        shared = total // math.lcm(self.log_steps, self.eval_steps)
        return total // self.log_steps - shared, total // self.eval_steps

    def saving(self, *, fast_s: float, full_s: float) -> float:
        """How many times cheaper the two tiers are than a full evaluation at every ``log_steps``.

        ``(E/L) * F / (F + (E/L - 1) * f)``; it approaches ``E/L`` only as ``f / F`` approaches 0.

        Args:
            fast_s: duration of one fast log, ``f``, in seconds.
            full_s: duration of one full evaluation, ``F``, in seconds; above 0.

        Raises:
            MisuseError: a duration is negative, not finite, or ``full_s`` is 0.

        >>> round(Cadence().saving(fast_s=0.5, full_s=5.0), 1)
        6.9
        """
        if not (0.0 <= fast_s < math.inf and 0.0 < full_s < math.inf):
            raise MisuseError(
                f"fast_s={fast_s!r} and full_s={full_s!r} are no durations to compare; pass measured seconds"
            )
        period = math.lcm(self.log_steps, self.eval_steps)
        num_fast, num_full = self.planned(period)
        return (period // self.log_steps) * full_s / (num_full * full_s + num_fast * fast_s)

    def advice(self) -> list[str]:
        """Remarks on settings outside the recommended ranges, or that make one tier useless."""
        found = []
        for name, low, high, reason in (
            ("log_steps", *RECOMMENDED_LOG_STEPS, "visibility without slowdown"),
            ("eval_steps", *RECOMMENDED_EVAL_STEPS, "a balance of feedback and speed"),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                found.append(f"{name}={value} is outside the recommended {low} to {high} ({reason})")
        if self.log_steps % self.eval_steps == 0:
            found.append(
                f"eval_steps={self.eval_steps} divides log_steps={self.log_steps}, so every log is a full "
                f"evaluation; raise eval_steps, e.g. to {max(DEFAULT_EVAL_STEPS, 20 * self.log_steps)}"
            )
        return found


class TierCosts:
    """What the tiers of a run cost, from measured durations, in memory that does not grow.

    Counts and sums are exact. Medians are exact up to 2 048 durations of a tier; from there on they are taken
    over an evenly spaced sample of the whole run (every second, fourth, ... duration).
    """

    def __init__(self) -> None:
        self._tiers: dict[str, _Durations] = {"fast": _Durations(), "full": _Durations()}

    def add(self, kind: Tier, duration_s: float) -> None:
        """Count one fast log or full evaluation that took ``duration_s`` seconds.

        Raises:
            MisuseError: the tier is unknown, or the duration is negative or not finite.
        """
        durations = self._tiers.get(kind)
        if durations is None:
            raise MisuseError(f"{kind!r} is no tier; use 'fast' or 'full'")
        if not 0.0 <= duration_s < math.inf:
            raise MisuseError(f"a duration of {duration_s!r} s cannot be; measure it with time.perf_counter()")
        durations.add(duration_s)

    def report(self, cadence: Cadence, wall_s: float) -> dict[str, Any]:
        """Summarise the costs.

        Args:
            cadence: the schedule that was followed.
            wall_s: wall time of the run so far, in seconds; 0 when unknown.

        Returns:
            ``num_*``, ``*_median_s`` (None when never measured), ``*_total_s``, ``share_of_wall`` and
            ``full_share_of_wall`` (0 to 1, None without wall time), ``saving_measured`` against a full evaluation
            at every ``log_steps`` (None with ``saving_note`` saying why), and ``advice``, a list of sentences.
        """
        fast, full = self._tiers["fast"], self._tiers["full"]
        fast_median_s, full_median_s = fast.median(), full.median()
        saving, note = _measured_saving(cadence, fast_median_s, full_median_s)
        return {
            "num_fast": fast.num,
            "num_full": full.num,
            "fast_median_s": fast_median_s,
            "full_median_s": full_median_s,
            "fast_total_s": fast.total_s,
            "full_total_s": full.total_s,
            "share_of_wall": (fast.total_s + full.total_s) / wall_s if wall_s > 0 else None,
            "full_share_of_wall": full.total_s / wall_s if wall_s > 0 else None,
            "saving_measured": saving,
            "saving_note": note,
            "advice": cadence.advice() + _cost_advice(cadence, fast.total_s, full.total_s, wall_s),
        }


class _Durations:
    """Durations of one tier: count, sum and an evenly spaced sample."""

    def __init__(self) -> None:
        self.num = 0
        self.total_s = 0.0
        self._stride = 1
        self._sample = array("d")

    def add(self, duration_s: float) -> None:
        if self.num % self._stride == 0:
            if len(self._sample) == SAMPLE_SIZE:
                self._sample = self._sample[::2]
                self._stride *= 2
            self._sample.append(duration_s)
        self.num += 1
        self.total_s += duration_s

    def median(self) -> float | None:
        if not self._sample:
            return None
        ordered = sorted(self._sample)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _integer(value: Any) -> int | None:
    """The value as an int when it is one, also numpy's; a bool is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _positive_int(value: Any, *, name: str) -> int:
    number = _integer(value)
    if number is None or number < 1:
        raise MisuseError(
            f"{name} must be a positive integer, not {value!r}; "
            f"the defaults are log_steps={DEFAULT_LOG_STEPS} and eval_steps={DEFAULT_EVAL_STEPS}"
        )
    return number


def _misalignment(log_steps: int, eval_steps: int) -> str:
    below = eval_steps - eval_steps % log_steps
    choices = " or ".join(f"eval_steps={value}" for value in (below, below + log_steps) if value)
    return (
        f"eval_steps={eval_steps} is not a multiple of log_steps={log_steps}, so full evaluations fall beside "
        f"the fast logs instead of replacing them; use {choices}"
    )


def _measured_saving(cadence: Cadence, fast_s: float | None, full_s: float | None) -> tuple[float | None, str | None]:
    if full_s is None:
        return None, "no full evaluation was measured"
    if full_s == 0.0:
        return None, "full evaluations took no measurable time"
    if fast_s is None:
        if cadence.log_steps % cadence.eval_steps:
            return None, "no fast log was measured"
        fast_s = 0.0  # this schedule has no fast logs, so their cost does not enter
    return cadence.saving(fast_s=fast_s, full_s=full_s), None


def _cost_advice(cadence: Cadence, fast_total_s: float, full_total_s: float, wall_s: float) -> list[str]:
    return [
        *_stretch("full evaluations", "eval_steps", cadence.eval_steps, full_total_s, wall_s),
        *_stretch("fast logs", "log_steps", cadence.log_steps, fast_total_s, wall_s),
    ]


def _stretch(what: str, name: str, steps: int, total_s: float, wall_s: float) -> list[str]:
    """Say how much rarer a costly tier would have to be to take less than ``COSTLY_SHARE`` of the wall time."""
    if wall_s <= 0 or total_s <= COSTLY_SHARE * wall_s or total_s >= wall_s:
        return []
    rest_s = wall_s - total_s
    factor = math.floor(total_s * (1 - COSTLY_SHARE) / (COSTLY_SHARE * rest_s)) + 1
    rarer_s = total_s / factor
    advice = (
        f"{what} took {total_s / wall_s:.1%} of wall time; {name}={steps * factor} would make it "
        f"{rarer_s / (rest_s + rarer_s):.1%}, and so would making each {factor} times cheaper"
    )
    return [advice]
