"""The judgement as markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.faults import baselines
from bench.faults.baselines.base import Baseline
from bench.faults.episodes import Alarm
from bench.faults.figures import (
    Figures,
    OfType,
    Rate,
    Share,
    by_type,
    equal_level,
    false_alarms,
    false_rate,
    figures,
    judge,
    told_by,
)
from bench.faults.trial import Trial
from bench.marks import put, table

NOTHING: Final = "-"
MOVED_FACTOR: Final = 1.1
MAX_MOVED: Final = 4
SUBJECT_HEAD: Final = (
    *("who", "false incidents per 10 000 healthy steps", "healthy runs with an alarm", "recall", "clean recall"),
    *("type accuracy", "median delay of sudden faults, steps"),
)
EQUAL_HEAD: Final = (
    "who",
    "level",
    "false incidents per 10 000, tuning",
    "false incidents per 10 000, reported",
    "recall",
    "clean recall",
)
TYPE_HEAD: Final = (
    *("type", "faults", "recall", "type accuracy", "clean recall", "median delay, steps", "false incidents"),
    "right when it speaks",
)
BUDGET_HEAD: Final = ("what", "budget", "measured", "met")
FALSE_HEAD: Final = ("run", "step", "type", "what it said")
CORE: Final = frozenset(
    {
        *("non_finite", "loss_spike", "divergence", "plateau", "overfitting", "underfitting", "oscillation"),
        *("vanishing_gradient", "exploding_gradient", "learning_rate", "throughput_drop", "memory_growth"),
    }
)
MISSED_HEAD: Final = ("run", "fault", "right would be", "what was seen")


class Score:
    """The judgement of one split.

    Args:
        reported: its runs.
        tuning: those of the tuning split, for the levels of baselines.
        against: names of baselines.
        split: which one is reported.
    """

    def __init__(
        self, reported: Sequence[Trial], *, tuning: Sequence[Trial], against: Sequence[str], split: str
    ) -> None:
        self._reported = reported
        self._split = split
        self._ours_tuning = false_rate(tuning, ours)
        self._tuning = tuning
        self._baselines = {name: baselines.load(name) for name in against}
        self.ours = figures(reported, ours)
        self.types = by_type(reported, ours)

    def render(self) -> str:
        """The figures, as markdown; nothing of single runs."""
        parts = [self._amount(), "### Budgets", table(BUDGET_HEAD, self._budgets())]
        parts += ["### Everybody as published", table(SUBJECT_HEAD, self._published())]
        if self._baselines:
            parts += ["### At equal false alarms", table(EQUAL_HEAD, self._equal())]
        parts += ["### By type", table(TYPE_HEAD, (type_row(name, it) for name, it in self.types.items()))]
        return "\n\n".join(parts) + "\n"

    def _single(self) -> str:
        """What went wrong, run by run."""
        missed, false = list(self._missed()), list(self._false())
        parts = ["### What is missed, misnamed or told too early", table(MISSED_HEAD, missed) if missed else "Nothing."]
        parts += ["### False incidents in healthy runs", table(FALSE_HEAD, false) if false else "None."]
        return "\n\n".join(parts) + "\n"

    def write(self, document: Path) -> None:
        """Put the tables into a page, and their figures beside it.

        Raises:
            ValueError: the page lacks the marks.
        """
        put(f"{self.render()}\n{self._single()}", document=document)
        raw = {
            "split": self._split,
            "subjects": self._raw(),
            "types": {k: _of_type(it) for k, it in self.types.items()},
        }
        document.with_suffix(".json").write_text(json.dumps(raw, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _amount(self) -> str:
        faults = [it for it in self._reported if it.episode.kind == "fault"]
        num_kinds = len({it.episode.fault for it in faults})
        num_healthy = len(self._reported) - len(faults)
        return (
            f"Split `{self._split}`: {len(faults)} runs with {num_kinds} kinds of faults, {num_healthy} healthy runs, "
            f"{self.ours.false.steps:,} healthy steps."
        )

    def _published(self) -> Iterator[list[str]]:
        yield subject_row("**barograph**", self.ours)
        for name, baseline in self._baselines.items():
            yield subject_row(baseline.label, self._at(name, self._published_place(baseline)))

    def _published_place(self, baseline: Baseline) -> int:
        if baseline.published is not None:
            return baseline.levels.index(baseline.published)
        rate = _told_rate(self._tuning or self._reported)
        return min(range(len(baseline.levels)), key=lambda place: abs(baseline.levels[place] - rate))

    def _at(self, name: str, place: int) -> Figures:
        return figures(self._reported, told_by(name, place), names_types=self._baselines[name].names_types)

    def _equal_place(self, name: str) -> int:
        return equal_level(self._tuning, name, self._baselines[name].levels, self._ours_tuning)

    def _equal_figures(self, name: str) -> Figures:
        return self._at(name, self._equal_place(name))

    def _equal(self) -> Iterator[list[str]]:
        yield ["**barograph**", NOTHING, rate(self._ours_tuning), *_equal_cells(self.ours)]
        for name, baseline in self._baselines.items():
            place = self._equal_place(name)
            wolf = false_rate(self._tuning, told_by(name, place))
            level = f"{baseline.levels[place]:.3g}"
            if wolf.value > self._ours_tuning.value:
                level += " (not reached)"
            yield [baseline.label, level, rate(wolf), *_equal_cells(self._at(name, place))]

    def _budgets(self) -> Iterator[list[str]]:
        it = self.ours
        core = {name: found.figures.recall for name, found in self.types.items() if name in CORE}
        core = {name: found for name, found in core.items() if found.of}
        lowest = min(core, key=lambda name: core[name].value, default="")
        yield _budget("recall", ">= 0.90", share(it.recall), is_met=it.recall.value >= 0.9)
        if lowest:
            what = f"recall of each core type; the lowest: {lowest}"
            yield _budget(what, ">= 0.75", share(core[lowest]), is_met=core[lowest].value >= 0.75)
        if it.named is not None:
            yield _budget("type accuracy", ">= 0.85", share(it.named), is_met=it.named.value >= 0.85)
        yield _budget("clean recall", ">= 0.80", share(it.clean), is_met=it.clean.value >= 0.8)
        yield _budget("median delay of sudden faults", "<= 25 steps", delay(it), is_met=it.delay <= 25)
        what = "false incidents per 10 000 healthy steps"
        yield _budget(what, "<= 0.5", rate(it.false), is_met=it.false.value <= 0.5)
        if self._baselines:
            best = max(self._baselines, key=lambda name: self._equal_figures(name).recall.value)
            theirs = self._equal_figures(best).recall
            what = f"recall above every baseline's at equal false alarms; the best: {self._baselines[best].label}"
            yield _budget(what, f"> {theirs.value:.2f}", share(it.recall), is_met=it.recall.value > theirs.value)

    def _missed(self) -> Iterator[list[str]]:
        for trial in self._reported:
            if trial.episode.kind == "healthy":
                continue
            verdict = judge(trial.episode, trial.ours)
            if verdict.is_found and verdict.is_named and not verdict.num_before:
                continue
            said = seen_words(trial)
            episode = trial.episode
            what = f"{episode.fault} ({episode.dose}), shown at step {episode.shown_step:g}"
            yield [episode.name, what, ", ".join(episode.right), _cell(said)]

    def _false(self) -> Iterator[list[str]]:
        for trial in self._reported:
            for alarm in false_alarms(trial, trial.ours):
                if trial.episode.kind == "healthy":
                    yield [trial.episode.name, f"{alarm.step:g}", alarm.type or "", _cell(alarm.text)]

    def _raw(self) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {"barograph": {"published": _figures(self.ours)}}
        for name, baseline in self._baselines.items():
            place = self._equal_place(name)
            found[name] = {
                "rule": baseline.rule,
                "published": _figures(self._at(name, self._published_place(baseline))),
                "equal": {"level": baseline.levels[place], **_figures(self._at(name, place))},
            }
        return found


def ours(trial: Trial) -> Sequence[Alarm]:
    """What our detectors told."""
    return trial.ours


def _told_rate(trials: Sequence[Trial]) -> float:
    """How many alarms of ours there are on 10 000 steps of any run."""
    num_steps = sum(it.num_steps for it in trials)
    return sum(len(it.ours) for it in trials) * 10_000 / num_steps if num_steps else 0.0


def subject_row(label: str, found: Figures) -> list[str]:
    """Somebody's line of the first table."""
    named = NOTHING if found.named is None else share(found.named)
    return [
        label,
        rate(found.false),
        share(found.alarmed),
        share(found.recall),
        share(found.clean),
        named,
        delay(found),
    ]


def type_row(name: str, found: OfType) -> list[str]:
    """A type's line."""
    it = found.figures
    named = NOTHING if it.named is None else share(it.named)
    delays = sorted(found.delays)
    middle = f"{delays[len(delays) // 2]:g} ({len(delays)})" if delays else NOTHING
    faults = ", ".join(found.faults) or NOTHING
    return [
        name,
        faults,
        share(it.recall),
        named,
        share(it.clean),
        middle,
        str(found.num_false),
        share(found.precision),
    ]


def _equal_cells(found: Figures) -> list[str]:
    return [rate(found.false), share(found.recall), share(found.clean)]


def share(found: Share) -> str:
    """A share with its interval and what it is of.

    >>> share(Share(count=9, of=10)), share(Share(count=0, of=0))
    ('0.90 [0.60, 0.98] 9/10', '-')
    """
    if not found.of:
        return NOTHING
    low, high = found.interval
    return f"{found.value:.2f} [{low:.2f}, {high:.2f}] {found.count}/{found.of}"


def rate(found: Rate) -> str:
    """A rate with its interval and what it is of.

    >>> rate(Rate(count=2, steps=40_000))
    '0.50 [0.06, 1.81] 2/40,000'
    """
    if not found.steps:
        return NOTHING
    low, high = found.interval
    return f"{found.value:.2f} [{low:.2f}, {high:.2f}] {found.count}/{found.steps:,}"


def delay(found: Figures) -> str:
    """The median delay, and of how many."""
    return f"{found.delay:g} ({len(found.delays)})" if found.delays else NOTHING


def moved_words(trial: Trial) -> str:
    """What of a run's metrics differs between before the fault, just after it and the end, the most first."""
    found = []
    for role, medians in trial.moved.items():
        size = _reach(medians)
        if size >= math.log(MOVED_FACTOR):
            found.append((-size, f"{role} {' -> '.join(f'{it:.3g}' for it in medians if it == it)}"))  # noqa: PLR0124
    words = [word for _, word in sorted(found)[:MAX_MOVED]]
    return f"before, just after and at the end: {', '.join(words)}" if words else "no metric differs by a tenth"


def _reach(medians: Sequence[float]) -> float:
    """How far medians lie apart, as a logarithm; infinite where a factor means nothing."""
    finite = [it for it in medians if math.isfinite(it)]
    if len(finite) < 2 or min(finite) == max(finite):
        return 0.0
    return math.log(max(finite) / min(finite)) if min(finite) > 0 else math.inf


def _budget(what: str, limit: str, measured: str, *, is_met: bool) -> list[str]:
    return [what, limit, measured, "yes" if is_met else "**NO**"]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def seen_words(trial: Trial) -> str:
    """What was told of a run, or what there was to be seen."""
    told = "; ".join(f"{it.type} at {it.step:g}" for it in trial.ours[:MAX_MOVED])
    return told or f"silence; {moved_words(trial)}"


def _figures(found: Figures) -> dict[str, Any]:
    return {
        "recall": _share(found.recall),
        "type_accuracy": None if found.named is None else _share(found.named),
        "clean_recall": _share(found.clean),
        "median_delay_steps": _number(found.delay),
        "num_sudden": len(found.delays),
        "false_incidents": found.false.count,
        "healthy_steps": found.false.steps,
        "false_incidents_per_10000_steps": _number(found.false.value),
        "healthy_runs_alarmed": _share(found.alarmed),
    }


def _of_type(found: OfType) -> dict[str, Any]:
    return {
        **_figures(found.figures),
        "faults": found.faults,
        "delays": found.delays,
        "precision": _share(found.precision),
        "false_incidents_opened": found.num_false,
    }


def _share(found: Share) -> dict[str, Any]:
    low, high = found.interval
    return {"count": found.count, "of": found.of, "share": _number(found.value), "low": low, "high": high}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
